"""Small data sets and task files for tests of fetching."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from hlmat_bench.data.tasks import Task, load_task


def picture(seed: int, mode: str = "RGB", form: str = "PNG") -> bytes:
    """Return an image of 40 x 30, or a mask with one square."""
    generator, file = np.random.default_rng(seed), io.BytesIO()
    if mode == "L":
        pixels = np.zeros((30, 40), np.uint8)
        pixels[5 + seed : 15 + seed, 10:25] = 255
    else:
        pixels = generator.integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def mask_folder(number: int = 3, top: str = "boxes") -> dict[str, bytes]:
    """Return the files of a data set in the layout of folders."""
    images = {f"{top}/im/box_{one}.png": picture(one) for one in range(number)}
    return images | {f"{top}/gt/box_{one}.png": picture(one, "L") for one in range(number)}


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """Return a ZIP archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


MASKS = {"kind": "mask_folder", "images": "boxes/im", "masks": "boxes/gt", "expression": "the box"}


def task_file(folder: Path, fetch: Any, source: Any = MASKS, **more: Any) -> Path:
    """Write a task file of a user's own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{more.get('name', 'boxes')}.yaml"
    terms = {"licence": "CC BY 4.0", "citation": "Box, Fox. Boxes. 2026"}
    path.write_text(yaml.safe_dump({"name": "boxes", **terms, "source": source, "fetch": fetch, **more}))
    return path


def boxes(folder: Path, fetch: Any, **more: Any) -> Task:
    """Return the task of `task_file`."""
    return load_task(task_file(folder, fetch, **more))


def refer_files(images: Mapping[str, tuple[int, int]]) -> dict[str, bytes]:
    """Return annotations as refCOCO has them, one object and one expression for each image, in the split val."""
    listed, annotations, refs = [], [], []
    for number, (name, (width, height)) in enumerate(images.items(), start=1):
        listed.append({"id": number, "file_name": name, "width": width, "height": height})
        polygon = [5, 5, 20, 5, 20, 20, 5, 20]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "segmentation": [polygon], "bbox": [5, 5, 15, 15],
             "area": 225, "iscrowd": 0}
        )  # fmt: skip
        refs.append(
            {"ref_id": number, "ann_id": number, "image_id": number, "category_id": 1, "split": "val",
             "file_name": name,
             "sentences": [{"sent": f"square {number}", "raw": f"square {number}", "sent_id": number, "tokens": []}]}
        )  # fmt: skip
    instances = {"images": listed, "annotations": annotations, "categories": [{"id": 1, "name": "box"}]}
    return {"refcoco/refs(unc).p": pickle.dumps(refs), "refcoco/instances.json": json.dumps(instances).encode()}
