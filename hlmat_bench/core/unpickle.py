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
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core import plain_files
from hlmat_bench.core.errors import UsageError

_PLAIN = (str, bytes, bool, int, float, complex, type(None))
_CONTAINERS = (list, tuple, set, frozenset)
_NUMBER_OR_TEXT = re.compile(r"[biufSU?]\d{0,6}")
_MOST_HUGE = 1000
_MOST_LEVELS = 100
_FEW_TUPLES, _FEW_GETS = 1000, 10
_UNFOLDED = 8
"""How many values a pickle may unfold to, per byte, where it names lists and tuples repeatedly."""
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
        data = data.replace(b"\r\n", b"\n") if as_text else data
        reader = _Unpickler if _is_ordinary(data) else _CarefulUnpickler
        value = reader(data).load()
        _check_plain(value, _UNFOLDED * len(data))
    except _Refused as error:
        raise UsageError(
            f"{name} is refused: it asks for {error}, and annotations are plain data; save it again with only lists, "
            "texts and numbers (numpy arrays: .tolist()), or as JSON."
        ) from error
    except _DAMAGED as error:
        why = "its lines end with CR LF: copy it as a binary file" if b"\r\n" in data else "get the file again"
        raise UsageError(f"{name} is not a complete pickle ({error}); {why}.") from error
    return value


def _then(load: Callable[[Any], None], check: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a function that carries out an operation and then looks at what it made."""

    def both(reader: Any) -> None:
        load(reader)
        check(reader)

    return both


class _Globals:
    """What both readers answer to a pickle that asks for something outside of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")  # type: ignore[call-arg]
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


class _Unpickler(_Globals, pickle.Unpickler):
    pass


class _CarefulUnpickler(_Globals, pickle._Unpickler):
    """Python's own reader in Python, ten times slower, for pickles that could harm the one in C.

    A dict hashes its keys. The hash of a tuple follows every way to its parts, to their whole depth: a few bytes can
    take forever, or exhaust the stack. So the depth of a tuple is bounded here, and its size wherever it is named.
    """

    stack: list[Any]

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = _UNFOLDED * len(data)
        self._tuples: dict[int, tuple[tuple[Any, ...], int, int]] = {}

    def measure(self) -> None:
        """Note the size and the depth of a tuple that was just made."""
        made: tuple[Any, ...] = self.stack[-1]
        inner = [self._tuples[id(part)][1:] for part in made if id(part) in self._tuples]
        size = len(made) + sum(size for size, _ in inner)
        depth = 1 + max((depth for _, depth in inner), default=0)
        if depth > _MOST_LEVELS:
            raise _Refused(f"tuples within tuples, {_MOST_LEVELS} and more")
        self._tuples[id(made)] = made, size, depth  # keeps it alive, so that its id stays its own
        self._spend(size)

    def count_again(self) -> None:
        """Count a value that was named again."""
        if id(self.stack[-1]) in self._tuples:
            self._spend(self._tuples[id(self.stack[-1])][1])

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _Refused("the same tuple many times")


_OWN: Final = pickle._Unpickler.dispatch
_CarefulUnpickler.dispatch = {
    **_OWN,
    **{code: _then(_OWN[code], _CarefulUnpickler.measure) for code in b"t\x85\x86\x87"},
    **{code: _then(_OWN[code], _CarefulUnpickler.count_again) for code in b"2ghj"},
}


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


def _is_ordinary(data: bytes) -> bool:
    """Walk over the operations of a pickle; return whether the reader in C can read it safely.

    Raises:
        _Refused: for very many huge integers, which can be chosen so that building a dict takes quadratic time
            (Python's hash of an integer is its remainder by 2**61 - 1,
            https://docs.python.org/3/library/stdtypes.html).
    """
    tuples, gets, huge = 0, 0, 0
    memo_size, named = 0, set()
    code = at = 0
    while at < len(data) and code != pickle.STOP[0]:
        before, code, start = code, data[at], at + 1
        at = _end(data, code, start)
        if at > len(data):  # A reader may make room for what is said to follow.
            raise EOFError("it ends too early")
        if code in _TUPLE:
            tuples += 1
        elif code in _PUT:
            index = _index(data, code, start, at, memo_size)
            memo_size += 1
            if index > len(data):  # The reader in C makes room for as many values.
                return False
            if before in _TUPLE:
                named.add(index)
        elif code in _GET:
            gets += code == pickle.DUP[0] or _index(data, code, start, at, 0) in named
        elif code in _INTEGER and at - start > _HUGE:
            huge += abs(_integer(data, code, start, at)) >= sys.hash_info.modulus
    if huge > _MOST_HUGE:
        raise _Refused("thousands of integers beyond 2**61")
    return tuples <= _FEW_TUPLES and gets <= _FEW_GETS


_SIZES = {ord(each.code): each.arg.n if each.arg else 0 for each in pickletools.opcodes}
_COUNTED = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT4: 4}
_COUNTED |= {pickletools.TAKEN_FROM_ARGUMENT4U: 4, pickletools.TAKEN_FROM_ARGUMENT8U: 8}
_TWO_LINES = frozenset(pickle.GLOBAL + pickle.INST)
_TUPLE = frozenset(pickle.TUPLE + pickle.TUPLE1 + pickle.TUPLE2 + pickle.TUPLE3)
_PUT = frozenset(pickle.PUT + pickle.BINPUT + pickle.LONG_BINPUT + pickle.MEMOIZE)
_GET = frozenset(pickle.GET + pickle.BINGET + pickle.LONG_BINGET + pickle.DUP)
_TEXT = frozenset(pickle.PUT + pickle.GET + pickle.INT + pickle.LONG)
_INTEGER = frozenset(pickle.INT + pickle.LONG + pickle.LONG1 + pickle.LONG4)
_HUGE = 8
"""The length of a huge integer with its own length, or of any longer text."""


