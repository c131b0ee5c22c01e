"""The layout ``synth``: synthetic scenes that are drawn from a seed."""

from __future__ import annotations

from pydantic import Field

from hlmat_bench.core.samples import Source
from hlmat_bench.data.layouts.data_root import DataRoot
from hlmat_bench.data.layouts.layout_settings import SourceSettings


class SynthSettings(SourceSettings):
    """The settings of synthetic samples; the seed is the run's."""

    count: int = Field(200, ge=1, le=1_000_000, description="How many samples are drawn.")

    def needed(self) -> list[str]:
        """Return no file, because the samples are drawn."""
        return []

    def open(self, place: DataRoot) -> Source:
        """See `SourceSettings.open`."""
        from hlmat_bench.data.synth.source import SynthSource

        return SynthSource(seed=place.seed, count=self.count, name=place.task)


LAYOUTS = {"synth": SynthSettings}
