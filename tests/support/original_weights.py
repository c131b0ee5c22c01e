"""Files in the form of the SAM authors' own, with weights that follow from the tensors' names, and recorded answers.

`tests/vectors/checkpoints` holds what the authors' networks computed with the weights of `seeded`.
"""

from __future__ import annotations

import json
import lzma
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parents[1] / "vectors" / "checkpoints"
Shapes = dict[str, tuple[int, ...]]


def shapes_of(file: str) -> Shapes:
    """Return the names and shapes of the tensors in an official file."""
    read = json.loads(lzma.decompress((FOLDER / "tensors.json.xz").read_bytes()))[file]
    return {name: tuple(shape) for name, shape in read.items()}


def seeded(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Return weights, each a function of the tensor's name and shape; their sizes keep a network's features near 1."""
    return {name: torch.from_numpy(_weights(name, shape)) for name, shape in shapes.items()}


def _weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    values = np.random.default_rng(zlib.crc32(name.encode())).random(shape, np.float32) * 2 - 1
    if name.endswith("running_var"):
        values = 1 + 0.3 * values
    elif len(shape) <= 1:
        values = 1 + 0.2 * values if name.endswith("weight") else 0.1 * values
    elif any(part in name for part in ("embed", "token", "gaussian")):
        values = values * 0.5
    else:
        values = values * (0.5 * math.sqrt(3 / math.prod(shape[1:])))
    return np.asarray(values, np.float32)


def hollow(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Return tensors of these shapes that take no memory: all zeros, with strides of 0."""
    return {name: torch.zeros(1).expand(shape) if shape else torch.zeros(()) for name, shape in shapes.items()}


def picture(side: int) -> np.ndarray:
    """Return an image with the size of a network's input, so that no library's way of resizing matters."""
    y, x = np.mgrid[:side, :side]
    image = np.stack([x * 255 // side, y * 255 // side, (x + y) * 255 // (2 * side)], -1).astype(np.uint8)
    image[side // 4 : side // 2, side // 3 : 2 * side // 3] = (200, 40, 90)
    image[(x - 0.7 * side) ** 2 + (y - 0.7 * side) ** 2 < (0.15 * side) ** 2] = (10, 220, 60)
    return image


def prompts(side: int) -> list[dict[str, Any]]:
    """Return four prompts as shares of the side; the second also gets the logits of the first."""
    shares: list[dict[str, Any]] = [
        {"clicks": [(1, 0.5, 0.37)]},
        {"clicks": [(1, 0.5, 0.37), (0, 0.1, 0.13), (1, 0.7, 0.7)]},
        {"clicks": [], "box": (0.3, 0.23, 0.68, 0.53)},
        {"clicks": [(0, 0.37, 0.27), (1, 0.5, 0.33)], "box": (0.25, 0.2, 0.75, 0.57)},
    ]
    return [
        {
            "clicks": [(label, int(x * side), int(y * side)) for label, x, y in prompt["clicks"]],
            "box": tuple(int(share * side) for share in prompt["box"]) if "box" in prompt else None,
        }
        for prompt in shares
    ]
