"""What reports say of episodes, steps and clicks, against pixels, hand-made cases and the scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.actions import Action
from hlmat_bench.core.errors import UsageError
from hlmat_bench.reports.run.sections import click_tables, tables
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.scores.episodes import score_episode, states_of
from hlmat_bench.scores.outcomes import ClickPlace, outcome, step_kind
from hlmat_bench.scores.regions import Region
from tests.support import episodes


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_areas_count_pixels(height: int, width: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    gt, mask, ignored = generator.random((3, height, width)) < generator.random((3, 1, 1))
    made = episodes.episode("a", gt, [(episodes.click(True, 0, 0), mask), (episodes.click(True, 0, 0), mask)])
    made = replace(made, ignore=episodes.rle(ignored))
    expected = int((gt & mask & ~ignored).sum()), int(((gt | mask) & ~ignored).sum())
    one = score_episode(made, 3)
    assert one.areas() == [(0, int((gt & ~ignored).sum())), expected, expected, expected]
    assert [state.areas for state in states_of(made)] == one.areas()[:3]
    y, x = int(generator.integers(height)), int(generator.integers(width))
    assert Region(made.gt).holds(x, y) == gt[y, x]


def test_regions_of_two_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="one size"):
        Region(episodes.rle(np.ones((2, 3), bool))).shared(Region(episodes.rle(np.ones((3, 2), bool))))


@pytest.mark.parametrize(
    ("positive", "inside", "covered", "gain", "kind"),
    [
        (True, True, False, 0.1, "hit"), (True, True, False, 0.0, "segmenter failure"), (True, True, True, 0.1, "idle"),
        (True, False, False, 0.1, "off object"), (True, False, True, 0.1, "wrong sign"),
        (False, False, True, 0.1, "hit"), (False, False, True, -0.1, "segmenter failure"),
        (False, False, False, 0.0, "idle"), (False, True, True, -0.5, "wrong sign"),
        (False, True, False, -0.5, "wrong sign"),
    ],
)  # fmt: skip
def test_kinds_of_clicks(positive: bool, inside: bool, covered: bool, gain: float, kind: str) -> None:
    assert step_kind(episodes.click(positive, 0, 0), ClickPlace(inside, covered), gain) == kind


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        (Action("invalid", reason="refusal"), "refusal"), (Action("invalid", reason="api"), "request failed"),
        (Action("invalid", reason="parse"), "unparsable"), (Action("invalid", reason="out_of_bounds"), "unparsable"),
        (Action("stop"), None), (Action("predict", predicted_iou=0.5), None), (Action("box", box=(0, 0, 1, 1)), None),
    ],
)  # fmt: skip
def test_kinds_of_other_steps(action: Action, kind: str | None) -> None:
    assert step_kind(action, None, 0.0) == kind


@pytest.mark.parametrize(
    ("kinds", "stop", "final", "best", "expected"),
    [
        (["hit"], "stop", 0.8, 0.9, "solved"),
        (["hit", "off object"], "budget", 0.79, 0.8, "overshoot"),
        (["off object", "idle", "idle"], "budget", 0.1, 0.2, "idle"),
        (["off object", "idle"], "budget", 0.1, 0.2, "off object"),
        (["refusal"], "stuck", 0.0, 0.0, "refusal"),
        (["hit", "hit"], "budget", 0.5, 0.5, "out of clicks"),
        (["hit", None], "stop", 0.5, 0.5, "stopped early"),
        ([None], "stop", 0.5, 0.5, "stopped early"),
        ([None, None], "budget", 0.5, 0.5, "out of clicks"),
    ],
)
def test_outcomes(kinds: list[str | None], stop: str, final: float, best: float, expected: str) -> None:
    assert outcome(kinds, stop, score=final, best=best) == expected


def test_episodes_are_those_of_the_scores(played: list[Run]) -> None:
    made = [score_episode(episode, 4) for episode in played[0].episodes()]
    scores = played[0].scores()
    for t, point in enumerate(scores["curve"]):
        assert np.mean([one.iou[t] for one in made]) == pytest.approx(point["miou"], abs=1e-12)
    kinds = [kind for one in made for kind in one.kinds if kind]
    right = sum(kind in ("hit", "segmenter failure") for kind in kinds)
    assert right / scores["clicks"]["valid"] == pytest.approx(scores["clicks"]["hit_rate"])
    invalid = sum(kind in ("unparsable", "refusal", "request failed") for kind in kinds)
    assert invalid == sum(scores["clicks"]["invalid"].values())
    for q in ("0.80", "0.85"):
        assert sum(one.reached[q] is None for one in made) == scores["noc"][q]["failed"]


def test_click_tables_hold_every_number() -> None:
    part = {"valid": 3, "hit_rate": 2 / 3, "mean_gain": 0.25, "overshoot": 0.0, "regret": None}
    clicks = {"total": 5, "invalid": {"parse": 2}, "finish": {"length": 1}, "first_click_inside": 0.5, **part}
    clicks |= {"localisation": part, "positive": part, "by_step": [{"t": 1, **part}, {"t": 2, **part, "regret": 0.125}]}
    first, kinds, steps = click_tables(clicks)
    assert ("Invalid: parse", "2") in first.rows
    assert ("Reply ended by: length", "1") in first.rows
    assert ("Hit rate", "66.7 %") in first.rows
    assert ("Mean gain of IoU per valid click", "25.0 %") in first.rows
    assert not any("regret" in name for name, _ in first.rows)  # It was not computed.
    assert [row[0] for row in kinds.rows] == ["all", "first click", "positive"]
    assert steps.rows[1] == ["step 2", "3", "66.7 %", "25.0 %", "0.0 %", "12.5 %"]


def test_sections_that_nobody_knows_are_shown() -> None:
    section = {
        "mae": 0.25, "mae_ci": [0.125, 0.5], "pearson": None, "baseline": {"mae": 0.5, "n": 3},
        "keep": {"0.5": {"accuracy": 0.75, "kept": 2}, "0.9": {"accuracy": 1.0, "kept": 1}},
        "calibration": [{"low": 0.0, "n": 2}, {"low": 0.5, "n": 1000}],
        "by_defect": {"eroded": {"n": 1, "final": {"gain": 0.5, "gain_ci": [0.25, 0.75]}, "noc": {"0.80": {"n": 1}}}},
    }  # fmt: skip
    first, keep, calibration, defects = tables(section)
    [_, noc] = tables({"noc": {"0.80": {"mean": 2.0, "ci": [1.5, 2.5], "failed": 3}}})
    assert (noc.name, noc.headers, noc.rows) == ("NoC", ["", "mean", "failed"], [["0.80", "2.000 [1.500, 2.500]", "3"]])
    assert first.rows == [
        ("MAE", "0.250 [0.125, 0.500]"), ("pearson", "not computed"), ("baseline: MAE", "0.500"),
        ("baseline: samples", "3"),
    ]  # fmt: skip
    assert (keep.headers, keep.rows) == (["", "accuracy", "kept"], [["0.5", "75.0 %", "2"], ["0.9", "100.0 %", "1"]])
    assert calibration.rows == [["1", "0.000", "2"], ["2", "0.500", "1,000"]]
    assert (defects.name, defects.headers) == ("by defect", ["", "samples", "gain"])
    assert defects.rows == [["eroded", "1", "50.0 % [25.0, 75.0]"]]
