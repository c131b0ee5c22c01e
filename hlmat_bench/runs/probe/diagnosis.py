"""From questions with known answers and a model's replies to what is wrong with its declared convention.

Nothing here changes how a reply is read in a run. A convention is named only where it explains at least half of the
answers and where they depend on the marker at all; what the answers cannot tell apart is named as such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from hlmat_bench.actions import parse
from hlmat_bench.core.types import Size
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Frame
from hlmat_bench.runs.probe.fitting import (
    NEAR,
    Data,
    Hypothesis,
    choose,
    costs,
    named,
    shifted,
    straight,
    stretched,
    told_apart,
)
from hlmat_bench.runs.probe.hypotheses import SENT, Reading, View
from hlmat_bench.runs.probe.numbers import BARE, Heard, hear
from hlmat_bench.runs.probe.permutation import depends

Status: TypeAlias = Literal["fits", "mistaken", "unclear", "blind", "silent"]
Mistake: TypeAlias = Literal["order", "unit", "canvas", "offset", "scale", "syntax"]
Spot: TypeAlias = tuple[float, float]

FEWEST = 8
"""With fewer answers nothing is said of a convention."""

ENOUGH = 16
"""With fewer answers a model that points badly cannot be told from one that cannot point."""

_MUCH_BETTER, _WORTH = 0.75, 0.005
"""An offset or a free scale is reported where it cuts the mean error to this part of it, and by so many diagonals. The
part is smaller where the answers are few: by the share of free numbers in them."""

_FOLLOWED = 0.8
"""The declared syntax is followed when it reads this share of the replies that hold two numbers."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A question and what came back.

    Attributes:
        target: the middle of the marker, (x, y) in pixels of the original image, where (0, 0) is the upper left
            corner of the first pixel.
        size: (height, width) of the original image.
        frame: how it was sent.
        reply: what the model wrote; None where the request failed.
    """

    target: Spot
    size: Size
    frame: Frame
    reply: str | None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the answers say of the declared convention.

    Attributes:
        status: ``fits``: the declared one is right; ``mistaken``: another one is; ``unclear``: none explains half
            of the answers; ``blind``: they do not depend on the marker; ``silent``: there are too few of them.
        mistakes: what is declared wrongly, or is wrong with the numbers.
        found: what explains the answers best; None where nothing can be said.
        alike: further readings that cannot be told apart from it.
        declare: the options that declare it, e.g. ``points=yx1000-json,resize=square``; None where nothing is to be
            changed or nothing declares it.
        syntax: in which syntax most numbers are written; None without any.
        followed: the share of replies with numbers that the declared syntax reads.
        heard: per answer, its numbers, or None.
        declared_spots: per answer, where it points under the declared format, (x, y) in pixels of the original
            image, perhaps outside it; None without numbers.
        found_spots: the same for `found`.
        errors: per answer, how far the declared spot is from the target, in pixels.
    """

    status: Status
    heard: tuple[Heard | None, ...]
    mistakes: tuple[Mistake, ...] = ()
    found: Hypothesis | None = None
    alike: tuple[Reading, ...] = ()
    declare: str | None = None
    syntax: str | None = None
    followed: float = 0.0
    declared_spots: tuple[Spot | None, ...] = ()
    found_spots: tuple[Spot | None, ...] = ()
    errors: tuple[float | None, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON values; the spots and errors stand with the answers in probe.json."""
        found = self.found
        return {
            "status": self.status,
            "mistakes": list(self.mistakes),
            "reading": None if found is None else str(found.reading),
            "alike": [str(reading) for reading in self.alike],
            "offset": None if found is None or found.offset is None else str(found.offset),
            "factors": None if found is None or found.factors is None else list(found.factors),
            "declare": self.declare,
            "syntax": self.syntax,
            "followed": self.followed,
        }


def diagnose(
    answers: Sequence[Answer],
    declared: PointFormat,
    resize: str = "none",
    *,
    rules: Iterable[str] = (),
    seed: int = 0,
) -> Diagnosis:
    """Compare what was answered with what was asked.

    Args:
        answers: all questions.
        declared: the model's point format.
        resize: the name of its resize rule, by which the frames were made.
        rules: names of resize rules that the model may follow, besides `hlmat_bench.runs.probe.hypotheses.RULES`.
        seed: of the permutations by which chance is ruled out.
    """
    heard = tuple(hear([answer.reply for answer in answers], declared))
    usable = [number for number, one in enumerate(heard) if one is not None]
    reading = Reading.declared(declared)
    if not usable:
        return Diagnosis("silent", heard)
    data = _data([answers[number] for number in usable], [one for one in heard if one is not None])
    readings = named(data, reading, rules)
    spots = _spots(readings[0], data, usable, len(answers))
    about: dict[str, Any] = {
        "heard": heard,
        "syntax": _common_syntax(heard),
        "followed": _followed(answers, heard, declared),
        "declared_spots": spots,
        "errors": tuple(_distance(spot, answer) for spot, answer in zip(spots, answers, strict=True)),
    }
    if len(usable) < max(FEWEST, len(answers) / 4):
        return Diagnosis("silent", **about)
    if not depends(data, np.stack([one.places for one in readings]), seed):
        return Diagnosis("blind" if len(usable) >= ENOUGH else "silent", **about)
    found, alike = _explain(data, reading, readings)
    about |= {"found": found, "alike": alike, "found_spots": _spots(found, data, usable, len(answers))}
    if (data.errors(found.places) <= NEAR).mean() < 0.5:
        return Diagnosis("unclear", **about)
    mistakes = _mistakes(reading, found, about["followed"])
    named_axes = any(one is not None and one.named for one in heard)
    declare = (
        None if named_axes and "order" in mistakes else _declaration(declared, resize, found, about["syntax"], mistakes)
    )
    return Diagnosis("mistaken" if mistakes else "fits", mistakes=mistakes, declare=declare, **about)


def _data(answers: Sequence[Answer], heard: Sequence[Heard]) -> Data:
    return Data(
        numbers=np.array([[one.first, one.second] for one in heard]),
        targets=np.array([[a.target[0] / a.size[1], a.target[1] / a.size[0]] for a in answers]),
        views=[View(answer.size, answer.frame) for answer in answers],
    )


def _explain(data: Data, declared: Reading, readings: list[Hypothesis]) -> tuple[Hypothesis, tuple[Reading, ...]]:
    """What explains the answers best, as simply as possible, and the readings that cannot be told apart from it."""
    kind = (declared.order, declared.limit is None)

    def preferred(one: Hypothesis) -> bool:
        free = (one.reading.order, one.reading.limit is None) == kind and one.factors is not None
        return one.reading == declared or free

    best, alike = choose(data, readings, preferred)
    for free, level in ((2, [*shifted(data, readings), *stretched(data)]), (4, straight(data))):
        better, others = choose(data, level, preferred)
        before, after = costs(data, [best, better])
        enough = _MUCH_BETTER * (1 - free / len(data.numbers))
        if after < enough * before and before - after > _WORTH and told_apart(data, better, [best])[0]:
            best, alike = better, [other for other in others if (other.factors is None) == (better.factors is None)]
    named_alike = dict.fromkeys(other.reading for other in alike if other.factors is None)
    return best, tuple(reading for reading in named_alike if reading != best.reading)


def _mistakes(declared: Reading, found: Hypothesis, followed: float) -> tuple[Mistake, ...]:
    reading, named_units = found.reading, found.factors is None
    wrong: dict[Mistake, bool] = {
        "order": reading.order != declared.order,
        "unit": named_units and reading.limit != declared.limit,
        "canvas": named_units and reading.canvas != SENT,
        "scale": not named_units,
        "offset": found.offset is not None,
        "syntax": followed < _FOLLOWED,
    }
    return tuple(name for name, there in wrong.items() if there)


def _declaration(
    declared: PointFormat, resize: str, found: Hypothesis, syntax: str | None, mistakes: Sequence[Mistake]
) -> str | None:
    """The options that would be right, unless only an offset is wrong or nothing can be declared."""
    points = found.reading.points()
    if not set(mistakes) - {"offset"} or found.factors is not None or points is None:
        return None
    written = syntax if "syntax" in mistakes and syntax not in (None, BARE) else declared.syntax
    options = [f"points={points}" + ("" if written == "text" else f"-{written}")]
    rule = found.reading.resize(resize)
    return ",".join(options if rule == resize else [*options, f"resize={rule}"])


def _common_syntax(heard: Sequence[Heard | None]) -> str:
    return Counter(one.syntax for one in heard if one is not None).most_common(1)[0][0]


def _followed(answers: Sequence[Answer], heard: Sequence[Heard | None], declared: PointFormat) -> float:
    """The share of replies with numbers in which a run would see a point, inside the range or not."""
    actions = [
        parse(answer.reply or "", declared, answer.size, answer.frame)
        for answer, one in zip(answers, heard, strict=True)
        if one is not None
    ]
    return sum(action.kind == "click" or action.reason == "out_of_bounds" for action in actions) / len(actions)


def _spots(one: Hypothesis, data: Data, usable: Sequence[int], count: int) -> tuple[Spot | None, ...]:
    spots: list[Spot | None] = [None] * count
    for number, (x, y), view in zip(usable, one.places.tolist(), data.views, strict=True):
        spots[number] = (x * view.size[1], y * view.size[0])
    return tuple(spots)


def _distance(spot: Spot | None, answer: Answer) -> float | None:
    return None if spot is None else float(np.hypot(spot[0] - answer.target[0], spot[1] - answer.target[1]))
