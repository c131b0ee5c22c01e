"""The readers of foreign input, in one table for hypothesis and for atheris.

A reader gives a value or raises one of its errors (`UsageError` for files), in one line. Whatever else it raises, a
hang, or more than 200 MB is a finding.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import pickle
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, get_args

import numpy as np
import yaml
from PIL import Image

import hlmat_bench
from hlmat_bench import actions
from hlmat_bench.cli.settings import settings
from hlmat_bench.core import masks, unpickle
from hlmat_bench.core.errors import MOST_LETTERS, RequestFailed, UsageError
from hlmat_bench.data.check import check
from hlmat_bench.data.layouts.captions import read_captions
from hlmat_bench.data.layouts.image_files import read_header, read_image, read_values
from hlmat_bench.data.layouts.masks import MaskRule
from hlmat_bench.data.tasks import load_task
from hlmat_bench.models.api import chat, error_bodies, prices
from hlmat_bench.models.catalog import Catalog
from hlmat_bench.models.worker import messages
from hlmat_bench.points import FORMATS, PointFormat, Unit
from hlmat_bench.points.resize import Resize
from hlmat_bench.points.syntaxes import SYNTAXES
from hlmat_bench.protocol.settings import ProtocolSettings
from hlmat_bench.reports.leaderboard.entry import read_entry
from hlmat_bench.reports.leaderboard.site import build
from hlmat_bench.reports.leaderboard.submission import make_entry
from hlmat_bench.reports.run.build import report
from hlmat_bench.runs import episode_log, replay_result
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.suites.definition import load_suite
from hlmat_bench.runs.suites.expansion import expand
from hlmat_bench.segmenters.server import requests
from tests.fuzz.mutations import JSON, LINES, PICKLE, YAML, Form
from tests.support.boards import DECLARED


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        name: of the target and of its folder in corpus/.
        read: gives these bytes to the reader.
        seeds: returns valid inputs.
        form: how the inputs are structured; None where they are only bytes or text.
        errors: what the reader may raise.
    """

    name: str
    read: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    form: Form | None = None
    errors: tuple[type[Exception], ...] = (UsageError,)

    def __call__(self, data: bytes) -> None:
        """Read an input; raise what is a finding."""
        try:
            self.read(data)
        except self.errors as error:
            said = str(error)
            assert "\n" not in said, said
            assert len(said) <= MOST_LETTERS, said[:200]


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="hlmat-fuzz-")


def _folder(name: str) -> Path:
    """Return a folder of this process, which is removed at its end."""
    folder = Path(_temporary().name) / name
    folder.mkdir(exist_ok=True)
    return folder


