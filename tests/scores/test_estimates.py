"""Scores with their intervals in nested JSON values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hlmat_bench.reports.leaderboard.submission import row
from hlmat_bench.scores.episodes import states_of
from hlmat_bench.scores.intervals import Estimate, bootstrap, with_intervals
from hlmat_bench.scores.scoring import score_episodes
from tests.support import episodes


def test_estimates_become_scores_with_the_intervals_that_each_has_alone() -> None:
    images = ["a", "b", "b", "c"]
    ious, above, below = np.array([0.1, 0.5, 0.7, 1.0]), np.array([1, 5, 7, 9]), np.array([10, 10, 10, 9])
    found = with_intervals(
        {"n": 4, "rows": [{"miou": Estimate(ious), "t": 0}], "noc": {"mean": Estimate(above), "failed": 1},
         "ciou": Estimate(above, below)},
        images,
    )  # fmt: skip
    alone = [bootstrap(*terms, images) for terms in ((ious, np.ones(4)), (above, np.ones(4)), (above, below))]
    ends = [[float(low[0]), float(high[0])] for low, high in alone]
    assert found == {
        "n": 4,
        "rows": [{"miou": np.mean(ious), "miou_ci": ends[0], "t": 0}],
        "noc": {"mean": 22 / 4, "ci": ends[1], "failed": 1},
        "ciou": 22 / 39,
        "ciou_ci": ends[2],
    }
    assert list(found["rows"][0]) == ["miou", "miou_ci", "t"]
    assert with_intervals({"n": 0}, []) == {"n": 0}


def test_an_episode_without_steps_counts_alike_in_scores_and_in_entries() -> None:
    gt = np.ones((2, 5), bool)
    made = replace(episodes.episode("a", gt, []), initial={"kind": "gt-box", "mask": episodes.rle(gt), "iou": 1.0})
    entered = row(made, "final", [state.areas for state in states_of(made)], target=10)
    scores = score_episodes([made], budget=3, track="point")
    assert entered["first"] == {"0.80": 1, "0.85": 1}
    assert (scores["noc"]["0.85"]["mean"], scores["noc"]["0.85"]["solved"]) == (1.0, 1)
