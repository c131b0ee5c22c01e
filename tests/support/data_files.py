"""Small data sets on disk, for tests of tasks and sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from hlmat_bench.data.check import look
from hlmat_bench.data.layouts.file_source import FileSource
from hlmat_bench.data.tasks import load_task

ORIENTATION = 0x0112
FOLDERS = {"kind": "mask_folder", "images": "im", "masks": "gt", "expression": "it"}
NAMES = ["a", "b", "c", "d"]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Draw an RGB picture in which no two parts are alike."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, orientation: int | None = None) -> Path:
    """Write an image; a boolean array becomes a mask of 0 and 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels)
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    image.save(path, exif=exif)
    return path


def blob(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Draw a random mask, neither empty nor full."""
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    mask[0, 0], mask[-1, -1] = True, False
    return mask


def write_json(path: Path, value: Any) -> Path:
    """Write a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_task(folder: Path, source: dict[str, Any], **fields: Any) -> Path:
    """Write a task file into a folder."""
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({"name": "own", "source": source, **fields}), encoding="utf-8")
    return path


def open_task(data: Path, **source: Any) -> FileSource:
    """Open images and masks in the folders of `FOLDERS`."""
    opened = load_task(write_task(data, FOLDERS | source)).source()
    assert isinstance(opened, FileSource)
    return opened


def see(source: FileSource) -> None:
    """Look at all samples, as before a run."""
    look(source, source.samples())


def damage(path: Path) -> None:
    """Cut a file in half."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
