"""What runs networks on this machine: packages, a device, a number type, a seed."""

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
"""How a sentence begins about an error that `lost_device` recognises."""

DTYPES = ("float32", "bfloat16", "float16")


def missing_packages(*names: str, extra: str = "local") -> str | None:
    """A sentence that names the import packages that are not installed here; None when all are.

    Nothing is imported. The sentence says to install the given ``extra`` of hlmat-bench.
    """
    absent = [name for name in names if importlib.util.find_spec(name) is None]
    if not absent:
        return None
    verb = "is" if len(absent) == 1 else "are"
    return f"{', '.join(absent)} {verb} not installed here; run: pip install 'hlmat-bench[{extra}]'"


def require(*names: str, extra: str = "local") -> None:
    """Raise UsageError with the sentence of `missing_packages` when one is not installed."""
    if sentence := missing_packages(*names, extra=extra):
        raise UsageError(sentence)


def device(name: str = "auto") -> torch.device:
    """The device of that name, e.g. ``cpu``, ``cuda:1``, ``mps``; ``auto`` takes the accelerator, if any.

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
    """The number type of that name.

    Raises:
        UsageError: when it is none of `DTYPES`.
    """
    import torch

    if name not in DTYPES:
        raise UsageError(f"There is no dtype {name!r} to choose; take one of {', '.join(DTYPES)}.")
    chosen: torch.dtype = getattr(torch, name)
    return chosen


def described(error: BaseException) -> str:
    """An error's kind and its own words, in one line of at most 300 characters."""
    words = " ".join(str(error).split())
    return (f"{type(error).__name__}: {words}" if words else type(error).__name__)[:300].rstrip(".: ")


def lost_device(words: str) -> bool:
    """Whether an error's words say that the driver refuses all that this process asks of the device from now on."""
    return any(sign in words for sign in ("CUDA error", "HIP error", "device-side assert"))


@contextmanager
def computing(name: str) -> Iterator[None]:
    """Around what a segmenter computes: an error of torch becomes a UsageError, since the next image would meet it too.

    Args:
        name: of the segmenter.
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
    """Random numbers of torch from this seed; the generator outside is left as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _accelerator() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
