"""Images with coloured markers at known positions, and the questions about them.

The images are written to files and read as a run reads its images; one in eight has an orientation tag.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hlmat_bench.core.types import Image, Mask, Size

#: Without green: the prompt gives this name to the colour of the overlay.
COLORS = {"red": (214, 39, 40), "blue": (31, 80, 200), "yellow": (245, 200, 20), "purple": (140, 40, 160)}
SHAPES = ("circle", "square", "triangle", "star")
PER_IMAGE = len(SHAPES)

_TEMPLATES = ("the {color} {shape}", "the centre of the {color} {shape}", "the small {color} {shape}")
_TURNED = 6
"""EXIF tag Orientation of an image to be rotated by 90 degrees clockwise (EXIF 2.32, section 4.6.4)."""


class _Kind(NamedTuple):
    size: Size
    turned: bool = False


_KINDS = (
    _Kind((480, 640)),
    _Kind((300, 1000)),
    _Kind((48, 64)),
    _Kind((1500, 2400)),
    _Kind((500, 320), turned=True),
    _Kind((640, 480)),
    _Kind((800, 300)),
    _Kind((720, 1280)),
)


@dataclass(frozen=True, slots=True)
class MarkerQuestion:
    """A question for a marker.

    Attributes:
        id: unique identifier in the probe.
        image: the image file.
        expression: referring expression for the marker.
        target: centre of the marker, (x, y) in pixels of the displayed image; (0, 0) is the upper left corner of the
            first pixel, so the centre of that pixel is (0.5, 0.5).
    """

    id: str
    image: Path
    expression: str
    target: tuple[float, float]


def write_images(folder: Path, samples: int, seed: int) -> list[MarkerQuestion]:
    """Write the images, and return the questions.

    Args:
        folder: folder for the images; it is created.
        samples: number of questions; there are four per image.
        seed: seed of positions, colours and textures.

    Raises:
        OSError: when an image cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    questions: list[MarkerQuestion] = []
    for number in range(math.ceil(samples / PER_IMAGE)):
        generator = np.random.Generator(np.random.PCG64([seed, number]))
        kind = _KINDS[number % len(_KINDS)]
        image = _background(kind.size, generator)
        path = folder / f"{number:02}-{kind.size[1]}x{kind.size[0]}{'-turned' if kind.turned else ''}.jpg"
        for expression, color, mask in _markers(kind.size, number, generator):
            image[mask] = COLORS[color]
            rows, columns = np.nonzero(mask)
            target = (float(columns.mean()) + 0.5, float(rows.mean()) + 0.5)
            questions.append(MarkerQuestion(f"probe/{len(questions):03}", path, expression, target))
        _write(image, path, kind.turned)
    return questions[:samples]


def _markers(size: Size, number: int, generator: np.random.Generator) -> Iterator[tuple[str, str, Mask]]:
    """Yield (expression, colour, mask) of each marker: one in a corner, one at an edge, two inside."""
    radius = max(5.0, min(size) * 0.045)
    colors, shapes = generator.permutation(list(COLORS)), generator.permutation(list(SHAPES))
    spots = _spots(size, radius, number, generator)
    for index, (color, shape, spot) in enumerate(zip(colors, shapes, spots, strict=True)):
        template = _TEMPLATES[(number + index) % len(_TEMPLATES)]
        yield template.format(color=color, shape=shape), str(color), _filled(str(shape), spot, radius, size)


def _spots(size: Size, radius: float, number: int, generator: np.random.Generator) -> list[tuple[float, float]]:
    """Return the markers' positions, (x, y) in pixels; no two markers touch each other."""
    margin = radius + 1
    width, height = size[1] - 2 * margin, size[0] - 2 * margin
    spots: list[tuple[float, float]] = []
    for index in range(PER_IMAGE):
        while True:
            u, v = _place(index, number, generator)
            spot = (margin + u * width, margin + v * height)
            if all(math.dist(spot, other) > 3 * radius for other in spots):
                break
        spots.append(spot)
    return spots


def _place(index: int, number: int, generator: np.random.Generator) -> tuple[float, float]:
    """Return a marker's position, (x, y) in [0, 1] of the area for centres: corner, edge or inside, by ``index``."""
    along, across = generator.uniform(0.2, 0.8, 2)
    if index == 0:
        return float(number % 2), float(number // 2 % 2)
    if index == 1:
        return ((along, 0.0), (1.0, along), (along, 1.0), (0.0, along))[(number + number // 4) % 4]
    return along, across


def _outline(shape: str) -> list[tuple[float, float]]:
    """Return the corners (x, y) of a shape inside the unit circle around (0, 0)."""
    count, first, inner = {
        "circle": (48, 0.0, 1.0),
        "square": (4, 0.125, 1.0),
        "triangle": (3, 0.75, 1.0),
        "star": (10, 0.75, 0.45),
    }[shape]
    radii = [1.0 if corner % 2 == 0 else inner for corner in range(count)]
    angles = [2 * math.pi * (first + corner / count) for corner in range(count)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for radius, angle in zip(radii, angles, strict=True)]


def _filled(shape: str, spot: tuple[float, float], radius: float, size: Size) -> Mask:
    import cv2

    corners = (np.array(_outline(shape)) * radius + spot) * 16
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [corners.round().astype(np.int32)], 1, shift=4)
    return mask.astype(bool)


def _background(size: Size, generator: np.random.Generator) -> Image:
    """Return a light, slightly uneven background with three pale ellipses, uint8 (H, W, 3) RGB."""
    import cv2

    height, width = size
    coarse = generator.normal(0, 5, (max(2, height // 16), max(2, width // 16), 3)).astype(np.float32)
    ground = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) + np.array((226, 224, 218))
    for _ in range(3):
        middle = (int(generator.integers(width)), int(generator.integers(height)))
        axes = (int(generator.integers(4, 5 + width // 6)), int(generator.integers(4, 5 + height // 6)))
        cv2.ellipse(ground, middle, axes, float(generator.uniform(0, 180)), 0, 360, (198, 204, 206), -1)
    return ground.clip(0, 255).astype(np.uint8)  # type: ignore[no-any-return]


def _write(image: Image, path: Path, turned: bool) -> None:
    from PIL import Image as Pillow

    exif = Pillow.Exif()
    if turned:
        exif[0x0112] = _TURNED
        image = np.rot90(image)
    Pillow.fromarray(np.ascontiguousarray(image)).save(path, quality=95, subsampling=0, exif=exif)
