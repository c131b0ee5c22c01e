"""The page of a comparison: what its template shows, and the files beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hlmat_bench.core.samples import Source
from hlmat_bench.core.tables import TextTable
from hlmat_bench.reports.compare import figures, largest, settings, tables, words
from hlmat_bench.reports.compare.pairs import Pair, pairs, ranked
from hlmat_bench.reports.pages.files import write_figures, write_table
from hlmat_bench.reports.pages.plots.figure import Figure
from hlmat_bench.reports.pages.site import Site
from hlmat_bench.reports.run.data_files import sample_names
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.scores.paired import VERDICT_IMAGES
from hlmat_bench.scores.slices import Slicing

#: Of many runs the difference curves of this many others are drawn, and the failures of as many as there are colours.
_MOST_CURVES, _MOST_BARS = 6, 5
#: A matrix has at most this many runs: more do not fit a page.
_MOST_CELLS = 16


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the matrix: text, link to the samples of both runs, and ``win``, ``loss``, ``open`` or ``self``."""

    text: str
    link: str
    kind: str


@dataclass(frozen=True, slots=True)
class Part:
    """A row of the table of slices: grouping and part, link, samples, images, both scores, difference and verdict."""

    way: str
    name: str
    link: str
    samples: int
    images: int
    scores: Sequence[str]
    difference: str
    verdict: str
    weak: bool


def content(
    site: Site, entrants: Sequence[Entrant], slicings: Sequence[Slicing], source: Source | None
) -> dict[str, Any]:
    """Write figures, tables and error maps of a comparison, and return the variables of its template.

    Args:
        site: the folder.
        entrants: the runs, on the same samples in the same order.
        slicings: the ways to part the samples.
        source: where the pixels come from; None: error maps are drawn on grey.

    Raises:
        UsageError: when the runs do not compare.
    """
    found = pairs(entrants)
    shown = _focus(entrants, found)
    rated = entrants[0].taken is None
    parts = [] if rated else figures.slice_rows(shown, slicings)
    curves = [] if rated else list(_curves(entrants, found, shown))
    barred = [entrants[n] for n in sorted(ranked(entrants)[:_MOST_BARS])]
    drawn = {
        "scatter": figures.scatter(entrants, shown, sample_names(entrants[0].samples), "sample-by-sample"),
        "forest": figures.forest(parts, shown, "difference-by-slice") if parts else None,
        "failures": None if rated else figures.failures(barred, "failures"),
        "curves": curves,
        "calibrations": [figures.calibration(one, f"calibration-{n}") for n, one in enumerate(entrants, 1)]
        if rated
        else [],
    }
    write_figures(site, _flat(drawn))
    exported = tables.text_tables(entrants, found)
    _write_tables(site, exported, entrants, found)
    return {
        **drawn,
        "title": words.title(entrants),
        "verdict": words.summary(entrants, found),
        "verdicts": [words.verdict(pair) for pair in found] if len(found) > 1 else [],
        "shown": shown,
        "rated": rated,
        "tables": exported,
        "matrix": matrix(entrants, found) if 2 < len(entrants) <= _MOST_CELLS else None,
        "main": shown.main,
        "parts": [_part(entrants, shown, *row) for row in parts],
        "most_rows": figures.MOST_ROWS,
        "every": figures.step_of(len(entrants[0].samples)),
        "barred": [one.name for one in barred] if len(barred) < len(entrants) else [],
        "verdict_images": VERDICT_IMAGES,
        "meanings": {way.name: way.meaning for way in slicings if way.meaning},
        "rows": largest.write(site, entrants, shown, source),
        "model": settings.model_words(entrants),
        "differing": settings.differing(entrants),
        "by_prediction": any(one.rule == "self" for one in entrants),
    }


def _focus(entrants: Sequence[Entrant], found: Sequence[Pair]) -> Pair:
    """Return the pair that the page shows sample by sample: of three runs or more, the two best ones."""
    if len(found) == 1:
        return found[0]
    best = sorted(ranked(entrants)[:2])
    return next(pair for pair in found if [pair.first, pair.second] == best)


def _curves(entrants: Sequence[Entrant], found: Sequence[Pair], shown: Pair) -> Iterator[Figure]:
    """Yield the difference per click of the pair; of three runs or more, of the best one to each of the others."""
    if len(found) == 1:
        yield figures.difference_curve(entrants, shown, "difference-per-click")
        return
    best, *others = ranked(entrants)
    for other in others[:_MOST_CURVES]:
        pair = next(pair for pair in found if {pair.first, pair.second} == {best, other})
        pair = pair if pair.first == best else pair.swapped
        yield figures.difference_curve(entrants, pair, f"difference-per-click-{other + 1}")


def matrix(entrants: Sequence[Entrant], found: Sequence[Pair]) -> list[tuple[int, str, list[Cell]]]:
    """Return the rows of the matrix, the best run first: its number in this order, its name, a cell for each run."""
    order = ranked(entrants)
    by_runs = {(pair.first, pair.second): pair for pair in found}
    by_runs |= {(b, a): pair.swapped for (a, b), pair in by_runs.items()}
    return [(place, entrants[a].name, [_cell(by_runs.get((a, b))) for b in order]) for place, a in enumerate(order, 1)]


def _cell(pair: Pair | None) -> Cell:
    if pair is None:
        return Cell("", "", "self")
    kind = {0: "win", 1: "loss", None: "open"}[pair.better]
    return Cell(pair.main.shown(pair.lead.value, sign=True), f"#runs={pair.first},{pair.second}", kind)


def _part(entrants: Sequence[Entrant], shown: Pair, way: Slicing, code: int, part: Pair) -> Part:
    main = shown.main
    values = []
    for n in (shown.first, shown.second):
        found = figures.main_values(entrants[n])[way.members(code)]
        values.append(main.shown(float(found.mean())))
    return Part(
        way=way.name,
        name=way.values[code],
        link=figures.slice_link(way, code),
        samples=part.samples,
        images=part.image_count,
        scores=values,
        difference=main.with_interval(part.lead, sign=True),
        verdict=words.short(part),
        weak=part.too_few,
    )


def _write_tables(
    site: Site, exported: Sequence[TextTable], entrants: Sequence[Entrant], found: Sequence[Pair]
) -> None:
    for name, table in zip(("scores", "differences"), exported, strict=False):
        write_table(site, name, table)
    site.write("tables/comparison.csv", tables.csv(entrants, found))


def _flat(drawn: dict[str, Any]) -> Iterator[Figure | None]:
    for each in drawn.values():
        yield from each if isinstance(each, list) else [each]
