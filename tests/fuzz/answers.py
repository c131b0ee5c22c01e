"""What models, segmenters and servers send, and pictures."""

from __future__ import annotations

import contextlib
import io
from itertools import cycle, product
from typing import Any, get_args

import numpy as np
from PIL import Image

from hlmat_bench import actions
from hlmat_bench.core import masks
from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.data.layouts.image_files import read_header, read_image, read_values
from hlmat_bench.data.layouts.masks import MaskRule
from hlmat_bench.models.api import chat, error_bodies, prices
from hlmat_bench.models.worker import messages
from hlmat_bench.points import FORMATS, PointFormat, Unit
from hlmat_bench.points.resize import Resize
from hlmat_bench.points.syntaxes import SYNTAXES
from hlmat_bench.segmenters.server import requests
from tests.fuzz.mutations import JSON
from tests.fuzz.target import Target, as_json, as_text, parsed, put

_UNITS = cycle(get_args(Unit))
_POINTS = [*FORMATS.values(), *(PointFormat("any", "xy", next(_UNITS), syntax) for syntax in list(SYNTAXES) * 5)]
_SIZE = (480, 640)


def _reply(data: bytes) -> None:
    """Read a reply in a format that the first byte chooses."""
    points, text = _POINTS[data[0] % len(_POINTS) if data else 0], as_text(data[1:])
    for cut_off, no_target in product((False, True), repeat=2):
        frame = Resize.named("square").frame(_SIZE)
        action = actions.parse(text, points, _SIZE, frame, cut_off=cut_off, no_target=no_target)
        assert no_target or action.kind != "none"
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
        "There is no such object in the image, so: No object",
        "对不起，我不能。 Negative point: (１２, ３４)",
    ]
    return [bytes((number,)) + text.encode() for text in texts for number in range(0, len(_POINTS), 5)]


def _point_format(data: bytes) -> None:
    name, _, rule = as_text(data).partition(" ")
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
    value = parsed(data)
    if isinstance(value, dict) and "schema" in value:  # the rest of the output is no message
        message = messages.read(value)
        if isinstance(message, messages.ReplyMessage):
            message.replies(1)


_WORKER = [
    {"schema": "hlmat-worker/1", "type": "hello", "name": "m", "version": "1", "weights": "w", "points": "xy1000"},
    {"schema": "hlmat-worker/1", "type": "reply", "id": 1, "texts": ["a"], "tokens_in": 1, "tokens_out": [2]},
    {"schema": "hlmat-worker/1", "type": "error", "id": 1, "message": "out of memory", "fatal": False},
]


def _rle(data: bytes) -> None:
    value = parsed(data)
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
    path = put("image", data)
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


_FORMATS = (
    b"xy1000-json none",
    b"xy1 square",
    b"yxpixel-box-iou1 fit-long9-pixels99",
    b"segagent-qwen smart-28-3136-12845056",
)
_BODIES = as_json(_CALLS, _CALLS | {"candidates": _CALLS["calls"]}, {"mask": _RLES[2]})


TARGETS = (
    Target("replies", _reply, _replies),
    Target("point-formats", _point_format, lambda: _FORMATS),
    Target("completions", _completion, as_json(_COMPLETION, _COMPLETION | _ERROR), JSON, (RequestFailed,)),
    Target("worker-messages", _worker_message, as_json(*_WORKER), JSON, (RequestFailed,)),
    Target("server-bodies", _server_body, _BODIES, JSON),
    Target("rles", _rle, as_json(*_RLES), JSON),
    Target("images", _image, _images),
)
