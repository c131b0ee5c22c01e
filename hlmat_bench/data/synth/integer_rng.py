"""Randomness and trigonometry that give the same integers on every machine.

Random numbers are raw 64-bit words of PCG64, whose stream NumPy keeps between versions (unlike the
distributions of `numpy.random.Generator`, which may change). Sine and cosine are whole numbers from a
table of 91 entries: a last-bit difference between two math libraries is some 1e-12 of a step there, and
no entry lies that near a rounding boundary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

TRIG_BITS = 14
_QUADRANT = tuple(round(math.sin(math.radians(degree)) * (1 << TRIG_BITS)) for degree in range(91))


def sin(degrees: int) -> int:
    """The sine of whole degrees, in units of 2**-14."""
    turn = degrees % 360
    half = turn % 180
    value = _QUADRANT[half if half <= 90 else 180 - half]
    return value if turn < 180 else -value


def cos(degrees: int) -> int:
    """The cosine of whole degrees, in units of 2**-14."""
    return sin(degrees + 90)


class Dice:
    """A stream of random whole numbers, independent of every other stream of the same seed."""

    def __init__(self, seed: int, *stream: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=stream))

    def below(self, n: int) -> int:
        """A whole number in [0, n)."""
        return int(self._bits.random_raw()) % n

    def between(self, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        """True in so many of a hundred cases."""
        return self.below(100) < percent

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """All the items, in a random order (Fisher and Yates)."""
        out = list(items)
        for last in range(len(out) - 1, 0, -1):
            other = self.below(last + 1)
            out[last], out[other] = out[other], out[last]
        return out

    def bytes(self, *shape: int) -> NDArray[np.int32]:
        """Whole numbers in [0, 255], int32 of the given shape."""
        count = math.prod(shape)
        words = np.asarray(self._bits.random_raw(-(-count // 8)), dtype="<u8")
        return words.view(np.uint8)[:count].reshape(shape).astype(np.int32)
