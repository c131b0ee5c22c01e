"""The tasks `hres_synth` and `synth_easy`: scenes drawn from a seed, without files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import count
from operator import add

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Sample, Truth
from hlmat_bench.core.types import Box, Image, Mask, Size
from hlmat_bench.data.synth.expressions import Referral, referrals
from hlmat_bench.data.synth.integer_rng import Dice
from hlmat_bench.data.synth.kinds import KINDS
from hlmat_bench.data.synth.raster import RasterShape, coverage
from hlmat_bench.data.synth.render import Picture, paint
from hlmat_bench.data.synth.scenes import Scene, Thing, draw_scene, outline
from hlmat_bench.data.synth.styles import THIN, Style

VERSION = 1
"""The version of the generator, which is raised when any pixel or expression changes."""

VISIBLE_PERCENT = 85
"""The smallest visible share of a target, in percent."""
RECOGNISABLE_PERCENT = 70
"""The smallest visible share of all other objects, in percent, because expressions may refer to them."""

_COARSE = 4
_CHOICE = 10_000
"""The random stream that chooses the expressions of a scene."""
_TRAIN = 1 << 20
"""The random stream of training scenes. Those of other scenes begin with an index, which is smaller."""


@dataclass(frozen=True, slots=True)
class Script:
    """A scene and the expressions about it."""

    scene: Scene
    referrals: tuple[Referral, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """An endless series of scenes.

    Attributes:
        style: what is in them.
        seed: another seed gives other scenes.
        train: the scenes are for training; no seed of the others has one of them.
    """

    style: Style
    seed: int
    train: bool = False

    @property
    def path(self) -> str:
        """The series in the ids of its images."""
        return "/".join([*self._named, str(self.seed)])

    @property
    def numbers(self) -> list[int | str]:
        """What distinguishes the series from all others, in JSON values."""
        return [*self._named, self.seed]

    @property
    def _named(self) -> list[str]:
        named = [] if self.style is THIN else [self.style.name]
        return [*named, *(["train"] if self.train else [])]

    def stream(self, index: int) -> tuple[int, ...]:
        """Return the random stream of a scene."""
        return (self.seed, _TRAIN, index) if self.train else (self.seed, index)


@lru_cache(maxsize=1024)
def script(series: Series, index: int) -> Script:
    """Return the scene with this index: its first attempt that has expressions."""
    scenes = (draw_scene(series.style, index, (*series.stream(index), attempt)) for attempt in count())
    written = (Script(scene, _chosen(scene, Dice(*scene.stream, _CHOICE))) for scene in scenes)
    return next(found for found in written if found.referrals)


def _chosen(scene: Scene, dice: Dice) -> tuple[Referral, ...]:
    """Choose one to three expressions about different objects, in different forms where possible."""
    found = [item for item in referrals(scene.things, scene.size) if _has_rivals(scene, item.target)]
    if not found:
        return ()
    visible = visible_percent(scene)
    if min(visible) < RECOGNISABLE_PERCENT:
        return ()
    chosen: list[Referral] = []
    for _ in range(dice.pick((1, 2, 2, 3))):
        done = {item.target for item in chosen}
        rest = [item for item in found if item.target not in done and visible[item.target] >= VISIBLE_PERCENT]
        if not rest:
            break
        forms = {item.form for item in rest}
        form = dice.pick(sorted(forms - {item.form for item in chosen} or forms))
        chosen.append(dice.pick([item for item in rest if item.form == form]))
    return tuple(chosen)


def _has_rivals(scene: Scene, target: int) -> bool:
    """Return whether other objects have as many of the target's properties, kind and colour, as the style says."""
    kind, colour = scene.things[target].kind, scene.things[target].colour
    same_kind = sum(thing.kind == kind for thing in scene.things) > 1
    same_colour = sum(thing.colour == colour for thing in scene.things) > 1
    return same_kind + same_colour >= scene.style.rivals


@lru_cache(maxsize=6)
def _picture(series: Series, index: int) -> Picture:
    return paint(script(series, index).scene)


