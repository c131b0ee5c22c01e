"""The strategies: who chooses the next action from the model's replies. Ours by name, a user's own from a file.

A user's file holds a dict ``STRATEGIES`` from names to coroutine functions that play a `hlmat_bench.protocol.loop.Play`
to its end and say why it ended.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from hlmat_bench.core.errors import unknown
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.initial import ask_for_box
from hlmat_bench.protocol.loop import Play, Strategy, greedy
from hlmat_bench.protocol.search import prm, tree


async def box_only(play: Play) -> str:
    """Ask for the object's box, and take the segmenter's mask for it: the baseline without clicks."""
    await play.do(*await ask_for_box(play))
    return "box"


#: By the name that ``--strategy`` takes.
STRATEGIES: dict[str, Strategy] = {"greedy": greedy, "prm": prm, "tree": tree, "box-only": box_only}


class Named(NamedTuple):
    """A strategy and what a manifest calls it: its name, or its file's with the digest of what stands in it."""

    name: str
    play: Strategy


def strategy(name: str) -> Named:
    """The strategy of that name, or in the file of that path (``file.py`` or ``file.py:name``).

    Raises:
        UsageError: when there is none.
    """
    path, _, _ = name.partition(":")
    if path.endswith(".py"):
        found = plugins.find("strategy", name)
        content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return Named(f"{found.origin}:{found.name} sha256:{content[:16]}", found.factory)
    if name not in STRATEGIES:
        raise unknown("strategy", name, STRATEGIES, f"Strategies are {', '.join(STRATEGIES)}, or a file.")
    return Named(name, STRATEGIES[name])
