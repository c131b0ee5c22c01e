"""The layout ``mask_folder``: a folder of images, a folder of mask files with the same stems, and expressions by stem.

This is the layout of HQSeg-44K (DIS5K, ThinObject-5K, COIFT, HRSOD; https://github.com/SysCV/sam-hq) and of the
interactive segmentation sets in RITM's form (https://github.com/SamsungLabs/ritm_interactive_segmentation).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from hlmat_bench.core.plain_files import is_file
from hlmat_bench.core.samples import Sample
from hlmat_bench.core.validation import Strict
from hlmat_bench.data.layouts.captions import read_captions
from hlmat_bench.data.layouts.data_root import DataRoot
from hlmat_bench.data.layouts.file_source import FileSource, LeftOut, Pixels
from hlmat_bench.data.layouts.image_files import SUFFIXES
from hlmat_bench.data.layouts.json_csv import same
from hlmat_bench.data.layouts.layout_settings import DataPath, FileSettings, OptionalPath
from hlmat_bench.data.layouts.masks import Channel, MaskFile, MaskRule
from hlmat_bench.data.layouts.problems import BadAnnotation, Unannotated

_EXPRESSION, _IMAGE = "expression", "image"
_ORIGINS = frozenset({"captions", "expression", "pattern"})
_LONGEST_PATTERN = 2000
_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_")
_REPLACED = frozenset({"captions", "captions_if_there", "expression"})


class MaskFileSettings(FileSettings):
    """What all layouts with mask files take; see `MaskRule`."""

    threshold: int | float = Field(
        128, ge=-1, le=2**32, description="Larger values of a mask file are the object: 0 for masks of 0 and 1."
    )
    channel: Channel = Field(
        "first",
        description="Which value of a pixel counts: that of the first channel, the largest of its colours (any), or "
        "that of the transparency (alpha).",
    )
    ignore_value: int | None = Field(
        None, ge=-(2**31), le=2**32, description="The value of pixels that no score counts; GrabCut's is 128."
    )

    def rule(self) -> MaskRule:
        """Return the rule for the values of mask files."""
        return MaskRule(self.threshold, self.channel, self.ignore_value)


class ByStemSettings(MaskFileSettings):
    """What ``mask_folders`` takes as well. Expressions come from ``captions``, ``expression`` or ``pattern``."""

    image_suffix: str | None = Field(None, description="How image files end; none: any image.")
    mask_suffix: str = Field(".png", description="How mask files end; the part before it is the stem.")
    captions: OptionalPath = Field(None, description="A file with an expression for each image.")
    captions_if_there: OptionalPath = Field(None, description="A file of captions that is used where it exists.")
    expression: str | None = Field(None, description="One expression for all images.")
    pattern: str | None = Field(
        None,
        description="A regular expression that is searched in the stem. Its group expression, as words in lower case "
        "(StreetLamp: street lamp), is the expression; its group image names the image that several samples share; "
        "every other group, as words, becomes a tag.",
    )

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value and len(value) > _LONGEST_PATTERN:
            raise ValueError(f"it has more than {_LONGEST_PATTERN} letters")
        try:
            re.compile(value or "")
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"it is not a regular expression ({error})") from error
        return value

    @model_validator(mode="after")
    def _has_expressions(self) -> Self:
        named = self.pattern is not None and _EXPRESSION in re.compile(self.pattern).groupindex
        if not (self.captions or self.expression or named):
            raise ValueError("give captions, an expression, or a pattern with a group (?P<expression>...)")
        return self

    def changed(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """See `SourceSettings.changed`; a new origin of the expressions replaces the old one."""
        values = super().changed(overrides)
        if _ORIGINS.isdisjoint(overrides):
            return values
        return {name: value for name, value in values.items() if name in overrides or name not in _REPLACED}

    def needed_captions(self) -> list[str]:
        """Return the file of captions, if there must be one."""
        return [self.captions] if self.captions else []

    def pairs(self, pair: FolderPair, origin: Origin, place: DataRoot) -> Iterator[Sample | LeftOut]:
        """Give the samples of two folders, sorted by stem."""
        images, masks = place.folder(pair.images), place.folder(pair.masks)
        pictures = _by_stem(images, [self.image_suffix] if self.image_suffix else SUFFIXES)
        outlines = _by_stem(masks, [self.mask_suffix])
        for folder, found, setting in ((images, pictures, "images"), (masks, outlines, "masks")):
            if not found:
                ending = self.mask_suffix if setting == "masks" else self.image_suffix
                settable = setting in type(self).model_fields
                raise BadAnnotation(_nothing_in(folder, place, setting, ending, settable))
        usual, rule = next(iter(pictures.values())).suffix, self.rule()
        for stem in sorted({*pictures, *outlines}):
            path = pictures.get(stem, images / f"{stem}{usual}")
            key = Pixels(path, MaskFile(outlines.get(stem, masks / f"{stem}{self.mask_suffix}"), rule))
            try:
                yield from self._of(stem, key, origin, place.task)
            except Unannotated as error:
                yield LeftOut("unannotated", error)

    def _of(self, stem: str, key: Pixels, origin: Origin, task: str) -> Iterator[Sample]:
        groups = self._groups(stem)
        image_id = groups.pop(_IMAGE, stem)
        tags = {name: words(text) for name, text in groups.items() if name != _EXPRESSION}
        for number, expression in enumerate(origin.of(stem)):
            yield Sample(f"{task}/{stem}/{number}", key.image.name, image_id, expression, stem, tags, key)

    def _groups(self, stem: str) -> dict[str, str]:
        match = re.search(self.pattern, stem) if self.pattern else None
        return {name: text for name, text in match.groupdict().items() if text} if match else {}

    def origin(self, place: DataRoot) -> Origin:
        """Return the origin of the expressions."""
        if self.captions:
            return Origin("captions", _captions(place.file(self.captions)))
        if self.expression:
            text = self.expression
            return Origin("expression", lambda stem: [text])
        if self.captions_if_there and is_file(place.root / self.captions_if_there):
            return Origin("captions_if_there", _captions(place.root / self.captions_if_there))
        return Origin("pattern", self._from_name)

    def _from_name(self, stem: str) -> list[str]:
        text = words(self._groups(stem).get(_EXPRESSION, ""))
        if not text:
            raise Unannotated(
                f"The file name {stem!r} does not fit the pattern {self.pattern!r}; give a caption file with "
                "--set data.captions=FILE, or another --set data.pattern=REGEX."
            )
        return [text]


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of expressions: the name of the setting, and a function from a stem to its expressions."""

    name: str
    of: Callable[[str], list[str]]


