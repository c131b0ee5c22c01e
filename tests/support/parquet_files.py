"""Parquet data sets in the schemas of the hub, made from a data set in the layout ``refer``."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from pycocotools import mask as coco

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SENTENCE = pa.struct(
    [("raw", pa.string()), ("sent", pa.string()), ("sent_id", pa.int64()), ("tokens", pa.list_(pa.string()))]
)
REFERENCES = pa.schema(
    [
        ("sent_ids", pa.list_(pa.int64())),
        ("file_name", pa.string()),
        ("ann_id", pa.int64()),
        ("ref_id", pa.int64()),
        ("image_id", pa.int64()),
        ("split", pa.string()),
        ("sentences", pa.list_(SENTENCE)),
        ("category_id", pa.int64()),
        ("raw_anns", pa.string()),
        ("raw_image_info", pa.string()),
        ("image_path", pa.string()),
        ("bbox", pa.list_(pa.float64())),
    ]
)
LMMS = pa.schema(
    [
        ("question_id", pa.string()),
        ("image", IMAGE),
        ("question", pa.string()),
        ("answer", pa.list_(pa.string())),
        ("segmentation", pa.list_(pa.float32())),
        ("bbox", pa.list_(pa.float32())),
        ("iscrowd", pa.int8()),
        ("file_name", pa.string()),
    ]
)
MASKS = pa.schema(
    [
        ("image", IMAGE),
        ("text", pa.string()),
        ("mask", pa.list_(pa.list_(pa.bool_()))),
        ("image_id", pa.string()),
        ("ann_id", pa.string()),
        ("img_height", pa.int64()),
        ("img_width", pa.int64()),
    ]
)


class Refer:
    """A data set in the layout ``refer``: its references, and its images and annotations by id."""

    def __init__(self, folder: Path, refs: str, images: Path) -> None:
        path = folder / refs
        self.refs: list[dict[str, Any]] = (
            json.loads(path.read_text()) if path.suffix == ".json" else pickle.loads(path.read_bytes())
        )
        instances = json.loads((folder / "instances.json").read_text())
        self.images: dict[Any, dict[str, Any]] = {item["id"]: item for item in instances["images"]}
        self.objects: dict[Any, dict[str, Any]] = {item["id"]: item for item in instances["annotations"]}
        self.folder = images

    def bytes_of(self, ref: dict[str, Any]) -> dict[str, Any]:
        name = self.images[ref["image_id"]]["file_name"]
        return {"bytes": (self.folder / name).read_bytes(), "path": name}

    def references(self) -> list[dict[str, Any]]:
        """Rows as in jxu124/refcoco."""
        return [
            {
                "file_name": ref["file_name"],
                "ann_id": ref["ann_id"],
                "ref_id": ref["ref_id"],
                "image_id": ref["image_id"],
                "split": ref["split"],
                "sentences": ref["sentences"],
                "raw_anns": json.dumps(self.objects[ref["ann_id"]]),
                "raw_image_info": json.dumps(self.images[ref["image_id"]]),
                "image_path": f"coco/train2014/{self.images[ref['image_id']]['file_name']}",
            }
            for ref in self.refs
        ]

    def lmms(self, split: str) -> list[dict[str, Any]]:
        """Rows as in lmms-lab/RefCOCO: the first polygon of each object."""
        return [
            {
                "question_id": str(ref["ann_id"]),
                "image": self.bytes_of(ref),
                "question": "describe it",
                "answer": [item["sent"] for item in ref["sentences"]],
                "segmentation": self.objects[ref["ann_id"]]["segmentation"][0],
                "bbox": self.objects[ref["ann_id"]].get("bbox"),
                "iscrowd": self.objects[ref["ann_id"]].get("iscrowd", 0),
                "file_name": ref["file_name"],
            }
            for ref in self.refs
            if ref["split"] == split and isinstance(self.objects[ref["ann_id"]]["segmentation"], list)
        ]

    def masks(self, split: str) -> list[dict[str, Any]]:
        """Rows as in Ricky06662/refcoco_testA: the first sentence, and the mask as lists of true and false."""
        rows = []
        for ref in self.refs:
            image = self.images[ref["image_id"]]
            size = image["height"], image["width"]
            if ref["split"] != split:
                continue
            drawn = self.objects[ref["ann_id"]]["segmentation"]
            mask = decoded(drawn, size)
            rows.append(
                {
                    "image": self.bytes_of(ref),
                    "text": ref["sentences"][0]["sent"],
                    "mask": mask.tolist(),
                    "image_id": str(ref["image_id"]),
                    "ann_id": str(ref["ann_id"]),
                    "img_height": size[0],
                    "img_width": size[1],
                }
            )
        return rows


def decoded(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Return a mask by pycocotools alone."""
    runs = segmentation
    if isinstance(segmentation, list) or isinstance(segmentation["counts"], list):
        runs = coco.frPyObjects(segmentation, *size)
    runs = coco.merge(runs) if isinstance(runs, list) else runs
    return coco.decode(runs).astype(bool)


def write(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema | None = None, **options: Any) -> Path:
    """Write a parquet file; columns that a row lacks are null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, **options)
    return path
