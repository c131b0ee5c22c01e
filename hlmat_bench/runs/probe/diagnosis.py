"""Find out whether a model's declared convention is right, from its replies to questions with known answers.

This never changes how a run reads replies. A convention is reported only if it explains at least half of the answers
and the answers depend on the marker's position. Conventions that the answers cannot distinguish are all reported.
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
from hlmat_bench.runs.probe import fitting
from hlmat_bench.runs.probe.fitting import NEAR, Data, Hypothesis
from hlmat_bench.runs.probe.hypotheses import SENT, Convention, SentImage
from hlmat_bench.runs.probe.numbers import BARE, NumberPair, find_numbers
from hlmat_bench.runs.probe.permutation import depends_on_marker

Status: TypeAlias = Literal["fits", "mistaken", "unclear", "blind", "silent"]
Mistake: TypeAlias = Literal["order", "unit", "canvas", "offset", "scale", "syntax"]
Spot: TypeAlias = tuple[float, float]

FEWEST = 8
"""With fewer answers no convention is reported."""

ENOUGH = 16
"""With fewer answers a model that points badly cannot be distinguished from one that cannot point."""

_MUCH_BETTER, _WORTH = 0.75, 0.005
"""An offset or a free scale is reported if it reduces the mean error to this fraction, and by this part of the
diagonal. With few answers the fraction is smaller, in proportion to the free parameters per answer: they alone reduce
the error."""

_FOLLOWED = 0.8
"""The declared syntax is right if it reads this share of the replies with two numbers."""


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """The target of a question and the reply.

    Attributes:
        target: centre of the marker, (x, y) in pixels of the original image; (0, 0) is the upper left corner of the
            first pixel.
        size: (height, width) of the original image.
        frame: transformation of the image before it was sent.
        reply: what the model wrote; None if the request failed.
    """

    target: Spot
    size: Size
    frame: Frame
    reply: str | None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the answers show about the declared convention.

    Attributes:
        status: ``fits``: the declared convention is right; ``mistaken``: another one is right; ``unclear``: none
            explains half of the answers; ``blind``: the answers do not depend on the marker; ``silent``: there are too
            few answers.
        mistakes: the parts of the declaration that are wrong, or the systematic errors of the numbers.
        found: the hypothesis that explains the answers best; None if there is not enough evidence.
        alike: further conventions that cannot be distinguished from `found`.
        declare: the options that declare `found`, e.g. ``points=yx1000-json,resize=square``; None if the declaration is
            right or no options exist for it.
        syntax: syntax of most numbers; None without any numbers.
        followed: share of the replies with numbers that the declared syntax reads, in [0, 1].
        pairs: per answer, its two numbers, or None.
        declared_spots: per answer, its position under the declared format, (x, y) in pixels of the original image,
            possibly outside the image; None without numbers.
        found_spots: per answer, its position under `found`, in the same form.
        errors: per answer, distance of the declared spot from the target, in pixels.
    """

    status: Status
    pairs: tuple[NumberPair | None, ...]
    mistakes: tuple[Mistake, ...] = ()
    found: Hypothesis | None = None
    alike: tuple[Convention, ...] = ()
    declare: str | None = None
    syntax: str | None = None
    followed: float = 0.0
    declared_spots: tuple[Spot | None, ...] = ()
    found_spots: tuple[Spot | None, ...] = ()
    errors: tuple[float | None, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, without the spots and errors: in probe.json these are part of the answers."""
        found = self.found
        return {
            "status": self.status,
            "mistakes": list(self.mistakes),
            "reading": None if found is None else str(found.convention),
            "alike": [str(convention) for convention in self.alike],
            "offset": None if found is None or found.offset is None else str(found.offset),
            "factors": None if found is None or found.factors is None else list(found.factors),
            "declare": self.declare,
            "syntax": self.syntax,
            "followed": self.followed,
        }


def diagnose(
    answers: Sequence[ProbeAnswer],
    declared: PointFormat,
    resize: str = "none",
    *,
    rules: Iterable[str] = (),
    seed: int = 0,
) -> Diagnosis:
    """Compare the answers with the markers' positions.

    Args:
        answers: one per question, with or without a reply.
        declared: point format of the model.
        resize: name of the resize rule of the frames.
        rules: names of resize rules that the model may apply, in addition to `hlmat_bench.runs.probe.hypotheses.RULES`.
        seed: seed of the permutation test.
    """
    pairs = tuple(find_numbers([answer.reply for answer in answers], declared))
    usable = [number for number, one in enumerate(pairs) if one is not None]
    convention = Convention.declared(declared)
    if not usable:
        return Diagnosis("silent", pairs)
    data = _data([answers[number] for number in usable], [one for one in pairs if one is not None])
    conventions = fitting.plain(data, convention, rules)
    spots = _spots(conventions[0], data, usable, len(answers))
    about: dict[str, Any] = {
        "pairs": pairs,
        "syntax": _common_syntax(pairs),
        "followed": _followed(answers, pairs, declared),
        "declared_spots": spots,
        "errors": tuple(_distance(spot, answer) for spot, answer in zip(spots, answers, strict=True)),
    }
    if len(usable) < max(FEWEST, len(answers) / 4):
        return Diagnosis("silent", **about)
    if not depends_on_marker(data, np.stack([one.places for one in conventions]), seed):
        return Diagnosis("blind" if len(usable) >= ENOUGH else "silent", **about)
    found, alike = _explain(data, convention, conventions)
    about |= {"found": found, "alike": alike, "found_spots": _spots(found, data, usable, len(answers))}
    if (data.errors(found.places) <= NEAR).mean() < 0.5:
        return Diagnosis("unclear", **about)
    mistakes = _mistakes(convention, found, about["followed"])
    named_axes = any(one is not None and one.named for one in pairs)
    declare = (
        None if named_axes and "order" in mistakes else _declaration(declared, resize, found, about["syntax"], mistakes)
    )
    return Diagnosis("mistaken" if mistakes else "fits", mistakes=mistakes, declare=declare, **about)


def _data(answers: Sequence[ProbeAnswer], pairs: Sequence[NumberPair]) -> Data:
    return Data(
        numbers=np.array([[one.first, one.second] for one in pairs]),
        targets=np.array([[a.target[0] / a.size[1], a.target[1] / a.size[0]] for a in answers]),
        images=[SentImage(answer.size, answer.frame) for answer in answers],
    )


def _explain(
    data: Data, declared: Convention, conventions: list[Hypothesis]
) -> tuple[Hypothesis, tuple[Convention, ...]]:
    """Return the simplest sufficient hypothesis, and the conventions that cannot be distinguished from it."""
    # Three levels with 0, 2 and 4 free parameters: conventions alone, with an offset or factors, with both. A later
    # level replaces an earlier one only if it is clearly better (see `_MUCH_BETTER`) and contradicts the earlier one.
    # Among equals, the declared convention or, with free factors, its axis order and kind of unit are preferred; then
    # its unit with the other axis order.
    kind = (declared.order, declared.limit is None)

    def likeness(one: Hypothesis) -> int:
        free = (one.convention.order, one.convention.limit is None) == kind and one.factors is not None
        if one.convention == declared or free:
            return 2
        return int((one.convention.limit, one.convention.canvas) == (declared.limit, declared.canvas))

    best, alike = fitting.choose(data, conventions, likeness)
    for free, level in (
        (2, [*fitting.with_offset(data, conventions), *fitting.with_factors(data)]),
        (4, fitting.with_line(data)),
    ):
        better, others = fitting.choose(data, level, likeness)
        before, after = fitting.costs(data, [best, better])
        enough = _MUCH_BETTER * (1 - free / len(data.numbers))
        if after < enough * before and before - after > _WORTH and fitting.told_apart(data, better, [best])[0]:
            best, alike = better, [other for other in others if (other.factors is None) == (better.factors is None)]
    named_alike = dict.fromkeys(other.convention for other in alike if other.factors is None)
    return best, tuple(convention for convention in named_alike if convention != best.convention)


def _mistakes(declared: Convention, found: Hypothesis, followed: float) -> tuple[Mistake, ...]:
    convention, named_units = found.convention, found.factors is None
    wrong: dict[Mistake, bool] = {
        "order": convention.order != declared.order,
        "unit": named_units and convention.limit != declared.limit,
        "canvas": named_units and convention.canvas != SENT,
        "scale": not named_units,
        "offset": found.offset is not None,
        "syntax": followed < _FOLLOWED,
    }
    return tuple(name for name, there in wrong.items() if there)


def _declaration(
    declared: PointFormat, resize: str, found: Hypothesis, syntax: str | None, mistakes: Sequence[Mistake]
) -> str | None:
    """Return the right options; None if only an offset is wrong or no options declare the hypothesis."""
    points = found.convention.points()
    if not set(mistakes) - {"offset"} or found.factors is not None or points is None:
        return None
    written = syntax if "syntax" in mistakes and syntax not in (None, BARE) else declared.syntax
    options = [f"points={points}" + ("" if written == "text" else f"-{written}")]
    rule = found.convention.resize(resize)
    return ",".join(options if rule == resize else [*options, f"resize={rule}"])


def _common_syntax(pairs: Sequence[NumberPair | None]) -> str:
    return Counter(one.syntax for one in pairs if one is not None).most_common(1)[0][0]


def _followed(answers: Sequence[ProbeAnswer], pairs: Sequence[NumberPair | None], declared: PointFormat) -> float:
    """Return the share of replies with numbers in which a run finds a point, inside the range or outside it."""
    actions = [
        parse(answer.reply or "", declared, answer.size, answer.frame)
        for answer, one in zip(answers, pairs, strict=True)
        if one is not None
    ]
    return sum(action.kind == "click" or action.reason == "out_of_bounds" for action in actions) / len(actions)


def _spots(one: Hypothesis, data: Data, usable: Sequence[int], count: int) -> tuple[Spot | None, ...]:
    spots: list[Spot | None] = [None] * count
    for number, (x, y), image in zip(usable, one.places.tolist(), data.images, strict=True):
        spots[number] = (x * image.size[1], y * image.size[0])
    return tuple(spots)


def _distance(spot: Spot | None, answer: ProbeAnswer) -> float | None:
    return None if spot is None else float(np.hypot(spot[0] - answer.target[0], spot[1] - answer.target[1]))
