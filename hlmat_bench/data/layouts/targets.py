"""Ground truths of expressions that refer to no object of the image, or to several."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hlmat_bench.core.samples import Truth
from hlmat_bench.core.types import Size
from hlmat_bench.data.layouts.image_files import AS_USUAL, ReadSettings
from hlmat_bench.data.layouts.masks import Segmentation, check_fits


@dataclass(frozen=True, slots=True)
class NoObject:
    """The ground truth of an expression that, as its annotation says, refers to nothing in the image: an empty mask.

    Attributes:
        size: (height, width) of the image in the annotations.
    """

    size: Size

    def truth(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> Truth:
        """See `TruthShape.truth`."""
        self.check_size(size, where, how)
        return Truth(np.zeros(size, dtype=bool))

    def check_size(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> None:
        """See `TruthShape.check_size`."""
        check_fits(self.size, size, where, how)

    def definition(self) -> bytes:
        """See `TruthShape.definition`."""
        return f"no object {self.size}".encode()

    def files(self) -> tuple[Path, ...]:
        """Return no file."""
        return ()


@dataclass(frozen=True, slots=True)
class Union:
    """The ground truth of an expression for several objects: all pixels of any of them.

    Attributes:
        parts: the segmentations of the objects.
    """

    parts: tuple[Segmentation, ...]

    def truth(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> Truth:
        """See `TruthShape.truth`."""
        return Truth(np.logical_or.reduce([part.truth(size, where, how).mask for part in self.parts]))

    def check_size(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> None:
        """See `TruthShape.check_size`."""
        for part in self.parts:
            part.check_size(size, where, how)

    def definition(self) -> bytes:
        """See `TruthShape.definition`."""
        return b"+".join(part.definition() for part in self.parts)

    def files(self) -> tuple[Path, ...]:
        """Return no file, because the segmentations are in the annotation file."""
        return ()
