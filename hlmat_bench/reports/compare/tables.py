"""The tables of a comparison, for its page, the terminal, and files in LaTeX, Markdown and CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hlmat_bench.core.tables import TextTable, csv_text
from hlmat_bench.reports.compare import words
from hlmat_bench.reports.compare.pairs import Pair, shown_scores
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.scores.registry import Score, ScoreValue

_CSV_HEADERS = ("run", "minus", "score", "value", "low", "high", "never", "n")


def score_table(entrants: Sequence[Entrant], found: Sequence[Pair]) -> TextTable:
    """Return the scores of the runs: of two, a row per score with the difference; of more, a row per run."""
    scores = shown_scores(entrants)
    if len(entrants) > 2:
        rows = [[one.name, *(_cell(one, score) for score in scores)] for one in entrants]
        return TextTable(["run", *(score.title for score in scores)], rows, caption="Scores of the runs")
    names = [one.name for one in entrants]
    rows = [
        [
            score.title,
            *(_cell(one, score) for one in entrants),
            score.with_interval(found[0].found[score.key], sign=True),
        ]
        for score in scores
    ]
    caption = f"Scores of the runs and their paired difference, {' − '.join(names)}"
    return TextTable(["score", *names, "difference"], rows, caption=caption)


def pair_table(found: Sequence[Pair]) -> TextTable:
    """Return every two runs with their difference by the main score, the verdict, and who is ahead how often."""
    main = found[0].main
    headers = ["first − second", "verdict", main.title, "first ahead", "equal", "second ahead"]
    rows = [
        [
            f"{pair.names[0]} − {pair.names[1]}",
            words.short(pair),
            main.with_interval(pair.found[main.key], sign=True),
            *(f"{count:,}" for count in pair.counts),
        ]
        for pair in found
    ]
    return TextTable(headers, rows, texts=2, caption="Paired differences of every two runs")


def text_tables(entrants: Sequence[Entrant], found: Sequence[Pair]) -> list[TextTable]:
    """Return the tables of a comparison."""
    return [score_table(entrants, found), *([pair_table(found)] if len(found) > 1 else [])]


def csv(entrants: Sequence[Entrant], found: Sequence[Pair]) -> str:
    """Return all numbers as CSV: a row per score of each run, then of each difference, unrounded, as in scores.json.

    ``minus`` names the second run of a difference, ``never`` counts the samples that never reach the threshold of a
    number of clicks.
    """
    return csv_text(_CSV_HEADERS, _csv_rows(entrants, found))


def exported(entrants: Sequence[Entrant], found: Sequence[Pair], ending: str) -> str:
    """Return the comparison in one of `core.tables.FORMATS`."""
    if ending == "csv":
        return csv(entrants, found)
    return "\n".join(table.text(ending) for table in text_tables(entrants, found))


def _csv_rows(entrants: Sequence[Entrant], found: Sequence[Pair]) -> Iterator[list[str | float | int | None]]:
    scores = shown_scores(entrants)
    for one in entrants:
        for score in scores:
            yield [one.name, None, score.key, *_numbers(one.read(score)), score.missed(one.scores), len(one.samples)]
    for pair in found:
        for score in scores:
            yield [*pair.names, score.key, *_numbers(pair.found[score.key]), None, pair.samples]


def _cell(entrant: Entrant, score: Score) -> str:
    """Write a run's score with its interval, or a number of clicks with how many samples never get there."""
    value, missed = entrant.read(score), score.missed(entrant.scores)
    if value is None or missed is None:
        return score.with_interval(value)
    return f"{score.shown(value.value)} ({missed:,} never)"


def _numbers(value: ScoreValue | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if value is None else tuple(value)  # type: ignore[return-value]
