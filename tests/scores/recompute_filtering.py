"""The section filtering of scores.json from episodes.jsonl alone, as docs/files.md defines it, with pandas."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from recompute_masks import interval, measured


def masks_of(path):
    """Return a row per mask that was shown: image, true and predicted IoU in percent."""
    rows = []
    for line in path.read_bytes().splitlines():
        episode = measured(json.loads(line), len(json.loads(line)["steps"]))
        for step in episode["steps"]:
            rows.append((episode["image_id"], episode["ious"][step["t"]], step["predicted_iou"]))
    return pd.DataFrame(rows, columns=["image_id", "true", "said"]).astype({"true": float, "said": float})


def errors(table, predicted):
    difference, images = 100 * (predicted - table.true), table.to_dict("records")
    columns = {"mae": difference.abs(), "mse": difference**2}
    return {k: v.mean() for k, v in columns.items()} | {f"{k}_ci": interval(images, v) for k, v in columns.items()}


def correlations(table, predicted):
    """By drawing whole images 2,000 times and computing each correlation of what was drawn."""
    pairs = pd.DataFrame({"true": table.true, "predicted": predicted})
    rows = [group.index.to_numpy() for _, group in table.groupby("image_id", sort=True)]
    draws = np.random.Generator(np.random.PCG64(0)).integers(len(rows), size=(2000, len(rows)))
    both = np.array([both_of(pairs.take(np.concatenate([rows[i] for i in draw]))) for draw in draws])
    found = {}
    for column, (name, value) in enumerate(zip(("pearson", "spearman"), both_of(pairs), strict=True)):
        known, drawn = not np.isnan(value), both[:, column]
        ends = np.quantile(drawn[~np.isnan(drawn)], [0.025, 0.975]).tolist() if known else None
        found |= {name: value if known else None, f"{name}_ci": ends}
    return found


def both_of(pairs):
    values = pairs.to_numpy()
    if not np.ptp(values, axis=0).all():
        return np.nan, np.nan
    return tuple(np.corrcoef(columns, rowvar=False)[0, 1] for columns in (values, pairs.rank().to_numpy()))


def keep(table, predicted, threshold):
    kept, good = predicted >= threshold, table.true >= threshold
    return {
        "accuracy": (kept == good).mean(),
        "accuracy_ci": interval(table.to_dict("records"), (kept == good).astype(float)),
        "kept": int(kept.sum()),
        "good": int(good.sum()),
        "precision": good[kept].mean() if kept.any() else None,
        "recall": kept[good].mean() if good.any() else None,
    }


def calibration(read):
    bins = pd.cut(read.said, np.arange(11) / 10, right=False).cat.codes.replace(-1, 9)
    return [
        {
            "low": n / 10,
            "high": (n + 1) / 10,
            "predicted": group.said.mean(),
            "true": group.true.mean(),
            "n": len(group),
        }
        for n, group in read.groupby(bins)
    ]


def filtering(path):
    table = masks_of(path)
    predicted, mean = table.said.fillna(0.5), table.true.mean()
    return {
        "n_masks": len(table),
        "unparsable": int(table.said.isna().sum()),
        "true_miou": mean,
        **errors(table, predicted),
        **correlations(table, predicted),
        "baseline": {"predicted": mean} | errors(table, mean),
        "keep": {str(threshold): keep(table, predicted, threshold) for threshold in (0.5, 0.6, 0.7, 0.8, 0.9)},
        "calibration": calibration(table[table.said.notna()]),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(filtering(Path(sys.argv[1]))))
