"""The strategies: who chooses the next action from the model's replies. Built-in ones by name, a user's from a file.

A user's file holds a dict ``STRATEGIES`` from names to coroutine functions that play a `hlmat_bench.protocol.loop.Play`
to its end and return why it ended, or to `Strategy` objects, which also say which settings the function uses.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from hlmat_bench.core.errors import HlmatError, PluginFailed
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.annotator import annotate
from hlmat_bench.protocol.initial import ask_for_box
from hlmat_bench.protocol.loop import Chooser, Play, greedy, task_cancelled
from hlmat_bench.protocol.search import prm, tree
from hlmat_bench.protocol.settings import ANY_NEEDS, NEEDS, StrategyNeeds


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way to play an episode.

    Attributes:
        play: plays an episode to its end and returns why it ended.
        needs: which settings it uses, and how many requests it may take.
        name: what a manifest calls it: its name, or the path of its file with the digest of its content.
    """

    play: Chooser
    needs: StrategyNeeds = ANY_NEEDS
    name: str = ""


async def box_only(play: Play) -> str:
    """Ask for the object's box, and take the segmenter's mask for it: the baseline without clicks."""
    action, reply = await ask_for_box(play)
    await play.do(action, reply)
    return "none" if action.kind == "none" else "box"


#: By the name that ``--strategy`` takes.
STRATEGIES: dict[str, Strategy] = {
    name: Strategy(play, NEEDS[name], name)
    for name, play in {
        "greedy": greedy,
        "prm": prm,
        "tree": tree,
        "box-only": box_only,
        "annotate": annotate,
    }.items()
}


def find_strategy(name: str) -> Strategy:
    """Return the strategy of that name, shipped or installed, or the one in a file (``file.py`` or ``file.py:name``).

    Raises:
        UsageError: when there is none.
    """
    found = plugins.find("strategy", name)
    given = found.factory if isinstance(found.factory, Strategy) else Strategy(found.factory)
    if found.name not in STRATEGIES:
        given = replace(given, play=_failing_clearly(given.play, name))
    return replace(given, name=found.identity)


def _failing_clearly(choose: Chooser, name: str) -> Chooser:
    """Name a strategy of a plug-in and the sample in any error of it, and in one that returns no reason of an end."""

    async def play(play: Play) -> str:
        where = f"The strategy {name} failed on the sample {play.state.sample.id}"
        try:
            stop = await choose(play)
            if not isinstance(stop, str) or (stop == "error" and play.ended() != stop):
                raise TypeError(f"it returned {stop!r:.100}, which does not say why the episode ended")
        except HlmatError:
            raise
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and task_cancelled():
                raise
            raise PluginFailed.by(error, where) from error
        return stop

    return play
