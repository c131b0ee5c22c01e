"""The samples that a run did worst, as error maps that are made with the page and need no JavaScript."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from hlmat_bench.core.samples import Source
from hlmat_bench.core.text import clean
from hlmat_bench.reports.pages.site import Site
from hlmat_bench.reports.pages.templates import in_percent
from hlmat_bench.reports.run import error_maps
from hlmat_bench.reports.run.data_files import EXPRESSION_LENGTH, sample_names
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.reports.run.steps import outcome_word

COUNT = 12


@dataclass(frozen=True, slots=True)
class Tile:
    """An error map with what it shows.

    Attributes:
        address: of the image file, from the page.
        link: the state of the page that opens the sample.
        value: the IoU in per cent, or the predicted and the true one.
        expression: what was to be segmented.
        word: the outcome.
    """

    address: str
    link: str
    value: str
    expression: str
    word: str


def write(site: Site, entrant: Entrant, source: Source | None) -> list[Tile]:
    """Write the error maps of the samples with the lowest IoU, or with the largest error of a predicted IoU.

    Args:
        site: the folder.
        entrant: the run.
        source: where the pixels come from; None: the maps are drawn on grey.
    """
    names, known = sample_names(entrant.samples), {one.id: one for one in source.samples()} if source else {}
    tiles = []
    for place, (number, step) in enumerate(_worst(entrant)):
        sample, episode = entrant.samples[number], json.loads(entrant.texts[number])
        image = source.image(known[sample.sample_id]) if source is not None else None
        address = f"img/worst/{place:02d}.webp"
        site.write(address, error_maps.draw(image, episode, step, clicks=entrant.taken is not None))
        words = {"sample": names[number]} | ({} if entrant.taken is not None else {"step": str(step)})
        tiles.append(
            Tile(
                address=address,
                link="#" + urlencode(words),
                value=_value(entrant, number, step),
                expression=clean(sample.expression, EXPRESSION_LENGTH),
                word=outcome_word(sample) if entrant.taken is not None else "",
            )
        )
    return tiles


def _value(entrant: Entrant, number: int, step: int) -> str:
    sample = entrant.samples[number]
    if entrant.taken is not None:
        return f"{in_percent(sample.score, 0)} %"
    said = sample.predicted[step - 1]
    return f"said {'nothing' if said is None else in_percent(said, 0)}, is {in_percent(float(sample.iou[step]), 0)}"


def _worst(entrant: Entrant) -> Sequence[tuple[int, int]]:
    """Return the worst samples by their numbers, each with the step whose mask is shown; the worst first."""
    samples = entrant.samples
    if entrant.taken is not None:
        order = sorted(range(len(samples)), key=lambda number: samples[number].score)
        return [(number, samples[number].answer) for number in order[:COUNT]]
    errors = [
        (-abs(said - float(sample.iou[t])), number, t)
        for number, sample in enumerate(samples)
        for t, said in enumerate(sample.predicted, 1)
        if said is not None
    ]
    return [(number, t) for _, number, t in sorted(errors)[:COUNT]]
