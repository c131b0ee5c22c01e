"""The bands of samples by hand, and thinness against counting sides one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hlmat_bench.actions import Action
from hlmat_bench.scores.regions import Region
from hlmat_bench.scores.scoring import score_episodes
from hlmat_bench.scores.strata import strata_of, thinness
from tests.support.episodes import click, episode, rle


def region(gt: np.ndarray) -> Region:
    return Region(rle(gt))


def rectangle(height: int, width: int, *, margin: int = 0) -> np.ndarray:
    return np.pad(np.ones((height, width), bool), margin)


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_thinness_counts_the_sides_of_pixels(gt: np.ndarray) -> None:
    pixels = {(int(y), int(x)) for y, x in np.argwhere(gt)}
    sides = sum((y + dy, x + dx) not in pixels for y, x in pixels for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)))
    expected = sides**2 / (4 * math.pi * len(pixels)) if pixels else math.nan
    assert thinness(region(gt)) == pytest.approx(expected, nan_ok=True)
    assert thinness(region(gt)) == pytest.approx(thinness(region(np.pad(gt, 2))), nan_ok=True)


def test_thinness_of_known_shapes() -> None:
    assert thinness(region(rectangle(7, 7))) == pytest.approx(4 / math.pi)
    assert thinness(region(rectangle(1, 10))) < 4 < thinness(region(rectangle(1, 11)))
    assert thinness(region(rectangle(1, 48))) < 16 < thinness(region(rectangle(1, 49)))
    ring = rectangle(9, 9)
    ring[1:-1, 1:-1] = False
    assert thinness(region(ring)) == pytest.approx((36 + 28) ** 2 / (4 * math.pi * 32))


@pytest.mark.parametrize(
    ("gt", "size", "shape"),
    [
        (rectangle(31, 33), "small", "compact"),
        (rectangle(32, 32), "medium", "compact"),
        (rectangle(9215, 1), "medium", "thin"),
        (rectangle(96, 96, margin=3), "large", "compact"),
        (rectangle(20, 600), "large", "moderate"),
    ],
)
def test_sizes_are_cocos_and_shapes_by_their_quotient(gt: np.ndarray, size: str, shape: str) -> None:
    bands = strata_of(region(gt), "a cup")
    assert (bands["object_size"], bands["thinness"]) == (size, shape)


@given(st.lists(st.sampled_from(["cup", "the", "left"]), max_size=14))
def test_expressions_are_counted_in_words(words: list[str]) -> None:
    low, high = {"1-2": (0, 2), "3-5": (3, 5), "6-10": (6, 10), "11+": (11, 14)}[
        strata_of(region(rectangle(2, 2)), "  ".join(words))["expression_words"]
    ]
    assert low <= len(words) <= high


@pytest.mark.parametrize("gt", [region(np.zeros((5, 5), bool)), None])
def test_without_an_object_there_is_a_stratum_of_its_own_and_no_shape(gt: Region | None) -> None:
    assert strata_of(gt, "cup") == {"object_size": "no object", "expression_words": "1-2"}


def test_scores_are_those_of_the_samples_in_a_band_and_apart_from_tags() -> None:
    empty = np.zeros((100, 200), bool)
    square, bar = empty.copy(), empty.copy()
    square[:40, :40], bar[:2, :180] = True, True
    made = [
        episode("a", square, [(click(True, 3, 3), square)], image_id="1", tags={"thinness": "of the task"}),
        episode("b", bar, [(Action("stop"), empty)], image_id="1"),
        episode("c", square, [(Action("stop"), empty)], image_id="2"),
    ]
    scores = score_episodes(made, budget=2, track="point")
    bands = scores["bands"]
    assert {name: list(values) for name, values in bands.items()} == {
        "object_size": ["small", "medium"],
        "thinness": ["compact", "thin"],
        "expression_words": ["1-2"],
    }
    assert bands["object_size"]["small"] | {"miou_ci": 0, "ciou_ci": 0} == {
        "n": 1, "miou": 0.0, "miou_ci": 0, "ciou": 0.0, "ciou_ci": 0, "biou": 0.0,
        "noc": {"0.85": {"mean": 2.0, "ci": [2.0, 2.0], "solved": 0, "failed": 1}},
    }  # fmt: skip
    compact = bands["thinness"]["compact"]
    assert (compact["n"], compact["miou"], compact["ciou"]) == (2, 0.5, 0.5)
    assert compact["noc"]["0.85"]["mean"] == 1.5
    assert list(scores["slices"]["thinness"]) == ["of the task"]
    assert score_episodes([], budget=2, track="point")["bands"] == {name: {} for name in bands}
