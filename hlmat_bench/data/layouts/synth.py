"""The layout ``synth``: synthetic scenes that are drawn from a seed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hlmat_bench.core.samples import Source
from hlmat_bench.data.layouts.data_root import DataRoot
from hlmat_bench.data.layouts.layout_settings import SourceSettings


class SynthSettings(SourceSettings):
    """The settings of synthetic samples; the seed is the run's."""

    count: int = Field(200, ge=1, le=1_000_000, description="How many samples are drawn.")
    style: Literal["thin", "plain"] = Field(
        "thin", description="thin: thin, holed and branching objects; plain: solid shapes on quiet ground."
    )
    train: bool = Field(False, description="Draw scenes for training, which no seed of the others gives.")

    def needed(self) -> list[str]:
        """Return no file, because the samples are drawn."""
        return []

    def open(self, place: DataRoot) -> Source:
        """See `SourceSettings.open`."""
        from hlmat_bench.data.synth.source import SynthSource
        from hlmat_bench.data.synth.styles import STYLES

        return SynthSource(place.seed, self.count, place.task, STYLES[self.style], train=self.train)


LAYOUTS = {"synth": SynthSettings}
