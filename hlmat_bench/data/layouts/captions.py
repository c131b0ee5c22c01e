"""Reads caption files, which give expressions by the stem of the image's file name, as JSON, JSON lines or CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from hlmat_bench.data.layouts.image_files import SUFFIXES
from hlmat_bench.data.layouts.json_csv import parse_json, read_csv, read_text, same
from hlmat_bench.data.layouts.problems import BadAnnotation

_NAME_KEYS = ("image", "img", "file_name", "name", "stem")
_TEXT_KEYS = ("expression", "caption", "prompt", "text")


def read_captions(path: Path) -> dict[str, list[str]]:
    """Read the expressions of all images, by the stems of their file names.

    Args:
        path: ``.csv`` with a header; ``.jsonl`` with one object per line; ``.json`` with an object from names to
            texts, or a list of objects, or, as in some prompt files, one object per line in spite of the suffix. An
            object or row names the image in one of the fields image, img, file_name, name, stem, and its expression
            or list of expressions in one of expression, caption, prompt, text.

    Raises:
        BadAnnotation: when the file has none of these forms.
    """
    found: dict[str, list[str]] = {}
    folders: dict[str, PurePosixPath] = {}
    for number, (name, text) in enumerate(_pairs(path), start=1):
        texts = text if isinstance(text, list) else [text]
        if not isinstance(name, str) or not all(isinstance(one, str) and one.strip() for one in texts):
            raise BadAnnotation(f"Entry {number} of {path} should give an image's name and its expression as text.")
        key, folder = stem(name), PurePosixPath(name.strip().replace("\\", "/")).parent
        if folders.setdefault(key, folder) != folder:
            raise BadAnnotation(
                f"{path} has expressions for {folders[key] / key} and for {folder / key}, and images are known by "
                "their file names only; give each image a name of its own."
            )
        found.setdefault(key, []).extend(texts)
    return found


def stem(name: str) -> str:
    """Return the last part of a path or file name in NFC, without blanks around it and without an image's suffix."""
    last = PurePosixPath(same(name).strip().replace("\\", "/"))
    return last.stem if last.suffix.lower() in SUFFIXES else last.name


def _pairs(path: Path) -> Iterable[tuple[Any, Any]]:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _from_records(read_csv(path).rows, path)
    text = read_text(path)
    if suffix == ".jsonl" or _is_lines(text):
        lines = enumerate(text.splitlines(), start=1)
        return _from_records((parse_json(line, f"Line {n} of {path}") for n, line in lines if line.strip()), path)
    value = parse_json(text, str(path))
    if isinstance(value, dict) and (_first(value, _NAME_KEYS) is None or _first(value, _TEXT_KEYS) is None):
        return value.items()
    return _from_records(value if isinstance(value, list) else [value], path)


def _is_lines(text: str) -> bool:
    """Return whether the first line is a whole object and more lines follow."""
    first, _, rest = text.strip().partition("\n")
    return first.startswith("{") and first.rstrip().endswith("}") and bool(rest.strip())


def _from_records(records: Iterable[Any], path: Path) -> Iterator[tuple[Any, Any]]:
    for number, record in enumerate(records, start=1):
        name, text = _first(record, _NAME_KEYS), _first(record, _TEXT_KEYS)
        if name is None or text is None:
            raise BadAnnotation(
                f"Entry {number} of {path} needs one of the fields {', '.join(_NAME_KEYS)} and one of "
                f"{', '.join(_TEXT_KEYS)}."
            )
        yield name, text


def _first(record: Any, keys: tuple[str, ...]) -> Any:
    return next((record[key] for key in keys if key in record), None) if isinstance(record, Mapping) else None
