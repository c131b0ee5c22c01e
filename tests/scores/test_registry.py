"""What a further score is computed from, and which names it may have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hlmat_bench
from hlmat_bench.actions import Action
from hlmat_bench.core.digests import sha256_of
from hlmat_bench.protocol.records import Episode
from hlmat_bench.runs import sealed_scores
from hlmat_bench.scores import registry
from hlmat_bench.scores.episodes import EpisodeScores, score_episode
from hlmat_bench.scores.paired import paired_differences
from hlmat_bench.scores.scoring import score_episodes
from tests.support.episodes import episode

OBJECT = np.array([[True, True, False, False]])
HALF = np.array([[True, False, False, False]])


def searched(name: str) -> Episode:
    """Return an episode whose first mask is predicted to be the best: it is the object, and the last is half of it."""
    made = episode(name, OBJECT, [(Action("click", True, 0, 0), OBJECT), (Action("click", True, 1, 0), HALF)])
    return replace(made, selected={"final": 2, "self": 1, "best": 1})


@pytest.fixture
def answered() -> Iterator[None]:
    registry.score("answered", title="Answered", definition="The IoU of the answer.")(lambda sample: sample.score)
    yield
    del registry.further()["answered"]


@pytest.fixture
def halves() -> Iterator[None]:
    def of(sample: EpisodeScores) -> tuple[float, float]:
        return (1.0, 4.0) if sample.sample_id.startswith("counted") else (0.0, 0.0)

    registry.score("halves", title="Halves", definition="A ratio that some runs do not have.", ratio=True)(of)
    yield
    del registry.further()["halves"]


def test_a_further_score_is_of_the_mask_that_the_run_is_scored_by(answered: None) -> None:
    made = [searched("a"), searched("b")]
    found = {rule: score_episodes(made, budget=2, track="point", rule=rule) for rule in ("final", "self")}
    assert {rule: scores["further"]["answered"]["value"] for rule, scores in found.items()} == {"final": 0.5, "self": 1}
    del found["final"]["further"], found["self"]["further"]
    assert found["final"] == found["self"]  # all other scores name their rule


def test_a_score_without_a_denominator_has_no_difference(halves: None) -> None:
    ours = [score_episode(searched(name), 2) for name in ("counted/1", "counted/2")]
    theirs = [score_episode(searched(name), 2) for name in ("other/1", "other/2")]
    scores = [registry.STANDARD["miou"], registry.further()["halves"]]
    assert paired_differences(scores, ours, ours, (2, 2))["halves"].value == 0
    found = paired_differences(scores, ours, theirs, (2, 2))
    assert (found["halves"], found["miou"].value) == (None, 0)


def test_a_share_is_shown_in_percent_with_one_decimal() -> None:
    miou, noc = registry.STANDARD["miou"], registry.STANDARD["noc@85"]
    assert [miou.shown(value) for value in (0.6884, 1.0, None, -0.0003)] == ["68.8", "100.0", "–", "0.0"]
    assert [miou.shown(value, sign=True) for value in (0.1, -0.1, 0.0)] == ["+10.0", "−10.0", "0.0"]
    assert noc.with_interval(registry.ScoreValue(3.854, 3.5, 4.149)) == "3.85 [3.50, 4.15]"
    assert miou.with_interval(registry.ScoreValue(0.5, None, None)) == "50.0"


def test_a_single_image_has_no_interval() -> None:
    made = [replace(searched(name), image_id="one image") for name in ("a", "b")]
    scores = score_episodes(made, budget=2, track="point")
    assert scores["selection"]["final"]["miou_ci"] is not None
    value = registry.STANDARD["miou"].read(scores, "final")
    assert value is not None
    assert (value.value, value.interval, scores["n_images"]) == (0.5, None, 1)


def test_runs_scored_before_a_score_was_declared_get_it(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    run = hlmat_bench.run("oracle", "hres_synth", budget=1, limit=2, out=tmp_path)
    assert "further" not in run.scores()
    request.getfixturevalue("answered")
    value = hlmat_bench.Run(tmp_path).scores()["further"]["answered"]["value"]
    assert value == np.mean([one.iou_at(1) for one in run.episodes()])


def test_runs_scored_before_a_threshold_was_added_get_it(tmp_path: Path) -> None:
    run = hlmat_bench.run("oracle", "hres_synth", budget=2, limit=2, out=tmp_path)
    whole = run.scores()
    older = {**whole, "noc": {key: found for key, found in whole["noc"].items() if key != "0.95"}}
    sealed_scores.write(tmp_path, older, sha256_of(tmp_path / "episodes.jsonl"))
    assert hlmat_bench.Run(tmp_path).scores() == whole


def test_nof_is_the_number_of_misses(tmp_path: Path) -> None:
    made = [
        episode(
            "at the last click", OBJECT, [(Action("click", True, 0, 0), HALF), (Action("click", True, 1, 0), OBJECT)]
        ),
        episode("never", OBJECT, [(Action("click", True, 0, 0), HALF)]),
    ]
    scores = score_episodes(made, budget=2, track="point")
    found = {key: registry.STANDARD[key].read(scores, "final") for key in ("nof@95", "noc@95", "nof@80")}
    assert found["nof@95"] == found["nof@80"] == (1, None, None)
    assert found["noc@95"] is not None
    assert found["noc@95"].value == 2
    assert registry.STANDARD["nof@95"].missed(scores) is None


@pytest.mark.parametrize(
    "key", ["miou", "rank", "miou_ci", "noc_80", "nof_90", "biou_low", "my_high", "noc_80_missed", "Big", "a-b"]
)
def test_names_of_columns_are_no_names_of_scores(key: str) -> None:
    with pytest.raises(ValueError, match=f"'{key}' is no key for a new score"):
        registry.score(key, title="T", definition="D.")
