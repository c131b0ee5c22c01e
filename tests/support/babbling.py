"""A model whose replies are drawn at random: good ones, mutated ones and nonsense, the same again for the same seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol.interfaces import Reply, Request

NONSENSE = (
    "",
    "Finish",
    "The mask is complete. Finish",
    "finish",
    "I cannot help with that.",
    "<think>The left one.</think>Positive point: (200, 300)",
    "Positive point: (1200, 10)",
    "Positive point: (-3, 10)",
    "Negative point: (999999999999999999999, 1)",
    '{"point_2d": [400, 500], "label": "a"}',
    "Current IOU: 74, Negative point: (250, 750)",
    "Positive point: (500, 500) Negative point: (1, 1)",
    "(320, 640)",
    "点 (500, 500)\u200b",
    "\ud83d",
)


def babble(sample_id: str, t: int, seed: int = 0) -> str:
    """Return what is said about a sample at a step."""
    draw = random.Random(f"{seed}/{sample_id}/{t}")
    if draw.random() < 0.25:
        return draw.choice(NONSENSE)
    sign = draw.choice(("Positive", "Positive", "Negative"))
    step = draw.choice((1, 100))  # coarse positions come again, so that some clicks repeat earlier ones
    x, y = (draw.randrange(0, 1001, step) for _ in range(2))
    said = f"{sign} point: ({x}, {y})"
    return mutated(said, draw) if draw.random() < 0.3 else said


def mutated(text: str, draw: random.Random) -> str:
    """Return a text in which some characters are missing, doubled or others."""
    letters = list(text)
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(letters))
        letters[place] = draw.choice(("", letters[place] * 2, draw.choice("0123456789(),:[]{} \n-.%PN\"'é")))
    return "".join(letters)


class Babbler:
    """A model that says what `babble` returns.

    Args:
        deterministic: what it declares: whether an invalid reply ends the episode.
        points: the point format that it declares.
        resize: the rule that resizes images for it.
    """

    name = "babbler"

    def __init__(
        self, deterministic: bool = False, points: str = "xy1000", resize: str = "none", seed: int = 0
    ) -> None:
        self.deterministic, self.seed = deterministic, seed
        self.points, self.resize = PointFormat.named(points), Resize.named(resize)
        self.asked: list[Request] = []

    async def reply(self, request: Request) -> list[Reply]:
        """Return the line of the sample and the step."""
        return [Reply(babble(request.sample_id, request.t, self.seed))] * request.n


def script(sample_ids: Sequence[str], budget: int, seed: int = 0) -> dict[str, list[str]]:
    """Return what is said at each step about each sample."""
    return {name: [babble(name, t, seed) for t in range(1, budget + 1)] for name in sample_ids}
