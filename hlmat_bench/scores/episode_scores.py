"""One episode in numbers: what every score is computed from. `hlmat_bench.scores.episodes` measures it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core.masks import RLE
from hlmat_bench.scores.clicks import EpisodeClicks
from hlmat_bench.scores.failures import EpisodeFailures
from hlmat_bench.scores.search import Tried

#: Intersection and union of a mask with the ground truth, in pixels, ignored ones left out.
Areas: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class EpisodeScores:
    """One episode in numbers; arrays run over t = 0..budget, the last mask carried forward.

    Attributes:
        sample_id, image, image_id, expression, tags, stop: as in the record.
        ref_id: as in the record; the sample's id where it has none.
        strata: the sample's, as `hlmat_bench.scores.strata` names them.
        intersection, union: pixels, int (T + 1,), ignored pixels left out.
        iou, boundary_iou: float (T + 1,); boundary IoU is NaN where it was not asked for.
        selected: per selection rule the step whose mask is taken.
        answer: the one of these that the run is scored by.
        reached: per threshold of NoC (``0.85``) the click that reached it; None for a miss.
        kinds: per step what it was; see `outcomes.STEPS`.
        outcome: see `outcomes.OUTCOMES`.
        clicks: what its clicks did.
        tried: the candidates of each step of a search.
        tokens_in, tokens_out, seconds: of the whole episode.
        dollars: what each reply cost; None where unknown.
        initial: how it began, as in the record, without the mask.
        failures: what went wrong.
        predicted: of each step that is about a given mask, the IoU that the model predicts; None where it cannot be
            read.
        gt, mask: the ground truth and the answer's mask; None of an empty initial mask.
        further: numerator and denominator of every score of `registry.further` that is for such episodes.
    """

    sample_id: str
    image: str
    image_id: str
    ref_id: str
    expression: str
    tags: Mapping[str, str]
    strata: Mapping[str, str]
    intersection: NDArray[np.int64]
    union: NDArray[np.int64]
    iou: NDArray[np.float64]
    boundary_iou: NDArray[np.float64]
    selected: Mapping[str, int]
    answer: int
    reached: Mapping[str, int | None]
    kinds: Sequence[str | None]
    outcome: str
    stop: str
    clicks: EpisodeClicks
    tried: Sequence[Tried]
    tokens_in: int
    tokens_out: int
    dollars: Sequence[float | None]
    seconds: float
    initial: Mapping[str, Any]
    failures: EpisodeFailures
    predicted: Sequence[float | None]
    gt: RLE
    mask: RLE | None
    further: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """Return the IoU of the answer."""
        return float(self.iou[self.answer])

    def areas(self) -> list[Areas]:
        """Return intersection and union after t = 0..budget clicks, in pixels."""
        return list(zip(self.intersection.tolist(), self.union.tolist(), strict=True))

    def at(self, rule: str) -> float:
        """Return the IoU of the mask that a selection rule takes."""
        return float(self.iou[self.selected[rule]])
