"""Checks and selects packages, a device, a number type and a seed, to run networks on this machine."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.networks import memory

if TYPE_CHECKING:
    import torch

LOST_DEVICE = "The device failed, and nothing more can be computed on it in this process"
"""The beginning of every message about an error that `lost_device` recognises."""

DTYPES = ("float32", "bfloat16", "float16")


def missing_packages(*names: str, extra: str | None = "local") -> str | None:
    """Return a sentence that names the import packages that are not installed here; None when all are.

    Nothing is imported. The sentence says to install the given ``extra`` of hlmat-bench; None: the packages themselves,
    which an installation without extras should have.
    """
    absent = [name for name in names if importlib.util.find_spec(name) is None]
    if not absent:
        return None
    verb = "is" if len(absent) == 1 else "are"
    wanted = " ".join(absent) if extra is None else f"'hlmat-bench[{extra}]'"
    return f"{', '.join(absent)} {verb} not installed here; run: pip install {wanted}"


def require(*names: str, extra: str | None = "local") -> None:
    """Raise `UsageError` with the sentence of `missing_packages` when a package is not installed."""
    if sentence := missing_packages(*names, extra=extra):
        raise UsageError(sentence)


def device(name: str = "auto") -> torch.device:
    """Return the device called e.g. ``cpu``, ``cuda:1`` or ``mps``; ``auto`` means the accelerator, if there is one.

    Raises:
        UsageError: when there is no such device here.
    """
    import torch

    if name == "auto":
        return torch.device(_accelerator())
    try:
        chosen = torch.device(name)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"There is no device {name!r} here; take device=auto, which is {_accelerator()} on this machine."
        ) from error
    return chosen


def dtype(name: str) -> torch.dtype:
    """Return the number type of torch with this name.

    Raises:
        UsageError: when the name is none of `DTYPES`.
    """
    import torch

    if name not in DTYPES:
        raise UsageError(f"There is no dtype {name!r} to choose; take one of {', '.join(DTYPES)}.")
    chosen: torch.dtype = getattr(torch, name)
    return chosen


def described(error: BaseException) -> str:
    """Return the type and the message of an error, in one line of at most 300 characters."""
    words = " ".join(str(error).split())
    return (f"{type(error).__name__}: {words}" if words else type(error).__name__)[:300].rstrip(".: ")


def lost_device(words: str) -> bool:
    """Return whether an error's message means that this process cannot use the device any more."""
    return any(sign in words for sign in ("CUDA error", "HIP error", "device-side assert"))


@contextmanager
def computing(name: str) -> Iterator[None]:
    """Turn errors of torch inside a ``with`` block into `UsageError`: the next image would fail in the same way.

    Args:
        name: the name of the segmenter.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        why = memory.explain(error) or (
            f"It failed in torch ({described(error)}): take dtype=float32 or another device=, and run the same command "
            "again."
        )
        raise UsageError(f"{name} cannot be used any more. {why}") from error


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's random numbers inside a ``with`` block; the CPU generator outside it is not changed."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _accelerator() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
