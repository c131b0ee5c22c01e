"""All of scores.json from episodes.jsonl alone, as docs/files.md defines it: recompute.py EPISODES BUDGET TRACK."""

import json
import sys
from pathlib import Path

import numpy as np
from recompute_bands import bands
from recompute_clicks import click_scores, cost
from recompute_failures import failures
from recompute_masks import interval, measured, ratio
from recompute_no_target import no_target
from recompute_refinement import refinement
from recompute_search import search


def at(episodes, steps):
    """Return the scores of the masks after one step of each episode."""
    rows = [[e[key][t] for e, t in zip(episodes, steps, strict=True)] for key in ("ious", "rims", "pairs")]
    inner, union = ([pair[side] for pair in rows[2]] for side in (0, 1))
    means = {"miou": np.mean(rows[0]), "biou": np.mean(rows[1]), "ciou": ratio((sum(inner), sum(union)))}
    return means | {"miou_ci": interval(episodes, rows[0]), "ciou_ci": interval(episodes, inner, union)}


def selection(episodes, rule):
    steps = [episode["selected"][rule] for episode in episodes]
    ious = np.array([episode["ious"][t] for episode, t in zip(episodes, steps, strict=True)])
    return at(episodes, steps) | {"precision": {f"0.{n}": np.mean(ious >= n / 10) for n in (5, 6, 7, 8, 9)}}


def noc(episodes, threshold, budget):
    hits = [[t for t in range(1, budget + 1) if np.float32(e["ious"][t]) >= np.float32(threshold)] for e in episodes]
    needed, failed = [min(each, default=budget) for each in hits], hits.count([])
    return {"mean": np.mean(needed), "ci": interval(episodes, needed), "solved": len(hits) - failed, "failed": failed}


def sliced(episodes, labels, budget):
    """Return the main scores of the episodes of each label; None is no label."""
    pairs = [*zip(episodes, labels, strict=True)]
    groups = {value: [episode for episode, label in pairs if label == value] for value in {*labels} - {None}}
    finals = {value: at(group, [e["selected"]["final"] for e in group]) for value, group in groups.items()}
    return {v: finals[v] | {"n": len(g), "noc": {"0.85": noc(g, 0.85, budget)}} for v, g in groups.items()}


def scores(episodes, budget, track):
    curve = [{"t": t} | at(episodes, [t] * len(episodes)) for t in range(budget + 1)]
    tags = {name: [e.get("tags", {}).get(name) for e in episodes] for each in episodes for name in each.get("tags", {})}
    slices = {name: sliced(episodes, labels, budget) for name, labels in tags.items()}
    return (
        ({"slices": slices} if slices else {})
        | no_target(episodes)
        | {
            **{"schema": "hlmat-scores/1", "n": len(episodes), "budget": budget, "track": track},
            "n_images": len({e["image_id"] for e in episodes}),
            "n_refs": len({e["sample_id"] if e["ref_id"] is None else e["ref_id"] for e in episodes}),
            "selection": {rule: selection(episodes, rule) for rule in ("final", "self", "best")},
            "noc": {f"{threshold:.2f}": noc(episodes, threshold, budget) for threshold in (0.80, 0.85, 0.90, 0.95)},
            "curve": [{key: point[key] for key in point if key != "ciou_ci"} for point in curve],
            "auc": np.mean([point["miou"] for point in curve[1:]]),
            "clicks": click_scores(episodes, budget),
            "search": search(episodes),
            "cost": cost(episodes),
            "failures": failures(episodes),
            "bands": {name: sliced(episodes, labels, budget) for name, labels in bands(episodes).items()},
            "filtering": None,
            "refinement": refinement(episodes, budget),
        }
    )


if __name__ == "__main__":
    lines, clicks = Path(sys.argv[1]).read_bytes().splitlines(), int(sys.argv[2])
    sys.stdout.write(json.dumps(scores([measured(json.loads(line), clicks) for line in lines], clicks, sys.argv[3])))
