"""Reading pickles from elsewhere: plain containers and numbers come out, everything else is refused.

A pickle is a program; loading one from a stranger runs it (https://docs.python.org/3/library/pickle.html,
"Restricting globals"). Here every global name a pickle asks for is answered with a harmless stand-in of ours,
or refused; no function of another package is ever called. The refer annotations (``refs(unc).p``) were written
by Python 2, so byte strings are read as latin-1 and numpy scalars become Python numbers.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from hlmat_bench.errors import UsageError

_PLAIN = (str, bytes, bool, int, float, complex, type(None))
_CONTAINERS = (list, tuple, set, frozenset)
_NUMBER_OR_TEXT = re.compile(r"[biufcSU?]\d{0,6}")
_DAMAGED = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
    struct.error,
)


class _Refused(Exception):
    """The pickle asks for something that is no plain value."""


def load(path: Path) -> Any:
    """The value in a pickle file.

    Args:
        path: the file.

    Returns:
        dict, list, tuple, set, frozenset, str, bytes, bool, int, float, complex or None, nested in any way.

    Raises:
        UsageError: when the file is missing, truncated or damaged, or holds anything else.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"The pickle {path} cannot be read: {error.strerror}.") from error
    return loads(data, str(path))


def loads(data: bytes, name: str = "pickle") -> Any:
    """The value in the bytes of a pickle; see `load`.

    Args:
        data: the pickle, of any protocol.
        name: what an error calls it.
    """
    try:
        value = _Unpickler(io.BytesIO(data), encoding="latin1").load()
        _check_plain(value)
    except _Refused as error:
        raise UsageError(f"{name} is refused: it asks for {error}, and annotations are plain data.") from error
    except _DAMAGED as error:
        raise UsageError(f"{name} is no complete pickle ({error}); get the file again.") from error
    return value


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _StandIn:
        """A stand-in for a harmless global; nothing is imported."""
        build = _BUILDERS.get((module, name))
        if build is None:
            raise _Refused(f"{module}.{name}")
        return _StandIn(build)

    def persistent_load(self, pid: object) -> Any:
        """Refused: there is nothing outside the file."""
        raise _Refused("an object outside the file")


class _StandIn:
    """What a global name becomes: it can be called, and a pickle can change nothing about it."""

    __slots__ = ("_build",)
    _build: Callable[..., Any]

    def __init__(self, build: Callable[..., Any]) -> None:
        object.__setattr__(self, "_build", build)

    def __call__(self, *arguments: Any) -> Any:
        return self._build(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        raise _Refused("a change of its reader")


class _Dtype:
    """A numpy dtype of one number or text, as a pickle describes it: its code, then its byte order."""

    __slots__ = ("_code", "_order")
    _code: str
    _order: Literal["<", ">", "|", "="]

    def __init__(self, code: object = "", *_: object) -> None:
        if not isinstance(code, str) or _NUMBER_OR_TEXT.fullmatch(code) is None:
            raise _Refused(f"numpy values of the type {code!r}")
        object.__setattr__(self, "_code", code)
        object.__setattr__(self, "_order", "<")

    def __setattr__(self, name: str, value: object) -> None:
        raise _Refused("a change of its reader")

    def __setstate__(self, state: tuple[object, ...]) -> None:
        if state[1] in ("<", ">", "|", "="):
            object.__setattr__(self, "_order", state[1])

    def value(self, data: bytes) -> Any:
        (number,) = np.frombuffer(data, dtype=np.dtype(self._code).newbyteorder(self._order))
        return number.item()


def _scalar(dtype: object, data: object) -> Any:
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes):
        raise _Refused("a numpy value without its type")
    return dtype.value(raw)


def _encoded(text: object, encoding: object = "latin1") -> bytes:
    """How Python 3 writes bytes in old protocols."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _Refused("a text codec")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How Python 3 writes empty bytes in old protocols."""
    return b""


def _mapping(items: Any = ()) -> dict[Any, Any]:
    return dict(items)


_BUILDERS: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (set, frozenset)},
    ("collections", "OrderedDict"): _mapping,
    **{(module, "bytes"): _no_bytes for module in ("builtins", "__builtin__")},
    ("_codecs", "encode"): _encoded,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


def _check_plain(value: Any) -> None:
    """Raise when a stand-in is left anywhere in the value, which may refer to itself."""
    todo, seen = [value], set()
    while todo:
        item = todo.pop()
        if isinstance(item, _PLAIN) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            todo += item.keys()
            todo += item.values()
        elif isinstance(item, _CONTAINERS):
            todo += item
        else:
            raise _Refused("a value that is no plain data")
