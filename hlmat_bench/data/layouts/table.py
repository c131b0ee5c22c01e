"""The layout ``table``, for a user's own data: a folder of images, a folder of masks, and a table of expressions.

The table is a CSV file with the columns ``image``, ``mask`` and ``expression``. Optional columns: ``id`` (unique; by
default made from the mask's name), ``ref_id`` (the object; by default the mask), ``ignore`` (a mask of pixels that no
score counts) and any ``tag:NAME``, by which scores are grouped. Other columns are not read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from pydantic import Field

from hlmat_bench.core.samples import Sample
from hlmat_bench.data.layouts.captions import stem
from hlmat_bench.data.layouts.data_root import DataRoot, inside
from hlmat_bench.data.layouts.file_source import FileSource, LeftOut, Pixels
from hlmat_bench.data.layouts.image_files import DataFile
from hlmat_bench.data.layouts.json_csv import TAG, CsvTable, read_csv
from hlmat_bench.data.layouts.layout_settings import DataPath
from hlmat_bench.data.layouts.mask_folder import MaskFileSettings
from hlmat_bench.data.layouts.masks import MaskFile, MaskRule
from hlmat_bench.data.layouts.problems import BadAnnotation, Doubt, Unannotated

_NEEDED = ("image", "mask", "expression")
_KNOWN = (*_NEEDED, "id", "ref_id", "ignore")


class TableSettings(MaskFileSettings):
    """The settings of this layout."""

    table: DataPath = Field("expressions.csv", description="The CSV file of images, masks and expressions.")
    images: DataPath = Field("images", description="The folder of the images.")
    masks: DataPath = Field("masks", description="The folder of the masks, and of masks of ignored pixels.")

    def needed(self) -> list[str]:
        """See `SourceSettings.needed`."""
        return [self.table, self.images, self.masks]

    def open(self, place: DataRoot) -> FileSource:
        """See `SourceSettings.open`."""
        path, images, masks = place.file(self.table), place.folder(self.images), place.folder(self.masks)
        table = read_csv(path)
        unread = _check_columns(table, path)
        notes = [Doubt("columns that are not read", f"{path.name} has the column {name!r}.") for name in unread]
        rows = _Rows(images, masks, self.rule(), place.task)
        return FileSource(place, rows.samples(table.rows), self, "table", notes)


def _check_columns(table: CsvTable, path: Path) -> list[str]:
    """Return the columns that nothing is read from.

    Raises:
        BadAnnotation: when a needed column is missing, or a column seems to be misspelt.
    """
    absent = [name for name in _NEEDED if name not in table.columns]
    if absent:
        raise BadAnnotation(
            f"{path} needs the columns {', '.join(_NEEDED)}; it lacks {', '.join(absent)}: its columns, separated by "
            f"{table.separator}, are {', '.join(table.columns)}."
        )
    unread = [name for name in table.columns if name not in _KNOWN and not name.startswith(TAG)]
    unused = [name for name in _KNOWN if name not in table.columns]
    for name in unread:
        near = get_close_matches(name, unused, n=1, cutoff=0.7)
        if near or name.startswith(TAG[:-1]):
            meant = f" Did you mean {near[0]}?" if near else ""
            raise BadAnnotation(
                f"{path} has the column {name!r}, which is not one of {', '.join(_KNOWN)}.{meant} Tags are columns "
                "named tag:NAME."
            )
    return unread


class _Rows:
    """Turns the rows of a table into samples.

    Args:
        images: the images' folder.
        masks: the masks' folder.
        rule: the rule for the values of masks.
        task: the task's name.
    """

    def __init__(self, images: Path, masks: Path, rule: MaskRule, task: str) -> None:
        self._images, self._masks, self._rule, self._task = images, masks, rule, task
        self._seen: dict[str, tuple[Path, str]] = {}

    def samples(self, rows: Sequence[dict[str, str]]) -> Iterator[Sample | LeftOut]:
        """Yield one sample per row.

        Raises:
            BadAnnotation: when two rows have the same id.
        """
        objects = self._objects(rows)
        seen: Counter[str] = Counter()
        given: dict[str, int] = {}
        for number, row in enumerate(rows, start=1):
            empty = [name for name in _NEEDED if not row[name].strip()]
            if empty:
                problem = f"Row {number} of the table has no {empty[0]}; fill it in or remove the row."
                yield LeftOut("unannotated", Unannotated(problem))
                continue
            where = f"Row {number} of the table"
            shape = self._shape(row, where)
            ref_id = row.get("ref_id", "").strip() or objects[shape.path]
            name = row.get("id", "").strip() or f"{ref_id}/{seen[ref_id]}"
            seen[ref_id] += 1
            if given.setdefault(name, number) != number:
                raise BadAnnotation(
                    f"The rows {given[name]} and {number} of the table have the id {name!r}; give each its own."
                )
            yield self._sample(row, name, ref_id, shape, where)

    def _sample(self, row: dict[str, str], name: str, ref_id: str, shape: MaskFile, where: str) -> Sample:
        image, shown = self._image(row["image"], where)
        tags = {key.removeprefix(TAG): text for key, text in row.items() if key.startswith(TAG) and text}
        return Sample(f"{self._task}/{name}", shown, shown, row["expression"], ref_id, tags, Pixels(image, shape))

    def _image(self, name: str, where: str) -> tuple[Path, str]:
        """Return the path of an image and how it is shown; several rows have one image."""
        if name not in self._seen:
            path = inside(self._images, name, where)
            self._seen[name] = path, path.relative_to(self._images).as_posix()
        return self._seen[name]

    def _shape(self, row: dict[str, str], where: str) -> MaskFile:
        hidden = row.get("ignore", "").strip()
        return MaskFile(
            inside(self._masks, row["mask"], where), self._rule, inside(self._masks, hidden, where) if hidden else None
        )

    def _objects(self, rows: Sequence[dict[str, str]]) -> dict[DataFile, str]:
        """Name the objects of masks by stem; by path without suffix where stems repeat; else by the whole path."""
        named = enumerate(rows, start=1)
        files = {inside(self._masks, row["mask"], f"Row {n} of the table") for n, row in named if row["mask"].strip()}
        paths: dict[DataFile, str] = {file: file.relative_to(self._masks).as_posix() for file in files}
        names: dict[DataFile, str] = {file: stem(path) for file, path in paths.items()}
        for longer in (lambda path: path.removesuffix(PurePosixPath(path).suffix), str):
            times = Counter(names.values())
            names = {file: name if times[name] == 1 else longer(paths[file]) for file, name in names.items()}
        return names


LAYOUTS = {"table": TableSettings}
