"""COCO's annotation files: images, annotations and categories by their ids (https://cocodataset.org/#format-data)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from hlmat_bench.interfaces import Size
from hlmat_bench.sources.place import inside
from hlmat_bench.sources.problems import BadAnnotation
from hlmat_bench.sources.reading import read_json, take, take_id
from hlmat_bench.sources.shapes import Segmentation

Id: TypeAlias = int | str


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image that an annotation file lists.

    Attributes:
        name: its file name, as the annotations write it.
        path: the file.
        size: (height, width), as the annotations say.
    """

    name: str
    path: Path
    size: Size


class Instances:
    """An annotation file, parsed. It is large: let go of it when its shapes are packed.

    Args:
        path: the JSON file.
        folder: the images' folder.

    Raises:
        BadAnnotation: when it is no such file.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._value = read_json(path)
        self._images = dict(self._read_images(folder))

    def annotations(self) -> Iterator[tuple[Id, Any]]:
        """The id and the whole object of each annotation, in the file's order."""
        for item in take(self._value, "annotations", list, str(self._path)):
            yield take_id(item, "id", f"An annotation of {self._path}"), item

    def categories(self) -> dict[Id, str]:
        """The categories' names by their ids."""
        where = f"A category of {self._path}"
        items = take(self._value, "categories", list, str(self._path))
        return {take_id(item, "id", where): take(item, "name", str, where) for item in items}

    def image_of(self, item: Any, where: str) -> tuple[Id, ListedImage]:
        """The id and the image of an annotation or a reference.

        Raises:
            BadAnnotation: when the file does not list the image.
        """
        ident = take_id(item, "image_id", where)
        if ident not in self._images:
            raise BadAnnotation(f"{where} names the image {ident}, which {self._path} does not list; get both again.")
        return ident, self._images[ident]

    def shape(self, item: Any, where: str) -> Segmentation:
        """The segmentation of an annotation, packed.

        Raises:
            BadAnnotation: when it has none.
        """
        if not item.get("segmentation"):
            raise BadAnnotation(f"{where} has no segmentation; add one or remove the annotation.")
        return Segmentation.pack(item["segmentation"], self.image_of(item, where)[1].size)

    def _read_images(self, folder: Path) -> Iterator[tuple[Id, ListedImage]]:
        for item in take(self._value, "images", list, str(self._path)):
            where = f"An image of {self._path}"
            ident, name = take_id(item, "id", where), take(item, "file_name", str, where)
            size = (take(item, "height", int, where), take(item, "width", int, where))
            yield ident, ListedImage(name, inside(folder, name, where), size)
