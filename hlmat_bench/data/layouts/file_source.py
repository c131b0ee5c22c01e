"""The common source of all layouts of files: a list of samples, with an image file and a shape per sample."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hlmat_bench.core.digests import sha256_of
from hlmat_bench.core.errors import unknown
from hlmat_bench.core.plain_files import is_file
from hlmat_bench.core.samples import Sample, Truth
from hlmat_bench.core.text import valid
from hlmat_bench.core.types import Image
from hlmat_bench.data.layouts import claims
from hlmat_bench.data.layouts.data_root import DataRoot
from hlmat_bench.data.layouts.embedded import EmbeddedFile
from hlmat_bench.data.layouts.image_files import AS_USUAL, DataFile, ImageReader, read_header
from hlmat_bench.data.layouts.json_csv import read_text, same
from hlmat_bench.data.layouts.layout_settings import FileSettings
from hlmat_bench.data.layouts.masks import MaskFile, Segmentation, TruthShape
from hlmat_bench.data.layouts.parquet_truths import MaskCell, SegmentationOnImage
from hlmat_bench.data.layouts.problems import (
    BadAnnotation,
    DataProblem,
    Doubt,
    MissingFile,
    Unreadable,
    WrongSize,
    valid_name,
)
from hlmat_bench.data.layouts.targets import NoObject, Union

_FAULTS: dict[str, type[DataProblem]] = {"missing": MissingFile, "missized": WrongSize, "unreadable": DataProblem}


@dataclass(frozen=True, slots=True)
class Pixels:
    """The key of a sample: the file of its image and the shape of its ground truth."""

    image: DataFile
    shape: TruthShape


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Replaces a sample that may be left out.

    Attributes:
        kind: the reason, one of `KINDS`.
        error: raised unless the settings leave such samples out; None for samples that are always left out.
    """

    kind: str
    error: DataProblem | None = None