class SynthSource:
    """Scenes drawn from a seed; implements `hlmat_bench.core.samples.Source`.

    A sample depends only on the seed and its own number: a larger ``count`` adds samples at the end.
    """

    def __init__(
        self, seed: int = 0, count: int = 200, name: str = "hres_synth", style: Style = THIN, *, train: bool = False
    ) -> None:
        """Create a set of samples.

        Args:
            seed: 0 or more; another seed gives another set.
            count: the number of samples, 1 or more.
            name: the task's name, the first part of every sample's id.
            style: what is in the scenes.
            train: draw the scenes for training, which no seed of the others gives.

        Raises:
            UsageError: when the seed is negative or the count is below 1.
        """
        if seed < 0:
            raise UsageError(f"Give a seed of 0 or more for {name}, not {seed}.")
        if count < 1:
            raise UsageError(f"Give a count of 1 or more for {name}, not {count}.")
        self._series, self._count, self._name = Series(style, seed, train), count, name
        self._samples: tuple[Sample, ...] | None = None

    def samples(self) -> Sequence[Sample]:
        """Return all samples, those of one image together, without drawing pictures."""
        if self._samples is None:
            made: list[Sample] = []
            index = 0
            while len(made) < self._count:
                made.extend(self._of_scene(index))
                index += 1
            self._samples = tuple(made[: self._count])
        return self._samples

    def _of_scene(self, index: int) -> list[Sample]:
        written = script(self._series, index)
        level, path = written.scene.level, f"{self._series.path}/{index:04d}"
        samples = []
        for k, item in enumerate(written.referrals):
            thing = written.scene.things[item.target]
            samples.append(
                Sample(
                    id=f"{self._name}/{self._series.seed}/{index:04d}/{k}",
                    image=f"scene_{path.replace('/', '_')}.png",
                    image_id=path,
                    expression=item.text,
                    ref_id=f"{path}/{item.target}",
                    tags={
                        "difficulty": level.name,
                        "kind": KINDS[thing.kind].family,
                        "colour": thing.colour,
                        "form": item.form,
                    },
                    key=(index, item.target),
                )
            )
        return samples

    def image(self, sample: Sample) -> Image:
        """Return the picture of a sample, uint8 (H, W, 3) RGB."""
        return self._drawn(sample)[0].image.copy()

    def truth(self, sample: Sample) -> Truth:
        """Return the mask of the visible part of the object."""
        picture, target = self._drawn(sample)
        return Truth(picture.masks[target].copy())

    def objects(self, sample: Sample) -> list[tuple[str, str, Mask]]:
        """Return all objects of a sample's image: kind, colour, and the mask of the visible part, bool (H, W)."""
        index, _ = self._place(sample)
        things, masks = script(self._series, index).scene.things, _picture(self._series, index).masks
        return [(thing.kind, thing.colour, mask) for thing, mask in zip(things, masks, strict=True)]

    def _drawn(self, sample: Sample) -> tuple[Picture, int]:
        index, target = self._place(sample)
        return _picture(self._series, index), target

    def _place(self, sample: Sample) -> tuple[int, int]:
        """Return the numbers of a sample's scene and of its object there."""
        match sample.key:
            case (int(index), int(target)):
                return index, target
        raise UsageError(f"{sample.id} is not a sample of {self._name}: take one of its samples().")

    def digests(self, sample: Sample) -> dict[str, str]:
        """Return the SHA-256 (hex) of the numbers that define a sample's image and truth; see `FileSource.digests`."""
        index, target = self._place(sample)
        parts = {"image": [index], "truth": [index, target]}
        return {
            name: hashlib.sha256(json.dumps([VERSION, *self._series.numbers, *numbers]).encode()).hexdigest()
            for name, numbers in parts.items()
        }

    def digest(self) -> str:
        """Return the SHA-256 (hex) over the generator's version, the seed, the count, all ids and expressions."""
        defined = [VERSION, *self._series.numbers, self._count, [(s.id, s.expression) for s in self.samples()]]
        return hashlib.sha256(json.dumps(defined).encode()).hexdigest()


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
