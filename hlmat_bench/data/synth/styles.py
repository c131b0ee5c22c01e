"""The styles of scenes: what is in them, how large they are, and how hard."""

from __future__ import annotations

from dataclasses import dataclass

from hlmat_bench.core.types import Size
from hlmat_bench.data.synth import palette, textures
from hlmat_bench.data.synth.kinds import SOLID_KINDS, THIN_KINDS, ObjectKind
from hlmat_bench.data.synth.textures import Material


@dataclass(frozen=True, slots=True)
class Level:
    """The parameters of scenes of one difficulty.

    Attributes:
        name: the difficulty in the samples' tags.
        things: the number of objects, from and to.
        slender: the ratio of an object's length to the half width of its strokes.
        overlap: the largest overlap of two boxes, in percent of the smaller one; negative for a gap, in pixels.
        blades: the largest number of blades of grass in the foreground.
        contrast: the smallest distance of the background's colours from the objects', where it can be reached.
        nearest: whether the background has the nearest of the allowed colours, instead of the first.
        noise: the sensor's noise, half its range in grey levels.
        blur: how often the picture is blurred, from and to.
        shade: how strong light and shadow vary, in 1/256.
    """

    name: str
    things: tuple[int, int]
    slender: int
    overlap: int
    blades: int
    contrast: int
    nearest: bool
    noise: int
    blur: tuple[int, int]
    shade: int


@dataclass(frozen=True, slots=True, eq=False)
class Style:
    """A set of scenes that are alike; compared by identity.

    Attributes:
        name: its name in the task files.
        sizes: (height, width) of scenes; a repeated size is drawn more often.
        levels: the difficulties, which alternate.
        kinds: the objects.
        colours: their colours, keys of `palette.COLOURS`.
        materials: the backgrounds.
        rivals: how many of the target's two properties, kind and colour, another object has: with 2, neither of them
            alone identifies it; with 1, one of them may.
    """

    name: str
    sizes: tuple[Size, ...]
    levels: tuple[Level, ...]
    kinds: tuple[ObjectKind, ...]
    colours: tuple[str, ...]
    materials: tuple[Material, ...]
    rivals: int

    @property
    def families(self) -> tuple[str, ...]:
        """The families of the kinds, in a fixed order."""
        return tuple(dict.fromkeys(kind.family for kind in self.kinds))


THIN = Style(
    name="thin",
    sizes=(
        *[(384, 512)] * 4,
        *[(480, 640)] * 3,
        *[(512, 384)] * 2,
        *[(640, 480)] * 2,
        *[(512, 512)] * 2,
        *[(512, 768)] * 2,
        (768, 1024),
        (1024, 768),
    ),
    levels=(
        Level("easy", (4, 5), 24, -8, 0, 240, False, 6, (0, 1), 40),
        Level("medium", (5, 6), 29, -3, 2, 190, False, 14, (1, 1), 70),
        Level("hard", (6, 7), 35, 15, 4, 160, True, 18, (1, 2), 90),
    ),
    kinds=THIN_KINDS,
    colours=tuple(palette.COLOURS),
    materials=textures.MATERIALS,
    rivals=2,
)
"""Thin, holed and branching objects: `hres_synth`."""

PLAIN = Style(
    name="plain",
    sizes=((256, 256), (256, 256), (256, 320), (320, 256), (320, 320)),
    levels=(Level("plain", (3, 5), 24, -2, 0, 240, False, 5, (0, 1), 30),),
    kinds=SOLID_KINDS,
    colours=("red", "orange", "yellow", "green", "blue", "purple", "white", "black"),
    materials=textures.PLAIN,
    rivals=1,
)
"""Solid shapes on quiet ground, in small pictures: `synth_easy`."""

STYLES: dict[str, Style] = {style.name: style for style in (THIN, PLAIN)}
"""All styles by their names."""
