"""Annotations whose area and bbox are compared with their mask."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.check import check, look
from hlmat_bench.data.tasks import load_task
from tests.data.test_sources_shapes import compressed, uncompressed
from tests.support.data_files import noise, save, write_json, write_task

HEIGHT, WIDTH = 200, 300
BOX = [30, 50, 120, 60]
"""x, y, width, height of the object, a rectangle of 7,200 pixels."""
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[50:110, 30:150] = True


def rectangle(x_scale: float = 1, y_scale: float = 1) -> list[float]:
    x, y, w, h = BOX
    corners = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
    return [number for a, b in corners for number in (a * x_scale, b * y_scale)]


def by_rows(mask: np.ndarray) -> dict:
    """Make an RLE whose runs go along the rows, as some tools write it by mistake."""
    return uncompressed(mask.T) | {"size": list(mask.shape)}


def task_of(folder: Path, *annotations: dict):
    save(folder / "images" / "a.png", noise(HEIGHT, WIDTH))
    images = [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}]
    items = [{"id": n, "image_id": 1, "caption": "x"} | item for n, item in enumerate(annotations)]
    write_json(folder / "a.json", {"images": images, "annotations": items})
    return load_task(write_task(folder, {"kind": "coco", "annotations": "a.json", "images": "images"}))


SAID = {"area": 7200.0, "bbox": BOX}


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"segmentation": [rectangle(1 / WIDTH, 1 / HEIGHT)], **SAID}, r"0\.\.1.*multiply x by the width"),
        ({"segmentation": [rectangle(1 / WIDTH, 1 / HEIGHT)]}, r"0\.\.1.*multiply x by the width"),
        ({"segmentation": rectangle(1 / WIDTH, 1 / HEIGHT)}, r"0\.\.1.*multiply x by the width"),
        ({"segmentation": [rectangle(100 / WIDTH, 100 / HEIGHT)], **SAID}, "per cent"),
        ({"segmentation": [rectangle(100 / WIDTH, 100 / HEIGHT)], "area": 7200}, "per cent"),
        ({"segmentation": [rectangle(100 / WIDTH, 100 / HEIGHT)], "bbox": BOX}, "per cent"),
        ({"segmentation": by_rows(MASK), **SAID}, "row by row"),
        ({"segmentation": by_rows(MASK), "bbox": BOX}, "row by row"),
        (
            {
                "segmentation": [[n for y, x in zip(rectangle()[::2], rectangle()[1::2], strict=True) for n in (x, y)]],
                **SAID,
            },
            "exchanged",
        ),
    ],
    ids=range(9),
)
def test_masks_that_were_written_otherwise(tmp_path, annotation, reason):
    task = task_of(tmp_path, annotation)
    report = check(task)
    assert not report.ok
    (problem,) = report.problems.values()
    assert problem.count == 1
    assert re.search(reason, problem.examples[0])
    source = task.source()
    with pytest.raises(UsageError, match=reason):
        look(source, source.samples())


def test_what_was_seen_is_said(tmp_path):
    report = check(task_of(tmp_path, {"segmentation": [rectangle()], "area": 40000, "bbox": [100, 100, 200, 100]}))
    (problem,) = report.problems.values()
    for part in ("own/0/0", "7200 pixels", "[30, 50, 120, 60]", "40000", "[100, 100, 200, 100]"):
        assert part in problem.examples[0]
    task = task_of(tmp_path, {"segmentation": [rectangle()], "area": 40000})
    assert not check(task).ok
    source = task.source()
    look(source, source.samples())  # Nothing says which of both is right.


@pytest.mark.parametrize(
    "said",
    [
        {},
        SAID,
        {"area": 7100, "bbox": [29.5, 50.2, 121, 60.4]},
        {"bbox": [30, 50, 150, 110]},  # Two corners.
        {"area": 0, "bbox": [0, 0, 0, 0]},  # Placeholders.
        {"area": 0.12, "bbox": [0.1, 0.25, 0.4, 0.3]},  # Shares of the image.
        {"area": None, "bbox": None},
        {"area": "7200", "bbox": "all"},
        {"area": 10**400, "bbox": [10**400, 0, 1, 1]},
        {"area": float("nan"), "bbox": [1, 2, 3]},
    ],
    ids=range(10),
)
@pytest.mark.parametrize("segmentation", [[rectangle()], compressed(MASK)], ids=["polygon", "rle"])
def test_masks_that_are_right(tmp_path, said, segmentation):
    task = task_of(tmp_path, {"segmentation": segmentation} | said)
    report = check(task)
    assert report.ok, report.text()
    source = task.source()
    look(source, source.samples())


def test_a_corner_pixel_is_no_share(tmp_path):
    assert check(task_of(tmp_path, {"segmentation": [[0, 0, 1, 0, 1, 1, 0, 1]]})).ok


def test_one_of_many_does_not_end_a_run(tmp_path):
    relative = {"segmentation": [rectangle(1 / WIDTH, 1 / HEIGHT)]}
    task = task_of(tmp_path, relative, *({"segmentation": [rectangle()]} for _ in range(9)))
    assert check(task).problems["polygons that are not in pixels"].count == 1
    source = task.source()
    look(source, source.samples())
