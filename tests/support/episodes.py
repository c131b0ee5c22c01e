"""Episodes made by hand, for tests of records, logs and scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from hlmat_bench.actions import Action
from hlmat_bench.core.masks import RLE
from hlmat_bench.protocol.records import EPISODES, Episode, Step, select
from hlmat_bench.runs.run_folder import Run


def rle(mask: np.ndarray) -> RLE:
    """COCO RLE, by pycocotools directly."""
    value = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(value["size"]), "counts": value["counts"].decode()}


def iou(gt: np.ndarray, mask: np.ndarray) -> float:
    """IoU, two empty masks being 1."""
    union = np.count_nonzero(gt | mask)
    return np.count_nonzero(gt & mask) / union if union else 1.0


def episode(
    sample_id: str,
    gt: np.ndarray,
    states: Sequence[tuple[Action, np.ndarray]],
    *,
    image_id: str | None = None,
    ref_id: str | None = None,
    stop: str = "budget",
    tags: dict[str, str] | None = None,
) -> Episode:
    """Make an episode from an empty mask through the given actions and the masks after them."""
    steps = [
        Step(
            t=number,
            raw="said",
            action=action,
            mask=rle(mask),
            iou=iou(gt, mask),
            seconds={"model": 0.5, "segmenter": 0.25, "harness": 0.125},
            tokens={"in": 10, "out": 3},
        )
        for number, (action, mask) in enumerate(states, 1)
    ]
    initial = {"kind": "empty", "mask": None, "iou": iou(gt, np.zeros_like(gt))}
    return Episode(
        sample_id=sample_id,
        image=f"{image_id or sample_id}.jpg",
        image_id=image_id or sample_id,
        ref_id=ref_id,
        expression="the thing",
        size=(gt.shape[0], gt.shape[1]),
        gt=rle(gt),
        ignore=None,
        initial=initial,
        steps=steps,
        selected=select(steps, initial),
        stop=stop,
        tags=tags or {},
    )


def click(positive: bool, x: int, y: int, predicted: float | None = None) -> Action:
    """Make a click, perhaps with a predicted IoU."""
    return Action("click", positive, x, y, predicted_iou=predicted)


def simple(sample_id: str) -> Episode:
    """Make a one-step episode that differs from others by its id alone."""
    gt = np.zeros((4, 6), bool)
    gt[1:3, 2:5] = True
    return episode(sample_id, gt, [(click(True, 3, 1), gt)])


def reference_truth(record: dict[str, Any]) -> RLE:
    """Return the ground truth of a record of the reference's; pycocotools rasterises polygons, and null is empty."""
    value, size = record["gt_mask"], (record["height"], record["width"])
    if isinstance(value, list):
        return rle(coco.decode(coco.merge(coco.frPyObjects(value, *size))))
    return rle(np.zeros(size)) if value is None else value


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's episodes.jsonl as JSON values, without their digests."""
    values = [json.loads(line) for line in (folder / EPISODES).read_text().splitlines()]
    return [{key: part for key, part in value.items() if key != "digest"} for value in values]


def write_lines(folder: Path, values: Sequence[dict[str, Any]]) -> None:
    """Write a run's episodes.jsonl without digests, as older versions did and as somebody who changes it can."""
    (folder / EPISODES).write_text("".join(json.dumps(value) + "\n" for value in values))


def timeless(run: Run) -> list[dict[str, Any]]:
    """Return the episodes of a run as JSON values, without the seconds."""
    values = [episode.to_json() for episode in run.episodes()]
    return [value | {"steps": [{**step, "seconds": None} for step in value["steps"]]} for value in values]
