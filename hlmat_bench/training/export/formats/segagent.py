"""SegAgent's trajectories: its evaluation file with the clicks, each with the mask after it.

Read in aim-uofa/SegAgent at 21eca0a: ``third_party/SimpleClick/isegm/inference/evaluation.py`` records ``clicks_list``,
and ``evaltools`` reads the rest; so does the layout ``segagent``. ``coor`` is (y, x) in pixels, a box is
(x, y, width, height).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hlmat_bench.core import masks
from hlmat_bench.core.masks import RLE
from hlmat_bench.training.export.selection import State
from hlmat_bench.training.export.writing import Format, JsonData, Trajectory


class SegAgent(JsonData):
    """``train.json`` and ``val.json``; images are named as in the run, and not written."""

    def entry(self, trajectory: Trajectory) -> Mapping[str, Any]:
        """See `JsonData.entry`."""
        episode = trajectory.episode
        height, width = episode.size
        truth = {"object_id": episode.ref_id or episode.sample_id, "caption": [episode.expression]}
        return {
            "image_name": episode.image,
            "height": height,
            "width": width,
            "gt_ann": {**truth, "segmentation": episode.gt, **_extent(episode.gt)},
            "clicks_list": [_click(number, state) for number, state in enumerate(trajectory.states)],
        }


def _click(number: int, state: State) -> dict[str, Any]:
    click, after = state.action.click, state.after
    assert after is not None
    extent = _extent(after)
    return {
        "idx": number,
        "coor": [click.y, click.x],
        "is_positive": click.positive,
        "mask": after,
        "box": extent["bbox"],
        "area": extent["area"],
        "iou": state.iou_after,
    }


def _extent(mask: RLE) -> dict[str, Any]:
    """Return the box (x, y, width, height) and the area of a mask, as COCO's annotations have them."""
    from pycocotools import mask as coco

    return {"bbox": coco.toBbox(mask).tolist(), "area": masks.area(mask)}


FORMATS = {"segagent": Format(SegAgent, "SegAgent: trajectories with a mask per click", "none", whole=True)}
