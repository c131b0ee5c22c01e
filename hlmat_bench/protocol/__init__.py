"""The click loop: its settings, players, strategies, initial states and records.

A user's strategy takes `Play` from here; each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hlmat_bench.protocol.loop import Begin, Play, Strategy, begin_empty, greedy, play

__all__ = ["Begin", "Play", "Strategy", "begin_empty", "greedy", "play"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("hlmat_bench.protocol.loop"), name)
    raise AttributeError(f"module 'hlmat_bench.protocol' has no attribute {name!r}")
