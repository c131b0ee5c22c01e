"""The parts of a reward, against values computed by hand from the formulas of their sources."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.actions import Action
from hlmat_bench.core.errors import UsageError
from hlmat_bench.scores.outcomes import ClickPlace
from hlmat_bench.training.rewards import NAMED, PARTS, Progress, RewardSettings, reward

CLICK = Action("click", True, 3, 4)
STOP = Action("stop")
INVALID = Action("invalid", reason="parse")
RIGHT, WRONG = ClickPlace(inside=True, covered=False), ClickPlace(inside=False, covered=False)


def part(name: str, progress: Progress, **more: Any) -> float:
    """Return one part of the reward of a step, unweighted."""
    return reward(progress, RewardSettings.of({name: 1.0, **more})).total


@pytest.mark.parametrize(
    ("name", "progress", "expected"),
    [
        ("gain", Progress([0.25, 0.75], [CLICK]), 0.5),
        ("gain", Progress([0.75, 0.25], [CLICK]), -0.5),
        ("gain", Progress([0.75], []), 0.0),
        ("improvement", Progress([0.75, 0.25], [CLICK]), 0.0),
        ("improvement", Progress([0.25, 0.75], [CLICK]), 0.5),
        ("increase", Progress([0.25, 0.26], [CLICK]), 1.0),
        ("increase", Progress([0.25, 0.25], [STOP]), 0.0),
        ("iou", Progress([0.25, 0.75], [CLICK]), 0.75),
        ("tiers", Progress([0.0, 0.5], [CLICK]), 0.0),
        ("tiers", Progress([0.0, 0.51], [CLICK]), 1.0),
        ("tiers", Progress([0.0, 0.75], [CLICK]), 2.0),
        ("tiers", Progress([0.81, 0.81], [STOP]), 3.0),
        ("tiers", Progress([0.81, 0.81], [INVALID]), 0.0),
        ("format", Progress([0.0, 0.0], [INVALID]), 0.0),
        ("format", Progress([0.0, 0.0], [STOP]), 1.0),
        ("placement", Progress([0.0, 0.1], [CLICK], RIGHT), 1.0),
        ("placement", Progress([0.0, 0.1], [CLICK], WRONG), -1.0),
        ("placement", Progress([0.0, 0.0], [STOP]), 0.0),
        ("turns", Progress([0.0, 0.1], [CLICK]), -1.0),
        ("turns", Progress([0.0, 0.0], [STOP]), 0.0),
        ("length", Progress([0.0] * 6, [CLICK] * 5), 1.0),
        ("length", Progress([0.0] * 8, [CLICK] * 7), -0.4),
        ("final_iou", Progress([0.0, 0.4], [CLICK]), 0.0),
        ("final_iou", Progress([0.0, 0.4], [CLICK], over=True), 0.4),
        ("final_dice", Progress([0.0, 0.6], [CLICK], over=True), 0.75),
        ("overshoot", Progress([0.0, 0.9, 0.6, 0.6], [CLICK, CLICK, STOP], over=True), -0.3),
        ("overshoot", Progress([0.9, 0.6, 0.6], [CLICK, STOP], over=True), 0.0),
        ("overshoot", Progress([0.0, 0.9, 0.6], [CLICK, CLICK]), 0.0),
        ("finish", Progress([0.0, 0.9, 0.9], [CLICK, STOP], over=True), 1.0),
        ("finish", Progress([0.0, 0.0], [STOP], over=True), 0.5),
        ("finish", Progress([0.0, 0.9], [CLICK], over=True), 0.5),
        ("finish", Progress([0.0, 0.0], [INVALID], over=True), 0.0),
        # one turn: the mean of IoU 0.6 and Dice 0.75
        ("quality", Progress([0.0, 0.6, 0.6], [CLICK, STOP], over=True), 0.675),
        # turns 0.5, 0.9, 0.6: 0.675 - 0.3 - 3 * 0.01 + 0.1 * 0.4
        ("quality", Progress([0.0, 0.5, 0.9, 0.6], [CLICK] * 3, over=True), 0.385),
        ("quality", Progress([0.0, 0.9, 0.0], [CLICK] * 2, over=True), 0.0),
    ],
)
def test_a_part(name: str, progress: Progress, expected: float) -> None:
    assert part(name, progress) == pytest.approx(expected)


def test_thresholds_and_optimal_steps_are_settings() -> None:
    assert part("tiers", Progress([0.0, 0.5], [CLICK]), thresholds=(0.1, 0.2, 0.3, 0.4)) == 4.0
    assert part("length", Progress([0.0] * 3, [CLICK] * 2), optimal_steps=1) == pytest.approx(-0.2)


def test_the_reward_of_ibis_agent() -> None:
    """A right click of step 6 to IoU 0.75: (format 1 + tier 2 + placement 1 + increase 1 + length -0.2) / 5."""
    progress = Progress([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75], [CLICK] * 6, RIGHT)
    found = reward(progress, RewardSettings.of("ibis-agent"))
    assert found.total == pytest.approx(4.8 / 5)
    assert found.parts == pytest.approx(
        {"format": 0.2, "tiers": 0.4, "placement": 0.2, "increase": 0.2, "length": -0.04}
    )


def test_the_reward_of_medsam_agent() -> None:
    """Click to 0.5, click to 0.6, stop: 0.2 * 1 + 0.8 * ((0.6 + 0.75) / 2 - 2 * 0.01 + 0.1 * 0.1)."""
    progress = Progress([0.0, 0.5, 0.6, 0.6], [CLICK, CLICK, STOP], over=True)
    assert reward(progress, RewardSettings.of("medsam-agent")).total == pytest.approx(0.2 + 0.8 * 0.665)


@given(
    weights=st.dictionaries(st.sampled_from(sorted(PARTS)), st.floats(0.1, 3), min_size=1),
    ious=st.lists(st.floats(0, 1), min_size=2, max_size=6),
    over=st.booleans(),
)
def test_the_total_is_the_sum_of_the_parts(weights: dict[str, float], ious: list[float], over: bool) -> None:
    found = reward(Progress(ious, [CLICK] * (len(ious) - 1), RIGHT, over), RewardSettings.of(weights))
    assert found.parts.keys() == weights.keys()
    assert found.total == pytest.approx(sum(found.parts.values()))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("gains", "no reward called 'gains'. Did you mean gain"),
        ({"gian": 1}, "no part of the reward called 'gian'. Did you mean gain"),
        ({"gain": 0}, "every weight is 0; give at least one part a weight"),
        ({"gain": float("nan")}, "gain of the reward is nan"),
        ({"tiers": 1, "thresholds": [0.5, 50]}, "thresholds are IoUs from 0 to 1"),
    ],
)
def test_a_wrong_setting_is_said(value: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        RewardSettings.of(value)


def test_the_named_rewards_are_settings() -> None:
    for name in NAMED:
        assert RewardSettings.of(name).weights() == NAMED[name]
