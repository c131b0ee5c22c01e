"""Process reward models (PRM): predict the IoU of a mask. ``oracle`` and ``noisy`` read the ground truth, for studies.

SegAgent (arXiv 2503.08625, section 4.4) has the model predict the IoU of the mask it is shown before it writes the next
click ("Current mIoU: 74"). So the reward of a click is in the reply to the mask that the click led to.
"""

from __future__ import annotations

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
from hlmat_bench.protocol.observation import Observation
from hlmat_bench.protocol.settings import ProtocolSettings, StrategyNeeds


@dataclass(frozen=True, slots=True)
class Reward:
    """The predicted IoU of a mask.

    Attributes:
        value: in [0, 1]; None where the reply holds none.
        reply: the reply that it was read from; None where no model was asked.
    """

    value: float | None
    reply: Reply | None = None


RewardModel: TypeAlias = Callable[[Play, Sequence[Observation]], Awaitable[list[Reward]]]


async def by_reply(play: Play, observations: Sequence[Observation]) -> list[Reward]:
    """Return the predictions in the model's replies to these masks, which also hold the next click."""
    return await _asked(play, observations)


async def by_question(play: Play, observations: Sequence[Observation]) -> list[Reward]:
    """Return the model's answers when it is asked for the IoU alone."""
    return await _asked(play, [replace(each, question="iou") for each in observations])


async def by_truth(play: Play, observations: Sequence[Observation]) -> list[Reward]:
    """Return the true IoU: no PRM can be better."""
    return [Reward(play.state.scored.iou(each.mask)) for each in observations]


async def by_noisy_truth(play: Play, observations: Sequence[Observation]) -> list[Reward]:
    """Return the true IoU with noise, equal for equal masks: see `noisy`."""
    correlation = play.settings.correlation
    assert correlation is not None
    return [
        Reward(noisy(play.state.scored.iou(each.mask), correlation, _draw(play, each.mask))) for each in observations
    ]


#: By the value of the setting ``prm``.
REWARD_MODELS: dict[str, RewardModel] = {
    "reply": by_reply,
    "ask": by_question,
    "oracle": by_truth,
    "noisy": by_noisy_truth,
}


def with_reward_model(settings: ProtocolSettings, needs: StrategyNeeds, *, predicts: bool) -> ProtocolSettings:
    """Return the settings with a reward model named, where the strategy needs a predicted IoU and none is named.

    Args:
        settings: the user's.
        needs: of the strategy.
        predicts: the model is known to predict in its replies the IoU of the mask it is shown.

    Raises:
        UsageError: when the strategy needs a reward model and none is known.
    """
    if needs.predicted_iou is None or settings.prm is not None:
        return settings
    if not predicts and needs.predicted_iou == "required":
        raise UsageError(
            f"The strategy {settings.strategy} needs a predicted IoU, and this model is not known to write one; add "
            "--set prm=ask to ask it in a separate question, or prm=reply if its replies hold one (Current IOU: 74)."
        )
    return settings.with_prm("reply" if predicts else "ask", needs)


def noisy(iou: float, correlation: float, draw: float) -> float:
    """Return a prediction of an IoU that is right to some degree.

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
    """Return a number in [0, 1) that depends on the sample, the mask and the run's seed alone."""
    state = play.state
    content, salt = state.sample.id.encode() + np.packbits(mask).tobytes(), state.seed.to_bytes(16, signed=True)
    key = hashlib.blake2b(content, digest_size=8, salt=salt).digest()
    return float(np.random.Generator(np.random.PCG64(int.from_bytes(key))).random())


async def _asked(play: Play, observations: Sequence[Observation]) -> list[Reward]:
    replies = await play.ask_each(observations)
    return [Reward(play.read(reply).predicted_iou, reply) for reply in replies]
