"""Five pairs of runs of different kinds, and every number of each, computed again from episodes.jsonl with numpy alone.

The test of a page, a file or a command calls `recomputed` and looks for what `Number.text` says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco
from scipy.stats import rankdata

from hlmat_bench.runs.run import run
from hlmat_bench.runs.run_folder import Run
from tests.support.report_runs import MODEL, write_task

Episodes = list[dict[str, Any]]

_TASKS = {
    "refinement": "kind: refinement\n"
    "refinement: {defects: [eroded, dilated, shifted], bands: [[0.5, 0.8], [0.86, 0.96]], seed: 0}\n",
    "filtering": "kind: filtering\nfiltering: {positive: [1, 3], negative: [0, 3], seed: 0}\n",
}


@dataclass(frozen=True)
class Number:
    """A score as computed here.

    Attributes:
        value, low, high: in the unit of scores.json; the ends are None where pages show no interval.
        percent: whether it is shown in percent with one decimal; else with ``digits``.
        never: samples that never reach the threshold of a number of clicks.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    percent: bool = True
    digits: int = 1
    never: int | None = None

    def text(self, *, sign: bool = False) -> str:
        """Return it as tables show it: ``68.8 [61.5, 75.6]``."""
        value, low, high = (self._shown(each, sign) for each in (self.value, self.low, self.high))
        return value if self.low is None else f"{value} [{low}, {high}]"

    def _shown(self, value: float | None, sign: bool) -> str:
        if value is None:
            return "–"
        text = f"{value * (100 if self.percent else 1):,.{self.digits}f}"
        zero = float(text.replace(",", "")) == 0
        return text.lstrip("-") if zero else ("+" if sign and value > 0 else "") + text.replace("-", "−")


def play_five(folder: Path, tool: str) -> dict[str, list[Run]]:
    """Play two runs of each of five kinds: one answer per step, a search, refinement, filtering, and no target."""
    data = folder / "data"
    plain = write_task(data, 24)
    model = data / "stranger.py"
    model.write_text(MODEL.format(hostile=["first", "second", "third"]))
    models = ["oracle,misplaced=0.4", f"{model},salt=1"]
    made = {"greedy": _play(["oracle", models[0]], plain, tool, folder / "greedy")}
    made["search"] = _play(models, plain, tool, folder / "search", strategy="prm", settings={"prm": "noisy"})
    for kind in ("refinement", "filtering"):
        text = (
            (data / "mine.yaml")
            .read_text()
            .replace("kind: segmentation\n", _TASKS[kind])
            .replace("name: mine", f"name: {kind}")
        )
        (data / f"{kind}.yaml").write_text(text)
        players = [models[0] if kind == "refinement" else "random", models[1]]
        made[kind] = _play(players, str(data / f"{kind}.yaml"), tool, folder / kind)
    made["no target"] = _play(["oracle", "center"], _without_targets(folder / "absent"), tool, folder / "none")
    return made


def recomputed(one: Run) -> dict[str, Number]:
    """Return every number of a run that its tables show, by the score's key."""
    return {key: _number(drawn.value, drawn.draws, drawn) for key, drawn in _drawn(one).items()}


def recomputed_difference(first: Run, second: Run) -> dict[str, Number]:
    """Return the paired difference of every number of two runs on the same samples, by the score's key."""
    ours, theirs = _drawn(first), _drawn(second)
    return {
        key: _number(one.value - theirs[key].value, one.draws - theirs[key].draws, replace(one, never=None))
        for key, one in ours.items()
    }


@dataclass(frozen=True)
class _Drawn:
    """A score with its value in each of the 2,000 draws of images, and how it is shown."""

    value: float
    draws: np.ndarray
    percent: bool
    digits: int
    never: int | None = None


def _drawn(one: Run) -> dict[str, _Drawn]:
    return _drawn_of(one.folder)


@cache
def _drawn_of(folder: Path) -> dict[str, _Drawn]:
    one = Run(folder)
    lines = [json.loads(line) for line in (one.folder / "episodes.jsonl").read_bytes().splitlines()]
    protocol, kind = one.manifest["protocol"], one.manifest["task"]["kind"]
    if kind == "filtering":
        return _rated(lines)
    rule = "self" if protocol["strategy"] in ("prm", "tree") else "final"
    found = {}
    for key, (above, below, images, how, never) in _columns(lines, protocol["budget"], rule, kind).items():
        found[key] = _Drawn(_ratio(above.sum(), below.sum()), _draws(above, below, images), never=never, **how)
    return found


def _number(value: float, draws: np.ndarray, how: _Drawn) -> Number:
    if np.isnan(value):
        return Number(None)
    return Number(value, *np.nanquantile(draws, [0.025, 0.975]).tolist(), how.percent, how.digits, how.never)


Column = tuple[np.ndarray, np.ndarray, list[str], dict[str, Any], int | None]


