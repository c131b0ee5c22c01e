"""Reads pickles from untrusted sources: accepts plain containers and numbers, refuses everything else.

A pickle is a program; loading one from a stranger runs it (https://docs.python.org/3/library/pickle.html,
"Restricting globals"). Here every global name that a pickle asks for is answered with a harmless stand-in, or refused;
no function of another package is ever called. The refer annotations (``refs(unc).p``) were written by Python 2, so byte
strings are read as latin-1; numpy scalars become Python numbers, arrays nested lists.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import struct
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

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

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """Return a stand-in for a harmless global; nothing is imported."""
        if build := _ARRAY_BUILDERS.get((module, name)):
            return lambda *arguments: build(self._numbers_left, *arguments)
        if (plain := _BUILDERS.get((module, name))) is None:
            raise _Refused(f"{module}.{name}")
        # A new function for each name: a pickle can set attributes of what it was given, and this one is thrown away.
        return lambda *arguments: plain(*arguments)

    def persistent_load(self, pid: object) -> Any:
        """Refuse; there is nothing outside the file."""
        raise _Refused("an object outside the file")


class _Dtype:
    """A numpy dtype of one number or text, as a pickle describes it: its code, then its byte order.

    It takes the place of ``numpy.dtype``, whose own ``__setstate__`` would trust the file.
    """

    def __init__(self, code: object = "", *_: object) -> None:
        if not isinstance(code, str) or _NUMBER_OR_TEXT.fullmatch(code) is None:
            raise _Refused(f"numpy values of the type {code!r}")
        self._code, self._order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">", "|", "="):
            self._order = state[1]

    def values(self, data: bytes | bytearray) -> NDArray[Any]:
        """Return the values whose bytes these are, (n,)."""
        return np.frombuffer(data, np.dtype(self._code).newbyteorder(self._order))  # type: ignore[arg-type]


class _Array(list[Any]):
    """The nested lists that a numpy array of numbers or texts becomes; a pickle fills them later.

    Args:
        left: how many more numbers the arrays of this pickle may hold, see `_nested`.
    """

    def __init__(self, left: list[int]) -> None:
        super().__init__()
        self._left = left

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_columns, data = state
        self[:] = _nested(self._left, data, dtype, shape, "F" if by_columns else "C")


def _values(dtype: object, data: object) -> NDArray[Any]:
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray):
        raise _Refused("a numpy value that is not of plain numbers")
    return dtype.values(raw)


def _scalar(dtype: object, data: object) -> Any:
    (number,) = _values(dtype, data)
    return number.item()


def _nested(left: list[int], data: object, dtype: object, shape: object, order: object, *_: object) -> list[Any]:
    """Return the nested lists of an array, from its parts in a pickle (numpy's ``_frombuffer``).

    Args:
        left: how many more numbers the arrays of this pickle may hold; lowered here. It begins as the number of
            bytes of the pickle, so that a pickle cannot fill the memory by naming the same bytes many times.
        data: the bytes of the array.
        dtype: the type of its numbers.
        shape: the shape of the array.
        order: "F" if the first index varies fastest.
    """
    numbers = _values(dtype, data)
    if not isinstance(shape, tuple) or not shape or not all(isinstance(side, int) and side > 0 for side in shape):
        return []
    left[0] -= numbers.size
    if left[0] < 0:
        raise _Refused("the same numpy array many times")
    nested: list[Any] = numbers.reshape(shape, order="F" if order == "F" else "C").tolist()
    return nested


def _no_array(*_: object) -> None:
    """Refuse a call of the class ndarray: a pickle needs it only as an argument of ``_reconstruct``."""
    raise _Refused("a numpy array without its content")


def _encoded(text: object, encoding: object = "latin1") -> bytes:
    """Return the bytes that Python 3 writes as a text in old protocols."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _Refused("a text codec")
    return text.encode("latin1")


_Builders: TypeAlias = dict[tuple[str, str], Callable[..., Any]]
_BUILDERS: Final[_Builders] = {
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (set, frozenset)},
    **{(module, "bytes"): lambda: b"" for module in ("builtins", "__builtin__")},  # empty bytes in old protocols
    ("collections", "OrderedDict"): dict,
    ("_codecs", "encode"): _encoded,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _no_array,
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
}
_ARRAY_BUILDERS: Final[_Builders] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): lambda left, *_: _Array(left) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _nested for core in ("core", "_core")},
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
