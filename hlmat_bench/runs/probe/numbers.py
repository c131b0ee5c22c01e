"""Find the two numbers in a reply, in any syntax.

Only the diagnosis uses this: a run reads replies by `hlmat_bench.actions.parse`, in the declared format only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hlmat_bench.points import PointFormat
from hlmat_bench.points.answers import answer_in
from hlmat_bench.points.syntaxes import SYNTAXES, Syntax

BARE = "bare"
"""The name of the syntax for two numbers that are in no known syntax."""

_HUGE = 1e6
_BARE = r"(-?\d{1,7}(?:\.\d{1,9})?|-?\.\d{1,9})"
_BARE_PAIR = re.compile(rf"{_BARE}[^\d.-]{{1,12}}{_BARE}", re.ASCII)


@dataclass(frozen=True, slots=True)
class NumberPair:
    """Two numbers of a reply.

    Attributes:
        first, second: the numbers in the order in which they were written, or the centre of a box.
        syntax: a name in `SYNTAXES`, or `BARE`.
        named: True if the reply names the axes of the numbers, so that the declared order has no effect.
    """

    first: float
    second: float
    syntax: str
    named: bool = False


def find_numbers(replies: Sequence[str | None], declared: PointFormat) -> list[NumberPair | None]:
    """Find the numbers of each reply: in the declared syntax, else in the one that reads most replies, else bare.

    Args:
        replies: what the model wrote; None if the request failed.
        declared: the model's point format. If a reply names the axes of its numbers, they are put into the order of
            this format, as in a run.
    """
    own = SYNTAXES[declared.syntax]
    answers = [declared.without_marks(answer_in(reply).final) if reply else None for reply in replies]
    texts = [answer for answer in answers if answer and _pair(own, answer, declared) is None]
    others = sorted(
        SYNTAXES, key=lambda name: -sum(_pair(SYNTAXES[name], text, declared) is not None for text in texts)
    )
    names = [declared.syntax, *(name for name in others if name != declared.syntax)]
    return [_find_numbers(answer, names, declared) if answer else None for answer in answers]


def _find_numbers(text: str, names: Sequence[str], declared: PointFormat) -> NumberPair | None:
    for name in names:
        if (pair := _pair(SYNTAXES[name], text, declared)) is not None:
            point = SYNTAXES[name].read(text).point
            return NumberPair(*pair, name, named=point is not None and point.named)
    match = _BARE_PAIR.search(text)
    pair = _sane(float(match[1]), float(match[2])) if match else None
    return NumberPair(*pair, BARE) if pair else None


def _pair(syntax: Syntax, text: str, declared: PointFormat) -> tuple[float, float] | None:
    reading = syntax.read(text)
    if reading.point is not None:
        first, second = reading.point.first, reading.point.second
        return _sane(second, first) if reading.point.named and declared.order == "yx" else _sane(first, second)
    if reading.box is not None and reading.centred:
        a, b, c, d = reading.box
        return _sane((a + c) / 2, (b + d) / 2)
    return None


def _sane(first: float, second: float) -> tuple[float, float] | None:
    """Return the numbers, or None if one of them is too large or not finite to be a coordinate."""
    usable = all(math.isfinite(number) and abs(number) < _HUGE for number in (first, second))
    return (first, second) if usable else None
