from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hlmat_bench.actions import Action
from hlmat_bench.protocol.records import Episode
from hlmat_bench.scores.scoring import score_episodes
from tests.support.episodes import click, episode, iou, simple

SHAPE = (40, 50)


def _square(x: int, y: int, side: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


GT = _square(10, 10, 10)
HALF = GT & (np.arange(SHAPE[1]) < 15)
OVER = GT | _square(30, 30, 5)


def _run(budget: int = 4) -> tuple[list[Episode], dict[str, Any]]:
    """Three samples on two images: one that gets there, one that gives up at once, one that only errs."""
    good = episode(
        "a", GT,
        [(click(True, 12, 12), HALF), (click(True, 17, 12), OVER), (click(False, 32, 32), GT)],
        image_id="1", ref_id="r1", stop="budget", tags={"level": "easy"},
    )  # fmt: skip
    gave_up = episode("b", GT, [(Action("stop"), np.zeros(SHAPE, bool))], image_id="1", ref_id="r1", stop="stop")
    empty = np.zeros(SHAPE, bool)
    erred = episode(
        "c", GT,
        [(Action("invalid", reason="parse"), empty), (click(True, 31, 31), _square(30, 30, 5)),
         (Action("invalid", reason="repeat"), _square(30, 30, 5))],
        image_id="2", ref_id="r2", tags={"level": "hard"},
    )  # fmt: skip
    episodes = [good, gave_up, erred]
    return episodes, score_episodes(episodes, budget=budget, track="point")


def test_counts_and_selection_by_hand() -> None:
    _, scores = _run()
    assert (scores["n"], scores["n_images"], scores["n_refs"], scores["budget"]) == (3, 2, 2, 4)
    final = scores["selection"]["final"]
    assert final["miou"] == pytest.approx((1.0 + 0 + 0) / 3)
    assert final["ciou"] == pytest.approx(100 / (100 + 100 + 125))
    assert final["precision"] == pytest.approx({"0.5": 1 / 3, "0.6": 1 / 3, "0.7": 1 / 3, "0.8": 1 / 3, "0.9": 1 / 3})
    assert scores["selection"]["best"]["miou"] == pytest.approx(1 / 3)


def test_the_curve_carries_the_last_mask_forward() -> None:
    _, scores = _run()
    curve = [point["miou"] for point in scores["curve"]]
    over = iou(GT, OVER)
    assert curve == pytest.approx([0, 0.5 / 3, over / 3, 1 / 3, 1 / 3])
    assert [point["t"] for point in scores["curve"]] == [0, 1, 2, 3, 4]
    assert scores["auc"] == pytest.approx(np.mean(curve[1:]))


def test_noc_counts_a_miss_as_the_budget_and_apart() -> None:
    _, scores = _run()
    assert scores["noc"]["0.80"] == {"mean": pytest.approx((2 + 4 + 4) / 3), "ci": scores["noc"]["0.80"]["ci"],
                                     "solved": 1, "failed": 2}  # fmt: skip
    assert scores["noc"]["0.85"]["mean"] == pytest.approx((3 + 4 + 4) / 3)


def test_a_success_exactly_at_the_budget_is_a_success() -> None:
    _, scores = _run(budget=3)
    assert (scores["noc"]["0.90"]["solved"], scores["noc"]["0.90"]["mean"]) == (1, 3.0)


def test_click_diagnostics_by_hand() -> None:
    _, scores = _run()
    clicks = scores["clicks"]
    assert (clicks["total"], clicks["valid"], clicks["invalid"]) == (6, 4, {"parse": 1, "repeat": 1})
    # In a: three hits (the last a negative click on an excess); in c: a positive click beside the object.
    assert clicks["hit_rate"] == pytest.approx(3 / 4)
    assert clicks["first_click_inside"] == pytest.approx(1 / 3)
    gains = [0.5, iou(GT, OVER) - 0.5, 1 - iou(GT, OVER), 0.0]
    assert clicks["mean_gain"] == pytest.approx(np.mean(gains))
    assert clicks["regret"] is None


def test_cost_and_slices() -> None:
    _, scores = _run()
    assert scores["cost"] == {"tokens_in": 70, "tokens_out": 21, "dollars": None, "seconds": pytest.approx(7 * 0.875)}
    assert {value: part["n"] for value, part in scores["slices"]["level"].items()} == {"easy": 1, "hard": 1}
    assert scores["slices"]["level"]["easy"]["miou"] == 1.0


def test_recorded_ious_are_not_believed() -> None:
    """The scores come from the masks: a record that lies about its IoU changes nothing."""
    episodes, honest = _run()
    lies = []
    for value in (each.to_json() for each in episodes):
        for step in value["steps"]:
            step["iou"] = 0.99
        lies.append(Episode.from_json(value))
    assert score_episodes(lies, budget=4, track="point") == honest


def test_ignored_pixels_count_in_no_score() -> None:
    value = episode("a", GT, [(click(True, 12, 12), OVER)]).to_json()
    from tests.support.episodes import rle

    value["ignore"] = rle(_square(30, 30, 5))
    scores = score_episodes([Episode.from_json(value)], budget=1, track="point")
    assert (scores["selection"]["final"]["miou"], scores["selection"]["final"]["ciou"]) == (1.0, 1.0)


def test_an_empty_run_has_scores_too() -> None:
    scores = score_episodes([], budget=3, track="point")
    assert (scores["n"], scores["clicks"]["total"], scores["auc"]) == (0, 0, None)


def test_intervals_hold_the_estimate_and_are_clustered_by_image() -> None:
    """One image repeated many times is one observation: the interval does not shrink."""
    generator = np.random.default_rng(0)
    masks = [GT & (generator.random(SHAPE) < share) for share in np.linspace(0.1, 1, 12)]
    single = [episode(f"s{n}", GT, [(click(True, 12, 12), mask)], image_id=str(n)) for n, mask in enumerate(masks)]
    tripled = [
        episode(f"s{n}.{k}", GT, [(click(True, 12, 12), mask)], image_id=str(n))
        for n, mask in enumerate(masks)
        for k in range(3)
    ]
    first, second = (score_episodes(each, budget=1, track="point")["selection"]["final"] for each in (single, tripled))
    assert first["miou_ci"] == pytest.approx(second["miou_ci"])
    low, high = first["miou_ci"]
    assert low < first["miou"] < high
    low, high = first["ciou_ci"]
    assert low < first["ciou"] < high


def test_a_simple_episode_scores_one() -> None:
    scores = score_episodes([simple("a")], budget=1, track="point")
    assert scores["selection"]["final"]["biou"] == 1.0
