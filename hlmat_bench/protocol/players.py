"""Who plays an episode: a model that sees the painted image, or a reference that knows the ground truth.

The protocol asks a `Player` for replies and cannot tell the two apart. The ground truth is given to reference players
alone (`reference.py`); a model's player gets the image, the mask and the expression.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from hlmat_bench.clicks import Click
from hlmat_bench.core import images
from hlmat_bench.core.samples import Sample
from hlmat_bench.core.types import Image, Mask, Size
from hlmat_bench.overlay import Overlay
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import UNCHANGED, Frame, Resize
from hlmat_bench.protocol.interfaces import Model, Question, Reply, Request
from hlmat_bench.protocol.prompts import instruction
from hlmat_bench.protocol.settings import ProtocolSettings


@dataclass(frozen=True, slots=True)
class View:
    """What there is to see at a step, and what is asked.

    Attributes:
        mask: bool (H, W), the current mask, or one that a strategy tries.
        clicks: the clicks that led to it, oldest first.
        t: the number of the step, from 1.
        question: what is asked.
        greedy: whatever the protocol's temperature, the reply is the likeliest one.
    """

    mask: Mask
    clicks: Sequence[Click]
    t: int
    question: Question = "click"
    greedy: bool = False


class Player(Protocol):
    """Answers the protocol's questions about one sample."""

    @property
    def points(self) -> PointFormat:
        """How its replies write coordinates."""
        ...

    @property
    def deterministic(self) -> bool:
        """The same view always gets the same reply."""
        ...

    @property
    def frame(self) -> Frame | None:
        """How the player sees the image; None: as it is."""
        ...

    async def ask(self, view: View, n: int) -> list[Reply]:
        """``n`` replies to a view.

        Raises:
            RequestFailed: when the model cannot be asked.
        """
        ...


class ModelPlayer:
    """A model that one sample is played with: makes the picture it sees, mask painted, and writes the prompt.

    Args:
        model: whose formats the pictures and prompts are in.
        send: sends a request to the model.
        sample, image: what is played; the image is uint8 (H, W, 3) RGB.
        settings: of the protocol.
        points: the format of points, where it is not the model's own.
        seed: what the model's random choices depend on.
        pool: where pictures are painted.
    """

    def __init__(
        self,
        model: Model,
        send: Callable[[Request], Awaitable[list[Reply]]],
        sample: Sample,
        image: Image,
        settings: ProtocolSettings,
        *,
        points: PointFormat | None = None,
        seed: int,
        pool: Executor,
    ) -> None:
        self.points = points or model.points
        self._size: Size = (image.shape[0], image.shape[1])
        self._resize: Resize = getattr(model, "resize", UNCHANGED)
        self.frame: Frame | None = self._resize.frame(self._size)
        self.deterministic = settings.temperature == 0 and getattr(model, "deterministic", True)
        self._send = send
        self._sample = sample
        self._settings = settings
        self._templates = settings.templates()
        self._seed = seed
        self._pool = pool
        self._overlay = Overlay(image, color=settings.overlay.color, alpha=settings.overlay.alpha)
        self._canvases: list[Image] = []

    async def ask(self, view: View, n: int) -> list[Reply]:
        """See `Player.ask`."""
        loop = asyncio.get_running_loop()
        image, canvas, state = await loop.run_in_executor(self._pool, self._shown, view.mask)
        settings = self._settings
        temperature = 0.0 if view.greedy else settings.temperature
        prompt = instruction(
            self._templates[view.question],
            expression=self._sample.expression,
            points=self.points,
            size=self._size,
            frame=self.frame,
            color=settings.overlay.color,
            clicks=view.clicks if settings.history else (),
            question=view.question,
        )
        request = Request(
            image=image,
            prompt=prompt,
            n=n,
            temperature=temperature,
            max_tokens=settings.max_tokens,
            seed=(self._seed + view.t) % 2**31 if temperature else self._seed,
            sample_id=self._sample.id,
            t=view.t,
            state=state,
        )
        started = time.perf_counter()
        replies = await self._send(request)
        waited = time.perf_counter() - started
        self._canvases.append(canvas)
        return [reply if reply.seconds else replace(reply, seconds=waited) for reply in replies]

    def _shown(self, mask: Mask) -> tuple[Image, Image, int]:
        """Return the image with the mask over it, as it is sent, the memory it was painted on, and `Request.state`."""
        canvas = self._overlay.paint(mask, out=self._canvases.pop() if self._canvases else None)
        shown = self._resize.apply(canvas)
        quality = self._settings.jpeg
        if quality is not None:
            shown = images.decode(images.encode(shown, quality=quality, subsampling="4:2:0"))
        return shown, canvas, zlib.crc32(np.ascontiguousarray(mask).data)
