"""PRM stop and PRM-guided tree search (SegAgent, arXiv 2503.08625, section 4.4 and its algorithm 2).

At each step candidate actions are drawn, each is tried on the segmenter, its mask is judged by the process reward model
(`hlmat_bench.protocol.reward_models`), and the best is kept; until the budget, or until the reward converges or falls.
The mask with
the highest reward is the answer: the selection rule ``self``. With one candidate this is PRM stop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hlmat_bench.actions import Action
from hlmat_bench.core import masks
from hlmat_bench.core.types import Mask
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.protocol.loop import Play
from hlmat_bench.protocol.players import View
from hlmat_bench.protocol.reward_models import JUDGES, Reward
from hlmat_bench.protocol.settings import StopSettings


@dataclass
class Candidate:
    """An action that may be taken next.

    Attributes:
        action: what it does.
        replies: those that mean it; the first is the one it is read from.
        mask: what it leads to, bool (H, W).
        reward: what that is worth.
    """

    action: Action
    replies: list[Reply]
    mask: Mask
    reward: Reward

    @property
    def draws(self) -> bool:
        """It leads to another mask."""
        return self.action.kind in ("click", "box")


class Convergence:
    """Says when the reward rises no more.

    Args:
        rules: see `StopSettings`.
        value: the reward of the initial state; None where it is not known.
    """

    def __init__(self, rules: StopSettings, value: float | None) -> None:
        self._rules, self._best, self._idle = rules, -math.inf if value is None else value, 0

    def after(self, value: float | None) -> str | None:
        """Why the search ends after a step with this reward; None where it goes on. Without a reward it goes on."""
        if value is None:
            return None
        falls = value < self._best - self._rules.epsilon
        self._idle = 0 if value > self._best + self._rules.epsilon else self._idle + 1
        self._best = max(self._best, value)
        if self._idle < self._rules.patience:
            return None
        return "falling" if falls else "converged"


async def prm(play: Play) -> str:
    """One candidate a step; stops when the reward converges or falls."""
    return await Search(play, 1).run()


async def tree(play: Play) -> str:
    """The best of several candidates at each step."""
    assert play.settings.candidates is not None
    return await Search(play, play.settings.candidates).run()


class Search:
    """A heuristic greedy search through one episode.

    Args:
        play: the episode.
        width: candidates drawn at each step.
    """

    def __init__(self, play: Play, width: int) -> None:
        self._play, self._width, self._judge = play, width, JUDGES[play.settings.prm or "reply"]
        # A reply speaks of the mask it is shown and says the next click. With one candidate it is taken for both.
        self._one_reply_is_both = width == 1 and play.settings.prm == "reply"

    async def run(self) -> str:
        """Play to the end, and say why it ended."""
        play = self._play
        current = await self._first_reward()
        convergence = Convergence(play.settings.stop or StopSettings(), current.value)
        while (end := play.ended()) is None:
            candidates = self._merged(await self._replies(current), current)
            await self._try_and_judge([each for each in candidates if each.draws])
            best = max(candidates, key=lambda each: preference(each.action.kind, each.reward.value))
            await play.do(best.action, best.replies[0], await play.work(self._records, (candidates, best)))
            current = best.reward if best.draws else Reward(current.value)
            if play.ended() in (None, "budget") and (why := convergence.after(current.value)) is not None:
                return why
        return end

    async def _first_reward(self) -> Reward:
        """That of the initial state. An empty mask is worth nothing, which nobody has to say."""
        if not self._one_reply_is_both and not self._play.drawing.mask.any():
            return Reward(0.0)
        return (await self._judge(self._play, [self._to_judge(self._play.view())]))[0]

    async def _replies(self, current: Reward) -> list[Reply]:
        if self._one_reply_is_both and current.reply is not None:
            return [current.reply]
        return await self._play.ask(self._width)

    def _merged(self, replies: Sequence[Reply], current: Reward) -> list[Candidate]:
        """The different actions of the replies, in their order; until they are tried, they lead nowhere."""
        found: dict[Action, Candidate] = {}
        for reply in replies:
            action = self._play.read(reply)
            alike = replace(action, predicted_iou=None)
            if alike in found:
                found[alike].replies.append(reply)
            else:
                found[alike] = Candidate(action, [reply], self._play.drawing.mask, Reward(current.value))
        return list(found.values())

    async def _try_and_judge(self, candidates: Sequence[Candidate]) -> None:
        if not candidates:
            return
        play = self._play
        tried = await play.try_each([each.action for each in candidates])
        now = play.view()
        views = [
            self._to_judge(replace(now, mask=mask, clicks=play.drawing.after(each.action)[0], t=now.t + 1))
            for each, mask in zip(candidates, tried, strict=True)
        ]
        for each, mask, reward in zip(candidates, tried, await self._judge(play, views), strict=True):
            each.mask, each.reward = mask, reward

    def _to_judge(self, view: View) -> View:
        return view if self._one_reply_is_both else replace(view, greedy=True)

    def _records(self, tried: tuple[Sequence[Candidate], Candidate]) -> list[dict[str, Any]]:
        """In a worker thread: what `Step.candidates` holds of the candidates."""
        candidates, best = tried
        return [self._record(each) | {"chosen": each is best} for each in candidates]

    def _record(self, candidate: Candidate) -> dict[str, Any]:
        """JSON values; ``finish`` only where the judging reply ended otherwise than by its own end."""
        reward, judgement = candidate.reward, candidate.reward.reply
        cut = {"finish": judgement.finish} if judgement and judgement.finish not in (None, "stop") else {}
        return {
            "action": candidate.action.to_json(),
            "replies": [reply.text for reply in candidate.replies],
            "mask": masks.encode(candidate.mask),
            "iou": self._play.scored.iou(candidate.mask),
            "predicted_iou": reward.value,
            "judgement": judgement.text if judgement else None,
            **cut,
        }


def preference(kind: str, value: float | None) -> tuple[bool, bool, float, bool]:
    """What the best candidate has most of; of equal ones, the first is taken.

    Candidates that do something come before invalid ones, judged ones before others, and then the reward counts. A
    click that is worth no more than the mask that is there is no reason not to stop.

    Args:
        kind: of its action.
        value: its reward; None where there is none.
    """
    return kind != "invalid", value is not None, value or 0.0, kind == "stop"
