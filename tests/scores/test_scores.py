"""The scores against plain numpy, the public boundary IoU and the reference vectors."""

from __future__ import annotations

import doctest
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hlmat_bench import scores
from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from tests.support.episodes import reference_truth

THREE = hnp.array_shapes(min_dims=2, max_dims=2, max_side=30).flatmap(
    lambda shape: st.tuples(*[hnp.arrays(bool, shape)] * 3)
)


def plain_iou(gt, mask, counted):
    union = ((gt | mask) & counted).sum()
    return (gt & mask & counted).sum() / union if union else 1.0


def boundary(mask, width):
    """Return the pixels of the mask that are within that chessboard distance of a pixel outside."""
    padded = np.pad(mask, width + 1)
    inner = np.ones_like(mask)
    height, columns = mask.shape
    for dy in range(2 * width + 1):
        for dx in range(2 * width + 1):
            inner &= padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + columns]
    return mask & ~inner


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(scores).attempted >= 5
    assert doctest.testmod(scores).failed == 0


@given(THREE)
def test_iou_is_the_plain_ratio(arrays):
    gt, mask, ignore = arrays
    assert scores.iou(gt, mask) == plain_iou(gt, mask, np.ones_like(gt))
    assert scores.iou(gt, mask, ignore=ignore) == plain_iou(gt, mask, ~ignore)
    assert scores.iou(gt, mask) == scores.iou(mask, gt)
    assert scores.iou(gt, gt, ignore=ignore) == 1


@given(THREE, st.sampled_from([0.02, 0.05, 0.2]))
def test_boundary_iou_is_the_iou_of_boundaries(arrays, dilation):
    gt, mask, ignore = arrays
    width = max(1, round(dilation * math.hypot(*gt.shape)))
    bands = boundary(gt, width), boundary(mask, width)
    assert scores.boundary_iou(gt, mask, dilation=dilation) == plain_iou(*bands, np.ones_like(gt))
    assert scores.boundary_iou(gt, mask, dilation=dilation, ignore=ignore) == plain_iou(*bands, ~ignore)


def test_boundary_iou_of_large_masks_is_that_of_the_public_code():
    rng = np.random.default_rng(0)
    for height, width in ((300, 420), (511, 640), (64, 2000)):
        blobs = [cv2.GaussianBlur(rng.random((height, width)), (0, 0), 15) > 0.5 for _ in range(2)]
        bands = []
        for blob in blobs:
            padded = cv2.copyMakeBorder(blob.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
            iterations = max(1, round(0.02 * np.sqrt(height**2 + width**2)))
            eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=iterations)[1:-1, 1:-1]
            bands.append(blob.astype(np.uint8) - eroded == 1)
        assert 0 < scores.boundary_iou(*blobs) == plain_iou(*bands, True) < 1


def test_two_empty_masks_agree():
    empty, some = np.zeros((5, 6), bool), np.eye(5, 6, dtype=bool)
    assert scores.iou(empty, empty) == scores.boundary_iou(empty, empty) == 1
    assert scores.iou(empty, some) == scores.iou(some, empty) == scores.boundary_iou(empty, some) == 0
    assert scores.iou(some, some, ignore=~empty) == scores.boundary_iou(some, empty, ignore=some) == 1


@given(THREE)
def test_a_cached_truth_gives_the_same_for_every_mask(arrays):
    gt, mask, ignore = arrays
    cached = scores.CachedTruth(gt, ignore)
    for other in (mask, ~mask, gt, mask):
        assert cached.iou(other) == scores.iou(gt, other, ignore=ignore)
        for dilation in (0.02, 0.3):
            expected = scores.boundary_iou(gt, other, dilation=dilation, ignore=ignore)
            assert cached.boundary_iou(other, dilation=dilation) == expected
        rles = [masks.encode(array) for array in (gt, other, ignore)]
        assert cached.intersection_union(other) == masks.intersection_union(*rles[:2], ignore=rles[2])


@pytest.mark.parametrize(
    "score",
    [
        lambda: scores.iou(np.ones((3, 4)), np.ones((4, 3))),
        lambda: scores.iou(np.ones((3, 4)), np.ones((3, 4)), ignore=np.ones((3, 3))),
        lambda: scores.boundary_iou(np.ones((3, 4)), np.ones((3, 3))),
        lambda: scores.boundary_iou(np.ones((3, 4)), np.ones((3, 4)), dilation=0),
        lambda: scores.noc([[0.5]], 0.5, 0),
    ],
)
def test_refuses_what_has_no_score(score):
    with pytest.raises(UsageError):
        score()


CURVES = st.lists(st.lists(st.floats(0, 1), max_size=12), max_size=12)


