"""Data sets, and the files with which people describe tasks, models, suites and prices."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.io
from PIL import Image
from pyarrow import parquet

from hlmat_bench.cli.settings import settings
from hlmat_bench.core import masks, unpickle
from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.check import check
from hlmat_bench.data.layouts.captions import read_captions
from hlmat_bench.data.tasks import load_task
from hlmat_bench.models.api import prices
from hlmat_bench.models.catalog import Catalog
from hlmat_bench.protocol.settings import ProtocolSettings
from hlmat_bench.runs.suites.definition import load_suite
from hlmat_bench.runs.suites.expansion import expand
from tests.fuzz.mutations import JSON, LINES, PICKLE, YAML
from tests.fuzz.target import Target, as_json, as_text, as_yaml, own_folder, put


@functools.cache
def _data(name: str) -> Path:
    """Return a folder of this name with a small data set in all layouts."""
    folder = own_folder(f"data-{name}")
    for name in ("images", "masks", "val"):
        (folder / name).mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), dtype=np.uint8)
    for number in range(2):
        Image.fromarray(pixels[number]).save(folder / "images" / f"{number}.png")
        Image.fromarray((np.arange(600) < 300).reshape(20, 30)).save(folder / "masks" / f"{number}.png")
    Image.fromarray(pixels[0]).save(folder / "val" / "0.jpg")
    (folder / "only.txt").write_text("0\n")
    (folder / "refs.p").write_bytes(_refs()[0])
    (folder / "instances.json").write_bytes(_instances()[0])
    (folder / "expressions.csv").write_bytes(_TABLES[0])
    (folder / "segagent.json").write_text(json.dumps(_SEGAGENT))
    (folder / "rows.parquet").write_bytes(_parquet_files()[0])
    return folder


def _data_file(name: str, source: dict[str, str]) -> Callable[[bytes], None]:
    """Return a reader of a data set in which one file holds the input."""

    def read(data: bytes) -> None:
        folder = _data(f"{source['kind']}-{Path(name).name}")
        (folder / name).write_bytes(data)
        (folder / "own.yaml").write_text(json.dumps({"name": "own", "source": source}))
        check(load_task(folder / "own.yaml"))

    return read


_REFER = {"kind": "refer", "refs": "refs.p", "instances": "instances.json", "images": "images", "split": "val"}
_COCO = {"kind": "coco", "annotations": "instances.json", "images": "images"}
_GREFS = {**_REFER, "kind": "grefcoco", "refs": "grefs.json"}
_REASON = {"kind": "reasonseg", "folder": "val"}
_LINES = {"kind": "jsonl", "annotations": "rows.jsonl", "images": "images"}
_SEG = {"kind": "segagent", "annotations": "segagent.json", "images": "images", "coco_name": "{id}.png"}


_MAT = {"kind": "label_map", "names": "only.txt", "images": "images", "image_suffix": ".png", "labels": "."}
_LABELS = _MAT | {"ignore_value": 255}


def _mats() -> list[bytes]:
    """Return label maps as SBD has them, compressed and not, and one with cells around it."""
    labels = (np.arange(600) // 200).reshape(20, 30).astype(np.uint8)
    struct = {"Boundaries": np.array([[labels], [{"a": 1}]], object), "Segmentation": labels, "Categories": 7.0}
    files = []
    for compressed in (False, True):
        scipy.io.savemat(file := io.BytesIO(), {"x": "note", "GTinst": struct}, do_compression=compressed)
        files.append(file.getvalue())
    return files


def _label_maps() -> list[bytes]:
    labels = (np.arange(600) // 200).reshape(20, 30).astype(np.uint8)
    palette = Image.fromarray(labels, "P")
    palette.putpalette(bytes(range(256)) * 3)
    files = []
    for image in (palette, Image.fromarray(labels), Image.fromarray(labels.astype(np.uint16) * 300)):
        image.save(file := io.BytesIO(), "PNG")
        files.append(file.getvalue())
    return files


_TABLES = [b'image,mask,expression,id,ref_id,tag:Size\n0.png,0.png,the cup,a,r,small\n1.png,1.png,"x, y",b,r,\n']
_POLYGON = [[1.5, 2, 20, 2, 20, 15, 1.5, 15]]


def _instances() -> list[bytes]:
    listed = [{"id": n, "file_name": f"{n}.png", "height": 20, "width": 30} for n in range(2)]
    shapes: list[Any] = [_POLYGON, dict(masks.encode(np.tri(20, 30)))]
    objects = [
        {"id": n, "image_id": n, "category_id": 1, "segmentation": shape, "area": 240.5, "bbox": [1.5, 2, 18, 13]}
        | {"iscrowd": 0, "caption": ["the cup", "a cup"]}
        for n, shape in enumerate(shapes)
    ]
    value = {"images": listed, "annotations": objects, "categories": [{"id": 1, "name": "cup"}], "info": {}}
    return [json.dumps(value).encode()]


def _refs() -> list[bytes]:
    sentences = [{"sent": "the cup", "raw": "The Cup", "sent_id": 4}]
    refs = [
        {"ref_id": n, "ann_id": n, "image_id": n, "split": "val", "sentences": sentences, "file_name": "x_1.jpg"}
        for n in range(2)
    ]
    return [pickle.dumps(refs, protocol) for protocol in (0, 2, 5)]


_EMBEDDED = {"kind": "parquet", "files": "rows.parquet"}
_BESIDE = {**_EMBEDDED, "images": "images", "split": "val"}


def _parquet(data: bytes) -> None:
    """Read a file whose images are embedded, or one of the schemas that have them beside."""
    _data_file("rows.parquet", _BESIDE if b"raw_anns" in data or b"caption" in data else _EMBEDDED)(data)


@functools.cache
def _parquet_files() -> list[bytes]:
    """Return a file of each schema of the hub, and one of a user's own columns."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    image = {"bytes": stream.getvalue(), "path": None}
    mask = (np.arange(600) < 300).reshape(20, 30).tolist()
    refs, instances = pickle.loads(_refs()[0]), json.loads(_instances()[0])
    tables = [
        [
            ref | {"raw_anns": json.dumps(item), "raw_image_info": json.dumps(about), "image_path": f"x/{number}.png"}
            for number, (ref, item, about) in enumerate(
                zip(refs, instances["annotations"], instances["images"], strict=True)
            )
        ],
        [
            {"question_id": "a", "image": image, "answer": ["the cup", "it"], "segmentation": _POLYGON[0]}
            | {"bbox": [1.5, 2, 18.5, 13], "iscrowd": 0, "file_name": "COCO_train2014_000000000009_1.jpg"}
        ],
        [
            {"image": image, "text": "it", "mask": mask, "image_id": "a", "ann_id": "b"}
            | {"img_height": 20, "img_width": 30}
        ],
        [{"image": "0.png", "segmentation": {"size": [20, 30], "counts": [300, 300]}, "caption": "it"}],
    ]
    files = []
    for table in tables:
        sink = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(table), sink)
        files.append(sink.getvalue())
    return files


