"""How tasks of the kind filtering are played: masks of varied quality are shown, and no clicks are asked for.

SegAgent (arXiv 2503.08625, appendix E.1): the segmenter draws masks from random positive and negative points inside the
ground truth's box, and the model predicts the IoU of each.
"""

from __future__ import annotations

from hlmat_bench.actions import Action
from hlmat_bench.clicks.random import generator_of, random_points
from hlmat_bench.core.errors import RequestFailed
from hlmat_bench.protocol.loop import Chooser, Play
from hlmat_bench.protocol.mask_settings import FilteringSettings
from hlmat_bench.protocol.reward_models import REWARD_MODELS, Reward


def predicting(given: FilteringSettings) -> Chooser:
    """Return the strategy ``predict``: it shows one mask after the other and asks for its IoU.

    Each step holds its own mask, and its predicted IoU is about that mask. A request that fails leaves a step without a
    prediction, and the next mask is asked about all the same.

    Args:
        given: which masks are shown.
    """

    async def predict(play: Play) -> str:
        state = play.state
        generator = generator_of(given.seed, state.sample.id)
        while (end := play.ended()) is None:
            positive, negative = (
                int(generator.integers(*numbers, endpoint=True)) for numbers in (given.positive, given.negative)
            )
            await play.work(state.show, random_points(state.truth, positive, negative, generator))
            reward = await _reward(play)
            await play.do(Action("predict", predicted_iou=reward.value), reward.reply)
        return end

    return predict


async def _reward(play: Play) -> Reward:
    try:
        return (await REWARD_MODELS[play.settings.prm or "ask"](play, [play.observation()]))[0]
    except RequestFailed:
        return Reward(None)
