"""The samples on which two runs differ most, with error maps that are made with the page and need no JavaScript."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hlmat_bench.core.samples import Source
from hlmat_bench.core.text import clean
from hlmat_bench.reports.compare.figures import sample_link
from hlmat_bench.reports.compare.pairs import Pair
from hlmat_bench.reports.pages.site import Site
from hlmat_bench.reports.run import error_maps
from hlmat_bench.reports.run.data_files import EXPRESSION_LENGTH, sample_names
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.reports.run.steps import outcome_word
from hlmat_bench.scores.filtering import UNPARSABLE_AS
from hlmat_bench.scores.registry import STANDARD

COUNT = 12


@dataclass(frozen=True, slots=True)
class Side:
    """What one of the runs did on a sample: the address of its error map, its score, and its outcome.

    The address is empty where the map is that of the first run, as both rated the same mask.
    """

    address: str
    value: str
    word: str


@dataclass(frozen=True, slots=True)
class Row:
    """A sample of the list.

    Attributes:
        link: the state of the page that opens the sample.
        expression: what was to be segmented.
        difference: of the score, in points, above 0 where the first run is better.
        sides: both runs.
    """

    link: str
    expression: str
    difference: str
    sides: Sequence[Side]


def write(site: Site, entrants: Sequence[Entrant], pair: Pair, source: Source | None) -> list[Row]:
    """Write the error maps of the samples on which two runs differ most, the largest difference first.

    Args:
        site: the folder.
        entrants: all runs.
        pair: two of them.
        source: where the pixels come from; None: the maps are drawn on grey.
    """
    shown = [entrants[pair.first], entrants[pair.second]]
    names, known = sample_names(shown[0].samples), {one.id: one for one in source.samples()} if source else {}
    rows = []
    for place, (number, step, lead) in enumerate(_largest(shown[0], pair)):
        sample = shown[0].samples[number]
        image = source.image(known[sample.sample_id]) if source is not None else None
        sides = []
        for n, one in enumerate(shown):
            address = f"img/apart/{place:02d}-{n}.webp" if step is None or n == 0 else ""
            if address:
                at = one.samples[number].answer if step is None else step
                episode = json.loads(one.texts[number])
                site.write(address, error_maps.draw(image, episode, at, clicks=step is None))
            sides.append(_side(one, number, step, address))
        link = sample_link(pair, names[number], len(entrants)) + ("" if step is None else f"&step={step}")
        expression = clean(sample.expression, EXPRESSION_LENGTH)
        rows.append(Row(link, expression, pair.main.shown(lead, sign=True), sides))
    return rows


def _largest(first: Entrant, pair: Pair) -> list[tuple[int, int | None, float]]:
    """Return the largest differences: the sample's number, the step of a rated mask, the difference; none that is 0."""
    if first.taken is None:
        items: list[tuple[int, int | None]] = [
            (number, t) for number, sample in enumerate(first.samples) for t in range(1, len(sample.predicted) + 1)
        ]
    else:
        items = [(number, None) for number in range(len(first.samples))]
    order = np.argsort(-np.abs(pair.leads), kind="stable")[:COUNT]
    return [(*items[n], float(pair.leads[n])) for n in order if abs(pair.leads[n]) > 1e-9]


def _side(one: Entrant, number: int, step: int | None, address: str) -> Side:
    sample, shown = one.samples[number], STANDARD["miou"].shown
    if step is None:
        return Side(address, f"{shown(sample.score)} %", outcome_word(sample))
    said, true = sample.predicted[step - 1], f"the true IoU is {shown(float(sample.iou[step]))} %"
    if said is None:
        return Side(address, "not read", f"counts as {shown(UNPARSABLE_AS)} %; {true}")
    return Side(address, f"{shown(said)} %", f"predicted; {true}")
