"""Samples, which make up a task and hold no pixels, and the source that reads the pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hlmat_bench.core.types import Image, Mask


@dataclass(frozen=True, slots=True)
class Sample:
    """One image, one referring expression and one ground-truth mask, by name only.

    Attributes:
        id: unique in the task and stable over runs, e.g. ``"res_refcoco_val/41952/0"``.
        image: file name of the image, as recorded in episodes.
        image_id: name of the image, the same for all samples of one image; intervals are clustered by it.
        expression: the description the model gets.
        ref_id: name of the object that the expression refers to; several expressions may share it.
        tags: properties by which scores are grouped, e.g. ``{"difficulty": "hard"}``.
        key: any value that the source needs to find the pixels again; only the source reads it.
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
    """The interface of a task's data. Each annotation layout has one implementation, in `data/layouts/`.

    Optional method: ``digests(sample) -> {"image": hex, "truth": hex}``, the SHA-256 of the bytes, as they are now,
    from which the image and the ground truth of a sample are made; see `FileSource.digests`.
    """

    def samples(self) -> Sequence[Sample]:
        """Return all samples in a fixed order, those of one image together, without reading pixels."""
        ...

    def image(self, sample: Sample) -> Image:
        """Return the image of a sample, uint8 (H, W, 3) RGB, with its EXIF orientation applied.

        Raises:
            UsageError: when the file is missing or is no image.
        """
        ...

    def truth(self, sample: Sample) -> Truth:
        """Return the ground truth of a sample, of the image's size.

        Raises:
            UsageError: when it is missing, unreadable or of another size than the image.
        """
        ...

    def digest(self) -> str:
        """Return the SHA-256 (hex) over everything that defines the samples: names, expressions, annotations."""
        ...
