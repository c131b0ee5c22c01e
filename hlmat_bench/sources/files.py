"""The source that all layouts of files share: a list of samples, an image file and a shape for each."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict

from hlmat_bench.interfaces import Image
from hlmat_bench.samples import Sample, Source, Truth
from hlmat_bench.sources.pixels import ImageReader
from hlmat_bench.sources.place import Place
from hlmat_bench.sources.problems import BadAnnotation
from hlmat_bench.sources.shapes import Shape

_PATH = "path"
DataPath = Annotated[str, _PATH]
"""A file or folder, relative to the data root."""
OptionalPath = Annotated[str | None, _PATH]


class SourceSettings(BaseModel, ABC):
    """The section ``source`` of a task: which layout, and where its parts lie.

    Attributes:
        kind: the layout.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: str

    @abstractmethod
    def needed(self) -> list[str]:
        """The files and folders without which there are no samples, relative to the data root."""

    @abstractmethod
    def open(self, place: Place) -> Source:
        """Read the annotations.

        Raises:
            DataProblem: when they are missing or damaged.
        """

    def changed(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The settings with some replaced, not yet checked.

        A path that begins with a dot is meant relative to the current folder.
        """
        new = {name: self._absolute(name, value) for name, value in overrides.items()}
        return self.model_dump(exclude_unset=True) | new

    def _absolute(self, name: str, value: Any) -> Any:
        if self._is_path(name) and isinstance(value, str) and value.startswith("."):
            return str(Path(value).resolve())
        return value

    def _is_path(self, name: str) -> bool:
        field = type(self).model_fields.get(name)
        return field is not None and _PATH in field.metadata


class FileSettings(SourceSettings):
    """What all layouts of files take.

    Attributes:
        missing: ``skip`` leaves out the samples whose image file is missing, and counts them.
    """

    missing: Literal["error", "skip"] = "error"

    def about(self, place: Place) -> dict[str, Any]:
        """The settings for a manifest, without the paths of this machine."""
        return {
            name: place.shown(place.root / value) if self._is_path(name) else value
            for name, value in self.model_dump(mode="json", exclude_none=True).items()
        }


@dataclass(frozen=True, slots=True)
class Pixels:
    """What a sample's key is: where its pixels are."""

    image: Path
    shape: Shape


class FileSource:
    """Samples whose images are files; implements `hlmat_bench.samples.Source`.

    Args:
        place: where the task's files lie.
        samples: in the order of the annotations, with `Pixels` as keys; they are put in order by image.
        settings: of the source.
        expression_from: where the expressions come from; for the manifest.

    Raises:
        BadAnnotation: when there is no sample.
    """

    def __init__(self, place: Place, samples: Iterable[Sample], settings: FileSettings, expression_from: str) -> None:
        self._place = place
        self._reader = ImageReader()
        listed = _by_image(samples)
        self._samples = tuple(_with_image(listed) if settings.missing == "skip" else listed)
        self._about = settings.about(place) | {
            "expression_from": expression_from,
            "skipped": len(listed) - len(self._samples),
        }
        if not self._samples:
            why = "their images are missing" if listed else "there are no annotations for it"
            raise BadAnnotation(f"The task {place.task} has no samples under {place.root}: {why}.")

    def samples(self) -> Sequence[Sample]:
        """See `Source.samples`; images are in the order in which the annotations first name them."""
        return self._samples

    def image(self, sample: Sample) -> Image:
        """See `Source.image`; the array is the caller's own."""
        return self._reader.image(self._file(sample))

    def truth(self, sample: Sample) -> Truth:
        """See `Source.truth`."""
        size = self._reader.size(self._file(sample))
        shape = _pixels(sample).shape
        for path in shape.files():
            if not path.is_file():
                raise self._place.missing(path, sample.id)
        return shape.truth(size, f"The sample {sample.id}")

    def digest(self) -> str:
        """SHA-256 (hex) over ids, names, expressions and tags in their order, and every ground truth."""
        digest, last = hashlib.sha256(), None
        for sample in self._samples:
            names = [sample.id, sample.image, sample.image_id, sample.expression, sample.ref_id, dict(sample.tags)]
            digest.update(json.dumps(names, sort_keys=True).encode())
            shape = _pixels(sample).shape
            if shape is not last:
                digest.update(hashlib.sha256(self._content(sample, shape)).digest())
                last = shape
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Where the samples come from, for the manifest: JSON values, no path of this machine."""
        return dict(self._about)

    def _content(self, sample: Sample, shape: Shape) -> bytes:
        try:
            return shape.content()
        except OSError as error:
            raise self._place.missing(shape.files()[0], sample.id) from error

    def _file(self, sample: Sample) -> Path:
        path = _pixels(sample).image
        if not path.is_file():
            raise self._place.missing(path, sample.id)
        return path


def _pixels(sample: Sample) -> Pixels:
    assert isinstance(sample.key, Pixels), "a sample of another source"
    return sample.key


def _by_image(samples: Iterable[Sample]) -> list[Sample]:
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.image_id, []).append(sample)
    return [sample for group in groups.values() for sample in group]


def _with_image(samples: Iterable[Sample]) -> list[Sample]:
    there: dict[Path, bool] = {}
    kept = []
    for sample in samples:
        path = _pixels(sample).image
        if path not in there:
            there[path] = path.is_file()
        if there[path]:
            kept.append(sample)
    return kept
