"""PRM stop and PRM-guided tree search (SegAgent, arXiv 2503.08625, section 4.4 and its algorithm 2).

At each step candidate actions are drawn, each is tried on the segmenter, its mask is judged by the process reward model
(`hlmat_bench.protocol.reward_models`), and the best is kept; until the budget, or until the reward converges or falls.
The mask with the highest reward is the answer: the selection rule ``self``. With one candidate this is PRM stop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hlmat_bench.actions import DRAWING, Action
from hlmat_bench.core import masks
from hlmat_bench.core.types import Mask
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.protocol.loop import Play
from hlmat_bench.protocol.observation import Observation
from hlmat_bench.protocol.reward_models import REWARD_MODELS, Reward
from hlmat_bench.protocol.settings import StopSettings


@dataclass
class Candidate:
    """An action that may be taken next.

    Attributes:
        action: what it does.
        replies: the replies that mean it; it is read from the first.
        mask: bool (H, W), the mask that it leads to.
        reward: the predicted IoU of that mask.
    """

    action: Action
    replies: list[Reply]
    mask: Mask
    reward: Reward

    @property
    def draws(self) -> bool:
        """The action leads to a mask of its own."""
        return self.action.kind in DRAWING


class Convergence:
    """Decides when the reward has stopped rising.

    Args:
        settings: see `StopSettings`.
        value: the reward of the initial state; None where it is not known.
    """

    def __init__(self, settings: StopSettings, value: float | None) -> None:
        self._settings, self._best, self._idle = settings, -math.inf if value is None else value, 0

    def after(self, value: float | None) -> str | None:
        """Return why the search ends after a step with this reward; None where it continues, as without a reward."""
        if value is None:
            return None
        falls = value < self._best - self._settings.epsilon
        self._idle = 0 if value > self._best + self._settings.epsilon else self._idle + 1
        self._best = max(self._best, value)
        if self._idle < self._settings.patience:
            return None
        return "falling" if falls else "converged"


async def prm(play: Play) -> str:
    """Try one candidate a step, and stop when the reward converges or falls."""
    return await Search(play, 1).run()


async def tree(play: Play) -> str:
    """Take the best of several candidates at each step."""
    assert play.settings.candidates is not None
    return await Search(play, play.settings.candidates).run()


class Search:
    """The moves of a search through one episode: draw candidates, try and judge them, take one.

    `run` is the search of the paper, which takes the best candidate at each step. A strategy may combine the moves in
    another way; ``examples/beam_search.py`` does.

    Args:
        play: the episode.
        width: candidates drawn at each step.
    """

    def __init__(self, play: Play, width: int) -> None:
        self._play, self._state, self._width = play, play.state, width
        self._judge = REWARD_MODELS[play.settings.prm or "reply"]
        # A reply speaks of the mask it is shown and says the next click. With one candidate it is taken for both.
        self._one_reply_is_both = width == 1 and play.settings.prm == "reply"

    async def run(self) -> str:
        """Play to the end, and return why it ended."""
        play = self._play
        current = await self.first_reward()
        convergence = Convergence(play.settings.stop or StopSettings(), current.value)
        while (end := play.ended()) is None:
            candidates = await self.expand(current)
            best = max(candidates, key=lambda each: preference(each.action.kind, each.reward.value))
            current = await self.take(best, candidates, current)
            if play.ended() in (None, "budget") and (why := convergence.after(current.value)) is not None:
                return why
        return end

    async def first_reward(self) -> Reward:
        """Return the reward of the current mask. An empty mask has reward 0 and is not sent to the reward model."""
        if not self._one_reply_is_both and not self._state.segmentation.mask.any():
            return Reward(0.0)
        return (await self._judge(self._play, [self._to_judge(self._play.observation())]))[0]

    async def expand(self, current: Reward) -> list[Candidate]:
        """Draw candidates in the current state, try each on the segmenter, and judge the masks.

        Args:
            current: the reward of the current mask.
        """
        replies = await self._replies(current)
        candidates = self._merged(replies, current)
        await self._try_and_judge([each for each in candidates if each.draws])
        return candidates

    async def take(self, chosen: Candidate, candidates: Sequence[Candidate], current: Reward) -> Reward:
        """Carry out a candidate of the current state, record all that were tried, and return the mask's reward.

        Args:
            chosen: the candidate.
            candidates: all of this step, as `expand` returned them.
            current: the reward of the mask before the step.
        """
        records = await self._play.work(self._records, candidates, chosen)
        await self._play.do(chosen.action, chosen.replies[0], records)
        return chosen.reward if chosen.draws else Reward(current.value)

    async def _replies(self, current: Reward) -> list[Reply]:
        if self._one_reply_is_both and current.reply is not None:
            return [current.reply]
        return await self._play.ask(self._width)

    def _merged(self, replies: Sequence[Reply], current: Reward) -> list[Candidate]:
        """Return the different actions of the replies, in their order, with the current mask until they are tried."""
        found: dict[Action, Candidate] = {}
        for reply in replies:
            action = self._play.read(reply)
            alike = replace(action, predicted_iou=None)
            if alike in found:
                found[alike].replies.append(reply)
            else:
                found[alike] = Candidate(action, [reply], self._state.segmentation.mask, Reward(current.value))
        return list(found.values())

    async def _try_and_judge(self, candidates: Sequence[Candidate]) -> None:
        if not candidates:
            return
        play = self._play
        tried = await play.try_each([each.action for each in candidates])
        now = play.observation()
        after = self._state.segmentation.after
        seen = [
            self._to_judge(replace(now, mask=mask, clicks=after(each.action)[0], t=now.t + 1))
            for each, mask in zip(candidates, tried, strict=True)
        ]
        for each, mask, reward in zip(candidates, tried, await self._judge(play, seen), strict=True):
            each.mask, each.reward = mask, reward

    def _to_judge(self, observation: Observation) -> Observation:
        return observation if self._one_reply_is_both else replace(observation, greedy=True)

    def _records(self, candidates: Sequence[Candidate], best: Candidate) -> list[dict[str, Any]]:
        """Return what `Step.candidates` holds of the candidates; call it in a worker thread."""
        return [self._record(each) | {"chosen": each is best} for each in candidates]

    def _record(self, candidate: Candidate) -> dict[str, Any]:
        """Return JSON values; ``finish`` only where the judging reply was cut off or withheld."""
        reward, judgement = candidate.reward, candidate.reward.reply
        cut = {"finish": judgement.finish} if judgement and judgement.finish not in (None, "stop") else {}
        return {
            "action": candidate.action.to_json(),
            "replies": [reply.text for reply in candidate.replies],
            "mask": masks.encode(candidate.mask),
            "iou": self._state.scored.iou(candidate.mask),
            "predicted_iou": reward.value,
            "judgement": judgement.text if judgement else None,
            **cut,
        }


def preference(kind: str, value: float | None) -> tuple[bool, bool, float, bool]:
    """Return the key by which the best candidate is the greatest; of equal candidates, the first is taken.

    Valid actions come before invalid ones, judged candidates before others, and then the reward counts. A stop comes
    before a click whose reward is no higher than that of the current mask.

    Args:
        kind: of the candidate's action.
        value: its reward; None where there is none.
    """
    return kind != "invalid", value is not None, value or 0.0, kind == "stop"