class FileSource:
    """Samples whose images are files; implements `hlmat_bench.core.samples.Source`.

    Args:
        place: the folder of the task's files.
        samples: the samples in the order of the annotations, with `Pixels` as keys; they are grouped by image.
        settings: the settings of the source.
        expression_from: the origin of the expressions, for the manifest.
        notes: findings about the annotations as a whole, for a check.
        about: what the manifest says besides the settings.

    Raises:
        BadAnnotation: when there is no sample, or two samples have the same id.
    """

    def __init__(
        self,
        place: DataRoot,
        samples: Iterable[Sample | LeftOut],
        settings: FileSettings,
        expression_from: str,
        notes: Iterable[Doubt] = (),
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._place = place
        self._settings = settings
        self._how = settings.reading()
        self._reader = ImageReader(how=self._how)
        self._first_fault = ""
        skipped: Counter[str] = Counter()
        found = _by_image(self._listed(samples, skipped))
        self._notes = tuple(notes)  # after the samples: a layout may collect them while it lists its rows
        _check_unique(found)
        if settings.only is not None:
            found = named(found, place.file(settings.only))
        self._samples = tuple(self._without_faults(found, skipped))
        self._about = settings.about(place) | {
            "expression_from": expression_from,
            "skipped": dict(sorted(skipped.items())),
            **(about or {}),
        }
        if not self._samples:
            counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(skipped.items()))
            why = f"all are left out ({counts}{self._first_fault})" if counts else "there are no annotations for it"
            raise BadAnnotation(f"The task {place.task} has no samples under {place.root}: {why}.")

    def samples(self) -> Sequence[Sample]:
        """See `Source.samples`; images are in the order in which the annotations first name them."""
        return self._samples

    def image(self, sample: Sample) -> Image:
        """See `Source.image`; the caller may change the array."""
        return self._reader.image(self._file(sample))

    def truth(self, sample: Sample) -> Truth:
        """See `Source.truth`."""
        size = self._reader.size(self._file(sample))
        self._check_there(sample)
        return self._shape(sample).truth(size, f"The sample {sample.id}", self._how)

    def image_files(self) -> list[Path]:
        """Return the files of all samples' images, also those that do not exist, each once; no embedded ones."""
        images = dict.fromkeys(_pixels(sample).image for sample in self._samples)
        return [image for image in images if isinstance(image, Path)]

    def check_headers(self, sample: Sample) -> None:
        """Compare sizes, as far as possible without decoding pixels.

        Raises:
            DataProblem: when a file is missing or is no image, or the ground truth has another size than the image.
        """
        size = self._reader.size(self._file(sample))
        self._check_there(sample)
        self._shape(sample).check_size(size, f"The sample {sample.id}", self._how)

    def absent(self) -> int:
        """Return how many of the samples' files do not exist, each counted once; cells of tables are not read."""
        keys = {_pixels(sample) for sample in self._samples}
        files = {path for key in keys for path in (key.image, *key.shape.files())}
        return sum(isinstance(path, Path) and not is_file(path) for path in files)

    def truth_key(self, sample: Sample) -> Hashable:
        """Return a value that is equal for two samples if they have the same image and the same ground truth."""
        return _pixels(sample)

    def doubts(self, sample: Sample, truth: Truth) -> Iterator[Doubt]:
        """Yield reasons to doubt a sample's ground truth, which can be read."""
        shape = self._shape(sample)
        where = f"The sample {sample.id}"
        if isinstance(shape, Segmentation):
            yield from claims.doubts(shape, truth.mask, where)
        elif isinstance(shape, Union):
            for part in shape.parts:
                yield from claims.doubts(part, part.truth(part.size, where).mask, where)
        if "orientation" not in self._settings.model_fields_set:
            header = self._reader.header(_pixels(sample).image)
            own = read_header(shape.path, self._how) if isinstance(shape, MaskFile) else None
            size, tag = (own.size, own.orientation) if own else (truth.mask.shape, 1)
            if tag != header.orientation and (tag != 1 or size == header.stored):
                yield Doubt(
                    "orientation tags",
                    f"The image of {sample.id} has the orientation tag {header.orientation} and its mask {tag}; both "
                    "are turned as their tags say, and have the same size with and without it: if the mask was drawn "
                    "on the pixels as they are stored, --set data.orientation=stored, else --set "
                    "data.orientation=applied.",
                )

    def notes(self) -> Sequence[Doubt]:
        """Return findings about the annotations as a whole, for a check."""
        return self._notes

    def advice(self, sample: Sample) -> str:
        """Return the end of a sentence that says which setting fits the file of a blank mask; empty if none does."""
        shape = _pixels(sample).shape
        return shape.advice(self._how) if isinstance(shape, MaskFile | MaskCell) else ""

    def has_no_object(self, sample: Sample) -> bool:
        """Return whether the annotation says that the sample's expression refers to nothing in the image."""
        return isinstance(_pixels(sample).shape, NoObject)

    def may_be_empty(self) -> bool:
        """Return whether the settings allow that nearly all masks are empty or full."""
        return self._settings.allow_empty

    def digests(self, sample: Sample) -> dict[str, str]:
        """Return the SHA-256 (hex) of a sample's files as they are now.

        A file is read again only when it changed; see `sha256_of`.

        Returns:
            ``image``: the digest of the image file's bytes; ``truth``: the digest of everything the ground truth is
            made from: the rules of reading, and the annotation or the digests of its files.

        Raises:
            MissingFile: when a file does not exist.
        """
        path, shape = self._file(sample), self._shape(sample)
        self._check_there(sample)
        digest = hashlib.sha256(self._definition(shape))
        for part in shape.files():
            digest.update(bytes.fromhex(_digest_of(part)))
        return {"image": _digest_of(path), "truth": digest.hexdigest()}

    def digest(self) -> str:
        """Return the SHA-256 (hex) over ids, names, expressions and tags in their order, and all ground truths."""
        digest, last = hashlib.sha256(), None
        for sample in self._samples:
            names = [sample.id, sample.image, sample.image_id, sample.expression, sample.ref_id, dict(sample.tags)]
            digest.update(json.dumps(names, sort_keys=True).encode())
            shape = _pixels(sample).shape
            if shape is not last:
                digest.update(hashlib.sha256(self._content(sample, self._shape(sample))).digest())
                last = shape
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Return the origin of the samples for the manifest: JSON values, without absolute paths.

        ``skipped`` has the numbers of samples that are left out, by kind.
        """
        return dict(self._about)

    def _definition(self, shape: TruthShape) -> bytes:
        """Return what defines a ground truth besides its files; settings that are as usual leave no trace."""
        usual = self._how.turned and self._how.resize == AS_USUAL.resize
        return shape.definition() + (b"" if usual else f"{self._how.turned} {self._how.resize}".encode())

    def _content(self, sample: Sample, shape: TruthShape) -> bytes:
        try:
            return self._definition(shape) + b"".join(path.read_bytes() for path in shape.files())
        except OSError as error:
            raise self._missing(shape.files()[0], sample) from error

    def _shape(self, sample: Sample) -> TruthShape:
        """Return the shape of a sample's ground truth, of a known size."""
        shape = _pixels(sample).shape
        return shape.on(self._reader.size(self._file(sample))) if isinstance(shape, SegmentationOnImage) else shape

    def _file(self, sample: Sample) -> DataFile:
        path = _pixels(sample).image
        if not _is_there(path):
            raise self._missing(path, sample)
        return path

    def _check_there(self, sample: Sample) -> None:
        for path in _pixels(sample).shape.files():
            if not _is_there(path):
                raise self._missing(path, sample)

    def _missing(self, path: DataFile, sample: Sample) -> MissingFile:
        return path.missing() if isinstance(path, EmbeddedFile) else self._place.missing(path, sample.id)

    def _listed(self, items: Iterable[Sample | LeftOut], skipped: Counter[str]) -> Iterator[Sample]:
        """Give the samples of a layout as valid Unicode; what it left out is refused or counted."""
        for item in items:
            if isinstance(item, Sample):
                yield _valid(item)
            elif item.error is not None and item.kind not in self._settings.kinds_left_out():
                raise item.error
            else:
                skipped[item.kind] += 1

    def _without_faults(self, samples: Sequence[Sample], skipped: Counter[str]) -> Iterator[Sample]:
        """Give the samples without those that the settings leave out for a fault of their files; these are counted."""
        kinds = self._settings.kinds_left_out()
        if not kinds:
            yield from samples
            return
        known: dict[Pixels, DataProblem | None] = {}
        for sample in samples:
            key = _pixels(sample)
            if key not in known:
                known[key] = self._fault(sample, kinds)
            fault = known[key]
            if fault is None:
                yield sample
            else:
                self._first_fault = self._first_fault or f"; the first: {fault}"
                skipped[_kind_left_out(fault)] += 1

    def _fault(self, sample: Sample, kinds: frozenset[str]) -> DataProblem | None:
        """Return a sample's fault if it is of one of ``kinds``; check only what these kinds need."""
        try:
            if "missing" in kinds:
                self._file(sample)
                self._check_there(sample)
            if "missized" in kinds:
                self.check_headers(sample)
            if "unreadable" in kinds:
                self._reader.image(self._file(sample))
                self.truth(sample)
        except DataProblem as error:
            return error if _kind_left_out(error) in kinds else None
        return None


