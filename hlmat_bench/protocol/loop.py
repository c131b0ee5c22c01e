"""The click protocol, `hlmat/1`: how one sample is played.

A policy sees the image with the current mask and answers with text; the text is read as an action; a click goes to the
segmenter with all earlier ones and yields the next mask; until the budget is spent or the policy stops. The rules are
in `hlmat_bench.protocol.state`; here they are carried out. An episode is a record, and scores are computed from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeAlias, TypeVar

from hlmat_bench.actions import Action
from hlmat_bench.core.errors import CallTimedOut, PluginFailed, RequestFailed
from hlmat_bench.core.types import Mask
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.protocol.observation import Observation
from hlmat_bench.protocol.policies import Policy
from hlmat_bench.protocol.records import Episode, Step
from hlmat_bench.protocol.settings import ProtocolSettings
from hlmat_bench.protocol.state import EpisodePoint, EpisodeState

T = TypeVar("T")


class Play:
    """A running episode, as a strategy sees it: an `EpisodeState` that asks a policy and works in threads.

    Args:
        state: the episode's state.
        policy: answers.
        pool: threads for pixel work, so that the event loop never waits for it.

    Attributes:
        state: as given.
        failure: what ended the episode with ``error``; None where nothing failed.
    """

    failure: RequestFailed | PluginFailed | None = None

    def __init__(self, state: EpisodeState, policy: Policy, pool: Executor) -> None:
        self.state = state
        self._policy, self._pool = policy, pool

    @property
    def settings(self) -> ProtocolSettings:
        """The protocol's settings."""
        return self.state.settings

    @property
    def steps(self) -> Sequence[Step]:
        """The steps so far."""
        return self.state.steps

    def ended(self) -> str | None:
        """Return why the episode is over by the protocol's rules; None where it is not."""
        return self.state.ended()

    def observation(self) -> Observation:
        """Return what there is to see now, with the question for a click."""
        return self.state.observation()

    async def ask(self, n: int = 1, observation: Observation | None = None) -> list[Reply]:
        """Ask the policy about the current state, or about another observation, and return its ``n`` replies.

        Raises:
            RequestFailed: when the model cannot be asked.
        """
        replies = await self._policy.ask(observation or self.observation(), n)
        self.state.asked += replies
        return replies

    async def ask_each(self, observations: Sequence[Observation]) -> list[Reply]:
        """Ask for one reply to each observation, all at once, so that a local model sees them in one batch.

        Raises:
            RequestFailed: when the model cannot be asked.
        """
        answers = await asyncio.gather(*(self.ask(observation=each) for each in observations))
        return [reply for [reply] in answers]

    def read(self, reply: Reply) -> Action:
        """Return the action that a reply means in the current state."""
        return self.state.interpret(reply)

    async def do(self, action: Action, reply: Reply | None, candidates: Sequence[dict[str, Any]] = ()) -> None:
        """Carry out an action and record the step; see `EpisodeState.apply`."""
        await self.work(self.state.apply, action, reply, candidates)

    async def try_each(self, actions: Sequence[Action]) -> list[Mask]:
        """Return the masks, bool (H, W), that clicks or boxes would lead to; the episode stays as it is."""
        return await self.work(self.state.try_each, actions)

    async def fork(self) -> EpisodePoint:
        """Return the current state as a value, for `goto`."""
        return await self.work(self.state.fork)

    async def goto(self, point: EpisodePoint) -> None:
        """Return to a state of this episode; see `EpisodeState.goto`."""
        await self.work(self.state.goto, point)

    async def work(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Do pixel work in a worker thread and return its result.

        Raises:
            PluginFailed: when it took too long: only a segmenter can.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *arguments, **named))
        except CallTimedOut as error:
            who, sample = self.state.segmenter.name, self.state.sample.id
            raise PluginFailed.by(error, f"The segmenter {who} failed on the sample {sample}") from None


async def greedy(play: Play) -> str:
    """Take one reply a step as it is."""
    while (end := play.ended()) is None:
        [reply] = await play.ask()
        await play.do(play.read(reply), reply)
    return end


async def begin_empty(play: Play) -> None:
    """Begin with an empty mask, which an `EpisodeState` has from the start."""


#: Plays an episode to its end and returns why it ended, as `Episode.stop` says it.
Chooser: TypeAlias = Callable[[Play], Awaitable[str]]
#: Sets the initial state of an episode. By name: `hlmat_bench.protocol.initial`.
Begin: TypeAlias = Callable[[Play], Awaitable[None]]


async def run_episode(play: Play, strategy: Chooser = greedy, begin: Begin = begin_empty) -> Episode:
    """Play one sample from its initial state to its end and return the record.

    A request or a plug-in that failed ends the episode with ``error``; `Play.failure` is then what was raised.
    """
    try:
        await begin(play)
        stop = await strategy(play)
    except (RequestFailed, PluginFailed) as error:
        play.failure = error
        await play.do(Action("invalid", reason="api"), None)
        return play.state.record("error", str(error))
    return play.state.record(stop)


def task_cancelled() -> bool:
    """Tell whether the current task was cancelled, and not only something that a plug-in awaits in it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
