"""Which masks a task makes: the sections ``refinement`` and ``filtering`` of a task's file."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, Field

from hlmat_bench.core.validation import Strict

#: The defects of `hlmat_bench.data.perturbations`; the run's segmenter draws the last two.
DefectName: TypeAlias = Literal["eroded", "dilated", "coarsened", "shifted", "merged", "cropped", "box", "points"]


_MOST = 1000
"""The largest number of points, and the largest number of bands or defects, of which each sample draws one."""


def _shares(band: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= band[0] < band[1] <= 1:
        raise ValueError("a band is two IoUs from 0 to 1, the lower one first")
    return band


def _rising(numbers: tuple[int, int]) -> tuple[int, int]:
    if not 0 <= numbers[0] <= numbers[1] <= _MOST:
        raise ValueError(f"it is the least and the greatest number of points, at most {_MOST}")
    return numbers


Band: TypeAlias = Annotated[tuple[float, float], AfterValidator(_shares)]
Numbers: TypeAlias = Annotated[tuple[int, int], AfterValidator(_rising)]


class MaskSettings(Strict):
    """What both sections have.

    Attributes:
        seed: of all draws, besides the sample's id.
    """

    VERSION: ClassVar = 1
    """Raised when the same settings make other masks."""
    seed: int = Field(0, ge=0)

    def describe(self) -> dict[str, Any]:
        """Return what a manifest says of them: JSON values."""
        return {"version": self.VERSION, **self.model_dump(mode="json")}


class RefinementSettings(MaskSettings):
    """Which imperfect masks the episodes of a task begin with.

    Attributes:
        defects: each sample draws one of them.
        bands: of the IoU, as (low, high); each sample draws one of them.
    """

    defects: tuple[DefectName, ...] = Field(
        ("eroded", "dilated", "coarsened", "shifted", "merged", "cropped"), min_length=1, max_length=_MOST
    )
    bands: tuple[Band, ...] = Field(((0.5, 0.65), (0.65, 0.8), (0.8, 0.9)), min_length=1, max_length=_MOST)


class FilteringSettings(MaskSettings):
    """What the masks are drawn from whose IoU is asked for. The budget says how many each sample has.

    Attributes:
        positive: the least and the greatest number of points on the object; each mask draws its own.
        negative: the same of points beside it.
    """

    positive: Numbers = (1, 3)
    negative: Numbers = (0, 3)
