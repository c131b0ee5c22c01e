"""Click diagnostics on episodes made by hand, the numbers worked out on paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hlmat_bench.actions import Action
from hlmat_bench.protocol.records import Episode
from hlmat_bench.scores.scoring import score_episodes
from tests.support.episodes import click, episode, rle

# The object is 100 pixels in a row of 200; a mask is the first so many pixels of the row.
GT = np.arange(200)[None] < 100


def first(pixels: int) -> np.ndarray:
    return np.arange(200)[None] < pixels


def _clicks(episodes: list[Episode], regrets: dict[str, dict[int, float]] | None = None) -> dict[str, Any]:
    clicks: dict[str, Any] = score_episodes(episodes, budget=4, track="point", regrets=regrets)["clicks"]
    return clicks


def _three() -> list[Episode]:
    # IoU 0 -> 0.5 (hit) -> 0.8 (hit) -> 0.8 (a negative click on the object: no hit) -> 0.5 (a positive hit, IoU falls)
    long = episode(
        "long", GT,
        [(click(True, 10, 0), first(50)), (click(True, 60, 0), first(80)), (click(False, 20, 0), first(80)),
         (click(True, 90, 0), first(200))],
        image_id="1",
    )  # fmt: skip
    # The first reply is garbage; the first valid action, beside the object, still has to find it: IoU 0 -> 0.
    late = episode(
        "late", GT,
        [(Action("invalid", reason="parse"), first(0)), (click(True, 150, 0), ~GT), (click(False, 170, 0), GT)],
        image_id="2",
    )  # fmt: skip
    never = episode("never", GT, [(Action("stop"), first(0))], image_id="2")
    return [long, late, never]


def test_localisation_is_the_first_valid_action_and_refinement_the_rest() -> None:
    clicks = _clicks(_three())
    assert clicks["localisation"] == {
        "episodes": 3,
        "iou": pytest.approx((0.5 + 0 + 0) / 3),
        "valid": 2,
        "hit_rate": 0.5,
        "mean_gain": pytest.approx((0.5 + 0) / 2),
        "overshoot": 0.0,
        "regret": None,
    }
    assert clicks["refinement"] == {
        "valid": 4,
        "hit_rate": 3 / 4,
        "mean_gain": pytest.approx((0.3 + 0 - 0.3 + 1) / 4),
        "overshoot": 1 / 4,
        "regret": None,
    }
    assert clicks["first_click_inside"] == pytest.approx(1 / 3)


def test_by_sign_and_by_step() -> None:
    clicks = _clicks(_three())
    assert (clicks["positive"]["valid"], clicks["negative"]["valid"]) == (4, 2)
    assert (clicks["positive"]["hit_rate"], clicks["negative"]["hit_rate"]) == (3 / 4, 1 / 2)
    assert clicks["negative"]["mean_gain"] == pytest.approx((0 + 1) / 2)
    assert (clicks["overshoot"], clicks["positive"]["overshoot"]) == (1 / 6, 1 / 4)
    steps = clicks["by_step"]
    assert [step["t"] for step in steps] == [1, 2, 3, 4]
    assert [step["valid"] for step in steps] == [1, 2, 2, 1]
    assert [step["hit_rate"] for step in steps] == [1, 1 / 2, 1 / 2, 1]
    assert [step["mean_gain"] for step in steps] == pytest.approx([0.5, 0.15, 0.5, -0.3])
    assert [step["overshoot"] for step in steps] == [0, 0, 0, 1]


def test_a_box_localises_and_the_clicks_after_it_refine() -> None:
    made = episode("a", GT, [(Action("box", box=(0, 0, 80, 1)), first(80)), (click(True, 90, 0), GT)])
    clicks = _clicks([made])
    assert (clicks["localisation"]["iou"], clicks["localisation"]["valid"]) == (0.8, 0)
    assert clicks["localisation"]["hit_rate"] is None
    assert clicks["refinement"]["mean_gain"] == pytest.approx(0.2)


def test_an_episode_that_began_with_a_mask_has_nothing_to_localise() -> None:
    made = episode("a", GT, [(click(True, 90, 0), GT)])
    given = replace(made, initial={"kind": "gt-box", "box": [0, 0, 80, 1], "mask": rle(first(80)), "iou": 0.8})
    clicks = _clicks([given])
    assert (clicks["localisation"]["episodes"], clicks["localisation"]["iou"]) == (0, None)
    assert (clicks["refinement"]["valid"], clicks["refinement"]["mean_gain"]) == (1, pytest.approx(0.2))
    assert clicks["first_click_inside"] == 1


def test_regret_is_a_mean_with_an_interval_over_images() -> None:
    regrets = {"long": {1: 0.5, 2: 0.25, 3: 0.0, 4: 0.25}, "late": {2: 1.0, 3: 0.5}}
    clicks = _clicks(_three(), regrets)
    assert clicks["regret"] == pytest.approx(2.5 / 6)
    assert clicks["localisation"]["regret"] == pytest.approx(0.75)
    assert clicks["refinement"]["regret"] == pytest.approx(1 / 4)
    assert [step["regret"] for step in clicks["by_step"]] == [0.5, 0.625, 0.25, 0.25]
    # Of two images, a draw has the first twice (mean 0.25), the second twice (0.75), or each once (2.5 / 6).
    assert clicks["regret_ci"] == pytest.approx([0.25, 0.75])


def test_without_clicks_there_is_no_mean() -> None:
    for clicks in (_clicks([]), _clicks([episode("a", GT, [(Action("stop"), first(0))])])):
        assert clicks["regret_ci"] is None
        assert {clicks[key] for key in ("hit_rate", "mean_gain", "overshoot", "regret")} == {None}
        assert clicks["positive"]["hit_rate"] is clicks["by_step"][0]["mean_gain"] is None
