"""What a policy is shown at a step, and the request that a model gets for it: picture and prompt."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hlmat_bench.actions import NO_OBJECT
from hlmat_bench.clicks import Click
from hlmat_bench.core import images
from hlmat_bench.core.samples import Sample
from hlmat_bench.core.types import Image, Mask, Size
from hlmat_bench.overlay import Overlay
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import UNCHANGED, Frame, Resize
from hlmat_bench.protocol.interfaces import Question, Request
from hlmat_bench.protocol.prompts import instruction
from hlmat_bench.protocol.settings import ProtocolSettings


@dataclass(frozen=True, slots=True)
class Observation:
    """What there is to see at a step, and what is asked about it.

    Attributes:
        mask: bool (H, W), the current mask, or one that a strategy tries.
        clicks: the clicks that led to it, oldest first.
        t: the number of the step, from 1.
        question: what is asked.
        greedy: ask for the most probable reply, whatever the protocol's temperature.
    """

    mask: Mask
    clicks: Sequence[Click]
    t: int
    question: Question = "click"
    greedy: bool = False


class RequestBuilder:
    """Turn observations of one sample into requests to a model: paint the mask over the image and write the prompt.

    Args:
        sample: the sample, for its expression and its id.
        image: uint8 (H, W, 3) RGB.
        settings: the protocol's settings.
        points: how the model writes coordinates; the prompt explains it.
        resize: how the image is changed before it is sent.
        seed: of the sample, for the model's random choices.
    """

    def __init__(
        self,
        sample: Sample,
        image: Image,
        settings: ProtocolSettings,
        points: PointFormat,
        resize: Resize = UNCHANGED,
        seed: int = 0,
    ) -> None:
        self.points = points
        self._size: Size = (image.shape[0], image.shape[1])
        self.frame: Frame = resize.frame(self._size)
        self._sample, self._settings, self._resize, self._seed = sample, settings, resize, seed
        self._templates = settings.templates()
        self._overlay = Overlay(image, color=settings.overlay.color, alpha=settings.overlay.alpha)
        # Painted pictures are large. Their memory is used again once the reply is there, which saves page faults.
        self._free: list[Image] = []
        self._sent_as_painted = settings.jpeg is None and self.frame == Frame.whole(self._size)

    def request(self, observation: Observation, n: int = 1) -> Request:
        """Return the request for ``n`` replies to an observation. Hand it to `release` when the replies are there."""
        settings, question = self._settings, observation.question
        temperature = 0.0 if observation.greedy else settings.temperature
        prompt = instruction(
            self._templates[question],
            expression=self._sample.expression,
            points=self.points,
            size=self._size,
            frame=self.frame,
            color=settings.overlay.color,
            clicks=observation.clicks if settings.history else (),
            question=question,
            no_object=settings.no_target_reply or NO_OBJECT if settings.no_target else None,
        )
        return Request(
            image=self._shown(observation.mask),
            prompt=prompt,
            n=n,
            temperature=temperature,
            max_tokens=settings.max_tokens,
            seed=(self._seed + observation.t) % 2**31 if temperature else self._seed,
            sample_id=self._sample.id,
            t=observation.t,
            state=zlib.crc32(np.ascontiguousarray(observation.mask).data),
        )

    def release(self, request: Request) -> None:
        """Take the memory of a request's picture back; the next request is painted on it."""
        if self._sent_as_painted:
            self._free.append(request.image)

    def _shown(self, mask: Mask) -> Image:
        """Return the image with the mask painted over it as it is sent, uint8 (H', W', 3) RGB."""
        try:  # a search asks about several masks at once, in several threads: to look first would be a race
            memory = self._free.pop()
        except IndexError:
            memory = None
        canvas = self._overlay.paint(mask, out=memory)
        shown = self._resize.apply(canvas)
        if self._settings.jpeg is not None:
            shown = images.decode(images.encode(shown, quality=self._settings.jpeg, subsampling="4:2:0"))
        if not self._sent_as_painted:
            self._free.append(canvas)
        return shown
