"""Batches that fit into a device's memory: where one does not, half of it is tried, and the run goes on."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

from hlmat_bench.core.errors import HlmatError

Item = TypeVar("Item")
Result = TypeVar("Result")

# How an error says that memory is short that has no class of its own for it: GPUs of Apple, the CPU's allocators of
# torch and OpenCV, cuBLAS with no room to start, JAX.
_SHORT = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "Insufficient memory",
    "ALLOC_FAILED",
    "RESOURCE_EXHAUSTED",
)

# So many items that do not fit alone, and none that fits: the rest will not fit either.
_HOPELESS = 8


_HELPS = (
    "take a smaller dtype=, cache_mb= or batch_size=, fewer episodes at once (--concurrency), smaller images, or "
    "another device="
)


class TooLarge(HlmatError):
    """The memory does not hold one item, even alone."""


class Batches:
    """Splits work into batches that fit.

    Attributes:
        size: most items at once. It falls to what did fit after the memory did not suffice, and stays there.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._fits = False
        self._refused = 0

    @property
    def hopeless(self) -> bool:
        """Whether many items did not fit alone, and none has fitted yet."""
        return not self._fits and self._refused >= _HOPELESS

    def run(self, call: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]) -> list[Result]:
        """What ``call`` returns for the items, one result each, in order.

        Raises:
            TooLarge: when an item does not fit alone; the size is then left as it was, for the others.
        """
        size, results = self.size, list[Result]()
        while len(results) < len(items):
            batch = items[len(results) : len(results) + size]
            found = _unless_short(call, batch)
            if found is not None:
                results.extend(found)
                self._fits = True
            elif len(batch) == 1:
                self._refused += 1
                raise TooLarge("The memory of the device does not hold one request.")
            else:
                size = len(batch) // 2
        if size < self.size:
            warnings.warn(
                f"The device ran out of memory with {self.size} replies at once; going on with {size}.",
                RuntimeWarning,
                stacklevel=2,
            )
            self.size = size
        return results


def explain(error: BaseException) -> str | None:
    """Say that an error means short memory, and what helps, in one sentence; None for any other error.

    The error of any library is recognised by its class's name or its words, so none needs to be imported. An
    `HlmatError` already says what it means.

    >>> explain(MemoryError())
    'The memory does not suffice: take a smaller dtype=, cache_mb= or batch_size=, fewer episodes at once \
(--concurrency), smaller images, or another device=.'
    >>> explain(ValueError("no"))
    """
    if isinstance(error, HlmatError):
        return None
    named = any(kind.__name__ in ("OutOfMemoryError", "MemoryError") for kind in type(error).__mro__)
    words = " ".join(str(error).split())
    if not named and not (isinstance(error, Exception) and any(sign in words for sign in _SHORT)):
        return None
    said = f" ({words[:160].rstrip('.')})" if words else ""
    return f"The memory does not suffice{said}: {_HELPS}."


def _unless_short(call: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]) -> Sequence[Result] | None:
    """The results; None when the memory does not suffice. What the attempt held is free again by then."""
    try:
        return call(items)
    except Exception as error:
        if explain(error) is None:
            raise
    _release()
    return None


def _release() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