def _is_there(path: DataFile) -> bool:
    return path.is_file() if isinstance(path, EmbeddedFile) else is_file(path)


def _digest_of(path: DataFile) -> str:
    if isinstance(path, EmbeddedFile):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        return sha256_of(path)
    except OSError as error:
        raise Unreadable(f"{path} cannot be read ({error.strerror}); get the file again.") from error


def named(samples: Sequence[Sample], path: Path) -> list[Sample]:
    """Return the samples that a file names, one per line, by their id, their image or their object.

    Raises:
        BadAnnotation: when it names none, or one that does not exist.
    """
    wanted = {same(line.strip()) for line in read_text(path).splitlines()} - {""}
    known = {same(name) for sample in samples for name in _names(sample)}
    strange = sorted(wanted - known)
    if strange:
        raise BadAnnotation(str(unknown(f"sample, image or object of {path.name}", strange[0], known)))
    if not wanted:
        raise BadAnnotation(f"{path} names no sample; write a sample's id, image or object on each line.")
    return [sample for sample in samples if not wanted.isdisjoint(map(same, _names(sample)))]


def _names(sample: Sample) -> list[str]:
    return [sample.id, sample.image, *([sample.ref_id] if sample.ref_id else [])]


def _pixels(sample: Sample) -> Pixels:
    assert isinstance(sample.key, Pixels), "a sample of another source"
    return sample.key


def _kind_left_out(fault: DataProblem) -> str:
    """Return the kind, one of `KINDS`, of a fault of a sample's files."""
    return next(kind for kind, errors in _FAULTS.items() if isinstance(fault, errors))


def _by_image(samples: Iterable[Sample]) -> list[Sample]:
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.image_id, []).append(sample)
    return [sample for group in groups.values() for sample in group]


def _check_unique(samples: Iterable[Sample]) -> None:
    first: dict[str, Sample] = {}
    for sample in samples:
        other = first.setdefault(sample.id, sample)
        if other is not sample:
            raise BadAnnotation(
                f"Two samples have the id {sample.id}: {other.expression!r} of {other.image} and {sample.expression!r} "
                f"of {sample.image}; give each object or row an id of its own."
            )


def _valid(sample: Sample) -> Sample:
    """Return a sample whose texts can be written as UTF-8; its key, with the real paths, is not changed."""
    texts = (sample.id, sample.image, sample.image_id, sample.expression, sample.ref_id or "")
    if not sample.tags and "".join(texts).isascii():  # nearly all; to make 60,000 samples anew takes half a second
        return sample
    return replace(
        sample,
        id=valid_name(sample.id),
        image=valid_name(sample.image),
        image_id=valid_name(sample.image_id),
        expression=valid(sample.expression),
        ref_id=None if sample.ref_id is None else valid_name(sample.ref_id),
        tags={valid_name(name): valid_name(text) for name, text in sample.tags.items()},
    )
