"""Draws textures of backgrounds and surfaces, as integers that mix two colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.data.synth.integer_rng import Dice
from hlmat_bench.data.synth.palette import RGB

Grain: TypeAlias = NDArray[np.int32]
"""int32 (H, W) in [0, 255]: 0 is a material's first colour, 255 its second."""


def smooth_noise(dice: Dice, height: int, width: int, cell_y: int, cell_x: int) -> Grain:
    """Draw random values on a lattice and interpolate them smoothly; cells in pixels."""
    lattice = dice.bytes(height // cell_y + 2, width // cell_x + 2)
    column, across = _blend(width, cell_x)
    row, down = _blend(height, cell_y)
    wide: Grain = lattice[:, column] * (256 - across) + lattice[:, column + 1] * across >> 8
    return wide[row] * (256 - down[:, None]) + wide[row + 1] * down[:, None] >> 8


def _blend(length: int, cell: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return, per pixel, the lattice point before it and the smoothed weight (0 to 256) of the next one."""
    position = np.arange(length, dtype=np.int32)
    part = position % cell * 256 // cell
    # The polynomial 3 t^2 - 2 t^3, in 1/256.
    return position // cell, part * part * (768 - 2 * part) >> 16


def plaster(dice: Dice, height: int, width: int) -> Grain:
    """Draw plaster: fine and coarse spots."""
    coarse = smooth_noise(dice, height, width, 70, 70)
    fine = smooth_noise(dice, height, width, 9, 9)
    return (3 * coarse + 2 * fine + dice.bytes(height, width)) // 6


def gravel(dice: Dice, height: int, width: int) -> Grain:
    """Draw gravel: grains of a few pixels."""
    fine = smooth_noise(dice, height, width, 4, 4)
    return (smooth_noise(dice, height, width, 48, 48) + 3 * fine + dice.bytes(height, width)) // 5


def grass(dice: Dice, height: int, width: int) -> Grain:
    """Draw grass: short upright streaks in tufts."""
    blades = smooth_noise(dice, height, width, 14, 3)
    tufts = smooth_noise(dice, height, width, 26, 20)
    return (3 * blades + 2 * tufts + dice.bytes(height, width)) // 6


def wood(dice: Dice, height: int, width: int) -> Grain:
    """Draw wood: planks with a grain along them."""
    plank = dice.between(60, 110)
    warp = smooth_noise(dice, height, width, 60, 200)
    folded = np.abs((warp * 6 + np.arange(height, dtype=np.int32)[:, None] * 5) % 256 - 128) * 2
    lines = smooth_noise(dice, height, width, 3, 90)
    tone = dice.bytes(height // plank + 1)[np.arange(height) // plank][:, None]
    value: Grain = (folded + 3 * lines + 2 * tone) // 6
    seam = np.arange(height) % plank < 2
    value[seam] = 0
    return value.clip(0, 255)


def bricks(dice: Dice, height: int, width: int) -> Grain:
    """Draw rows of bricks of different tones, in light mortar."""
    tall = dice.between(22, 34)
    y, x = np.arange(height, dtype=np.int32)[:, None], np.arange(width, dtype=np.int32)[None, :]
    course = y // tall
    along = x + course % 2 * tall
    tones = dice.bytes(height // tall + 1, width // (2 * tall) + 3)[course, along // (2 * tall)]
    value = (3 * tones + 2 * smooth_noise(dice, height, width, 5, 5) + dice.bytes(height, width)) // 8
    return np.where((y % tall < 3) | (along % (2 * tall) < 3), 255, value).astype(np.int32)


def tiles(dice: Dice, height: int, width: int) -> Grain:
    """Draw square tiles in two tones with dark joints."""
    side = dice.between(44, 80)
    y, x = np.arange(height, dtype=np.int32)[:, None], np.arange(width, dtype=np.int32)[None, :]
    chequer = (y // side + x // side) % 2 * dice.between(40, 110)
    value = 60 + chequer + smooth_noise(dice, height, width, 30, 30) // 4 + dice.bytes(height, width) // 8
    return np.where((y % side < 2) | (x % side < 2), 0, value).astype(np.int32)


def cloth(dice: Dice, height: int, width: int) -> Grain:
    """Draw cloth: a weave with folds."""
    y, x = np.arange(height, dtype=np.int32)[:, None], np.arange(width, dtype=np.int32)[None, :]
    weave = 80 + (x // 2 + y // 2) % 2 * 90
    folds = smooth_noise(dice, height, width, 120, 40)
    return (2 * weave + 3 * folds + dice.bytes(height, width)) // 6


def sky(dice: Dice, height: int, width: int) -> Grain:
    """Draw clouds that become denser towards the horizon."""
    clouds: Grain = sum(
        (smooth_noise(dice, height, width, cell, 2 * cell) * cell >> 6 for cell in (64, 32, 16, 8)),
        start=np.arange(height, dtype=np.int32)[:, None] * 90 // height - 120,
    )
    return clouds.clip(0, 255)


@dataclass(frozen=True, slots=True)
class Material:
    """A material of backgrounds.

    Attributes:
        grain: the function that draws the mix of its two colours.
        colours: its possible pairs of colours.
        ground: whether it may be below a horizon.
        wall: whether it may be above a horizon.
    """

    grain: Callable[[Dice, int, int], Grain]
    colours: tuple[tuple[RGB, RGB], ...]
    ground: bool = True
    wall: bool = True


MATERIALS: tuple[Material, ...] = (
    Material(plaster, (((222, 214, 196), (190, 180, 160)), ((150, 168, 172), (118, 138, 146)))),
    Material(plaster, (((196, 160, 150), (166, 128, 118)), ((172, 184, 150), (140, 152, 118))), ground=False),
    Material(gravel, (((92, 92, 96), (150, 148, 144)), ((188, 168, 132), (140, 120, 88))), wall=False),
    Material(gravel, (((52, 54, 60), (98, 100, 104)), ((214, 204, 184), (160, 150, 132))), wall=False),
    Material(grass, (((66, 92, 40), (140, 156, 84)), ((112, 104, 56), (176, 164, 104))), wall=False),
    Material(wood, (((104, 74, 48), (176, 134, 92)), ((150, 124, 92), (206, 182, 146)))),
    Material(wood, (((70, 62, 58), (128, 116, 106)), ((122, 128, 130), (176, 180, 180)))),
    Material(bricks, (((132, 72, 54), (196, 180, 160)), ((120, 112, 104), (188, 184, 176))), ground=False),
    Material(tiles, (((116, 134, 140), (206, 212, 208)), ((96, 84, 76), (190, 170, 146)))),
    Material(cloth, (((96, 104, 124), (160, 166, 178)), ((150, 130, 112), (206, 190, 170)))),
    Material(cloth, (((64, 72, 66), (120, 130, 116)), ((120, 100, 116), (176, 156, 168)))),
    Material(sky, (((128, 166, 204), (224, 230, 234)), ((92, 108, 132), (176, 182, 190))), ground=False),
)

PLAIN: tuple[Material, ...] = tuple(material for material in MATERIALS if material.grain in (plaster, gravel))
"""Quiet backgrounds without lines."""