def _end(data: bytes, code: int, start: int) -> int:
    """Return where the argument of an operation ends that begins at ``start``."""
    size = _SIZES[code]
    if size >= 0:
        return start + size
    if size == pickletools.UP_TO_NEWLINE:
        end = data.index(b"\n", start) + 1
        return data.index(b"\n", end) + 1 if code in _TWO_LINES else end
    width = _COUNTED[size]
    return start + width + int.from_bytes(data[start : start + width], "little")


def _index(data: bytes, code: int, start: int, end: int, next_: int) -> int:
    """Return which place of the memo an operation names."""
    if code == pickle.MEMOIZE[0]:
        return next_
    return int(data[start:end]) if code in _TEXT else int.from_bytes(data[start:end], "little")


def _integer(data: bytes, code: int, start: int, end: int) -> int:
    if code in _TEXT:
        return int(data[start:end].strip(b"L\r\n"))
    return int.from_bytes(data[start + _COUNTED[_SIZES[code]] : end], "little", signed=True)


def _check_plain(value: Any, most: int) -> None:
    """Raise when a value contains a stand-in, is nested too deeply (as one that contains itself), or is too large.

    Args:
        value: what was read.
        most: how many values there may be, each counted as often as lists that contain it are named.
    """
    # Level by level, because a nested value could exhaust the stack of a recursive function.
    level = {0: ([value], 1)}
    for _ in range(_MOST_LEVELS + 1):
        below: dict[int, tuple[Any, int]] = {}
        for item, times in level.values():
            parts = [*item.keys(), *item.values()] if isinstance(item, dict) else item
            most -= times * len(parts)
            for part in parts:
                if not isinstance(part, _PLAIN):
                    below[id(part)] = part, times + (below[id(part)][1] if id(part) in below else 0)
        if most < 0:
            raise _Refused("the same list many times")
        level = below
        if not level:
            return
        if not all(isinstance(item, (dict, *_CONTAINERS)) for item, _ in level.values()):
            raise _Refused("a value that is not plain data")
    raise _Refused(f"lists within lists, {_MOST_LEVELS} and more")
