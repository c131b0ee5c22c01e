"""Synthetic scenes drawn from a seed: the embedded task `hres_synth`."""

from __future__ import annotations

from hlmat_bench.data.synth.source import VERSION, SynthSource

__all__ = ["VERSION", "SynthSource"]
