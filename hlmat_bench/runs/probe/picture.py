"""Draw a picture of the probe's markers and answers, with one tile per image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hlmat_bench.core.types import Size
from hlmat_bench.data.layouts.image_files import read_image
from hlmat_bench.runs.probe.diagnosis import Diagnosis, Spot
from hlmat_bench.runs.probe.markers import MarkerQuestion

if TYPE_CHECKING:
    from PIL import Image as Pillow
    from PIL.ImageDraw import ImageDraw

TRUTH, DECLARED, FOUND = (0, 0, 0), (230, 0, 120), (0, 130, 60)
"""RGB colours of the marker's ring, of the answer under the declared format, and under the best convention."""

TILE, MARGIN, HEADER = 360, 28, 26
"""Side of a tile, its margin, which shows answers outside the image, and the height of a line of text, in pixels."""

_COLUMNS = 4
_RING, _ARM, _DIAMOND = 12, 7, 6


def tile_scale(size: Size) -> float:
    """Return the pixels of the picture per pixel of an image of size (height, width)."""
    return (TILE - 2 * MARGIN) / max(size)


def tile_corner(number: int, size: Size) -> tuple[float, float]:
    """Return the upper left corner of an image, by its number from 0, as (x, y) in pixels of the picture."""
    row, column = divmod(number, _COLUMNS)
    free = [(TILE - 2 * MARGIN - side * tile_scale(size)) / 2 for side in (size[1], size[0])]
    return column * TILE + MARGIN + free[0], HEADER * 2 + row * (TILE + HEADER) + HEADER + MARGIN + free[1]


def write_picture(path: Path, questions: Sequence[MarkerQuestion], diagnosis: Diagnosis) -> None:
    """Write the picture as a PNG file.

    Each marker has a ring around its centre. The answer under the declared format is a cross, connected to the ring by
    a line. If another convention fits better, the answer under it is a diamond. Points far outside the image are drawn
    on the border of its tile.

    Args:
        path: the file.
        questions: all questions; those of one image are consecutive.
        diagnosis: diagnosis of their answers.
    """
    from PIL import Image as Pillow
    from PIL import ImageDraw

    files = list(dict.fromkeys(question.image for question in questions))
    columns = min(_COLUMNS, len(files))
    rows = math.ceil(len(files) / _COLUMNS)
    picture = Pillow.new("RGB", (max(columns * TILE, 2 * TILE), HEADER * 2 + rows * (TILE + HEADER)), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    other = diagnosis.status == "mistaken" and set(diagnosis.mistakes) != {"syntax"}
    _legend(draw, other)
    for number, file in enumerate(files):
        size = _tile(picture, draw, number, file)
        for index, question in enumerate(questions):
            if question.image == file:
                spot = diagnosis.declared_spots[index] if diagnosis.declared_spots else None
                found = diagnosis.found_spots[index] if other else None
                _answer(draw, number, size, question.target, spot, found)
    picture.save(path)


def _tile(picture: Pillow.Image, draw: ImageDraw, number: int, file: Path) -> Size:
    """Draw an image in pale colours with its size above it, and return its (height, width)."""
    from PIL import Image as Pillow

    image = read_image(file)
    size = (image.shape[0], image.shape[1])
    scale, (left, top) = tile_scale(size), tile_corner(number, size)
    box = (round(left), round(top), round(left + size[1] * scale), round(top + size[0] * scale))
    shown = Pillow.fromarray(image).resize((box[2] - box[0], box[3] - box[1]), Pillow.Resampling.BOX)
    pale = Pillow.blend(shown, Pillow.new("RGB", shown.size, (255, 255, 255)), 0.45)
    picture.paste(pale, box[:2])
    draw.rectangle((box[0] - 1, box[1] - 1, box[2], box[3]), outline=(120, 120, 120))
    row, column = divmod(number, _COLUMNS)
    name = file.stem.partition("-")[2].replace("x", " x ").replace("-turned", ", turned by EXIF")
    _text(draw, (column * TILE + MARGIN, HEADER * 2 + row * (TILE + HEADER) + HEADER // 2), name)
    return size


def _answer(draw: ImageDraw, number: int, size: Size, target: Spot, spot: Spot | None, found: Spot | None) -> None:
    truth = _in_picture(number, size, target)
    if spot is not None:
        cross = _in_picture(number, size, spot)
        draw.line((*truth, *cross), fill=DECLARED, width=1)
        _cross(draw, cross)
    if found is not None:
        _diamond(draw, _in_picture(number, size, found))
    _ring(draw, truth)


def _in_picture(number: int, size: Size, spot: Spot) -> Spot:
    """Return a position of an image in pixels of the picture, clipped to the tile."""
    left, top = tile_corner(number, size)
    row, column = divmod(number, _COLUMNS)
    least = (column * TILE + _ARM, HEADER * 2 + row * (TILE + HEADER) + HEADER + _ARM)
    x, y = left + spot[0] * tile_scale(size), top + spot[1] * tile_scale(size)
    inner = TILE - 2 * _ARM
    return min(max(x, least[0]), least[0] + inner), min(max(y, least[1]), least[1] + inner)


def _ring(draw: ImageDraw, at: Spot) -> None:
    draw.ellipse((at[0] - _RING, at[1] - _RING, at[0] + _RING, at[1] + _RING), outline=TRUTH, width=2)


def _cross(draw: ImageDraw, at: Spot) -> None:
    for rise in (-_ARM, _ARM):
        draw.line((at[0] - _ARM, at[1] - rise, at[0] + _ARM, at[1] + rise), fill=DECLARED, width=3)


def _diamond(draw: ImageDraw, at: Spot) -> None:
    x, y = at
    corners = [(x, y - _DIAMOND), (x + _DIAMOND, y), (x, y + _DIAMOND), (x - _DIAMOND, y)]
    draw.polygon(corners, outline=FOUND, width=3)


def _legend(draw: ImageDraw, other: bool) -> None:
    middle = HEADER
    _ring(draw, (MARGIN, middle))
    _text(draw, (MARGIN + 16, middle), "the marker")
    _cross(draw, (MARGIN + 140, middle))
    _text(draw, (MARGIN + 156, middle), "the answer as declared (beyond the image: on the border)")
    if other:
        _diamond(draw, (MARGIN + 590, middle))
        _text(draw, (MARGIN + 606, middle), "the answer in the convention that fits")


def _text(draw: ImageDraw, at: Spot, text: str) -> None:
    from PIL import ImageFont

    draw.text(at, text, fill=(40, 40, 40), font=ImageFont.load_default(15), anchor="lm")