def _put(name: str, data: bytes) -> Path:
    path = _folder("files") / name
    path.write_bytes(data)
    return path


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _json(data: bytes) -> Any:
    """Return a JSON value; None for what is no JSON, which these readers are never given."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


# What models write.

_UNITS = cycle(get_args(Unit))
_POINTS = [*FORMATS.values(), *(PointFormat("any", "xy", next(_UNITS), syntax) for syntax in list(SYNTAXES) * 5)]
_SIZE = (480, 640)


def _reply(data: bytes) -> None:
    """Read a reply in a format that the first byte chooses."""
    points, text = _POINTS[data[0] % len(_POINTS) if data else 0], _text(data[1:])
    for cut_off in (False, True):
        action = actions.parse(text, points, _SIZE, Resize.named("square").frame(_SIZE), cut_off=cut_off)
        if action.kind == "click":
            assert 0 <= action.click.x < 640
            assert 0 <= action.click.y < 480


def _replies() -> list[bytes]:
    texts = [
        "Current IOU: 74, Positive point: (250, 500)",
        '{"point_2d": [250, 500], "label": "negative"}',
        '```json\n[{"bbox_2d": [1, 2, 300, 400], "label": "cup"}]\n```',
        "<think>it is (1, 2)</think> <point>12 34</point> positive",
        '<points coords="1 1 250 500">negative</points> The current IoU is 0.5',
        "<box>(100,200),(300,400)</box> <|det|>[[1, 2]]<|/det|> <loc0001><loc0002> positive",
        "I would click at x=12.5%, y=40 percent. [STOP]",
        "对不起，我不能。 Negative point: (１２, ３４)",
    ]
    return [bytes((number,)) + text.encode() for text in texts for number in range(0, len(_POINTS), 5)]


def _point_format(data: bytes) -> None:
    name, _, rule = _text(data).partition(" ")
    points, frame = PointFormat.named(name), Resize.named(rule).frame(_SIZE)
    points.to_pixel(*points.from_pixel(3, 4, _SIZE, frame), _SIZE, frame)


def _completion(data: bytes) -> None:
    error_bodies.read_error(data)
    with contextlib.suppress(chat.ErrorAnswer):
        chat.read(data, 2, prices.Price(2.5, 10.0))


_COMPLETION = {
    "id": "1",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Positive point: (1, 2)"}, "finish_reason": "stop"},
        {"index": 1, "message": {"content": [{"type": "text", "text": "no"}], "refusal": "no", "reasoning": "so"}},
        {"index": 2, "message": {"tool_calls": [{"function": {"name": "click", "arguments": '{"x": 1}'}}]}},
    ],
    "usage": {"prompt_tokens": 300, "completion_tokens": 12, "prompt_tokens_details": {"cached_tokens": 3}},
}
_ERROR = {
    "error": {"message": "too many requests", "type": "rate_limit", "code": 429, "details": [{"retryDelay": "3s"}]}
}


def _worker_message(data: bytes) -> None:
    value = _json(data)
    if isinstance(value, dict) and "schema" in value:  # the rest of the output is no message
        message = messages.read(value)
        if isinstance(message, messages.ReplyMessage):
            message.replies(1)


_WORKER = [
    {"schema": "hlmat-worker/1", "type": "hello", "name": "m", "version": "1", "weights": "w", "points": "xy1000"},
    {"schema": "hlmat-worker/1", "type": "reply", "id": 1, "texts": ["a"], "tokens_in": 1, "tokens_out": [2]},
    {"schema": "hlmat-worker/1", "type": "error", "id": 1, "message": "out of memory", "fatal": False},
]


# Masks and images.


def _rle(data: bytes) -> None:
    value = _json(data)
    if isinstance(value, dict):
        mask = masks.decode(value)
        assert masks.area(value) == np.count_nonzero(mask)
        assert masks.intersection_union(value, masks.compress(value), ignore=value) == (0, 0)


_RLES = [
    {"size": [3, 4], "counts": [1, 2, 3, 6]},
    {"size": [3, 4], "counts": [0, 12]},
    dict(masks.encode(np.eye(40, 50))),
    dict(masks.encode(np.zeros((40, 50)))),
]


def _image(data: bytes) -> None:
    path = _put("image", data)
    with contextlib.suppress(UsageError):
        read_header(path)
    with contextlib.suppress(UsageError):
        MaskRule().truth(read_values(path))
    read_image(path)


def _saved(mode: str, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 4), dtype=np.uint8)
    if mode == "I;16":
        picture = Image.fromarray(pixels[:, :, 0].astype(np.uint16) << 8)
    elif mode == "F":
        picture = Image.fromarray(pixels[:, :, 0].astype(np.float32) / 255)
    else:
        picture = Image.fromarray(pixels).convert(mode)
    picture.save(file, format, **options)
    return file.getvalue()


def _images() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        *(_saved(mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        _saved("RGB", "PNG", exif=exif),
        _saved("P", "PNG", transparency=3),
        *(_saved(mode, "JPEG") for mode in ("L", "RGB", "CMYK")),
        _saved("RGB", "JPEG", progressive=True, exif=exif),
        *(_saved(mode, "TIFF", exif=exif) for mode in ("L", "RGB", "F")),
        _saved("RGB", "TIFF", compression="tiff_lzw"),
        *(_saved("RGB", format) for format in ("BMP", "WEBP", "GIF", "PPM")),
    ]


def _server_body(data: bytes) -> None:
    for form in (requests.PredictBody, requests.PredictEachBody):
        with contextlib.suppress(requests.Refused):
            requests.check_calls(requests.read_json(data, form).calls, (40, 50), accepts_box=True)
    with contextlib.suppress(requests.Refused):
        requests.read_mask(requests.read_json(data, requests.StartFromBody).mask, (40, 50))
    with contextlib.suppress(requests.Refused):
        requests.read_png(data, 10_000)


_CALLS = {"calls": [{"clicks": [[True, 3, 4], [False, 1, 2]], "box": [0, 0, 20, 30]}]}


# Data sets.


@functools.cache
def _data(name: str) -> Path:
    """Return a folder of this name with a small data set in all layouts."""
    folder = _folder(f"data-{name}")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), dtype=np.uint8)
    for number in range(2):
        Image.fromarray(pixels[number]).save(folder / "images" / f"{number}.png")
        Image.fromarray((np.arange(600) < 300).reshape(20, 30)).save(folder / "masks" / f"{number}.png")
    (folder / "only.txt").write_text("0\n")
    (folder / "refs.p").write_bytes(_refs()[0])
    (folder / "instances.json").write_bytes(_instances()[0])
    (folder / "expressions.csv").write_bytes(_TABLES[0])
    (folder / "segagent.json").write_text(json.dumps(_SEGAGENT))
    return folder


def _data_file(name: str, source: dict[str, str]) -> Callable[[bytes], None]:
    """Return a reader of a data set in which one file holds the input."""

    def read(data: bytes) -> None:
        folder = _data(f"{source['kind']}-{name}")
        (folder / name).write_bytes(data)
        (folder / "own.yaml").write_text(json.dumps({"name": "own", "source": source}))
        check(load_task(folder / "own.yaml"))

    return read


_REFER = {"kind": "refer", "refs": "refs.p", "instances": "instances.json", "images": "images", "split": "val"}
_COCO = {"kind": "coco", "annotations": "instances.json", "images": "images"}
_SEG = {"kind": "segagent", "annotations": "segagent.json", "images": "images", "coco_name": "{id}.png"}


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


_SEGAGENT = {
    "data": [
        {
            "image_name": "0.png",
            "height": 20,
            "width": 30,
            "gt_ann": {"caption": ["the cup"], "segmentation": _POLYGON},
        },
        {"image_name": 1, "height": 20, "width": 30, "gt_ann": {"caption": "it", "segmentation": _RLES[0]}},
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
            read_captions(_put(f"captions.{suffix}", data))


# Files that people write.


_FEW = 20


def _task(data: bytes) -> None:
    path = _data("task") / "fuzz.yaml"
    path.write_bytes(data)
    task = load_task(path)
    task.missing()
    if getattr(task.data, "count", 0) > _FEW:  # Scenes take as long as there are.
        return
    source = task.source()
    if task.data.kind != "synth":
        check(task)
    sample = source.samples()[0]
    source.image(sample), source.truth(sample)


def _yaml(*values: Any) -> list[bytes]:
    return [yaml.safe_dump(value).encode() for value in values]


def _tasks() -> list[bytes]:
    own = {"name": "own", "version": 2, "title": "Mine", "licence": "CC0", "aliases": ["m"], "expected": {"images": 2}}
    folders = {"kind": "mask_folder", "images": "images", "masks": "masks", "pattern": "(?P<expression>.)"}
    files = {"skip": "missing+crowd", "resize": "nearest", "max_pixels": 1000, "only": "only.txt"}
    return _yaml(
        own | {"source": {"kind": "table", "threshold": 100, "channel": "any"}, "protocol": {"budget": 5}},
        own | {"source": folders | files, "protocol": {"overlay": {"color": "red", "alpha": 0.5}, "jpeg": 75}},
        *(own | {"source": source} for source in (_REFER, _COCO | {"field": "category"}, _SEG)),
        own | {"source": {"kind": "synth", "count": 2}, "kind": "refinement", "refinement": {"bands": [[0.5, 0.9]]}},
        {"extends": "filter_hres_synth", "filtering": {"positive": [1, 2]}, "source": {"kind": "synth", "count": 2}},
    )


def _catalogue(data: bytes) -> None:
    catalog = Catalog.load(_put("catalogue.yaml", data))
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
    expand(load_suite(str(_put("suite.yaml", data))))


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
    prices.find("gpt-4o", _put("prices.yaml", data))


_PRICES = [{"model": "gpt-*", "input": 2.5, "output": 10, "source": "x", "date": "2026-01-02"}]


def _setting(data: bytes) -> None:
    """Read the value of ``--set NAME=VALUE``."""
    given = settings([_text(data)])
    ProtocolSettings.build({name: value for name, value in given.items() if not name.startswith(("data.", "points"))})


_SETTINGS = [
    b"budget=5",
    b"overlay.color=[1, 2, 3]",
    b"prompt=Click on {expression}",
    b"initial=box-from=x",
    b"jpeg=75",
]


# Records of runs.


@functools.cache
def _played() -> Path:
    """Return the folder of a small run."""
    folder = _folder("played")
    hlmat_bench.run("random", "hres_synth", "graphcut", out=folder, budget=2, limit=3)
    return folder


def _run_file(name: str) -> Callable[[bytes], None]:
    """Return a reader of a run folder in which one file holds the input."""

    def read(data: bytes) -> None:
        shutil.rmtree(_folder("run"))
        folder = _folder("run")
        for path in _played().iterdir():
            if path.is_file() and path.suffix in (".json", ".jsonl"):
                (folder / path.name).write_bytes(path.read_bytes())
        (folder / name).write_bytes(data)
        for use in (_scores, _reported, _continued):
            use(folder)

    return read


def _scores(folder: Path) -> None:
    run = Run(folder)
    run.finished()
    run.score()
    run.to_dataframe()
    replay_result.load(folder)


def _continued(folder: Path) -> None:
    """Read what a run that continues reads."""
    ids = list(episode_log.recorded(folder))
    episode_log.EpisodeLog(folder, ids).close()
    episode_log.set_aside(folder, ids[:1])


def _reported(folder: Path) -> None:
    make_entry(Run(folder), DECLARED)
    report([folder], out=folder / "report")


def _manifests() -> list[bytes]:
    return [(_played() / "run.json").read_bytes()]


def _episodes() -> list[bytes]:
    """Return a log with digests, and one without, which says more where it is changed."""
    log = (_played() / "episodes.jsonl").read_bytes()
    values = [json.loads(line) for line in log.splitlines()]
    return [log, LINES.dump([{key: part for key, part in value.items() if key != "digest"} for value in values])]


_REPLAY = {
    "schema": "hlmat-replay/1",
    "episodes_sha256": "0" * 64,
    "tolerance": 0.0,
    "masks": 2,
    "largest": 0.1,
    "differing": [{"sample_id": "a", "t": 1, "share": 0.1}],
    "regrets": {"a": {"1": 0.5}},
}


# Entries of the leaderboard.


def _entry(data: bytes) -> None:
    board = _folder("board")
    (board / "entries").mkdir(exist_ok=True)
    path = board / "entries" / "x.json"
    path.write_bytes(data)
    read_entry(path)
    build(board, board / "site")


def _entries() -> list[bytes]:
    made = make_entry(Run(_played()), DECLARED).model_dump()
    return [json.dumps(made | {"id": "x"}).encode()]


def _values(*values: Any) -> Callable[[], list[bytes]]:
    return lambda: [json.dumps(value).encode() for value in values]


_FORMATS = (
    b"xy1000-json none",
    b"xy1 square",
    b"yxpixel-box-iou1 fit-long9-pixels99",
    b"segagent-qwen smart-28-3136-12845056",
)
_BODIES = _values(_CALLS, _CALLS | {"candidates": _CALLS["calls"]}, {"mask": _RLES[2]})

TARGETS = (
    Target("replies", _reply, _replies),
    Target("point-formats", _point_format, lambda: _FORMATS),
    Target("completions", _completion, _values(_COMPLETION, _COMPLETION | _ERROR), JSON, (RequestFailed,)),
    Target("worker-messages", _worker_message, _values(*_WORKER), JSON, (RequestFailed,)),
    Target("server-bodies", _server_body, _BODIES, JSON),
    Target("rles", _rle, _values(*_RLES), JSON),
    Target("images", _image, _images),
    Target("pickles", unpickle.loads, _refs, PICKLE),
    Target("refs", _data_file("refs.p", _REFER), _refs, PICKLE),
    Target("instances", _data_file("instances.json", _REFER), _instances, JSON),
    Target("coco", _data_file("instances.json", _COCO), _instances, JSON),
    Target("segagent", _data_file("segagent.json", _SEG), _values(_SEGAGENT), JSON),
    Target("tables", _data_file("expressions.csv", {"kind": "table"}), lambda: _TABLES),
    Target("captions", _captions, lambda: _CAPTIONS),
    Target("tasks", _task, _tasks, YAML),
    Target("catalogues", _catalogue, lambda: _yaml(_CATALOGUE), YAML),
    Target("suites", _suite, lambda: _yaml(_SUITE), YAML),
    Target("prices", _prices, lambda: _yaml(_PRICES), YAML),
    Target("settings", _setting, lambda: _SETTINGS),
    Target("manifests", _run_file("run.json"), _manifests, JSON),
    Target("episodes", _run_file("episodes.jsonl"), _episodes, LINES),
    Target("replays", _run_file("replay.json"), _values(_REPLAY), JSON),
    Target("entries", _entry, _entries, JSON),
)
