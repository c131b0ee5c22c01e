"""The controls of `synth_easy`, as a layout: its scenes with the words of other scenes, or with grey pictures.

A model that sees and reads clicks on the described object far less often than without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hlmat_bench.core.samples import Sample, Source, Truth
from hlmat_bench.core.types import Image
from hlmat_bench.data.layouts.data_root import DataRoot
from hlmat_bench.data.layouts.synth import SynthSettings


class ControlSettings(SynthSettings):
    """The plain scenes, with the words of other scenes (``shuffled``) or with grey pictures (``blank``)."""

    control: Literal["shuffled", "blank"]

    def open(self, place: DataRoot) -> Source:
        """See `SourceSettings.open`."""
        return _Control(super().open(place), self.control)


@dataclass
class _Control:
    """A source whose words or pictures say nothing about the described object."""

    source: Source
    control: str

    def samples(self) -> Sequence[Sample]:
        """Return the samples; their scenes are independent, so the words of half the list later are of any scene."""
        real = list(self.source.samples())
        if self.control == "blank":
            return real
        half = len(real) // 2
        return [replace(one, expression=other.expression) for one, other in zip(real, real[half:] + real[:half])]

    def image(self, sample: Sample) -> Image:
        """Return the picture of a sample, or grey of its size, uint8 (H, W, 3)."""
        image = self.source.image(sample)
        return np.full_like(image, 128) if self.control == "blank" else image

    def truth(self, sample: Sample) -> Truth:
        """Return the mask of the object that was described before."""
        return self.source.truth(sample)

    def digest(self) -> str:
        """Return the digest of the scenes, with the control's name."""
        return f"{self.control}-{self.source.digest()}"


LAYOUTS = {"control": ControlSettings}
