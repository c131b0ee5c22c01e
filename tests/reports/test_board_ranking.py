"""Rankings: what is compared, ranks as ranges, references without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hlmat_bench
from hlmat_bench.reports.leaderboard.entry import BoardEntry
from hlmat_bench.reports.leaderboard.ranking import rank_ranges, rankings
from hlmat_bench.reports.leaderboard.repository import Listed
from hlmat_bench.reports.leaderboard.submission import make_entry
from hlmat_bench.runs.run_folder import Run
from tests.support import boards

IMAGES = [str(number // 2) for number in range(80)]


def _brute_force(values: list[np.ndarray[Any, Any]], images: list[str]) -> list[tuple[int, int]]:
    """Return the ranges by drawing images one by one, without sums over images and with other random numbers."""
    generator = np.random.default_rng(7)
    names = sorted(set(images))
    rows = {name: [n for n, image in enumerate(images) if image == name] for name in names}
    draws = [
        np.concatenate([rows[names[i]] for i in generator.integers(len(names), size=len(names))]) for _ in range(800)
    ]
    ranges = []
    for mine in values:
        above = below = 0
        for other in values:
            low, high = np.quantile([(mine - other)[draw].mean() for draw in draws], [0.025, 0.975])
            below, above = below + (low > 0), above + (high < 0)
        ranges.append((1 + above, len(values) - below))
    return ranges


@settings(max_examples=10)
@given(st.lists(st.sampled_from([0.0, 0.05, 0.3]), min_size=1, max_size=4), st.integers(0, 2**16))
def test_ranges_are_those_of_a_second_implementation(shifts: list[float], seed: int) -> None:
    generator = np.random.default_rng(seed)
    base = generator.random(80) / 2
    # Equal shifts are equal entries; others differ far beyond the noise, so that no draw decides.
    values = [base + shift + (0.01 * generator.standard_normal(80) if shift else 0) for shift in shifts]
    for first in range(len(values)):
        for second in range(first):
            if shifts[first] == shifts[second]:
                values[first] = values[second]
    assert rank_ranges(values, IMAGES) == _brute_force(values, IMAGES)


def test_equal_entries_share_a_range_and_of_one_image_nothing_is_known() -> None:
    good, bad = np.full(80, 0.8), np.full(80, 0.3)
    assert rank_ranges([good, bad, good], IMAGES) == [(1, 2), (3, 3), (1, 2)]
    assert rank_ranges([good, bad], ["one"] * 80) == [(1, 2), (1, 2)]
    assert rank_ranges([good], IMAGES) == [(1, 1)]


def test_what_lies_between_two_may_share_with_both() -> None:
    """The first is clearly better than the last; the middle one is a noisy mean of both, like neither for certain."""
    generator = np.random.default_rng(0)
    base = generator.random(80) / 2
    first, last = base + 0.04, base
    middle = base + 0.02 + 0.2 * generator.standard_normal(80)
    assert rank_ranges([first, middle, last], IMAGES) == [(1, 2), (1, 3), (2, 3)]


@pytest.fixture(scope="module")
def runs(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    disc = f"{tool},radius=10"
    options: dict[str, Any] = {"task": task, "limit": 16, "budget": 4}
    return {
        "good": boards.play(folder / "good", task, tool),
        "low": boards.play(folder / "low", task, tool, 600),
        "short": boards.play(folder / "short", task, tool, budget=3),
        "boxes": boards.play(folder / "boxes", task, tool, settings={"track": "box+point"}),
        "fewer": boards.play(folder / "fewer", task, tool, limit=10),
        "told": boards.play(folder / "told", task, tool, initial="gt-box"),
        "oracle": hlmat_bench.run("oracle", segmenter=disc, out=folder / "oracle", **options),
        "random": hlmat_bench.run("random", segmenter=disc, out=folder / "random", **options),
        "wide": hlmat_bench.run("oracle", segmenter=f"{tool},radius=12", out=folder / "wide", **options),
    }


def _entries(runs: dict[str, Run]) -> dict[str, BoardEntry]:
    return {name: make_entry(run, boards.DECLARED, name) for name, run in runs.items()}


@pytest.mark.slow
def test_only_what_may_be_compared_is_in_one_ranking(runs: dict[str, Run]) -> None:
    entries = _entries(runs)
    made = rankings([Listed(entry, None) for entry in entries.values()])
    together = sorted(sorted(row.entry.id for row in ranking.rows) for ranking in made)
    # By the ground truth's box the track is box+point: "boxes" and "told" are one ranking, but "told" has no rank.
    assert together == [["boxes", "told"], ["fewer"], ["good", "low", "oracle", "random"], ["short"], ["wide"]]
    assert len({ranking.key for ranking in made}) == len(made)
    ranks = {row.entry.id: (row.rank, row.reference) for ranking in made for row in ranking.rows}
    assert ranks["good"] == ((1, 1), None)
    assert ranks["low"] == ((2, 2), None)
    assert ranks["boxes"] == ((1, 1), None)
    assert ranks["oracle"] == ranks["wide"] == (None, "ceiling")
    assert ranks["random"] == (None, "floor")
    assert ranks["told"] == (None, "uses the ground truth")


def test_the_order_of_samples_and_of_entries_does_not_matter(runs: dict[str, Run]) -> None:
    entries = _entries({name: runs[name] for name in ("good", "low")})
    value = boards.dumped(entries["low"])
    samples = value["samples"]
    for column in (samples, samples["first"]):
        for name in list(column):
            column[name] = column[name] if name == "first" else column[name][::-1]
    turned = BoardEntry.model_validate(value)
    one = rankings([Listed(entries["good"], None), Listed(entries["low"], None)])
    two = rankings([Listed(turned, None), Listed(entries["good"], None)])
    assert [[(row.entry.id, row.rank) for row in each.rows] for each in one] == [
        [(row.entry.id, row.rank) for row in each.rows] for each in two
    ]


@pytest.mark.slow
def test_what_begins_with_the_work_of_others_is_a_ranking_of_its_own(runs: dict[str, Run]) -> None:
    entries = []
    for name, initial in (("a", "empty"), ("b", "model-box"), ("c", "masks=sha256:1"), ("d", "masks=sha256:2")):
        value = boards.dumped(make_entry(runs["good"], boards.DECLARED, name))
        value["manifest"]["protocol"]["initial"] = initial
        entries.append(BoardEntry.model_validate(value))
    made = rankings([Listed(entry, None) for entry in entries])
    assert {(each.start, *sorted(row.entry.id for row in each.rows)) for each in made} == {
        ("", "a", "b"),
        ("masks=sha256:1", "c"),
        ("masks=sha256:2", "d"),
    }


@pytest.mark.parametrize("prm", ["oracle", "noisy"])
def test_a_run_that_predicts_iou_from_the_truth_has_no_rank(prm: str, runs: dict[str, Run], tmp_path: Path) -> None:
    value = boards.dumped(_entries({"good": runs["good"]})["good"])
    value["manifest"]["protocol"]["prm"] = prm
    [ranking] = rankings([Listed(BoardEntry.model_validate(value), None)])
    assert (ranking.rows[0].rank, ranking.rows[0].reference) == (None, "uses the ground truth")
