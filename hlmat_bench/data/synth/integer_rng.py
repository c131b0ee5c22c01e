"""Random numbers and trigonometry that give the same integers on every machine.

Random numbers are raw 64-bit words of PCG64, whose stream NumPy keeps between versions (the distributions of
`numpy.random.Generator` may change). Sine and cosine are integers from a table of 91 entries: a last-bit difference
between two math libraries is about 1e-12 of a step in the table, and no entry is that near to a rounding boundary.
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
    """Return the sine of an integer number of degrees, in units of 2**-14."""
    turn = degrees % 360
    half = turn % 180
    value = _QUADRANT[half if half <= 90 else 180 - half]
    return value if turn < 180 else -value


def cos(degrees: int) -> int:
    """Return the cosine of an integer number of degrees, in units of 2**-14."""
    return sin(degrees + 90)


class Dice:
    """A stream of random integers, independent of all other streams of the same seed."""

    def __init__(self, seed: int, *stream: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=stream))

    def below(self, n: int) -> int:
        """Draw an integer in [0, n)."""
        # The remainder's bias is below n / 2**64. Rejecting would need a varying number of words from the stream.
        return int(self._bits.random_raw()) % n

    def between(self, low: int, high: int) -> int:
        """Draw an integer in [low, high]."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        """Return True with a probability of ``percent``."""
        return self.below(100) < percent

    def pick(self, items: Sequence[T]) -> T:
        """Draw one of the items."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return all items in a random order (Fisher and Yates)."""
        out = list(items)
        for last in range(len(out) - 1, 0, -1):
            other = self.below(last + 1)
            out[last], out[other] = out[other], out[last]
        return out

    def bytes(self, *shape: int) -> NDArray[np.int32]:
        """Draw integers in [0, 255], int32 of the given shape."""
        # Explicitly little-endian, so that the order of bytes does not depend on the machine.
        count = math.prod(shape)
        words = np.asarray(self._bits.random_raw(-(-count // 8)), dtype="<u8")
        return words.view(np.uint8)[:count].reshape(shape).astype(np.int32)
