"""Reads pickles from untrusted sources: accepts plain containers and numbers, refuses everything else.

A pickle is a program; loading one from a stranger runs it (https://docs.python.org/3/library/pickle.html,
"Restricting globals"). Here every global name that a pickle asks for is replaced by a harmless stand-in defined
below, or refused; no function of another package is ever called. The refer annotations (``refs(unc).p``) were
written by Python 2, so byte strings are read as latin-1; numpy scalars become Python numbers, arrays nested lists.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import struct
import sys
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from hlmat_bench.core import plain_files
from hlmat_bench.core.errors import UsageError

_PLAIN = (str, bytes, bool, int, float, complex, type(None))
_CONTAINERS = (list, tuple, set, frozenset)
_NUMBER_OR_TEXT = re.compile(r"[biufSU?]\d{0,6}")
_PERHAPS_HUGE = re.compile(rb"\x8a[\x08-\xff]|\x8b[\s\S]{3}\x00|\d{19,}L?\r?\n")
"""Integers of eight bytes and more, as LONG1, LONG4 and text; other bytes may match by chance."""
_MOST_HUGE = 1000
_MOST_LEVELS = 100
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
    """The pickle asks for a value that is not plain."""


def load(path: Path) -> Any:
    """Return the value in a pickle file.

    Args:
        path: the file.

    Returns:
        dict, list, tuple, set, frozenset, str, bytes, bool, int, float, complex or None, nested in any way.

    Raises:
        UsageError: when the file is missing, truncated or damaged, or holds anything else.
    """
    data = plain_files.read_bytes(path, plain_files.MAX_ANNOTATIONS)
    plain_files.check_format(data, str(path))
    return loads(data, str(path))


def loads(data: bytes, name: str = "pickle") -> Any:
    """Return the value in the bytes of a pickle; see `load`.

    A pickle in which every line ends with CR LF was transferred as text. Its line ends are restored to LF, which
    repairs the text protocol (0) completely.

    Args:
        data: the pickle, of any protocol.
        name: the name of the pickle in error messages.
    """
    lines = data.count(b"\n")
    as_text = lines > 0 and data.count(b"\r\n") == lines and not data.startswith(pickle.PROTO)
    try:
        _check_numbers(data)
        value = _Unpickler(data.replace(b"\r\n", b"\n") if as_text else data).load()
        _check_plain(value)
    except _Refused as error:
        raise UsageError(
            f"{name} is refused: it asks for {error}, and annotations are plain data; save it again with only lists, "
            "texts and numbers (numpy arrays: .tolist()), or as JSON."
        ) from error
    except _DAMAGED as error:
        why = "its lines end with CR LF: copy it as a binary file" if b"\r\n" in data else "get the file again"
        raise UsageError(f"{name} is no complete pickle ({error}); {why}.") from error
    return value


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._numbers_left = [len(data)]

    def find_class(self, module: str, name: str) -> _StandIn:
        """Return a stand-in for a harmless global; import nothing."""
        build = _BUILDERS.get((module, name))
        if build is None:
            raise _Refused(f"{module}.{name}")
        return _StandIn(partial(build, self._numbers_left) if build in (_empty_array, _from_buffer) else build)

    def persistent_load(self, pid: object) -> Any:
        """Refuse a reference to an object outside the file."""
        raise _Refused("an object outside the file")


class _StandIn:
    """The stand-in for a global name: a pickle can call it, but cannot change it."""

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

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self._code).newbyteorder(self._order)

    def value(self, data: bytes) -> Any:
        (number,) = np.frombuffer(data, dtype=self.dtype())
        return number.item()


def _scalar(dtype: object, data: object) -> Any:
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes):
        raise _Refused("a numpy value without its type")
    return dtype.value(raw)


class _Array(list[Any]):
    """The stand-in for a numpy array of numbers or texts: nested lists that a pickle can fill, but not alter."""

    __slots__ = ("_left",)
    _left: list[int]

    def __init__(self, left: list[int], items: list[Any] | None = None) -> None:
        super().__init__(items or [])
        self._left = left

    def __setstate__(self, state: tuple[object, ...]) -> None:
        _, shape, dtype, by_columns, data = state
        self[:] = _nested(self._left, shape, dtype, bool(by_columns), data)


def _nested(left: list[int], shape: object, dtype: object, by_columns: bool, data: object) -> list[Any]:
    """Return the nested lists of an array, from its parts in a pickle.

    Args:
        left: how many more numbers the arrays of this pickle may hold; lowered here. It begins as the number of
            bytes of the pickle, so that a pickle cannot fill the memory by naming the same bytes many times.
        shape: the shape of the array.
        dtype: the dtype of its numbers.
        by_columns: whether the first index varies fastest (Fortran order).
        data: the bytes of the array.
    """
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray):
        raise _Refused("a numpy array that is not of plain numbers")
    if not isinstance(shape, tuple) or not shape or not all(isinstance(side, int) and side > 0 for side in shape):
        return []
    numbers = np.frombuffer(raw, dtype=dtype.dtype())
    left[0] -= numbers.size
    if left[0] < 0:
        raise _Refused("the same numpy array many times")
    nested: list[Any] = numbers.reshape(shape, order="F" if by_columns else "C").tolist()
    return nested


def _empty_array(left: list[int], *_: object) -> _Array:
    """Return an empty array; the pickle gives its content afterwards (numpy's ``_reconstruct``)."""
    return _Array(left)


def _from_buffer(left: list[int], data: object, dtype: object, shape: object, order: object, *_: object) -> _Array:
    """Return an array from the arguments that protocol 5 writes (numpy's ``_frombuffer``)."""
    return _Array(left, _nested(left, shape, dtype, order == "F", data))


def _no_array(*_: object) -> None:
    """Refuse a call of the class ndarray: a pickle needs it only as an argument of ``_reconstruct``."""
    raise _Refused("a numpy array without its content")


def _encoded(text: object, encoding: object = "latin1") -> bytes:
    """Return bytes, which Python 3 writes as encoded text in protocols below 3."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _Refused("a text codec")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Return empty bytes, which Python 3 writes as a call of ``bytes`` in protocols below 3."""
    return b""


def _mapping(items: Any = ()) -> dict[Any, Any]:
    return dict(items)


_BUILDERS: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (set, frozenset)},
    ("collections", "OrderedDict"): _mapping,
    **{(module, "bytes"): _no_bytes for module in ("builtins", "__builtin__")},
    ("_codecs", "encode"): _encoded,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _no_array,
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _empty_array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


