"""Batches that fit into a device's memory: where a batch does not, half of it is tried, and the run continues."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

from hlmat_bench.core.errors import HlmatError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Messages of errors that mean short memory, but have no class of their own: of Apple's GPUs, of the CPU allocators of
# torch and OpenCV, of cuBLAS when it cannot start, and of JAX.
_SHORT = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "Insufficient memory",
    "ALLOC_FAILED",
    "RESOURCE_EXHAUSTED",
)

# After this many items that did not fit alone, and none that did, the rest is not expected to fit either.
_HOPELESS = 8


_HELPS = (
    "take a smaller dtype=, cache_mb= or batch_size=, fewer episodes at once (--concurrency), smaller images, or "
    "another device="
)


class TooLarge(HlmatError):
    """One item alone does not fit into the memory."""


class Batches:
    """Splits work into batches that fit.

    Attributes:
        size: the largest number of items in a batch. When the memory does not suffice, it falls to the number that
            did fit, and stays there.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._fits = False
        self._refused = 0

    @property
    def hopeless(self) -> bool:
        """Whether many items did not fit alone and none has fitted yet."""
        return not self._fits and self._refused >= _HOPELESS

    def run(self, call: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]) -> list[Result]:
        """Return one result of ``call`` for every item, in order.

        Raises:
            TooLarge: when an item does not fit alone; `size` is then not changed, so other items are not affected.
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
                f"The device ran out of memory with {self.size} replies at once; the run continues with {size}.",
                RuntimeWarning,
                stacklevel=2,
            )
            self.size = size
        return results


def explain(error: BaseException) -> str | None:
    """Return a sentence that says that memory is short and what helps, if the error means this; else None.

    An error of any library is recognised by the name of its class or its message, so no library is imported. An
    `HlmatError` already explains itself, so the answer is None.

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
    """Return the results of ``call``, or None when the memory does not suffice; the memory is then free again."""
    try:
        return call(items)
    except Exception as error:
        if explain(error) is None:
            raise
    # Not inside the except clause: the error's traceback would keep the tensors of the failed attempt alive.
    _release()
    return None


def _release() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
