"""The section ``source`` of a task: the settings of every layout, and of all layouts of files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from hlmat_bench.core import masks
from hlmat_bench.core.samples import Source
from hlmat_bench.core.text import valid
from hlmat_bench.core.validation import Strict
from hlmat_bench.data.layouts.data_root import DataRoot
from hlmat_bench.data.layouts.image_files import MAX_PIXELS, ReadSettings, Resize

KINDS = ("missing", "unreadable", "missized", "unannotated", "crowd")
"""Kinds of samples that can be left out: a file is missing; an image, mask or segmentation cannot be decoded; the
mask has another size than the image; the segmentation or the expression is missing; the annotation is of a crowd."""
_SPELLINGS = {"mis-sized": "missized", "size": "missized"}
_PATH = "path"
DataPath = Annotated[str, _PATH]
"""A file or folder, relative to the data root, or ``hub:OWNER/REPO/PATH`` in the cache of the Hugging Face hub. In a
task file it may be a list of places, of which the first that exists is taken."""
OptionalPath = Annotated[str | None, _PATH]


class SourceSettings(Strict, ABC):
    """The section ``source`` of a task: which layout, and where its parts lie.

    A layout is a plug-in: a file with a class derived from this one or from `FileSettings`, and a dict ``LAYOUTS`` from
    its name to the class; see docs/adding-a-layout.md.

    Attributes:
        kind: the layout: its name, or its file's with the digest of the content.
    """

    kind: str

    @abstractmethod
    def needed(self) -> list[str]:
        """Return the files and folders without which there are no samples, relative to the data root."""

    @abstractmethod
    def open(self, place: DataRoot) -> Source:
        """Read the annotations.

        Raises:
            DataProblem: when the annotations are missing or damaged.
        """

    def changed(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings with some replaced, not yet checked.

        A path that begins with a dot is relative to the current folder.
        """
        new = {name: self._absolute(name, value) for name, value in overrides.items()}
        return self.model_dump(exclude_unset=True) | new

    def _absolute(self, name: str, value: Any) -> Any:
        if self.is_path(name) and isinstance(value, str) and value.startswith("."):
            return str(Path(value).resolve())
        return value

    @classmethod
    def is_path(cls, name: str) -> bool:
        """Return whether a setting is a path under the data root."""
        field = cls.model_fields.get(name)
        return field is not None and _PATH in field.metadata


class FileSettings(SourceSettings):
    """What all layouts of files take."""

    skip: str = Field(
        "",
        description=f"Kinds of samples that are left out and counted, joined by +: {', '.join(KINDS)}.",
    )
    missing: Literal["error", "skip"] = Field("error", description="skip is an older spelling of skip=missing.")
    only: OptionalPath = Field(
        None,
        description="A file that names the samples to play, one a line: a sample's id, its image or its object.",
    )
    resize: Resize = Field(
        "refuse",
        description="What happens to a mask of another size than its image. refuse: the run ends. Where no side "
        "differs by more than a quarter, nearest resizes the mask, and crop cuts it off on the right and below.",
    )
    orientation: Literal["applied", "stored"] = Field(
        "applied", description="Images and masks are shown as their EXIF tag says (applied), or as they are stored."
    )
    max_pixels: int = Field(
        MAX_PIXELS,
        ge=1,
        le=masks.MAX_PIXELS,
        description="Larger images and masks are refused before they are decoded; half of it for WebP and "
        "progressive JPEG.",
    )
    allow_empty: bool = Field(
        False, description="Whether a data set of which nearly all masks are empty or full may be played."
    )

    @field_validator("skip", mode="before")
    @classmethod
    def _kinds(cls, value: Any) -> Any:
        kinds = value if isinstance(value, list) else str("" if value is None else value).split("+")
        known = {_SPELLINGS.get(str(kind).strip(), str(kind).strip()) for kind in kinds} - {""}
        if not known <= set(KINDS):
            raise ValueError(f"give one or more of {', '.join(KINDS)}, joined by +")
        return "+".join(sorted(known))

    def kinds_left_out(self) -> frozenset[str]:
        """Return the kinds of samples that are left out instead of refused."""
        kinds = {*self.skip.split("+")} - {""}
        return frozenset(kinds | {"missing"} if self.missing == "skip" else kinds)

    def reading(self) -> ReadSettings:
        """Return how the files are read."""
        return ReadSettings(self.orientation == "applied", self.resize, self.max_pixels)

    def about(self, place: DataRoot) -> dict[str, Any]:
        """Return the settings for a manifest, without the paths of this machine."""
        return {
            name: valid(place.named(value)) if self.is_path(name) else value
            for name, value in self.model_dump(mode="json", exclude_none=True).items()
        }
