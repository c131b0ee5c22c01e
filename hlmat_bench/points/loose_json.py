"""JSON as language models write it: with trailing commas, comments, single quotes, tuples, bare words, missing braces.

One pass over the text, so reading takes time linear in its length, and never raises. Missing values are never guessed:
an object that the end of the text cuts off is marked as unfinished, and a list that is cut off is made unreadable.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

#: The most levels of nested containers that are read; a deeper container ends the value.
DEEPEST = 64

_TOKEN = re.compile(
    r"""(?P<space>\s++|//[^\n]*+|/\*.*?(?:\*/|\Z)|\#[^\n]*+)
      |(?P<open>[\[{(])
      |(?P<close>[\]})])
      |(?P<colon>[:=])
      |(?P<comma>[,;])
      |(?P<string>"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.|'(?=\w))*+')
      |(?P<bare>[^\s\[\]{}(),;:="'/\#]++(?:'\w++)*+|/)
      |(?P<broken>["'])""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile(r"[-+]?(?:\d++\.?\d*+|\.\d++)(?:e[-+]?\d++)?", re.IGNORECASE | re.ASCII)
_DECODER = json.JSONDecoder(parse_int=float, strict=False)
_LITERALS = {"true": True, "false": False, "null": None, "none": None, "nan": math.nan, "infinity": math.inf}
_CLOSES = {"]": "[", "}": "{", ")": "("}
_START = re.compile(r"""[\[{]|"\w[\w -]{0,30}"\s{0,9}:|'\w[\w -]{0,30}'\s{0,9}:""")


@dataclass(slots=True)
class Value:
    """One value in a text.

    Attributes:
        value: dicts, lists, strings, numbers (float), True, False and None; a tuple becomes a list.
        start, end: where the value begins and ends in the text.
        unfinished: ids of the dicts that the end of the text cuts off.
        broken: whether a quote is never closed, so that the text after it cannot be read.
    """

    value: Any
    start: int
    end: int
    unfinished: set[int] = field(default_factory=set)
    broken: bool = False


def values(text: str) -> Iterator[Value]:
    """Yield the outermost dicts and lists of a text, in order. Members without enclosing braces are read as a dict."""
    position, tries = 0, 16
    while (start := _START.search(text, position)) is not None:
        braceless = start[0] not in ("[", "{")
        found = None if braceless or not tries else _strict(text, start.start())
        if found is None:
            # A failed try takes json time linear in the text before it, to count lines for its error; so tries are few.
            tries = max(0, tries - 1)
            found = _Reader(text, start.start(), braceless).read()
        yield found
        if found.broken:
            return
        position = max(found.end, start.end())


def _strict(text: str, start: int) -> Value | None:
    """Read a value that is valid JSON, as most are, ten times as fast as `_Reader`; None where it is not valid."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return Value(value, start, end)


def number(word: str) -> float | None:
    """Return a word as a number, or None where it is no number."""
    return float(word) if _NUMBER.fullmatch(word) else None


class _Reader:
    """Reads one value; see `values`."""

    def __init__(self, text: str, start: int, braceless: bool) -> None:
        self._text, self._start, self._position = text, start, start
        self._stack: list[tuple[str, dict[str, Any] | list[Any]]] = []
        self._keys: list[str | None] = []  # the key that waits for its value, per container
        self._opened: Counter[str] = Counter()
        self._last: Any = None  # the last scalar, which a colon makes a key
        self._root: dict[str, Any] | list[Any] | None = None
        self._braceless = braceless
        if braceless:
            self._open("{")

    def read(self) -> Value:
        broken = False
        for match in _TOKEN.finditer(self._text, self._start):
            kind, token = str(match.lastgroup), match[0]
            broken = kind == "broken"
            self._position = match.end()
            if broken or self._take(kind, token, at_end=match.end() == len(self._text)):
                break
        unfinished = set() if self._braceless and len(self._stack) == 1 else self._leave_unfinished()
        return Value(self._root, self._start, self._position, unfinished, broken)

    def _take(self, kind: str, token: str, *, at_end: bool) -> bool:
        """Process a token; return whether the value ends with it."""
        if kind == "open":
            return self._open(token)
        if kind == "close":
            return self._close(_CLOSES[token])
        if kind == "colon":
            self._make_key()
        elif kind == "comma":
            self._last, self._keys[-1] = None, None
        elif kind in ("string", "bare"):
            self._add_scalar(_scalar(kind, token), cut=at_end and kind == "bare" and not self._braceless)
        return False

    def _open(self, token: str) -> bool:
        if len(self._stack) >= DEEPEST:
            return True
        if token == "{" and self._stack and isinstance(self._stack[-1][1], dict) and self._keys[-1] is None:
            return False  # doubled braces
        container: dict[str, Any] | list[Any] = {} if token == "{" else []
        if self._root is None:
            self._root = container
        else:
            self._add(container)
        self._stack.append((token, container))
        self._keys.append(None)
        self._opened[token] += 1
        self._last = None
        return False

    def _close(self, opener: str) -> bool:
        if not self._opened[opener]:
            return False  # a closing bracket without an opening one
        while self._pop() != opener:
            pass
        return not self._stack

    def _pop(self) -> str:
        opener, _ = self._stack.pop()
        self._keys.pop()
        self._opened[opener] -= 1
        self._last = None
        return opener

    def _make_key(self) -> None:
        key, self._last = self._last, None
        if not isinstance(key, str):
            return
        container = self._stack[-1][1]
        in_dict = len(self._stack) > 1 and isinstance(self._stack[-2][1], dict)
        if isinstance(container, list) and in_dict and container and container[-1] == key:
            container.pop()  # In [500, 250, "label": ..., the end of the list is missing.
            self._pop()
            container = self._stack[-1][1]
        if isinstance(container, dict):
            self._keys[-1] = key

    def _add_scalar(self, value: Any, *, cut: bool) -> None:
        if cut:
            self._last = None
            return
        container = self._stack[-1][1]
        if isinstance(container, list) or self._keys[-1] is not None:
            self._add(value)
        self._last = value

    def _add(self, value: Any) -> None:
        _, container = self._stack[-1]
        if isinstance(container, list):
            container.append(value)
        elif (key := self._keys[-1]) is not None:
            container[key] = value
            self._keys[-1] = None

    def _leave_unfinished(self) -> set[int]:
        for _, container in self._stack:
            if isinstance(container, list):
                container.append(None)  # so that a list that was cut off is never taken for a point
        return {id(container) for _, container in self._stack if isinstance(container, dict)}


def _scalar(kind: str, token: str) -> Any:
    if kind == "string":
        return _unescaped(token[1:-1])
    if (value := number(token)) is not None:
        return value
    return _LITERALS.get(token.lower(), token)


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
