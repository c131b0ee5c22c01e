"""Computes the visible share of objects, from a coarse picture that takes little time."""

from __future__ import annotations

from functools import reduce
from operator import add

from hlmat_bench.core.types import Box, Size
from hlmat_bench.data.synth.raster import RasterShape, coverage
from hlmat_bench.data.synth.scenes import Scene, Thing, outline

_COARSE = 4


def visible_percent(scene: Scene) -> list[int]:
    """Return the visible share of the area of every object of a scene, in percent.

    The scene is drawn at a quarter of the size, so that one of the 4 x 4 samples of a pixel is one pixel of the scene.
    """
    blades = RasterShape.of(scene.blades) if scene.blades else None
    shares = []
    for i, thing in enumerate(scene.things):
        hiding = [_whole(other) for other in scene.things[i + 1 :] if _meet(thing.box, other.box)]
        if blades is not None and _meet(thing.box, blades.window(scene.size)):
            hiding.append(blades)
        shares.append(_share(_whole(thing), reduce(add, hiding), scene.size) if hiding else 100)
    return shares


def _whole(thing: Thing) -> RasterShape:
    return reduce(add, [shape for _, shape in outline(thing)])


def _share(own: RasterShape, hiding: RasterShape, size: Size) -> int:
    """Return the share of one shape outside another, in percent."""
    own, hiding = (RasterShape(shape.points // _COARSE, shape.follows) for shape in (own, hiding))
    window = own.window((size[0] // _COARSE, size[1] // _COARSE))
    alone, cover, together = (int(coverage(s, window).sum()) for s in (own, hiding, own + hiding))
    return (together - cover) * 100 // max(alone, 1)


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
