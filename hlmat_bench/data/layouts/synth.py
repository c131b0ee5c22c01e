"""The synthetic task: nothing to read, everything from a seed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hlmat_bench.core.samples import Source
from hlmat_bench.data.layouts.data_root import Place
from hlmat_bench.data.layouts.settings import SourceSettings


class SynthSettings(SourceSettings):
    """The settings of synthetic samples; the seed is the run's."""

    kind: Literal["synth"]
    count: int = Field(200, ge=1, le=1_000_000, description="How many samples are drawn.")

    def needed(self) -> list[str]:
        """Nothing: the samples are drawn."""
        return []

    def open(self, place: Place) -> Source:
        """See `SourceSettings.open`."""
        from hlmat_bench.data.synth.source import SynthSource

        return SynthSource(seed=place.seed, count=self.count, name=place.task)
