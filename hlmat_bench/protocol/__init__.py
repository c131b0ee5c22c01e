"""The click loop: its settings, policies, strategies, initial states and records.

A user's strategy takes `Play` from here; each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hlmat_bench.protocol.loop import Begin, Play, begin_empty, greedy, run_episode
    from hlmat_bench.protocol.loop import run_episode as play
    from hlmat_bench.protocol.settings import ProtocolSettings, StrategyNeeds
    from hlmat_bench.protocol.state import EpisodeState
    from hlmat_bench.protocol.strategies import Strategy

__all__ = [
    "Begin",
    "EpisodeState",
    "Play",
    "ProtocolSettings",
    "Strategy",
    "StrategyNeeds",
    "begin_empty",
    "greedy",
    "play",
    "run_episode",
]

_PLACES = {
    "EpisodeState": "state",
    "ProtocolSettings": "settings",
    "Strategy": "strategies",
    "StrategyNeeds": "settings",
}
_OTHER_NAMES = {"play": "run_episode"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = importlib.import_module(f"hlmat_bench.protocol.{_PLACES.get(name, 'loop')}")
        return getattr(module, _OTHER_NAMES.get(name, name))
    raise AttributeError(f"module 'hlmat_bench.protocol' has no attribute {name!r}")