def _columns(lines: Episodes, budget: int, rule: str, kind: str) -> dict[str, Column]:
    """Return, by score, numerators, denominators, images, how it is shown, and the misses of a number of clicks."""
    ious, areas = _measured(lines, budget)
    images = [line["image_id"] for line in lines]
    steps = [line["selected"][rule] for line in lines]
    rows = np.arange(len(lines))
    final, ones, share = ious[rows, steps], np.ones(len(lines)), {"percent": True, "digits": 1}
    found: dict[str, Column] = {
        "miou": (final, ones, images, share, None),
        "ciou": (*areas[rows, steps].T.astype(float), images, share, None),
    }
    start = 0 if kind == "refinement" else 1
    prefix = "refinement." if kind == "refinement" else ""
    for threshold in (0.80, 0.85):
        reached = ious[:, start:].astype(np.float32) >= np.float32(threshold)
        clicks = np.where(reached.any(axis=1), reached.argmax(axis=1) + start, budget).astype(float)
        how = {"percent": False, "digits": 2}
        key = f"{prefix}noc@{100 * threshold:.0f}"
        found[key] = clicks, ones, images, how, int((~reached.any(axis=1)).sum())
    if kind == "refinement":
        gain = final - ious[:, 0]
        found |= {
            "refinement.gain": (gain, ones, images, share, None),
            "refinement.initial_miou": (ious[:, 0], ones, images, share, None),
            "refinement.worsened": ((gain < 0).astype(float), ones, images, share, None),
        }
    targets = np.array([coco.area(_rle(line["gt"])) > 0 for line in lines])
    if not targets.all():
        empty = np.array([_area(line, step) == 0 for line, step in zip(lines, steps, strict=True)])
        for key, chosen, right in (("n_acc", ~targets, empty), ("t_acc", targets, ~empty)):
            some = [image for image, mine in zip(images, chosen, strict=True) if mine]
            values = right[chosen].astype(float)
            found[f"no_target.{key}"] = values, np.ones(len(values)), some, share, None
    return found


def _rated(lines: Episodes) -> dict[str, _Drawn]:
    true, said, images = [], [], []
    for line in lines:
        ious, _ = _measured([line], len(line["steps"]))
        for t, step in enumerate(line["steps"], 1):
            true.append(ious[0, t])
            said.append(0.5 if step["predicted_iou"] is None else step["predicted_iou"])
            images.append(line["image_id"])
    pairs = np.stack([true, said], axis=1)
    gap, ones = 100 * (pairs[:, 1] - pairs[:, 0]), np.ones(len(pairs))
    found = {
        f"filtering.{name}": _Drawn(float(values.mean()), _draws(values, ones, images), percent=False, digits=2)
        for name, values in (("mae", np.abs(gap)), ("mse", gap**2))
    }
    names, codes = np.unique(images, return_inverse=True)
    chosen = np.random.Generator(np.random.PCG64(0)).integers(len(names), size=(2000, len(names)))
    rows = [np.flatnonzero(codes == n) for n in range(len(names))]
    samples = [np.concatenate([rows[n] for n in draw]) for draw in chosen]
    for name, of in (("pearson", _correlation), ("spearman", lambda each: _correlation(rankdata(each, axis=0)))):
        drawn = np.array([of(pairs[sample]) for sample in samples])
        found[f"filtering.{name}"] = _Drawn(of(pairs), drawn, percent=False, digits=3)
    return found


def _correlation(pairs: np.ndarray) -> float:
    return float(np.corrcoef(pairs, rowvar=False)[0, 1]) if np.ptp(pairs, axis=0).all() else float("nan")


def _measured(lines: Episodes, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Return IoUs (n, budget + 1) and areas (n, budget + 1, 2) of the masks after each step, carried forward."""
    areas = np.zeros((len(lines), budget + 1, 2), np.int64)
    for n, line in enumerate(lines):
        gt, ignored = _decoded(line["gt"], line["size"]), _decoded(line["ignore"], line["size"])
        masks = [_decoded(part["mask"], line["size"]) for part in (line["initial"], *line["steps"])]
        for t in range(budget + 1):
            mask = masks[min(t, len(masks) - 1)]
            areas[n, t] = (gt & mask & ~ignored).sum(), ((gt | mask) & ~ignored).sum()
    union = areas[..., 1]
    return np.where(union > 0, areas[..., 0] / np.maximum(union, 1), 1.0), areas


def _draws(above: np.ndarray, below: np.ndarray, images: Sequence[str]) -> np.ndarray:
    names, codes = np.unique(images, return_inverse=True)
    drawn = np.random.Generator(np.random.PCG64(0)).integers(len(names), size=(2000, len(names)))
    top, bottom = (np.bincount(codes, side, len(names))[drawn].sum(axis=1) for side in (above, below))
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), 1.0)


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below else 1.0


def _rle(rle: dict[str, Any]) -> dict[str, Any]:
    return {**rle, "counts": rle["counts"].encode()}


def _decoded(rle: dict[str, Any] | None, size: Sequence[int]) -> np.ndarray:
    return np.zeros(size, bool) if rle is None else coco.decode(_rle(rle)).astype(bool)


def _area(line: dict[str, Any], step: int) -> int:
    rle = line["steps"][step - 1]["mask"] if step else line["initial"]["mask"]
    return 0 if rle is None else int(coco.area(_rle(rle)))


def _play(models: Sequence[str], task: str, tool: str, folder: Path, **options: Any) -> list[Run]:
    return [run(model, task, f"{tool},radius=12", out=folder / str(n), **options) for n, model in enumerate(models)]


def _without_targets(folder: Path) -> str:
    """Write a task in which every third sample has no object, and return its file."""
    write_task(folder, 24)
    table = (folder / "expressions.csv").read_text(encoding="utf-8").splitlines()
    cv2.imwrite(str(folder / "masks" / "none.png"), np.zeros((120, 200), np.uint8))
    for n, line in enumerate(table[1:]):
        table[n + 1] = line.replace(f",{n}.png,", ",none.png,", 1) if n % 3 == 1 else line
    (folder / "expressions.csv").write_text("\n".join(table) + "\n", encoding="utf-8")
    (folder / "absent.yaml").write_text(
        "name: absent\nversion: 1\ngroup: mine\nkind: segmentation\nsource: {kind: table, allow_empty: true}\n"
        "protocol: {budget: 3, no_target: true}\n"
    )
    return str(folder / "absent.yaml")
