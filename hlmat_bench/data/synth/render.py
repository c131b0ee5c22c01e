"""Draws a scene's picture and the masks of its objects, with integers only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add, itemgetter

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core.types import Box, Image, Mask
from hlmat_bench.data.synth import palette
from hlmat_bench.data.synth.integer_rng import TRIG_BITS, Dice, cos, sin
from hlmat_bench.data.synth.palette import RGB
from hlmat_bench.data.synth.raster import Alpha, RasterShape, box_blur, coverage
from hlmat_bench.data.synth.scenes import Layers, Scene, Thing, outline
from hlmat_bench.data.synth.strokes import UNIT
from hlmat_bench.data.synth.textures import Material, smooth_noise

_PICTURE = 0
"""The random stream of a picture; those of its objects start at 1."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn scene.

    Attributes:
        image: uint8 (H, W, 3) RGB.
        masks: per object, bool (H, W): the pixels of which it gives at least half of the colour, before blur and
            noise; parts that are hidden by other objects are not in it.
    """

    image: Image
    masks: tuple[Mask, ...]


def paint(scene: Scene) -> Picture:
    """Draw a scene, with the same bytes on every machine."""
    dice = Dice(*scene.stream, _PICTURE)
    canvas = _background(dice, scene)
    weights: list[tuple[Box, Alpha]] = []
    sun = dice.between(0, 359)
    for thing in scene.things:
        layers = outline(thing)
        window = reduce(add, [shape for _, shape in layers]).window(scene.size)
        alpha = _paint_thing(canvas, dice, thing, layers, window, sun)
        _hide(weights, window, alpha)
        weights.append((window, alpha))
    if scene.blades:
        blades = RasterShape.of(scene.blades)
        window = blades.window(scene.size)
        alpha = coverage(blades, window)
        _blend(canvas, window, alpha, np.array(dice.pick(((70, 92, 44), (150, 140, 84))), np.int32))
        _hide(weights, window, alpha)
    return Picture(_photograph(canvas, dice, scene), tuple(_mask(scene.size, *weight) for weight in weights))


def _background(dice: Dice, scene: Scene) -> NDArray[np.int32]:
    """Draw the textured ground and, in some scenes, a wall behind it: int32 (H, W, 3) in 0..255."""
    height, width = scene.size
    canvas = _texture(dice, height, width, *_surface(dice, scene, ground=True))
    if dice.chance(35):
        horizon = height * dice.between(40, 72) // 100
        canvas[:horizon] = _texture(dice, horizon, width, *_surface(dice, scene, ground=False))
        canvas[horizon - 2 : horizon + 1] = canvas[horizon - 2 : horizon + 1] * 3 // 4
    return canvas


def _texture(dice: Dice, height: int, width: int, material: Material, a: RGB, b: RGB) -> NDArray[np.int32]:
    grain = material.grain(dice, height, width)[..., None]
    first, second = np.array(a, np.int32), np.array(b, np.int32)
    return first + ((second - first) * grain >> 8)


def _surface(dice: Dice, scene: Scene, *, ground: bool) -> tuple[Material, RGB, RGB]:
    """Choose a material and its two colours, with a distance from the colours of the objects.

    Ten are drawn. Of those that keep the level's distance, hard scenes take the nearest and others the first; where
    none keeps it, the farthest is taken.
    """
    drawn: list[tuple[int, Material, RGB, RGB]] = []
    for _ in range(10):
        material = dice.pick([m for m in scene.style.materials if (m.ground if ground else m.wall)])
        a, b = (_shifted(colour, dice) for colour in dice.pick(material.colours))
        drawn.append((_nearness(a, b, scene), material, a, b))
    fitting = [found for found in drawn if found[0] >= scene.level.contrast]
    if not fitting:
        return max(drawn, key=itemgetter(0))[1:]
    return (min(fitting, key=itemgetter(0)) if scene.level.nearest else fitting[0])[1:]


def _shifted(colour: RGB, dice: Dice) -> RGB:
    red, green, blue = (min(max(value + dice.between(-14, 14), 0), 255) for value in colour)
    return red, green, blue


def _nearness(a: RGB, b: RGB, scene: Scene) -> int:
    """Return the smallest distance between an object's colour and a mix of the two colours."""
    mixes = [
        (a[0] + (b[0] - a[0]) * part // 4, a[1] + (b[1] - a[1]) * part // 4, a[2] + (b[2] - a[2]) * part // 4)
        for part in range(5)
    ]
    colours = {palette.COLOURS[thing.colour] for thing in scene.things}
    return min(palette.distance(mix, colour) for mix in mixes for colour in colours)


def _paint_thing(canvas: NDArray[np.int32], dice: Dice, thing: Thing, layers: Layers, window: Box, sun: int) -> Alpha:
    """Paint an object with its shadow onto the canvas; return its coverage of the window's pixels."""
    parts = [(tone, coverage(shape, window)) for tone, shape in layers]
    total = parts[0][1]
    for _, alpha in parts[1:]:
        total = 256 - ((256 - total) * (256 - alpha) >> 8)
    _cast_shadow(canvas, dice, total, window, sun, thing.pen)
    surface = _relief(total, sun, thing.pen) + _wear(dice, window)
    colour = np.array(palette.COLOURS[thing.colour], np.int32)
    for tone, alpha in parts:
        shade = (surface + tone)[..., None]
        _blend(canvas, window, alpha, np.minimum((colour + 6) * shade >> 8, 255))
    return total


def _blend(canvas: NDArray[np.int32], window: Box, alpha: Alpha, colour: NDArray[np.int32]) -> None:
    x0, y0, x1, y1 = window
    under = canvas[y0:y1, x0:x1]
    under += (colour - under) * alpha[..., None] + 128 >> 8


def _cast_shadow(canvas: NDArray[np.int32], dice: Dice, alpha: Alpha, window: Box, sun: int, pen: int) -> None:
    """Darken the canvas next to the object, on the side away from the sun."""
    reach = dice.between(1, 4) * max(pen // UNIT, 1)
    dx, dy = -(reach * cos(sun) >> TRIG_BITS), -(reach * sin(sun) >> TRIG_BITS)
    soft = box_blur(alpha, max(reach // 2, 1)) * dice.between(50, 120) >> 8
    x0, y0, x1, y1 = window
    left, top = max(x0 + dx, 0), max(y0 + dy, 0)
    right, bottom = min(x1 + dx, canvas.shape[1]), min(y1 + dy, canvas.shape[0])
    if left < right and top < bottom:
        under = canvas[top:bottom, left:right]
        part = soft[top - y0 - dy : bottom - y0 - dy, left - x0 - dx : right - x0 - dx]
        under -= under * part[..., None] >> 8


def _relief(alpha: Alpha, sun: int, pen: int) -> NDArray[np.int32]:
    """Return light on the strokes' side that faces the sun and shade on the other: int32 in -50..50."""
    reach = max(pen // UNIT // 2, 1)
    soft = np.pad(box_blur(alpha, reach), reach)
    dx, dy = reach * cos(sun) >> TRIG_BITS, reach * sin(sun) >> TRIG_BITS
    height, width = alpha.shape

    def moved(x: int, y: int) -> NDArray[np.int32]:
        return soft[reach + y : reach + y + height, reach + x : reach + x + width]

    return (moved(-dx, -dy) - moved(dx, dy)) * 50 >> 8


def _wear(dice: Dice, window: Box) -> NDArray[np.int32]:
    """Return changes of brightness that make a colour uneven: int32 in about -24..24."""
    x0, y0, x1, y1 = window
    cell = dice.between(5, 30)
    return smooth_noise(dice, y1 - y0, x1 - x0, cell, cell) * 48 // 256 - 24


def _hide(weights: list[tuple[Box, Alpha]], window: Box, alpha: Alpha) -> None:
    """Reduce the weights of all earlier objects by the coverage of a new one."""
    for (x0, y0, x1, y1), weight in weights:
        left, top = max(x0, window[0]), max(y0, window[1])
        right, bottom = min(x1, window[2]), min(y1, window[3])
        if left < right and top < bottom:
            mine = weight[top - y0 : bottom - y0, left - x0 : right - x0]
            cover = alpha[top - window[1] : bottom - window[1], left - window[0] : right - window[0]]
            mine[...] = mine * (256 - cover) + 128 >> 8


def _mask(size: tuple[int, int], window: Box, weight: Alpha) -> Mask:
    x0, y0, x1, y1 = window
    mask = np.zeros(size, np.bool_)
    mask[y0:y1, x0:x1] = weight >= 128
    return mask


def _photograph(canvas: NDArray[np.int32], dice: Dice, scene: Scene) -> Image:
    """Add light, blur and sensor noise; return uint8 (H, W, 3)."""
    # Fixed-point numbers in 1/256 and shifts: floating point may differ in the last bit between platforms.
    canvas = canvas * _light(dice, scene)[..., None] >> 8
    for _ in range(dice.between(*scene.level.blur)):
        canvas = _soften(canvas)
    grain = dice.bytes(*canvas.shape) + dice.bytes(*canvas.shape) - 255
    canvas += grain * scene.level.noise + 128 >> 8
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _light(dice: Dice, scene: Scene) -> NDArray[np.int32]:
    """Return a gradient of light across the picture with large soft shadows: int32 (H, W) in 1/256."""
    height, width = scene.size
    angle, strength = dice.between(0, 359), dice.between(scene.level.shade // 3, scene.level.shade)
    y, x = np.arange(height, dtype=np.int32)[:, None], np.arange(width, dtype=np.int32)[None, :]
    slope = (x * 512 // width - 256) * cos(angle) + (y * 512 // height - 256) * sin(angle) >> TRIG_BITS
    clouds = smooth_noise(dice, height, width, height // 4, width // 4) - 128
    return 256 + (slope * strength >> 9) + (clouds * strength >> 9)


def _soften(canvas: NDArray[np.int32]) -> NDArray[np.int32]:
    """Blur with a binomial kernel of 3 x 3 pixels; the border is repeated."""
    padded = np.pad(canvas, ((1, 1), (1, 1), (0, 0)), mode="edge")
    tall = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    wide: NDArray[np.int32] = tall[:, :-2] + 2 * tall[:, 1:-1] + tall[:, 2:]
    return wide + 8 >> 4
