"""One episode in numbers: what every score is computed from. `hlmat_bench.scores.episodes` measures it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, GetPydanticSchema
from pydantic_core import CoreSchema, core_schema

from hlmat_bench.core.masks import RLE
from hlmat_bench.core.validation import exact
from hlmat_bench.scores.clicks import EpisodeClicks
from hlmat_bench.scores.failures import EpisodeFailures
from hlmat_bench.scores.search import Tried

#: Intersection and union of a mask with the ground truth, in pixels, ignored ones left out.
Areas: TypeAlias = tuple[int, int]


def _array(dtype: type[np.number[Any]], item: CoreSchema) -> GetPydanticSchema:
    """Read a JSON list as an array (n,), and write it as a list."""
    listed = core_schema.list_schema(item, strict=True)
    schema = core_schema.no_info_after_validator_function(
        lambda values: np.array(values, dtype),
        listed,
        serialization=core_schema.plain_serializer_function_ser_schema(lambda array: array.tolist()),
    )
    return GetPydanticSchema(lambda _, handler: schema)


_Pixels: TypeAlias = Annotated[NDArray[np.int64], _array(np.int64, core_schema.int_schema(strict=True, ge=0, lt=2**63))]
_Shares: TypeAlias = Annotated[
    NDArray[np.float64], _array(np.float64, core_schema.float_schema(strict=True, ge=0, le=1, allow_inf_nan=False))
]
_Unwritten: TypeAlias = Annotated[
    RLE | None, GetPydanticSchema(lambda _, handler: core_schema.none_schema()), Field(exclude=True)
]


@exact
@dataclass(frozen=True, slots=True)
class EpisodeScores:
    """One episode in numbers; arrays run over t = 0..budget, the last mask carried forward.

    It can be written as JSON and read again with pydantic. Dicts and lists are declared as such, because pydantic
    reads a `Mapping` or a `Sequence` several times slower.

    Attributes:
        sample_id, image, image_id, expression, tags, stop: as in the record.
        ref_id: as in the record; the sample's id where it has none.
        strata: the sample's, as `hlmat_bench.scores.strata` names them.
        target: pixels of the ground truth, ignored ones left out; 0: the sample has no target.
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
        further: numerator and denominator of every score of `registry.further` that is for such episodes.
        gt, mask: the ground truth and the answer's mask, for further scores; None of an empty initial mask, and where
            the numbers were read from JSON.
    """

    sample_id: str
    image: str
    image_id: str
    ref_id: str
    expression: str
    tags: dict[str, str]
    strata: dict[str, str]
    target: int
    intersection: _Pixels
    union: _Pixels
    iou: _Shares
    boundary_iou: _Shares
    selected: dict[str, int]
    answer: int
    reached: dict[str, int | None]
    kinds: list[str | None]
    outcome: str
    stop: str
    clicks: EpisodeClicks
    tried: list[Tried]
    tokens_in: int
    tokens_out: int
    dollars: list[float | None]
    seconds: float
    initial: dict[str, Any]
    failures: EpisodeFailures
    predicted: list[float | None]
    further: dict[str, tuple[float, float]]
    gt: _Unwritten = None
    mask: _Unwritten = None

    @property
    def score(self) -> float:
        """Return the IoU of the answer."""
        return float(self.iou[self.answer])

    def is_empty(self, t: int) -> bool:
        """Tell whether the mask after t clicks has no pixel that counts; as an answer it says "no such object"."""
        return int(self.intersection[t] + self.union[t]) == self.target

    def with_regrets(self, regrets: Mapping[int, float] | None) -> EpisodeScores:
        """Return the numbers with the regrets of valid clicks, by step, where a replay found them."""
        if not regrets:
            return self
        valid = [replace(click, regret=regrets.get(click.t)) for click in self.clicks.valid]
        return replace(self, clicks=replace(self.clicks, valid=valid))

    def areas(self) -> list[Areas]:
        """Return intersection and union after t = 0..budget clicks, in pixels."""
        return list(zip(self.intersection.tolist(), self.union.tolist(), strict=True))

    def at(self, rule: str) -> float:
        """Return the IoU of the mask that a selection rule takes."""
        return float(self.iou[self.selected[rule]])
