"""Samples: what a task consists of, without the pixels, and the source that fetches the pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hlmat_bench.core.types import Image, Mask


@dataclass(frozen=True, slots=True)
class Sample:
    """One image, one referring expression, one ground-truth mask, by name only.

    Attributes:
        id: unique in the task and stable over runs, e.g. ``"res_refcoco_val/41952/0"``.
        image: file name of the image, as recorded in episodes.
        image_id: samples of one image share it; intervals are clustered by it.
        expression: the description the model gets.
        ref_id: the object the expression refers to; several expressions may share it.
        tags: what the scores are sliced by, e.g. ``{"difficulty": "hard"}``.
        key: whatever the source needs to find the pixels again; the engine does not look into it.
    """

    id: str
    image: str
    image_id: str
    expression: str
    ref_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    key: object = None


@dataclass(frozen=True, slots=True)
class Truth:
    """The ground truth of a sample.

    Attributes:
        mask: bool (H, W), the object.
        ignore: bool (H, W), pixels that no score counts and no simulated click falls on; or None.
    """

    mask: Mask
    ignore: Mask | None = None


class Source(Protocol):
    """Where a task's samples come from. One implementation per annotation layout, in `data/layouts/`.

    Optional method: ``digests(sample) -> {"image": hex, "truth": hex}``, the SHA-256 of the bytes that the image and
    the ground truth of a sample are made from as they are now; see `FileSource.digests`.
    """

    def samples(self) -> Sequence[Sample]:
        """All samples, those of one image together, no pixels in memory. The order is fixed."""
        ...

    def image(self, sample: Sample) -> Image:
        """The image, EXIF orientation applied, uint8 (H, W, 3) RGB.

        Raises:
            UsageError: when the file is missing or is no image.
        """
        ...

    def truth(self, sample: Sample) -> Truth:
        """The ground truth, of the image's size.

        Raises:
            UsageError: when it is missing, unreadable or of another size than the image.
        """
        ...

    def digest(self) -> str:
        """SHA-256 (hex) over everything that defines the samples: names, expressions, annotations."""
        ...
