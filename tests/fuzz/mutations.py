"""Changes valid inputs at random: bytes of them, and, where they have a structure, the values in it."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import yaml

_DEEP: Any = []
for _ in range(150):
    _DEEP = [_DEEP]

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 7, 255, 256, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400),
    *(0.5, -0.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
    *("", " ", "a", "\0", "\ud800", "\ufeff", "\u202e", "\U0001f600", "é" * 300, "nan", "1e999", "0x10", "1_0", "null"),
    *("../../../etc/passwd", "/etc/passwd", "..", ".", "/", "a" * 300, "a/b.png", "C:\\x", "~", "con", "./x.py"),
    *("=1+1", "<script>alert(1)</script>", "{0.__class__}", "{expression:>9999999999}", "%s", "${HOME}", "@/dev/zero"),
    *("(a+)+$", "a{99999999999}", "(?P<expression>.*)", "2024-13-45", "!!python/name:os.system", "xy1000", "0-1000"),
    *([], {}, [[]], [{}], [None], {"": None}, {"a": {"b": []}}, [0, 0], [1, 2, 3, 4], [[0, 0, 9, 0, 9, 9]], _DEEP),
    *({"size": [2**15, 2**15], "counts": [2**30]}, {"size": [4, 4], "counts": "04"}, ["a", 1, None, {}]),
)
"""What takes the place of any value of a structure."""

TOKENS: tuple[bytes, ...] = (
    *(
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\r\n",
        b"\r",
        b"\n\n",
        b"\x1a",
        b"\x85",
    ),
    *(b"NaN", b"-Infinity", b"1e999", b"-", b"9" * 400, b"9" * 5000, b"1e-400", b"0x", b"null", b"true", b'""', b"\\"),
    *(
        b"[" * 5000,
        b"{" * 200,
        b'{"a":' * 5000,
        b"]" * 50,
        b"}",
        b"(" * 200,
        b"[[[",
        b'"',
        b"'",
        b",",
        b":",
        b"- " * 500,
    ),
    *(b"&a [*a]", b"*a", b"<<: *a", b"!!python/object:os.system", b"!!binary", b"!!set", b"? ", b"---\n", b"%YAML 9\n"),
    *(
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x8a\x08" + b"\xff" * 8,
        b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"j\xff\xff\xff\xff",
    ),
    *(
        b"Positive point: (",
        b"<point>",
        b"</point>",
        b"[STOP]",
        b"IoU: 1e",
        b"<think>",
        b"</think>",
        b"%",
        b"\xe2\x80\xae",
    ),
)
"""What is put between the bytes of an input."""


_MOST = 2**18


class Form(NamedTuple):
    """A way to write structured values: `load` reads what a seed holds, `dump` writes what was made of it."""

    load: Callable[[bytes], Any]
    dump: Callable[[Any], bytes]


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


JSON = Form(json.loads, _json)
LINES = Form(
    lambda data: [json.loads(line) for line in data.splitlines()],
    lambda lines: b"".join(_json(line) + b"\n" for line in lines) if isinstance(lines, list) else _json(lines),
)
YAML = Form(yaml.safe_load, lambda value: json.dumps(value, default=str).encode())  # JSON is YAML, too
PICKLE = Form(pickle.loads, lambda value: pickle.dumps(value, 2))  # of seeds alone, which are made here


def mutate(seeds: list[bytes], form: Form | None, random: Random) -> bytes:
    """Return one of the seeds, changed in a few places."""
    data = random.choice(seeds)
    if form is not None and random.random() < 0.7:
        value = form.load(data)
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            value = _changed(value, random)
        data = form.dump(value)
        if random.random() < 0.8:
            return data[:_MOST]
    for _ in range(random.choice((1, 1, 2, 4))):
        data = random.choice(_BYTES)(data, random)
    return data[:_MOST]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container in a value with every key or index that it has."""
    found, waiting = [], [value]
    while waiting and len(found) < 5000:
        node = waiting.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, inner in items:
            found.append((node, key))
            waiting.append(inner)
    return found


def _changed(value: Any, random: Random) -> Any:
    """Replace, remove, repeat, rename or exchange a part of a value, or the whole."""
    value = copy.deepcopy(value)
    places = _places(value)
    if not places or random.random() < 0.02:
        return copy.deepcopy(random.choice(VALUES))
    node, key = random.choice(places)
    way = random.random()
    if way < 0.6:
        node[key] = copy.deepcopy(random.choice(VALUES))
    elif way < 0.7:
        del node[key]
    elif way < 0.8:
        other, place = random.choice(places)
        node[key] = copy.deepcopy(other[place])
    elif way < 0.9 and isinstance(node, list):
        node[key:key] = [copy.deepcopy(node[key])] * random.choice((1, 1, 2, 300))
    elif way < 0.9:
        node[random.choice(("", "a", "schema", "\ud800", "kind", "__class__"))] = copy.deepcopy(node[key])
    else:
        node[key] = {"a": node[key]} if random.random() < 0.5 else [node[key]]
    return value


def _flip(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + bytes((random.randrange(256),)) + data[at + 1 :]


def _truncate(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _insert(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(TOKENS) + data[at:]


def _remove(data: bytes, random: Random) -> bytes:
    start, end = _slice(data, random)
    return data[:start] + data[end:]


def _repeat(data: bytes, random: Random) -> bytes:
    start, end = _slice(data, random)
    return data[:end] + data[start:end] * random.choice((1, 2, 50)) + data[end:]


def _move(data: bytes, random: Random) -> bytes:
    start, end = _slice(data, random)
    rest = data[:start] + data[end:]
    at = random.randrange(len(rest) + 1)
    return rest[:at] + data[start:end] + rest[at:]


def _renumber(data: bytes, random: Random) -> bytes:
    """Replace a number as text; in a binary file, four bytes."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data))
    if not found or random.random() < 0.1:
        at = random.randrange(len(data) + 1)
        return (
            data[:at] + random.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\xc3\x50")) + data[at + 4 :]
        )
    match = random.choice(found)
    return data[: match.start()] + random.choice(_NUMBERS) + data[match.end() :]


def _slice(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.choice((1, 2, 8, 64, 512)))


_NUMBERS = (b"-1", b"0", b"50000", b"1e5", b"1e400", b"0.5", b"99999999999", b"9" * 30, b"9" * 5000, b"-0", b"nan")
_BYTES = (_flip, _flip, _truncate, _insert, _insert, _remove, _repeat, _move, _renumber, _renumber)
