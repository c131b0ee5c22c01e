"""A model that finds coloured markers in an image and writes their positions in a given point format."""

from __future__ import annotations

import hashlib
import re
from typing import Literal, TypeAlias

import numpy as np

from hlmat_bench.core.types import Image
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.points.syntaxes import SYNTAXES
from hlmat_bench.protocol.interfaces import Reply, Request

Blindness: TypeAlias = Literal["", "random", "constant"]

_COLORS = {"red": (214, 39, 40), "blue": (31, 80, 200), "yellow": (245, 200, 20), "purple": (140, 40, 160)}
_TOLERANCE = 45
_MARKER = re.compile(r"\b(red|blue|yellow|purple) (?:circle|square|triangle|star)\b")
_REFUSAL = "I'm sorry, I can't help with that."


class MarkerFinder:
    """A model that points at the centre of the marker in the prompt, which it finds only by its colour in the image.

    Its declarations and its behaviour are separate options, so that tests can make a declaration wrong.

    Args:
        truth: point format that the model really writes, a name that `PointFormat.named` knows.
        sees: resize rule that the model applies to the image before it measures, a name that `Resize.named` knows.
        points: declared point format; None: the true one.
        resize: declared resize rule, which is applied to the image before it is sent.
        noise: standard deviation of the points, in % of the image's width and height.
        offset_x: constant offset of the points in x, in % of the image's width.
        offset_y: constant offset of the points in y, in % of the image's height.
        scale: factor of all numbers.
        refuses: share of the requests that are refused, in [0, 1].
        blind: ignore the image, and point anywhere (``random``) or at the centre (``constant``).
        seed: seed of all random numbers.
    """

    name = "marker-finder"

    def __init__(
        self,
        truth: str = "xy1000",
        sees: str = "none",
        points: str | None = None,
        resize: str = "none",
        noise: float = 0.0,
        offset_x: float = 0.0,
        offset_y: float = 0.0,
        scale: float = 1.0,
        refuses: float = 0.0,
        blind: Blindness = "",
        seed: int = 0,
    ) -> None:
        self.truth, self.sees = PointFormat.named(truth), Resize.named(sees)
        self.points, self.resize = PointFormat.named(points or truth), Resize.named(resize)
        self.noise, self.offset, self.scale = noise / 100, (offset_x / 100, offset_y / 100), scale
        self.refuses, self.blind, self.seed = refuses, blind, seed

    async def reply(self, request: Request) -> list[Reply]:
        """Answer one request, see `hlmat_bench.protocol.interfaces.Model.reply`."""
        return self.replies(request)

    def replies(self, request: Request) -> list[Reply]:
        """Answer one request without an event loop, for subclasses."""
        return [Reply(self._say(request))] * request.n

    def _say(self, request: Request) -> str:
        key = hashlib.blake2b(f"{self.seed}/{request.sample_id}/{request.t}".encode(), digest_size=8).digest()
        generator = np.random.Generator(np.random.PCG64(int.from_bytes(key)))
        if generator.random() < self.refuses:
            return _REFUSAL
        image = self.sees.apply(request.image)
        spot = self._spot(image, request.prompt, generator)
        if spot is None:
            return "Finish"
        u, v = (part + off + generator.normal(0, self.noise) for part, off in zip(spot, self.offset, strict=True))
        return self._written(u, v, image)

    def _spot(self, image: Image, prompt: str, generator: np.random.Generator) -> tuple[float, float] | None:
        """Return the point (x, y) as fractions of the image's sides; None without a marker."""
        if self.blind == "random":
            return float(generator.random()), float(generator.random())
        if self.blind == "constant":
            return 0.5, 0.5
        named = _MARKER.search(prompt)
        return None if named is None else _middle(image, _COLORS[named[1]])

    def _written(self, u: float, v: float, image: Image) -> str:
        unit = self.truth.unit
        width, height = (image.shape[1], image.shape[0]) if unit == "pixel" else (float(unit[2:]),) * 2
        digits = {"0-1": 4, "0-100": 2}.get(unit, 0)
        x, y = (f"{number * self.scale:.{digits}f}" for number in (u * width, v * height))
        return SYNTAXES[self.truth.syntax].write("Positive", *((x, y) if self.truth.order == "xy" else (y, x)))


def _middle(image: Image, color: tuple[int, int, int]) -> tuple[float, float] | None:
    """Return the centre of the largest area of a colour, (x, y) as fractions of the image's sides; None without one."""
    import cv2

    darkest, lightest = ([level + step for level in color] for step in (-_TOLERANCE, _TOLERANCE))
    like = cv2.inRange(image, np.array(darkest), np.array(lightest))
    count, _, stats, middles = cv2.connectedComponentsWithStats(like)
    if count < 2:
        return None
    x, y = middles[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())]
    return float(x + 0.5) / image.shape[1], float(y + 0.5) / image.shape[0]