def _check_numbers(data: bytes) -> None:
    """Refuse a pickle of very many huge integers: they can be chosen so that building a dict takes quadratic time.

    Python's hash of an integer is its remainder by 2**61 - 1 (https://docs.python.org/3/library/stdtypes.html).
    """
    if sum(1 for _ in islice(_PERHAPS_HUGE.finditer(data), _MOST_HUGE + 1)) <= _MOST_HUGE:
        return
    numbers = (value for _, value, _ in pickletools.genops(data) if isinstance(value, int))
    if sum(abs(number) >= sys.hash_info.modulus for number in numbers) > _MOST_HUGE:
        raise _Refused("thousands of integers beyond 2**61")


def _check_plain(value: Any) -> None:
    """Raise when a value, which may contain itself, contains a stand-in or is nested too deeply."""
    # Level by level, because a nested value could exhaust the stack of a recursive function.
    level, seen = [value], set()
    for _ in range(_MOST_LEVELS):
        below: list[Any] = []
        for item in level:
            if isinstance(item, _PLAIN) or id(item) in seen:
                continue
            seen.add(id(item))
            if isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, _CONTAINERS):
                below += item
            else:
                raise _Refused("a value that is no plain data")
        level = below
        if not level:
            return
    raise _Refused(f"lists within lists, {_MOST_LEVELS} and more")