def _grefs() -> list[bytes]:
    named = [[0], [0, 0], [-1], 1]
    refs = [
        {"ref_id": n, "ann_id": one, "image_id": int(one == 1), "split": "val", "sentences": [{"sent": "it"}]}
        | {"category_id": [1], "no_target": one == [-1]}
        for n, one in enumerate(named)
    ]
    return [json.dumps(refs).encode()]


def _reason() -> list[bytes]:
    points = [[1.5, 2], [20, 2], [-3, 25]]
    shapes = [{"label": label, "points": points} for label in ("target", "ignore", "flag", "x")]
    value = {"text": ["the café", "it"], "is_sentence": False, "shapes": shapes, "version": "4.5"}
    return [json.dumps(value).encode()]


def _rows() -> list[bytes]:
    shapes: list[Any] = [dict(masks.encode(np.tri(20, 30))), _POLYGON]
    rows = [
        {"idx": n, "image_path": f"{n}.png", "caption": "it", "segmentation": shape, "height": 20, "width": 30}
        for n, shape in enumerate(shapes)
    ]
    return [b"\n".join(json.dumps(row).encode() for row in rows)]


_SEGAGENT = {
    "data": [
        {
            "image_name": "0.png",
            "height": 20,
            "width": 30,
            "gt_ann": {"caption": ["the cup"], "segmentation": _POLYGON},
        },
        {
            "image_name": 1,
            "height": 20,
            "width": 30,
            "gt_ann": {"caption": "it", "segmentation": {"size": [3, 4], "counts": [1, 2, 3, 6]}},
        },
    ]
}
_CAPTIONS = [
    b'{"0.png": "the cup", "1": ["a", "b"]}',
    b'[{"image": "0.png", "caption": "the cup"}, {"stem": "1", "text": ["a"]}]',
    b'{"image": "0.png", "caption": "the cup"}\n{"image": "1.png", "caption": "it"}\n',
    b"name;caption\n0.png;the cup\n1.png;it\n",
]


def _captions(data: bytes) -> None:
    for suffix in ("json", "jsonl", "csv"):
        with contextlib.suppress(UsageError):
            read_captions(put(f"captions.{suffix}", data))


_FEW = 20


def _task(data: bytes) -> None:
    path = _data("task") / "fuzz.yaml"
    path.write_bytes(data)
    task = load_task(path)
    task.missing()
    if getattr(task.sources[0], "count", 0) > _FEW:  # Scenes take as long as there are.
        return
    source = task.source()
    if task.sources[0].kind != "synth":
        check(task)
    sample = source.samples()[0]
    source.image(sample), source.truth(sample)


