"""The section ``annotator`` of the protocol's settings."""

from __future__ import annotations

from pydantic import Field

from hlmat_bench.core.validation import Strict


class AnnotatorSettings(Strict):
    """The rules of the annotator that makes trajectories from ground truths."""

    stop_iou: float = Field(
        0.98,
        gt=0,
        le=1,
        description="The IoU from which on a trajectory is finished; SegAgent's tracing code has 0.98.",
    )
    min_gain: float = Field(
        0.0,
        ge=-1,
        lt=1,
        description="A click that raises the IoU by no more than this is discarded, and play continues from the state "
        "before; a negative value tolerates a loss.",
    )
    spread: float = Field(
        0.0,
        ge=0,
        le=1,
        description="How far from the middle of an error a click may be: 0, the middle; 1, anywhere in the error.",
    )
    tries: int = Field(
        3, ge=1, le=100, description="Clicks that are tried at a step, at different places, before the trajectory ends."
    )
