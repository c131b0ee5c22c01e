"""Samples without target: N-acc, T-acc, gIoU and cIoU as GRES defines them, and what other scores make of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hlmat_bench.actions import Action
from hlmat_bench.protocol.records import Episode
from hlmat_bench.scores import registry
from hlmat_bench.scores.episodes import score_episode
from hlmat_bench.scores.failures import remarks
from hlmat_bench.scores.no_target import accuracies
from hlmat_bench.scores.outcomes import outcome
from hlmat_bench.scores.paired import paired_differences
from hlmat_bench.scores.registry import STANDARD
from hlmat_bench.scores.scoring import score_episodes
from hlmat_bench.scores.slices import slicings
from tests.scores.test_recompute import check
from tests.support.episodes import click, episode, rle

SHAPE = (4, 5)
NOTHING = np.zeros(SHAPE, bool)
#: Two, four and ten pixels.
TWO, FOUR, TEN = (np.arange(20).reshape(SHAPE) < n for n in (2, 4, 10))
NONE, STOP, REFUSED = Action("none"), Action("stop"), Action("invalid", reason="refusal")


def played() -> list[Episode]:
    """Three samples without target (seen; a mask of 4 pixels; refused) and two with one (half of it; denied)."""
    return [
        episode("seen", NOTHING, [(NONE, NOTHING)], image_id="1", stop="none"),
        episode("drawn", NOTHING, [(click(True, 0, 0), FOUR), (click(False, 4, 3), FOUR)], image_id="1"),
        episode("refused", NOTHING, [(REFUSED, NOTHING)], image_id="2", stop="stuck"),
        episode("half", FOUR, [(click(True, 0, 0), TWO), (STOP, TWO)], image_id="2", stop="stop"),
        episode("denied", TEN, [(click(True, 0, 0), TEN), (NONE, NOTHING)], image_id="3", stop="none"),
    ]


def scores_of(episodes: Sequence[Episode], budget: int = 2) -> dict[str, Any]:
    return score_episodes(episodes, budget=budget, track="point")


def test_a_case_by_hand() -> None:
    scores = scores_of(played())
    found = scores["no_target"]
    assert (found["n"], found["targets"]) == (3, 2)
    final = found["final"]
    assert (final["n_acc"], final["t_acc"], final["unanswered"]) == (2 / 3, 1 / 2, 1)
    assert final["giou"] == pytest.approx((1 + 0 + 1 + 2 / 4 + 0) / 5)
    assert final["ciou"] == pytest.approx((2 + 0) / (4 + 4 + 10))  # the 4 pixels of a false mask are in the union
    assert (final["target_miou"], final["target_ciou"]) == (pytest.approx(0.25), pytest.approx(2 / 14))
    assert final["target_precision"] == {"0.5": 0.5, "0.6": 0.0, "0.7": 0.0, "0.8": 0.0, "0.9": 0.0}
    # Images of samples without target: 1 (half right), 2 (right); those of the others: 2 (drawn), 3 (denied).
    assert (final["n_acc_ci"], final["t_acc_ci"]) == ([0.5, 1.0], [0.0, 1.0])
    assert found["best"]["n_acc"] == 1.0  # the initial mask
    assert found["best"]["t_acc"] == 1.0
    for rule, chosen in scores["selection"].items():
        assert [found[rule][key] for key in ("giou", "giou_ci", "ciou", "ciou_ci")] == [
            chosen[key] for key in ("miou", "miou_ci", "ciou", "ciou_ci")
        ]


def test_the_other_scores_by_hand() -> None:
    scores = scores_of(played())
    # "seen" and "refused" are at an IoU of 1 after step 1, "denied" too; "drawn" and "half" never are.
    assert scores["noc"]["0.85"] | {"ci": 0} == {"mean": (1 + 2 + 1 + 2 + 1) / 5, "ci": 0, "solved": 3, "failed": 2}
    assert scores["curve"][0]["miou"] == 3 / 5  # an empty mask is right for three
    assert scores["auc"] == pytest.approx(((1 + 0 + 1 + 0.5 + 1) / 5 + (1 + 0 + 1 + 0.5 + 0) / 5) / 2)
    assert scores["selection"]["final"]["biou"] == pytest.approx((1 + 0 + 1 + 0.5 + 0) / 5)  # all of it is boundary
    clicks = scores["clicks"]
    # Two clicks on objects hit; without an object, one adds where nothing is missed, one removes where no mask is.
    assert (clicks["valid"], clicks["hit_rate"], clicks["first_click_inside"]) == (4, 0.5, 1.0)
    assert clicks["mean_gain"] == pytest.approx((-1 + 0 + 0.5 + 1) / 4)
    assert clicks["localisation"]["episodes"] == 5
    assert clicks["localisation"]["iou"] == pytest.approx((1 + 0 + 1 + 0.5 + 1) / 5)
    sizes = scores["bands"]["object_size"]
    assert {name: part["n"] for name, part in sizes.items()} == {"small": 2, "no object": 3}
    assert sizes["no object"]["miou"] == 2 / 3
    assert sum(part["n"] for part in scores["bands"]["thinness"].values()) == 2


def test_the_section_is_there_only_where_a_truth_is_empty() -> None:
    target = played()[3:]
    assert "no_target" not in scores_of(target)
    assert "no object" not in scores_of(target)["bands"]["object_size"]
    assert "no_target" not in scores_of([])
    for found, shown in ((scores_of(target), set()), (scores_of(played()), {"no_target.n_acc", "no_target.t_acc"})):
        keys = {score.key for score in registry.columns("terminal", "segmentation", [found])}
        assert keys & {score.key for score in registry.NO_TARGET} == shown


def test_without_any_target_the_scores_of_targets_are_undefined() -> None:
    scores = scores_of(played()[:3])
    final = scores["no_target"]["final"]
    assert scores["no_target"]["targets"] == 0
    assert (final["n_acc"], final["t_acc"], final["target_miou"], final["target_precision"]) == (
        2 / 3,
        None,
        None,
        None,
    )
    assert scores["clicks"]["first_click_inside"] is None
    assert registry.STANDARD["no_target.t_acc"].read(scores, "final") is None


def test_an_object_that_is_ignored_as_a_whole_is_no_target() -> None:
    ignored = replace(episode("a", TWO, [(click(True, 0, 0), TWO)]), ignore=rle(FOUR))
    partly = replace(
        episode("b", TEN, [(click(True, 0, 0), FOUR)]), ignore=rle(FOUR)
    )  # the mask is ignored pixels alone
    scores = scores_of([ignored, partly], 1)
    assert scores["no_target"]["final"]["n_acc"] == 1.0
    assert scores["no_target"]["final"]["t_acc"] == 0.0
    assert scores["bands"]["object_size"]["no object"]["n"] == 1


@pytest.mark.parametrize("number", range(5))
def test_outcomes(number: int) -> None:
    expected = ["no object, seen", "no object, masked", "refusal", "stopped early", "object denied"]
    assert score_episode(played()[number], 2).outcome == expected[number]


@pytest.mark.parametrize(
    ("kinds", "stop", "score", "best", "target", "expected"),
    [
        ([None], "none", 0.0, 0.0, True, "object denied"),
        (["hit", None], "none", 0.0, 0.9, True, "object denied"),
        (["hit", None], "none", 0.8, 0.9, True, "solved"),  # the answer is the mask that the model predicts to be best
        (["off object", "hit"], "budget", 1.0, 1.0, False, "no object, seen"),
        (["off object", None], "none", 1.0, 1.0, False, "no object, seen"),
        (["unparsable", "refusal", "refusal"], "budget", 1.0, 1.0, False, "refusal"),
        (["request failed"], "error", 1.0, 1.0, False, "request failed"),
        (["off object", "request failed"], "error", 0.0, 1.0, False, "no object, masked"),
        ([], "budget", 1.0, 1.0, False, "no object, seen"),
    ],
)
def test_what_an_episode_came_to(
    kinds: list[str | None], stop: str, score: float, best: float, target: bool, expected: str
) -> None:
    assert outcome(kinds, stop, score=score, best=best, target=target) == expected


def test_an_episode_that_failed_or_has_no_step_is_right_and_told_apart() -> None:
    failed = replace(
        episode("a", NOTHING, [(Action("invalid", reason="api"), NOTHING)], image_id="1", stop="error"), error="refused"
    )
    scores = scores_of([failed, episode("b", NOTHING, [], image_id="2")], 3)
    final = scores["no_target"]["final"]
    assert (final["n_acc"], final["unanswered"]) == (1.0, 2)
    assert scores["failures"]["episodes"] == 1
    assert scores["noc"]["0.85"]["mean"] == 1.0  # the empty mask is carried forward to click 1
    assert scores["clicks"]["localisation"] | {"hit_rate": 0} == {
        "episodes": 2, "iou": 1.0, "valid": 0, "hit_rate": 0, "mean_gain": None, "overshoot": None, "regret": None,
    }  # fmt: skip


def masks_like() -> st.SearchStrategy[np.ndarray]:
    return st.one_of(st.just(NOTHING), arrays(bool, SHAPE))


@st.composite
def samples(draw: st.DrawFn) -> list[tuple[np.ndarray, np.ndarray, np.ndarray | None, int]]:
    """Draw ground truth, answer, ignored pixels and image of samples, at least one of them without target."""
    found = draw(
        st.lists(
            st.tuples(masks_like(), masks_like(), st.one_of(st.none(), arrays(bool, SHAPE)), st.integers(0, 3)),
            max_size=6,
        )
    )
    return [*found, (NOTHING, draw(masks_like()), None, 0)]


@given(samples())
@settings(max_examples=60, deadline=None)
def test_random_masks_against_the_bookkeeping_of_gres(
    drawn: list[tuple[np.ndarray, np.ndarray, np.ndarray | None, int]],
) -> None:
    """Count as the authors' evaluation does; "no target" is said by an empty mask."""
    episodes = []
    counts = dict.fromkeys(("TP", "FN", "TN", "FP"), 0)
    total = intersections = unions = 0.0
    for number, (gt, mask, ignore, image) in enumerate(drawn):
        made = episode(f"{number}", gt, [(click(True, 0, 0), mask)], image_id=f"{image}")
        episodes.append(made if ignore is None else replace(made, ignore=rle(ignore)))
        counted = np.ones(SHAPE, bool) if ignore is None else ~ignore
        gt, mask = gt & counted, mask & counted
        inner, union = int((gt & mask).sum()), int((gt | mask).sum())
        denied = not mask.any()
        if not gt.any():
            counts["TP" if denied else "FN"] += 1
            total += denied
        else:
            counts["FP" if denied else "TN"] += 1
            total += inner / union
        intersections, unions = intersections + inner, unions + union
    found = scores_of(episodes, 1)["no_target"]
    final = found["final"]
    assert final["n_acc"] == pytest.approx(counts["TP"] / (counts["TP"] + counts["FN"]))
    targets = counts["TN"] + counts["FP"]
    assert (found["n"], found["targets"]) == (len(drawn) - targets, targets)
    assert final["t_acc"] == (pytest.approx(counts["TN"] / targets) if targets else None)
    assert final["giou"] == pytest.approx(total / len(drawn))
    assert final["ciou"] == pytest.approx(intersections / unions if unions else 1.0)
    measured = [score_episode(each, 1) for each in episodes]
    assert accuracies(measured) == (pytest.approx(final["n_acc"]), final["t_acc"] and pytest.approx(final["t_acc"]))


