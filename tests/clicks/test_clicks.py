"""The oracle's clicks against a full distance transform, a brute force and the reference vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from hlmat_bench.clicks import Click, Oracle, next_click
from hlmat_bench.core.errors import UsageError
from tests.support.fakes import ConfidenceDiscs


def brute_depths(region):
    """Squared distances to the nearest pixel outside, each pixel compared with each."""
    padded = np.pad(region, 1)
    zeros = np.argwhere(~padded)
    depths = np.zeros(padded.shape, np.int64)
    for y, x in np.argwhere(padded):
        depths[y, x] = ((zeros - (y, x)) ** 2).sum(axis=1).min()
    return depths[1:-1, 1:-1]


def full_depths(region):
    """Return the click by a distance transform of the whole padded image."""
    distances = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, 0)[1:-1, 1:-1]
    return np.rint(distances.astype(np.float64) ** 2).astype(np.int64)


def expected_click(gt, mask, ignore=None, clicked=(), depths_of=full_depths):
    """Follow the rule as it is stated, without any shortcut."""
    counted = np.ones_like(gt) if ignore is None else ~ignore
    missed, wrong = (depths_of(region) for region in (gt & ~mask & counted, ~gt & mask & counted))
    for click in clicked:
        missed[click.y, click.x] = wrong[click.y, click.x] = 0
    positive = bool(missed.max() > wrong.max())
    depths = missed if positive else wrong
    if depths.max() == 0:
        return None
    y, x = np.unravel_index(depths.argmax(), depths.shape)
    return Click(positive, int(x), int(y))


def ellipse(height, width, y, x, ry, rx):
    rows, columns = np.ogrid[:height, :width]
    return ((rows - y) / ry) ** 2 + ((columns - x) / rx) ** 2 < 1


def patterns(height: int, width: int, seed: int) -> Iterator[tuple[str, Any, Any]]:
    """Ground truths and masks with errors of every kind, each search of the oracle being the best for some."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[:height, :width]
    gt = ellipse(height, width, height * 0.5, width * 0.45, height * 0.37, width * 0.3)
    mask = ellipse(height, width, height * 0.52, width * 0.5, height * 0.33, width * 0.29)
    for _ in range(6):
        radius = rng.uniform(0.03, 0.12) * height
        mask = mask ^ ellipse(height, width, rng.uniform(0, height), rng.uniform(0, width), radius, 1.5 * radius)
    empty, full = np.zeros_like(gt), np.ones_like(gt)
    yield "blobs", gt, mask
    yield "blobs and speckle", gt, mask ^ (rng.random(gt.shape) < 0.002)
    yield "speckle", gt, gt ^ (rng.random(gt.shape) < 0.001)
    yield "noise", gt, rng.random(gt.shape) < 0.5
    yield "empty mask", gt, empty
    yield "full mask", gt, full
    yield "all wrong", gt, ~gt
    yield "all missed", full, empty
    yield "shifted", gt, np.roll(gt, int(rng.integers(1, 15)), axis=int(rng.integers(2)))
    for half in (1, 3, 8, 13, 30, 90):
        yield f"comb {half}", gt, gt ^ np.broadcast_to(columns // half % 2 == 0, gt.shape)
        yield f"diagonal {half}", np.broadcast_to((rows + columns) // half % 2 == 0, gt.shape), empty
    coarse = cv2.resize(rng.random((height // 16, width // 16)).astype(np.float32), (width, height))
    yield "patches", coarse > 0.5, np.roll(coarse, 9, axis=1) > 0.6


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width", "seed"), [(97, 130, 0), (240, 319, 1), (384, 512, 2), (1500, 1201, 3)])
def test_equals_the_full_distance_transform(height, width, seed):
    for name, gt, mask in patterns(height, width, seed):
        clicked: list[Click] = []
        oracle = Oracle(gt)
        for _ in range(3 if height < 1000 else 1):  # The mask stays: each time the next best pixel is due.
            found = oracle.next_click(mask, clicked=clicked)
            assert found == expected_click(gt, mask, clicked=clicked), (name, clicked)
            clicked += [found]


@pytest.mark.slow
def test_equals_the_full_distance_transform_on_many_random_masks():
    rng = np.random.default_rng(5)
    for trial in range(3000):
        height, width = rng.integers(1, 70, 2)
        scale = int(rng.integers(1, 24))
        gt, mask, ignore = (
            np.kron(rng.random((height // scale + 1, width // scale + 1)) < rng.random(), np.ones((scale, scale)))[
                :height, :width
            ].astype(bool)
            ^ (rng.random((height, width)) < rng.choice([0, 0.02]))
            for _ in range(3)
        )
        ignore = ignore if trial % 3 == 0 else None
        clicked = []
        for _ in range(3):
            found = next_click(gt, mask, ignore=ignore, clicked=clicked)
            assert found == expected_click(gt, mask, ignore, clicked), (trial, clicked)
            if found is None:
                break
            clicked.append(found)


MASKS = hnp.array_shapes(min_dims=2, max_dims=2, max_side=20).flatmap(
    lambda shape: st.tuples(*(hnp.arrays(bool, shape) for _ in range(3)))
)


@settings(max_examples=150)
@given(MASKS, st.booleans(), st.randoms(use_true_random=False))
def test_equals_brute_force(arrays, with_ignore, random):
    gt, mask, ignored = arrays
    ignore = ignored if with_ignore else None
    height, width = gt.shape
    clicked = [Click(True, random.randrange(width), random.randrange(height)) for _ in range(random.randrange(6))]
    found = next_click(gt, mask, ignore=ignore, clicked=clicked)
    assert found == expected_click(gt, mask, ignore, clicked, brute_depths)


def test_ties_go_to_the_false_positive_then_up_then_left():
    gt, mask = np.zeros((2, 60, 60), bool)
    gt[40:49, 3:12] = True
    mask[20:29, 30:39] = mask[20:29, 10:19] = True
    assert next_click(gt, mask) == Click(False, 14, 24)
    gt[40:50, 20:31] = True  # 10 rows are no deeper than 9, 11 columns neither.
    assert next_click(gt, mask) == Click(False, 14, 24)
    gt[39:50, 20:31] = True
    assert next_click(gt, mask) == Click(True, 25, 44)


def test_the_image_border_is_outside_the_object():
    assert next_click(np.ones((5, 9), bool), np.zeros((5, 9), bool)) == Click(True, 2, 2)


def test_nothing_left_is_none():
    gt = np.eye(8, dtype=bool)
    assert next_click(gt, gt) is None
    assert next_click(gt, ~gt, ignore=np.ones_like(gt)) is None
    one = np.zeros_like(gt)
    one[3, 4] = True
    assert next_click(one, np.zeros_like(gt), clicked=[Click(True, 4, 3)]) is None


def test_only_the_very_pixel_of_a_click_is_taken():
    gt = np.zeros((41, 41), bool)
    gt[10:31, 10:31] = True
    first = next_click(gt, np.zeros_like(gt))
    assert first == Click(True, 20, 20)
    assert next_click(gt, np.zeros_like(gt), clicked=[first]) == Click(True, 19, 19)
    assert next_click(gt, np.zeros_like(gt), clicked=[Click(True, 20, 99), Click(True, -1, 20)]) == first


def test_a_thoroughly_clicked_middle_is_passed_by():
    gt = np.zeros((300, 300), bool)
    gt[100:200, 100:200] = True
    gt[10:16, 10:16] = True
    clicked = [Click(True, x, y) for y in range(101, 199) for x in range(101, 199)]
    assert next_click(gt, np.zeros_like(gt), clicked=clicked) == expected_click(gt, np.zeros_like(gt), None, clicked)


def test_takes_other_kinds_of_arrays():
    gt = ellipse(50, 70, 20, 30, 11, 13)
    mask = np.roll(gt, 5, axis=1)
    expected = expected_click(gt, mask)
    assert next_click(np.asfortranarray(gt), np.where(mask, 255, 0).astype(np.uint8)[:, ::1]) == expected
    assert next_click(np.repeat(gt, 2, axis=1)[:, ::2], mask.tolist()) == expected


def test_masks_of_two_sizes_are_a_users_error():
    with pytest.raises(UsageError, match="resize"):
        next_click(np.ones((3, 4), bool), np.ones((4, 3), bool))
    with pytest.raises(UsageError, match="one shape"):
        next_click(np.ones((3, 4), bool), np.ones((3, 4), bool), ignore=np.ones((3, 3), bool))


def of_vector(triple) -> Click | None:
    return Click(bool(triple[0]), triple[2], triple[1])


def vector_click(gt, mask, clicked):
    """As the reference: object 1, ignored -1; where nothing is left, a negative click at the origin."""
    found = next_click(gt == 1, mask != 0, ignore=gt == -1, clicked=clicked)
    return found or Click(False, 0, 0)


def test_reference_clicks(vectors: Path):
    arrays = np.load(vectors / "clicks" / "masks.npz")
    cases = json.loads((vectors / "clicks" / "cases.json").read_text())["cases"]
    for case in cases:
        found = vector_click(
            arrays[f"{case['id']}_gt"],
            arrays[f"{case['id']}_pred"],
            [of_vector(click) for click in case["prior_clicks"]],
        )
        assert found == of_vector(case["exact_edt"]), case["id"]
    assert len(cases) > 100


def test_reference_click_sequences(vectors: Path):
    arrays = np.load(vectors / "clicks" / "sequences.npz")
    sequences = json.loads((vectors / "clicks" / "sequences.json").read_text())["sequences"]
    assert len(sequences) == 12
    for sequence in sequences:
        gt, clicked = arrays[f"{sequence['id']}_gt"], []
        for k, step in enumerate(sequence["steps"]):
            mask = arrays[f"{sequence['id']}_pred{k - 1}"] if k else np.zeros_like(gt)
            clicked.append(vector_click(gt, mask, clicked))
            assert clicked[-1] == of_vector(step["exact_edt"]), (sequence["id"], k)


def reference_iou(gt, mask):
    """NaN where the union is empty."""
    counted, union = gt != -1, (mask | (gt == 1)) & (gt != -1)
    return (mask & (gt == 1) & counted).sum() / union.sum() if union.any() else np.nan


def play(case, gt, *, record):
    """One sample as the reference plays it; what it records are steps that improve on all before."""
    args = {"pred_thr": 0.49, "min_clicks": 1, "max_clicks": 20} | case["args"]
    segment, mask = ConfidenceDiscs(case), np.zeros(gt.shape, bool)
    clicks, ious, steps = [], [], []
    for t in range(args["max_clicks"]):
        clicks.append(vector_click(gt, mask, clicks))
        mask = segment(clicks) > args["pred_thr"]
        iou = reference_iou(gt, mask)
        better = iou > max(ious, default=0)
        ious.append(iou)
        if record and not better:
            break
        steps.append((t, clicks[-1], mask))
        if iou >= args["max_iou_thr"] and t + 1 >= args["min_clicks"]:
            break
    return clicks, np.array(ious, np.float32), steps


def test_reference_traces(vectors: Path):
    cases = json.loads((vectors / "trace" / "trace.json").read_text())["cases"]
    for number, case in enumerate(cases):
        gt = np.zeros((case["height"], case["width"]), np.int16)
        for value, rle in case["gt_rle_by_value"].items():
            gt[coco.decode(rle) == 1] = int(value)
        for key in ("record_trace", "plain"):
            clicks, ious, steps = play(case, gt, record=key == "record_trace")
            expected = case[key]
            assert clicks == [of_vector(click) for click in expected["all_clicks"]], (number, key)
            np.testing.assert_array_equal(ious, np.array(expected["ious"], np.float32))
        recorded = case["record_trace"]["record"]["clicks_list"]
        _, _, steps = play(case, gt, record=True)
        assert [(t, [click.y, click.x], click.positive) for t, click, _ in steps] == [
            (step["idx"], step["coor"], step["is_positive"]) for step in recorded
        ]
        for (_, _, mask), step in zip(steps, recorded, strict=True):
            np.testing.assert_array_equal(mask, coco.decode(step["mask"]) == 1)
    assert len(cases) == 25