@given(CURVES, st.sampled_from([0.8, 0.85, 0.9]), st.integers(1, 10))
def test_noc_counts_first_successes_and_carries_nothing_away(curves, threshold, budget):
    needed = [
        next((t + 1 for t in range(budget) if t < len(c) and np.float32(c[t]) >= np.float32(threshold)), None)
        for c in curves
    ]
    found = scores.noc(curves, threshold, budget)
    assert found.solved + found.failed == len(curves)
    assert found.failed == needed.count(None)
    if curves:
        assert found.mean == pytest.approx(sum(budget if n is None else n for n in needed) / len(curves))
        carried = [curve + curve[-1:] * (budget - len(curve)) for curve in curves]
        assert scores.noc(carried, threshold, budget) == found
    else:
        assert math.isnan(found.mean)


def test_a_success_at_the_last_click_is_a_success():
    assert scores.noc([[0.1, 0.2, 0.9], [0.1, 0.2, 0.3]], 0.9, 3) == (3.0, 1, 1)
    assert scores.noc([[0.1, 0.2, 0.3, 0.9]], 0.9, 3) == (3.0, 0, 1)
    assert scores.first_success([0.9], 0.9, 1) == 1
    assert scores.first_success([math.nan, 0.9], 0.9, 5) == 2
    assert scores.first_success([], 0.9, 5) is None


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 10**8)), min_size=1))
def test_miou_and_ciou_are_two_ways_to_average(pairs):
    areas = [(inner, inner + outer) for inner, outer in pairs]
    ious = [inner / union if union else 1.0 for inner, union in areas]
    assert scores.miou(ious) == pytest.approx(math.fsum(ious) / len(ious))
    total = sum(union for _, union in areas)
    expected = sum(inner for inner, _ in areas) / total if total else 1.0
    assert scores.ciou(*zip(*areas, strict=True)) == pytest.approx(expected)
    assert scores.precision(ious, 0.5) == pytest.approx(sum(value >= 0.5 for value in ious) / len(ious))


def test_of_no_samples_there_is_no_score():
    assert math.isnan(scores.miou([]))
    assert math.isnan(scores.ciou([], []))
    assert math.isnan(scores.precision([], 0.5))
    assert scores.ciou([0, 0], [0, 0]) == 1
    with pytest.raises(ValueError, match="zip"):
        scores.ciou([1], [1, 2])


def test_reference_iou(vectors: Path):
    cases = json.loads((vectors / "noc" / "get_iou.json").read_text())["cases"]
    for case in cases:
        gt, mask = np.array(case["gt"]), np.array(case["pred"])
        expected = 1.0 if case["iou"] is None else case["iou"]  # the reference divides by zero
        assert scores.iou(gt == 1, mask, ignore=gt == -1) == expected
    assert any(case["iou"] is None for case in cases)


def test_reference_noc(vectors: Path):
    cases = json.loads((vectors / "noc" / "noc.json").read_text())["cases"]
    for case in cases:
        curves = [[math.nan if value is None else value for value in curve] for curve in case["ious"]]
        budget = case["max_clicks"]
        cut = [curve[:budget] for curve in curves]
        for threshold, mean, over_max in zip(case["iou_thrs"], case["noc"], case["over_max"], strict=True):
            found = scores.noc(curves, threshold, budget)
            at_the_end = sum(scores.first_success(curve, threshold, budget) == budget for curve in curves)
            if cut == curves or case["tag"] == "nan_iou":  # The reference looks beyond the budget.
                assert found.mean == pytest.approx(mean, abs=1e-12), case["tag"]
                assert found.failed + at_the_end == over_max  # It also counts successes at the last click.
            else:
                assert case["tag"] == "curve_longer_than_max"
                assert found == scores.noc(cut, threshold, budget)
    assert len(cases) == 30


def test_reference_miou_and_ciou(vectors: Path):
    """The reference adds epsilons and sums in single precision: it agrees to 5e-6."""
    folder = vectors / "res_metrics"
    checked = 0
    for name, results in json.loads((folder / "expected.json").read_text()).items():
        records = json.loads((folder / f"{name}.json").read_text())
        for result in results:
            if result["error"]:
                continue  # there is no mask of such a number
            areas = [
                masks.intersection_union(reference_truth(record), record["pred_list"][picked]["mask"])
                for record, picked in zip(records, result["picked_index"], strict=True)
                if picked is not None
            ]
            ciou = scores.ciou(*zip(*areas, strict=True))
            miou = scores.miou(scores.ratio(*pair) for pair in areas)
            assert (ciou, miou) == pytest.approx((result["ciou_exact"], result["giou_exact"]), abs=1e-12)
            assert (ciou, miou) == pytest.approx((result["class_iou"], result["global_iou"]), abs=5e-6)
            checked += 1
    assert checked > 40
