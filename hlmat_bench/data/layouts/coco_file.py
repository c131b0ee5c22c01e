"""Reads COCO's annotation files: images, annotations and categories by id (https://cocodataset.org/#format-data)."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from hlmat_bench.core.types import Size
from hlmat_bench.data.layouts.data_root import inside
from hlmat_bench.data.layouts.json_csv import UniqueIds, read_json, take, take_id
from hlmat_bench.data.layouts.masks import Segmentation
from hlmat_bench.data.layouts.problems import BadAnnotation, Unannotated

_T = TypeVar("_T")
Id: TypeAlias = int | str


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image in the list of an annotation file.

    Attributes:
        name: its file name in the annotations.
        path: the path of the file.
        size: (height, width) in the annotations.
    """

    name: str
    path: Path
    size: Size


class Instances:
    """A parsed annotation file. It takes much memory, so delete it when its shapes are packed.

    Args:
        path: the JSON file.
        folder: the images' folder.

    Raises:
        BadAnnotation: when the file has another form.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._value = read_json(path)
        self._images = self._by_id("images", "image", partial(listed_image, folder=folder))

    def annotations(self, wanted: Container[Id] | None = None) -> Iterator[tuple[Id, Any]]:
        """Yield the id and the object of all annotations, in the file's order.

        Args:
            wanted: only these ids; None for all.

        Raises:
            BadAnnotation: when two annotations have the same id.
        """
        seen = UniqueIds(f"annotations of {self._path}")
        for item in take(self._value, "annotations", list, str(self._path)):
            ident = take_id(item, "id", f"An annotation of {self._path}")
            if wanted is None or ident in wanted:
                seen.add(ident)
                yield ident, item

    def categories(self) -> dict[Id, str]:
        """Return the categories' names by their ids."""
        return self._by_id("categories", "category", lambda item, where: take(item, "name", str, where))

    def image_of(self, item: Any, where: str) -> tuple[Id, ListedImage]:
        """Return the id and the image of an annotation or a reference.

        Raises:
            BadAnnotation: when the file does not list the image.
        """
        ident = take_id(item, "image_id", where)
        if ident not in self._images:
            raise BadAnnotation(f"{where} names the image {ident}, which {self._path} does not list; get both again.")
        return ident, self._images[ident]

    def shape(self, item: Any, where: str) -> Segmentation:
        """Return the segmentation of an annotation, packed.

        Raises:
            Unannotated: when it has no segmentation.
        """
        return shape_of(item, self.image_of(item, where)[1].size, where)

    def _by_id(self, key: str, kind: str, read: Callable[[Any, str], _T]) -> dict[Id, _T]:
        """Read the objects of a list by their ids; repeated objects with the same content count once."""
        found: dict[str, tuple[Id, _T]] = {}
        for item in take(self._value, key, list, str(self._path)):
            where = f"{kind.capitalize()} {len(found)} of {self._path}"
            ident = take_id(item, "id", where)
            value = read(item, where)
            if found.setdefault(str(ident), (ident, value)) != (ident, value):
                raise BadAnnotation(f"Two {key} of {self._path} have the id {ident}; give each an id of its own.")
        return dict(found.values())


def shape_of(item: Any, size: Size, where: str) -> Segmentation:
    """Return the segmentation of an annotation on an image of (height, width), packed.

    Raises:
        Unannotated: when it has no segmentation.
    """
    if not item.get("segmentation"):
        raise Unannotated(f"{where} has no segmentation; add one or remove the annotation.")
    return Segmentation.pack(item, size)


def listed_image(item: Any, where: str, folder: Path) -> ListedImage:
    """Return an image of an annotation file's list ``images``.

    Raises:
        BadAnnotation: when a field is missing, or the name leads out of the folder.
    """
    name = take(item, "file_name", str, where)
    return ListedImage(
        name, inside(folder, name, where), (take(item, "height", int, where), take(item, "width", int, where))
    )
