"""A session: one episode that a trainer, a search or another program plays step by step, by the rules of a run.

Everything goes through what `hlmat-bench run` uses: the rules are those of `EpisodeState`, and what the policy sees
comes from `RequestBuilder`. `hlmat_bench.training.pool` opens sessions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hlmat_bench.actions import Action
from hlmat_bench.core.errors import PluginFailed, UsageError
from hlmat_bench.core.samples import Sample
from hlmat_bench.protocol.interfaces import Reply, Request
from hlmat_bench.protocol.observation import RequestBuilder
from hlmat_bench.protocol.records import Episode
from hlmat_bench.protocol.state import TRUNCATED, EpisodePoint, EpisodeState
from hlmat_bench.runs.batching import checked
from hlmat_bench.runs.plan import RunSetup
from hlmat_bench.scores.outcomes import ClickPlace
from hlmat_bench.training.rewards import Progress, Reward, RewardSettings, reward


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reply came to.

    Attributes:
        action: what it was read as.
        before: the IoU before, 0 to 1.
        after: the IoU after.
        reward: the reward of the step, with its parts.
        end: why the episode is over, as `Episode.stop` says it; None where it is not.
    """

    action: Action
    before: float
    after: float
    reward: Reward
    end: str | None = None

    @property
    def terminated(self) -> bool:
        """Whether the episode was ended by what was done."""
        return self.end is not None and self.end not in TRUNCATED

    @property
    def truncated(self) -> bool:
        """Whether the episode was ended by the budget."""
        return self.end in TRUNCATED

    def info(self) -> dict[str, Any]:
        """Return the outcome as new JSON values; ``reason`` says why a reply is invalid and is empty for others."""
        return {
            "action": self.action.to_json(),
            "predicted_iou": self.action.predicted_iou,
            "iou_before": self.before,
            "iou": self.after,
            "reason": self.action.reason or "",
            "reward_parts": dict(self.reward.parts),
            "end": self.end or "",
        }


@dataclass(frozen=True, slots=True)
class SavedState:
    """A state of a session to which it can return.

    Attributes:
        point: the episode's.
        end: why the episode was over; None where it was not.
    """

    point: EpisodePoint
    end: str | None = None


@dataclass
class ClickSession:
    """One episode, which is played by whoever holds it. Synchronous; a session belongs to one thread at a time.

    Attributes:
        state: the episode's state.
        setup: the run that it belongs to.
        rewards: how its steps are rewarded.
        end: why it is over, as `Episode.stop` says it; None where it is not.
        failure: the failure of the segmenter that ended it; None where nothing failed.
    """

    state: EpisodeState
    setup: RunSetup
    rewards: RewardSettings
    end: str | None = None
    failure: PluginFailed | None = None

    @property
    def sample(self) -> Sample:
        """The sample that is annotated."""
        return self.state.sample

    @cached_property
    def _builder(self) -> RequestBuilder:
        return self.setup.request_builder(self.sample, self.state.image)

    def request(self) -> Request:
        """Return what the policy sees now: the painted and resized image, and the prompt.

        Its ``image`` is a new array each time, uint8 (H', W', 3) RGB.
        """
        return self._builder.request(self.state.observation())

    def step(self, reply: str | Reply) -> Outcome:
        """Take a reply of the policy as a run takes it, and return what it came to.

        Args:
            reply: its text, or a `Reply`, which also says whether it was cut off.

        Raises:
            PluginFailed: when the segmenter fails. The episode is then over with ``error``, and has no reward.
            UsageError: when the episode is over.
        """
        if self.end is not None:
            raise self.failure or UsageError("This episode is over; open the next one.")
        said = Reply(reply) if isinstance(reply, str) else reply
        [said] = checked([said], 1, "learner")
        state = self.state
        state.asked.append(said)
        action, before, covered = state.interpret(said), state.iou, state.segmentation.mask
        try:
            state.apply(action, said)
        except PluginFailed as failure:
            state.apply(Action("invalid", reason="api"), None)
            self.failure, self.end = failure, "error"
            raise
        self.end = state.ended()
        place = None
        if action.kind == "click":
            place = ClickPlace(bool(state.truth.mask[action.y, action.x]), bool(covered[action.y, action.x]))
        earned = reward(self._progress(place, over=self.end is not None), self.rewards)
        return Outcome(action, before, state.iou, earned, self.end)

    def closing_reward(self) -> Reward:
        """Return what the end of the episode would add to its rewards, where it ends now although no rule ends it.

        A trainer may end a conversation at its limit of tokens, or where the policy calls no tool any more. The parts
        that are counted at the end are then due. Where the episode is over they are 0: its last step had them.

        Raises:
            PluginFailed: when the segmenter failed, because a failure has no reward.
        """
        if self.failure is not None:
            raise self.failure
        names = self.rewards.weights() if self.end is None else {}
        ended, under_way = (
            reward(self._progress(None, over=over), self.rewards.model_copy(update={"placement": 0.0}))
            for over in (True, False)
        )
        parts = {name: ended.parts.get(name, 0.0) - under_way.parts.get(name, 0.0) for name in names}
        return Reward(math.fsum(parts.values()), parts)

    def _progress(self, place: ClickPlace | None, *, over: bool) -> Progress:
        steps = self.state.steps
        ious = [float(self.state.initial["iou"]), *(step.iou for step in steps)]
        return Progress(ious, [step.action for step in steps], place, over)

    def save(self) -> SavedState:
        """Return the current state, for `restore`."""
        return SavedState(self.state.fork(), self.end)

    def restore(self, saved: SavedState, *, forget: bool = False) -> None:
        """Return to a state of this session, also after the end of the episode.

        Args:
            saved: the state.
            forget: what was tried since then leaves no trace; else what it cost is part of the record, as in a search.

        Raises:
            PluginFailed: when the segmenter has failed, so that its session can be in any state.
        """
        if self.failure is not None:
            raise self.failure
        self.state.goto(saved.point, forget=forget)
        self.state.asked.clear()
        self.end = saved.end

    def record(self) -> Episode:
        """Return the episode as a run records it.

        Raises:
            UsageError: when it is not over.
        """
        if self.end is None:
            raise UsageError("This episode is not over, so it has no record yet; play it to its end.")
        return self.state.record(self.end, None if self.failure is None else str(self.failure))