def _captions(path: Path) -> Callable[[str], list[str]]:
    captions = read_captions(path)

    def of(stem: str) -> list[str]:
        if stem not in captions:
            raise Unannotated(f"{path} has no caption for {stem!r}; add one, or choose another caption file.")
        return captions[stem]

    return of


def _by_stem(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Return the files of a folder with one of the suffixes, by their stem in NFC, without hidden files."""
    found: dict[str, Path] = {}
    endings = tuple(suffixes)
    for path in sorted(folder.iterdir()):
        ending = next((one for one in endings if path.name.lower().endswith(one.lower())), None)
        if ending is None or path.name.startswith(".") or not is_file(path):
            continue
        stem = same(path.name[: -len(ending)])
        if stem in found:
            raise BadAnnotation(
                f"{folder} has both {found[stem].name} and {path.name}; choose one with --set data.image_suffix=.EXT."
            )
        found[stem] = path
    return found


def _nothing_in(folder: Path, place: DataRoot, setting: str, ending: str | None, settable: bool) -> str:
    """Return the sentence for a folder without a file that ends as it should, with what it holds instead.

    ``settable`` says whether the layout has the setting of this name, and not several folders.
    """
    what, shown = ("mask" if setting == "masks" else "image"), place.shown(folder)
    sentence = f"The task {place.task} has no samples: its folder {shown} holds no {what}"
    sentence += f" that ends in {ending}" if ending else ""
    others = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    endings = sorted({path.suffix for path in others if path.suffix.lower() in SUFFIXES and is_file(path)})
    if endings:
        suffix = "mask_suffix" if setting == "masks" else "image_suffix"
        return f"{sentence}, but files that end in {endings[0]}; --set data.{suffix}={endings[0]}."
    inner = [path for path in others if path.is_dir() and _holds_images(path)]
    if inner and settable:
        return f"{sentence}; its folder {inner[0].name} does: --set data.{setting}={shown}/{inner[0].name}."
    other = f", or name another folder with --set data.{setting}=FOLDER" if settable else ""
    return f"{sentence}; put the {what}s there{other}."


def _holds_images(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


class FolderPair(Strict):
    """A folder of images and a folder of their masks.

    Attributes:
        images: the folder of the images.
        masks: the folder of the masks; it may be the same one where the suffixes differ.
    """

    images: str
    masks: str


class MaskFolderSettings(ByStemSettings):
    """The settings of ``mask_folder``."""

    images: DataPath = Field(description="The folder of the images.")
    masks: DataPath = Field(description="The folder of the masks; a mask has the stem of its image.")

    def needed(self) -> list[str]:
        """See `SourceSettings.needed`."""
        return [self.images, self.masks, *self.needed_captions()]

    def open(self, place: DataRoot) -> FileSource:
        """See `SourceSettings.open`."""
        origin = self.origin(place)
        pair = FolderPair(images=self.images, masks=self.masks)
        return FileSource(place, self.pairs(pair, origin, place), self, origin.name)


LAYOUTS = {"mask_folder": MaskFolderSettings}


def words(name: str) -> str:
    """Return the words of a name in CamelCase or with underscores, in small letters; abbreviations stay.

    >>> words("StreetLamp"), words("dining table"), words("TVStand"), words("fire_truck")
    ('street lamp', 'dining table', 'TV stand', 'fire truck')
    """
    parts = _WORD_BOUNDARY.sub(" ", name).split()
    return " ".join(part if len(part) > 1 and part.isupper() else part.lower() for part in parts)
