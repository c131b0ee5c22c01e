"""How tasks of the kind filtering are played: masks of varied quality are shown, and nobody clicks.

SegAgent (arXiv 2503.08625, appendix E.1): the segmenter draws masks from random positive and negative points inside the
ground truth's box, and the model predicts the IoU of each.
"""

from __future__ import annotations

from hlmat_bench.actions import Action
from hlmat_bench.clicks.random import generator_of, random_points
from hlmat_bench.core.errors import RequestFailed
from hlmat_bench.protocol.loop import Play
from hlmat_bench.protocol.mask_settings import FilteringSettings
from hlmat_bench.protocol.reward_models import JUDGES, Reward


class Predict:
    """The strategy ``predict``: shows one mask after the other and asks for its IoU.

    Each step holds its own mask, and its predicted IoU is about that mask. A request that fails leaves a step without a
    prediction, and the next mask is asked about all the same.
    """

    def __init__(self, settings: FilteringSettings) -> None:
        self._settings = settings

    async def __call__(self, play: Play) -> str:
        """Play to the end, which is the budget."""
        generator = generator_of(self._settings.seed, play.sample.id)
        while (end := play.ended()) is None:
            positive, negative = (
                int(generator.integers(*numbers, endpoint=True))
                for numbers in (self._settings.positive, self._settings.negative)
            )
            clicks = random_points(play.truth, positive, negative, generator)
            await play.draw(play.drawing.show_alone, clicks)
            reward = await self._reward(play)
            await play.do(Action("predict", predicted_iou=reward.value), reward.reply)
        return end

    async def _reward(self, play: Play) -> Reward:
        try:
            return (await JUDGES[play.settings.prm or "ask"](play, [play.view()]))[0]
        except RequestFailed:
            return Reward(None)
