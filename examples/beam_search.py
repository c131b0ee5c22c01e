"""Beam search over clicks, as a strategy of one's own: keep the two best states at each step, not the best alone.

    hlmat-bench run --model oracle,misplaced=0.3 --task hres_synth --strategy examples/beam_search.py \
        --set prm=oracle --set candidates=4 --set temperature=1

At each step the model draws ``candidates`` replies in each state of the beam. Every click is tried on the segmenter,
its mask is judged by the reward model ``prm``, and the best states are kept. The record is the path to the best one.
"""

from __future__ import annotations

from dataclasses import dataclass

from hlmat_bench.protocol import Play, ProtocolSettings, Strategy, StrategyNeeds
from hlmat_bench.protocol.reward_models import Reward
from hlmat_bench.protocol.search import Search
from hlmat_bench.protocol.state import EpisodePoint

WIDTH = 2


@dataclass(frozen=True)
class Branch:
    """A state of the beam: what its mask is predicted to be worth, and why its episode is over, if it is."""

    reward: Reward
    point: EpisodePoint
    end: str | None = None


async def beam(play: Play) -> str:
    """Extend all branches by a step until all are over, and return to the best one."""
    search = Search(play, play.settings.candidates or 1)
    branches = [Branch(await search.first_reward(), await play.fork())]
    while any(branch.end is None for branch in branches):
        grown = [branch for branch in branches if branch.end is not None]
        for branch in (branch for branch in branches if branch.end is None):
            await play.goto(branch.point)
            candidates = await search.expand(branch.reward)
            for candidate in candidates:
                await play.goto(branch.point)
                reward = await search.take(candidate, candidates, branch.reward)
                grown.append(Branch(reward, await play.fork(), play.ended()))
        branches = sorted(grown, key=lambda branch: branch.reward.value or 0.0, reverse=True)[:WIDTH]
    await play.goto(branches[0].point)
    return branches[0].end or "budget"


def most_requests(settings: ProtocolSettings) -> int:
    """Return how many requests an episode may take: one for each state, and one for each of its candidates."""
    return settings.budget * WIDTH * (1 + (settings.candidates or 1)) + 1


STRATEGIES = {"beam": Strategy(beam, StrategyNeeds(frozenset({"prm", "candidates"}), "required", most_requests))}
