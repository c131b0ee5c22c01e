"""The process reward model (PRM): what a mask is worth, as predicted, without the ground truth but in studies.

SegAgent (arXiv 2503.08625, section 4.4) has the model predict the IoU of the mask it is shown before it writes the next
click ("Current mIoU: 74"). So what a click is worth is known from the reply to the mask that it led to.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TypeAlias

import numpy as np

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.types import Mask
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.protocol.loop import Play
from hlmat_bench.protocol.players import View
from hlmat_bench.protocol.settings import ProtocolSettings


@dataclass(frozen=True, slots=True)
class Reward:
    """What a mask is said to be worth.

    Attributes:
        value: the predicted IoU, in [0, 1]; None where the reply holds none.
        reply: the reply that says so; None where no model was asked.
    """

    value: float | None
    reply: Reply | None = None


Judge: TypeAlias = Callable[[Play, Sequence[View]], Awaitable[list[Reward]]]


async def by_reply(play: Play, views: Sequence[View]) -> list[Reward]:
    """What the model's replies to these masks say, the next click beside it."""
    return await _asked(play, views)


async def by_question(play: Play, views: Sequence[View]) -> list[Reward]:
    """What the model answers when it is asked for nothing but the IoU."""
    return await _asked(play, [replace(view, question="iou") for view in views])


async def by_truth(play: Play, views: Sequence[View]) -> list[Reward]:
    """The true IoU: the ceiling of what a PRM can be."""
    return [Reward(play.scored.iou(view.mask)) for view in views]


async def by_noisy_truth(play: Play, views: Sequence[View]) -> list[Reward]:
    """The true IoU with noise, the same for the same mask: see `noisy`."""
    rules = play.settings
    assert rules.correlation is not None
    return [Reward(noisy(play.scored.iou(view.mask), rules.correlation, _draw(play, view.mask))) for view in views]


#: By the value of the setting ``prm``.
JUDGES: dict[str, Judge] = {
    "reply": by_reply,
    "ask": by_question,
    "oracle": by_truth,
    "noisy": by_noisy_truth,
}


def with_reward_model(rules: ProtocolSettings, *, predicts: bool) -> ProtocolSettings:
    """The settings with a reward model named, where the strategy is one of ours that use one.

    Args:
        rules: the user's.
        predicts: the model is known to say in its replies what a mask is worth.

    Raises:
        UsageError: when the strategy needs one and none is known.
    """
    if rules.strategy not in ("prm", "tree", "predict") or rules.prm is not None:
        return rules
    if rules.strategy == "predict":
        return rules.with_(prm="reply" if predicts else "ask")
    if not predicts:
        raise UsageError(
            f"The strategy {rules.strategy} needs a predicted IoU, and this model is not known to write one; add --set "
            "prm=ask to ask it in a separate question, or prm=reply if its replies hold one (Current IOU: 74)."
        )
    return rules.with_(prm="reply")


def noisy(iou: float, correlation: float, draw: float) -> float:
    """A prediction of an IoU that is right to some degree.

    A Gaussian copula (Nelsen, "An Introduction to Copulas", 2006, section 2.3): of IoUs spread evenly over [0, 1] the
    predictions are spread so, too, and their normal scores have the given correlation (their ranks about the same,
    Pearson's ``6 / pi * asin(correlation / 2)``).

    Args:
        iou: the true one, in [0, 1].
        correlation: 1, and the prediction is the truth; 0, and it is the draw.
        draw: evenly distributed in [0, 1].

    Returns:
        A number in [0, 1].

    >>> round(noisy(0.7, 1.0, 0.2), 6), round(noisy(0.7, 0.0, 0.2), 6)
    (0.7, 0.2)
    """
    normal, (truth, noise) = NormalDist(), np.clip([iou, draw], 1e-9, 1 - 1e-9).tolist()
    mixed = correlation * normal.inv_cdf(truth) + (1 - correlation**2) ** 0.5 * normal.inv_cdf(noise)
    return normal.cdf(mixed)


def _draw(play: Play, mask: Mask) -> float:
    """A number in [0, 1) that a mask of a sample always gets under the run's seed."""
    content, salt = play.sample.id.encode() + np.packbits(mask).tobytes(), play.seed.to_bytes(16, signed=True)
    key = hashlib.blake2b(content, digest_size=8, salt=salt).digest()
    return float(np.random.Generator(np.random.PCG64(int.from_bytes(key))).random())


async def _asked(play: Play, views: Sequence[View]) -> list[Reward]:
    """All at once, so that a local model sees them in one batch."""
    answers = await asyncio.gather(*(play.ask(view=view) for view in views))
    return [Reward(play.read(reply).predicted_iou, reply) for [reply] in answers]
