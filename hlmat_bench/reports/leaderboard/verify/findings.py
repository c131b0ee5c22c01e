"""What verification finds, and the levels it gives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

BadgeLevel: TypeAlias = Literal["schema", "recomputed", "replayed", "rerun"]

#: From the weakest to the strongest, with what each means.
LEVELS: dict[BadgeLevel, str] = {
    "schema": "format and internal consistency checked; the run itself was not",
    "recomputed": "scores and digests were computed again from the run's masks",
    "replayed": "the masks were made again from the recorded clicks, by the same segmenter on the same data",
    "rerun": "the model was asked again and scored the same",
}

TOLERANCE = 1e-6
"""By how much two computations of one score may differ."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Something that is not as it should be.

    Attributes:
        place: where: a field of the entry, or a sample, its step and the field.
        problem: what is wrong, as the rest of a sentence.
    """

    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verification came to.

    Attributes:
        level: the strongest level that was reached; None when a check failed.
        findings: what failed.
        notes: what a reader should know besides.
    """

    level: BadgeLevel | None
    findings: list[Mismatch]
    notes: list[str] = field(default_factory=list)


def at(sample: str, step: int | None, what: str) -> str:
    """Name a place in a run: ``sample s/1, step 2, iou``; step None is the whole episode, 0 its initial state."""
    return f"sample {sample}, {what}" if step is None else f"sample {sample}, step {step}, {what}"


def differences(said: Any, found: Any, place: str) -> Iterator[Mismatch]:
    """Yield where two JSON values differ; numbers that are not whole may differ by `TOLERANCE`."""
    if isinstance(said, Mapping) and isinstance(found, Mapping):
        for key in [*said, *(key for key in found if key not in said)]:
            yield from differences(said.get(key), found.get(key), f"{place}.{key}")
    elif isinstance(said, list) and isinstance(found, list) and len(said) == len(found):
        for number, pair in enumerate(zip(said, found, strict=True)):
            yield from differences(*pair, f"{place}.{number}")
    elif not _agree(said, found):
        yield Mismatch(place, f"says {_short(said)}, but {_short(found)} is found")


def _agree(said: Any, found: Any) -> bool:
    numbers = all(isinstance(each, float | int) and not isinstance(each, bool) for each in (said, found))
    if numbers and float in (type(said), type(found)):
        return math.isclose(said, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(said == found)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