def test_all_of_scores_json_by_the_second_implementation(tmp_path: Path) -> None:
    hidden = replace(episode("hidden", TWO, [(click(True, 0, 0), TEN)], image_id="3"), ignore=rle(FOUR))
    for episodes in ([*played(), hidden], played()[:3]):
        path = tmp_path / "episodes.jsonl"
        path.write_text("".join(json.dumps(each.to_json()) + "\n" for each in episodes))
        ours = check(scores_of(episodes, 3), path)
        assert "/no_target/self/giou_ci/1" in ours


def test_runs_differ_in_both_accuracies_on_the_samples_that_these_are_of() -> None:
    ours = [score_episode(each, 2) for each in played()]
    empty = [
        score_episode(episode(each.sample_id, gt, [(STOP, NOTHING)], image_id=each.image_id), 2)
        for each, gt in zip(ours, (NOTHING, NOTHING, NOTHING, FOUR, TEN), strict=True)
    ]
    accuracies = [STANDARD["no_target.n_acc"], STANDARD["no_target.t_acc"]]
    n_acc, t_acc = paired_differences(accuracies, empty, ours, (2, 2)).values()
    assert (n_acc.value, n_acc.interval) == (pytest.approx(1 / 3), (0.0, 0.5))
    assert (t_acc.value, t_acc.interval) == (-0.5, (-1.0, 0.0))
    n_acc, t_acc = paired_differences(accuracies, empty[3:], ours[3:], (2, 2)).values()
    assert (n_acc, t_acc.value) == (None, -0.5)
    n_acc, t_acc = paired_differences(accuracies, empty[:2], ours[:2], (2, 2)).values()
    assert (n_acc.value, n_acc.interval, t_acc) == (0.5, None, None)


def test_slices_have_the_samples_without_an_object() -> None:
    ways = {way.name: way for way in slicings([score_episode(each, 2) for each in played()], {})}
    assert ways["object size"].values == ["small", "no object"]
    assert "No object: the ground truth is empty." in ways["object size"].meaning


def test_a_remark_says_which_right_masks_nobody_chose() -> None:
    manifest = {"protocol": {"strategy": "greedy", "max_tokens": 64}, "points": {"unit": "0-1", "name": "x"}}
    said = " ".join(remarks(scores_of(played()), manifest))
    assert "N-acc counts 1 of 3 samples without target as right although no reply was an action" in said
    assert "N-acc" not in " ".join(remarks(scores_of(played()[3:]), manifest))
