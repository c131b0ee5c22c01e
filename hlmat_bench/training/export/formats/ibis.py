"""IBISAgent's trajectories: ``clicks_list`` with compressed masks, and a folder of images.

Read in Yankai96/IBISAgent at ab89901, ``trajectory_gen/convert_to_rl_data.py``, which turns them into parquet for its
verl: ``--data_root`` is the folder that holds the export's, ``--dataset`` the name of the export's folder. A mask's
``counts`` are the base64 text of the zlib stream of COCO's compressed counts; ``coor`` is (x, y) in pixels, and
``coor_norm`` divides it by width and height.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from hlmat_bench.core import masks
from hlmat_bench.core.masks import RLE
from hlmat_bench.core.types import Size
from hlmat_bench.training.export.pictures import write_whole
from hlmat_bench.training.export.selection import State
from hlmat_bench.training.export.writing import Example, Format, JsonData, Trajectory


class Ibis(JsonData):
    """``SPLIT.json``, the images in the folder ``SPLIT/``, and the ground truths as PNG files in ``SPLIT_masks/``."""

    def add(self, trajectory: Trajectory, examples: Sequence[Example]) -> None:
        """See `Writer.add`; the trajectory's image without paint comes with its first example."""
        folder, pictures = self.target.folder, self.target.pictures
        path = folder / trajectory.split / f"{_image_name(trajectory)}.{pictures.suffix}"
        if not path.exists():
            write_whole(path, pictures.encode(trajectory.run.image(trajectory.episode)))
        mask = folder / f"{trajectory.split}_masks" / f"{_mask_name(trajectory)}.png"
        if not mask.exists():
            drawn = masks.decode(trajectory.episode.gt).astype(np.uint8) * 255
            write_whole(mask, cv2.imencode(".png", drawn)[1].tobytes())
        super().add(trajectory, examples)

    def entry(self, trajectory: Trajectory) -> Mapping[str, Any]:
        """See `JsonData.entry`."""
        return {
            "image_name": _image_name(trajectory),
            "mask_name": _mask_name(trajectory),
            "caption": trajectory.episode.expression,
            "clicks_list": [_click(state, trajectory.episode.size) for state in trajectory.states],
        }


def _click(state: State, size: Size) -> dict[str, Any]:
    click, after = state.action.click, state.after
    assert after is not None
    return {
        "coor": [click.x, click.y],
        "coor_norm": [round(click.x / size[1], 4), round(click.y / size[0], 4)],
        "is_positive": click.positive,
        "mask": {"counts": _packed(after), "size": list(size)},
    }


def _packed(mask: RLE) -> str:
    return base64.b64encode(zlib.compress(mask["counts"].encode("ascii"))).decode("ascii")


def _image_name(trajectory: Trajectory) -> str:
    """Return a name without a suffix; images of one name in two folders or tasks have different ones."""
    task = trajectory.run.manifest["task"]["name"]
    return _name(trajectory.episode.image.rpartition("/")[2].rpartition(".")[0], f"{task}/{trajectory.episode.image}")


def _mask_name(trajectory: Trajectory) -> str:
    return _name(trajectory.episode.sample_id, trajectory.episode.sample_id)


def _name(shown: str, unique: str) -> str:
    digest = hashlib.blake2b(unique.encode("utf-8", "backslashreplace"), digest_size=5).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', shown)[-80:]}-{digest}"


FORMATS = {"ibis": Format(Ibis, "IBISAgent: its clicks_list, images and masks", "none", whole=True)}
