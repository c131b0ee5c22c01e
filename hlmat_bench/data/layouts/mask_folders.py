"""The layout ``mask_folders``: several pairs of folders as `mask_folder` reads one, which are the parts of one set.

SegNext joins the folders of HQSeg-44K in this way (https://github.com/uncbiag/SegNext at 4c45ce8,
segnext/isegm/data/datasets/hqseg44k.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic import Field

from hlmat_bench.core.samples import Sample
from hlmat_bench.core.text import valid
from hlmat_bench.data.layouts.data_root import DataRoot
from hlmat_bench.data.layouts.file_source import FileSource, LeftOut
from hlmat_bench.data.layouts.mask_folder import ByStemSettings, FolderPair, Origin

TAG = "set"
"""The tag with the name of a sample's part, by which scores are sliced."""


class MaskFoldersSettings(ByStemSettings):
    """The settings of this layout."""

    sets: dict[str, FolderPair] = Field(
        min_length=1,
        description="By the name of each part its folders, {images: FOLDER, masks: FOLDER}; the name is the tag set.",
    )

    def needed(self) -> list[str]:
        """See `SourceSettings.needed`."""
        folders = [folder for pair in self.sets.values() for folder in (pair.images, pair.masks)]
        return [*dict.fromkeys(folders), *self.needed_captions()]

    def about(self, place: DataRoot) -> dict[str, Any]:
        """See `FileSettings.about`."""
        shown = {
            name: {"images": valid(place.named(pair.images)), "masks": valid(place.named(pair.masks))}
            for name, pair in self.sets.items()
        }
        return super().about(place) | {"sets": shown}

    def open(self, place: DataRoot) -> FileSource:
        """See `SourceSettings.open`; the parts come in their order."""
        origin = self.origin(place)
        return FileSource(place, self._samples(origin, place), self, origin.name)

    def _samples(self, origin: Origin, place: DataRoot) -> Iterator[Sample | LeftOut]:
        for name, pair in self.sets.items():
            for item in self.pairs(pair, origin, place):
                yield _in_part(item, name, place.task) if isinstance(item, Sample) else item


def _in_part(sample: Sample, part: str, task: str) -> Sample:
    """Return a sample of a part, whose name goes before the sample's names: files of two parts may have one name."""
    return replace(
        sample,
        id=f"{task}/{part}/{sample.id.removeprefix(f'{task}/')}",
        image_id=f"{part}/{sample.image_id}",
        ref_id=f"{part}/{sample.ref_id}",
        tags={**sample.tags, TAG: part},
    )


LAYOUTS = {"mask_folders": MaskFoldersSettings}