def _tasks() -> list[bytes]:
    own = {"name": "own", "version": 2, "title": "Mine", "licence": "CC0", "aliases": ["m"], "expected": {"images": 2}}
    folders = {"kind": "mask_folder", "images": "images", "masks": "masks", "pattern": "(?P<expression>.)"}
    files = {"skip": "missing+crowd", "resize": "nearest", "max_pixels": 1000, "only": "only.txt"}
    return as_yaml(
        own | {"source": {"kind": "table", "threshold": 100, "channel": "any"}, "protocol": {"budget": 5}},
        own | {"source": folders | files, "protocol": {"overlay": {"color": "red", "alpha": 0.5}, "jpeg": 75}},
        *(own | {"source": source} for source in (_REFER, _COCO | {"field": "category"}, _SEG)),
        own
        | {
            "source": {"kind": "mask_folders", "sets": {"a": {"images": "images", "masks": "masks"}}, "expression": "x"}
        },
        own | {"source": {"kind": "synth", "count": 2}, "kind": "refinement", "refinement": {"bands": [[0.5, 0.9]]}},
        {"extends": "filter_hres_synth", "filtering": {"positive": [1, 2]}, "source": {"kind": "synth", "count": 2}},
    )


def _catalogue(data: bytes) -> None:
    catalog = Catalog.load(put("catalogue.yaml", data))
    catalog.rows()
    for name in catalog.models:
        catalog.page(name)
        catalog.choose(f"{name},adapter=openai,model=x")


_CATALOGUE = {
    "schema": "hlmat-catalog/1",
    "aliases": {"other": "mine"},
    "models": {
        "mine": {
            "title": "Mine",
            "adapter": "openai",
            "options": {"model": "mine-8b", "base_url": "http://localhost:1/v1", "key_env": "MINE"},
            "points": "xy1000-json",
            "resize": "smart-28-3136-12845056",
            "settings": {"prompt": "Click on {expression}. {form}", "jpeg": 75},
            "predicts_iou": True,
            "source": "https://example.org/card",
            "verified": True,
            "checked": "2026-01-02",
            "note": "none",
        }
    },
}


def _suite(data: bytes) -> None:
    expand(load_suite(str(put("suite.yaml", data))))


_SUITE = {
    "schema": "hlmat-suite/1",
    "name": "mine",
    "title": "Mine",
    "include": [],
    "models": {"m": "oracle", "n": "random"},
    "segmenters": {"s": "graphcut"},
    "tables": [
        {
            "name": "one",
            "title": "One",
            "published": "segagent/table1",
            "runs": {"task": "hres_synth", "segmenter": "s", "score": ["miou", "noc@85"], "settings": {"jpeg": 75}},
            "rows": [{"name": "A", "model": "m"}, {"name": "B", "model": "n", "budget": 3, "limit": 2}],
            "columns": [{"name": "C"}, {"name": "D", "boxes": {"strategy": "box-only"}, "strategy": "greedy"}],
            "notes": ["none"],
        }
    ],
}


def _prices(data: bytes) -> None:
    prices.find("gpt-4o", put("prices.yaml", data))


_PRICES = [{"model": "gpt-*", "input": 2.5, "output": 10, "source": "x", "date": "2026-01-02"}]


def _setting(data: bytes) -> None:
    """Read the value of ``--set NAME=VALUE``."""
    given = settings([as_text(data)])
    ProtocolSettings.build({name: value for name, value in given.items() if not name.startswith(("data.", "points"))})


_SETTINGS = [
    b"budget=5",
    b"overlay.color=[1, 2, 3]",
    b"prompt=Click on {expression}",
    b"initial=box-from=x",
    b"jpeg=75",
]


TARGETS = (
    Target("pickles", unpickle.loads, _refs, PICKLE),
    Target("refs", _data_file("refs.p", _REFER), _refs, PICKLE),
    Target("instances", _data_file("instances.json", _REFER), _instances, JSON),
    Target("coco", _data_file("instances.json", _COCO), _instances, JSON),
    Target("segagent", _data_file("segagent.json", _SEG), as_json(_SEGAGENT), JSON),
    Target("mat-files", _data_file("0.mat", _MAT | {"label_suffix": ".mat"}), _mats),
    Target("label-maps", _data_file("0.png", _LABELS), _label_maps),
    Target("parquet", _parquet, _parquet_files),
    Target("grefs", _data_file("grefs.json", _GREFS), _grefs, JSON),
    Target("reasonseg", _data_file("val/0.json", _REASON), _reason, JSON),
    Target("jsonl", _data_file("rows.jsonl", _LINES), _rows, LINES),
    Target("tables", _data_file("expressions.csv", {"kind": "table"}), lambda: _TABLES),
    Target("captions", _captions, lambda: _CAPTIONS),
    Target("tasks", _task, _tasks, YAML),
    Target("catalogues", _catalogue, lambda: as_yaml(_CATALOGUE), YAML),
    Target("suites", _suite, lambda: as_yaml(_SUITE), YAML),
    Target("prices", _prices, lambda: as_yaml(_PRICES), YAML),
    Target("settings", _setting, lambda: _SETTINGS),
)
