"""Comparisons of all entries of a ranking, against the interval of every pair; and runs that are entered twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hlmat_bench.reports.leaderboard import duplicates, words
from hlmat_bench.reports.leaderboard.entry import BoardEntry
from hlmat_bench.reports.leaderboard.paired import PairedScores
from hlmat_bench.reports.leaderboard.ranking import Ranking, rankings
from hlmat_bench.reports.leaderboard.repository import Listed
from hlmat_bench.reports.leaderboard.submission import make_entry
from hlmat_bench.scores.intervals import bootstrap_difference
from tests.support import boards


@settings(max_examples=25, deadline=None)
@example(k=4, n=11, levels=2, resamples=801, seed=594)
@given(
    k=st.integers(1, 6),
    n=st.integers(2, 12),
    levels=st.integers(2, 5),
    resamples=st.sampled_from([40, 41, 200, 801, 2000]),
    seed=st.integers(0, 2**16),
)
def test_counting_draws_decides_as_the_interval_of_every_pair(
    k: int, n: int, levels: int, resamples: int, seed: int
) -> None:
    """Few levels of IoU make differences of exactly 0 frequent, where the ends of intervals lie on both sides of it."""
    generator = np.random.default_rng(seed)
    values = [generator.integers(levels, size=n) / levels for _ in range(k)]
    images = [str(number // 2) for number in range(n)]
    paired = PairedScores(values, images, resamples=resamples)
    better = paired.clearly_better()
    ones = np.ones(n)
    for first in range(k):
        for second in range(k):
            low, _ = bootstrap_difference((values[first], ones), (values[second], ones), images, resamples=resamples)
            expected = first != second and len(set(images)) > 1 and low[0] > 1e-12  # not a rounding
            assert better[first, second] == expected
            if len(set(images)) > 1 and first != second:
                found = paired.difference(first, second)
                assert (found.low, found.sign == 1) == (low[0], expected)
                assert found.value == pytest.approx((values[first] - values[second]).mean())
                assert found.ahead == sum(a > b for a, b in zip(values[first], values[second], strict=True))


def test_of_one_image_and_of_one_entry_nothing_is_known() -> None:
    paired = PairedScores([np.full(4, 0.9), np.full(4, 0.1)], ["one"] * 4)
    assert (paired.difference(0, 1).low, paired.difference(0, 1).sign) == (None, 0)
    assert paired.rank_ranges() == [(1, 2), (1, 2)]
    assert PairedScores([np.full(4, 0.9)], ["a", "b", "c", "d"]).rank_ranges() == [(1, 1)]


@pytest.fixture(scope="module")
def entries(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, BoardEntry]:
    folder = tmp_path_factory.mktemp("runs")
    heights = {"good": 260, "low": 600}
    return {
        name: make_entry(boards.play(folder / name, task, tool, height), boards.DECLARED, name)
        for name, height in heights.items()
    }


def _renamed(entry: BoardEntry, name: str, submitted: str, digest: str = "0" * 64) -> BoardEntry:
    value = boards.dumped(entry) | {"id": name, "submitted": submitted, "episodes_sha256": digest}
    return BoardEntry.model_validate(value)


def _ranked(*entries: BoardEntry) -> Ranking:
    [ranking] = rankings([Listed(entry, None) for entry in entries])
    return ranking


@pytest.mark.slow
def test_a_run_that_is_entered_twice_is_ranked_once(entries: dict[str, BoardEntry]) -> None:
    """The copies lie under other names, with another digest and a reply changed, or were submitted on another day."""
    good, low = entries["good"], entries["low"]
    later = _renamed(good, "a-later-copy", "2026-01-03", good.episodes_sha256)
    changed = boards.dumped(_renamed(good, "changed-copy", "2026-01-04"))
    changed["samples"]["marks"][:3] = [
        f"{mark[:-1]}{'0' if mark[-1] != '0' else '1'}" for mark in good.samples.marks[:3]
    ]
    ranking = _ranked(later, BoardEntry.model_validate(changed), good, low)
    found = {row.entry.id: (row.rank, row.repeats and row.repeats.id) for row in ranking.rows}
    assert found == {
        "good": ((1, 1), None),
        "low": ((2, 2), None),
        "a-later-copy": (None, "good"),
        "changed-copy": (None, "good"),
    }
    assert ranking.ranked == 2
    assert duplicates.share_of_equal_steps(good, low) < 0.1
    assert not duplicates.is_same_run(good, low)
    steps = sum(len(mark) // 8 - 1 for mark in good.samples.marks)
    expected = 1 - 3 / steps
    assert duplicates.share_of_equal_steps(good, BoardEntry.model_validate(changed)) == pytest.approx(expected)


@pytest.mark.slow
def test_replies_that_never_came_make_no_two_runs_the_same(entries: dict[str, BoardEntry], tmp_path: Path) -> None:
    """Episodes without a step have nothing in common that a model did."""
    values = [
        boards.dumped(_renamed(entry, name, "2026-01-02", f"{n}" * 64))
        for n, (name, entry) in enumerate(entries.items())
    ]
    for value in values:
        value["samples"]["marks"] = [mark[:8] for mark in value["samples"]["marks"]]
    one, two = (BoardEntry.model_validate(value) for value in values)
    assert not duplicates.is_same_run(one, two)
    assert [row.repeats for row in _ranked(one, two).rows] == [None, None]


@pytest.mark.slow
def test_on_few_images_no_entry_is_said_to_be_better(entries: dict[str, BoardEntry]) -> None:
    ranking = _ranked(*entries.values())
    assert ranking.n_images == 8
    [leader], said = words.lead(ranking)
    assert leader.entry.id == "good"
    few = "8 images are too few to say which entry is better."
    assert said == f" has the highest mIoU, {100 * leader.entry.answer.miou:.1f} %; {few}"
    assert words.verdict(ranking, 1)[1].endswith(f"Rank 2 of 2; {few}")


def test_points_have_a_sign_and_zero_has_none() -> None:
    assert [words.points(value) for value in (0.129, -0.129, 0.0004, -0.0004)] == ["+12.9", "−12.9", "0.0", "0.0"]
