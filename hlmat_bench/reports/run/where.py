"""Where a run fails: the parts of the samples in one list over all groupings, the worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

from markupsafe import Markup

from hlmat_bench.core.tables import TextTable
from hlmat_bench.reports.pages.templates import in_percent
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.reports.run.steps import helped
from hlmat_bench.scores import miou
from hlmat_bench.scores.episode_scores import EpisodeScores
from hlmat_bench.scores.paired import INTERVAL_IMAGES, VERDICT_IMAGES
from hlmat_bench.scores.slices import Slicing, slice_scores

_WORST, _BEST = 6, 3
_WIDTH, _HEIGHT = 220, 24
#: Differences of mIoU to all samples from which on a cell is coloured, more and more.
_STEPS = (0.02, 0.07, 0.14)


@dataclass(frozen=True, slots=True)
class Part:
    """The samples of one part of a grouping.

    Attributes:
        way, name: the grouping and the part.
        n, images: how many samples and images.
        miou: in [0, 1].
        interval: its 95 % interval; None of a single image.
        oracle: the oracle's mIoU on the same samples; None where it did not play.
        never: the share of samples that never reach an IoU of 80 %.
        helped: the share of clicks that helped; None without clicks.
        heat: from -3, much worse than all samples, to 3; 0 where there are too few images for a verdict.
    """

    way: str
    name: str
    n: int
    images: int
    miou: float
    interval: Sequence[float] | None
    oracle: float | None
    never: float
    helped: float | None
    heat: int

    @property
    def weak(self) -> bool:
        """Tell whether there are too few images for a verdict."""
        return self.images < VERDICT_IMAGES

    @property
    def link(self) -> str:
        """Return the state of the page that shows the samples of this part."""
        return "#" + urlencode({"slice": f"{self.way}: {self.name}"})

    def drawn(self, overall: float) -> Markup:
        """Return the mIoU with its interval as a drawing from 0 to 1, with a line at the mIoU of all samples."""
        size = {"width": str(_WIDTH), "height": str(_HEIGHT), "viewBox": f"0 0 {_WIDTH} {_HEIGHT}"}
        svg = ElementTree.Element("svg", {"class": "whiskers", "aria-hidden": "true", **size})
        _line(svg, "axis", (_at(0), _HEIGHT / 2), (_at(1), _HEIGHT / 2))
        _line(svg, "overall", (_at(overall), 2), (_at(overall), _HEIGHT - 2))
        if self.interval is not None:
            _line(svg, "interval", (_at(self.interval[0]), _HEIGHT / 2), (_at(self.interval[1]), _HEIGHT / 2))
        place = {"cx": f"{_at(self.miou):.1f}", "cy": f"{_HEIGHT / 2:g}", "r": "4.5"}
        ElementTree.SubElement(svg, "circle", {"class": "value", **place})
        # Markup is not escaped again. That is safe: ElementTree escapes every attribute, and all of them are numbers.
        return Markup(ElementTree.tostring(svg, encoding="unicode", short_empty_elements=False))


def _at(value: float) -> float:
    return 6 + value * (_WIDTH - 12)


def _line(svg: ElementTree.Element, kind: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    places = zip(("x1", "y1", "x2", "y2"), (*start, *end), strict=True)
    ElementTree.SubElement(svg, "line", {"class": kind, **{name: f"{value:.1f}" for name, value in places}})


def parts(entrant: Entrant, slicings: Sequence[Slicing], oracle: Mapping[str, EpisodeScores]) -> list[Part]:
    """Return the parts of all groupings, the worst first."""
    found = [_part(entrant, way, code, oracle) for way in slicings for code in range(len(way.values))]
    return sorted(found, key=lambda part: (part.miou, part.way, part.name))


def chosen(found: Sequence[Part]) -> list[Part]:
    """Return the parts that are shown first: the six worst and the three best.

    Where nine parts have enough images for a verdict, they are of these, else of those with more than one image.
    """
    strong = [part for part in found if not part.weak]
    several = strong if len(strong) >= _WORST + _BEST else [part for part in found if part.interval is not None]
    return several if len(several) <= _WORST + _BEST else [*several[:_WORST], *several[-_BEST:]]


def text_table(found: Sequence[Part], caption: str) -> TextTable:
    """Return the parts as a table to take away; scores and shares in per cent."""
    headers = [
        "Grouping",
        "Slice",
        "Samples",
        "Images",
        "mIoU (%)",
        "low",
        "high",
        "Oracle (%)",
        "Never 80 % (%)",
        "Helped (%)",
    ]
    rows = []
    for part in found:
        low, high = part.interval or (None, None)
        shares = (part.miou, low, high, part.oracle, part.never, part.helped)
        rows.append([part.way, part.name, f"{part.n:,}", f"{part.images:,}", *map(in_percent, shares)])
    return TextTable(headers, rows, texts=2, caption=caption)


def _part(entrant: Entrant, way: Slicing, code: int, oracle: Mapping[str, EpisodeScores]) -> Part:
    samples = [entrant.samples[n] for n in way.members(code)]
    scores: dict[str, Any] = slice_scores(samples, entrant.budget, entrant.rule)
    images = len({sample.image_id for sample in samples})
    theirs = [oracle[sample.sample_id].score for sample in samples if sample.sample_id in oracle]
    assert entrant.taken is not None
    gap = scores["miou"] - entrant.taken["miou"]
    heat = sum(abs(gap) >= step for step in _STEPS) * (1 if gap > 0 else -1)
    return Part(
        way=way.name,
        name=way.values[code],
        n=len(samples),
        images=images,
        miou=scores["miou"],
        interval=scores["miou_ci"] if images >= INTERVAL_IMAGES else None,
        oracle=miou(theirs) if len(theirs) == len(samples) else None,
        never=sum(_never(sample, entrant) for sample in samples) / len(samples),
        helped=helped(samples),
        heat=heat if images >= VERDICT_IMAGES else 0,
    )


def _never(sample: EpisodeScores, entrant: Entrant) -> bool:
    return clicks_to(sample, "0.80", entrant.kind) is None


def clicks_to(sample: EpisodeScores, threshold: str, kind: str) -> int | None:
    """Return the clicks that a sample needed to reach an IoU; None where it never did.

    In tasks that begin with a mask it may be 0: the mask at the start has that IoU already.
    """
    if kind == "refinement" and sample.iou[0] >= float(threshold):
        return 0
    return sample.reached[threshold]
