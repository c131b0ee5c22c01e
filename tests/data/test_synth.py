"""The synthetic scenes: the same everywhere, named without doubt, drawn where the masks say."""

from __future__ import annotations

import hashlib
import math
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import cv2
import numpy as np
import pytest

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Sample
from hlmat_bench.data.synth import SynthSource
from hlmat_bench.data.synth.integer_rng import Dice, cos, sin
from hlmat_bench.data.synth.kinds import KINDS, SOLID_KINDS
from hlmat_bench.data.synth.palette import COLOURS
from hlmat_bench.data.synth.raster import coverage
from hlmat_bench.data.synth.scenes import Scene, Thing, outline, turned_half
from hlmat_bench.data.synth.source import Series, script
from hlmat_bench.data.synth.styles import PLAIN, STYLES, THIN, Style

GOLDEN = {
    "hres_synth/0/0000/0": "3f6474b2967081d7280f349f5a3baeb589a613d34c62c12abb13f1eed01d7fcb",
    "hres_synth/0/0001/0": "f4acc54240f0547295e34166c489c77749db4bb6fcdc0d9bff2a74b39ae3b555",
    "hres_synth/0/0002/0": "bafaa55cb35074d55126dc1302886ded429b3f15d28dc61d27255f8a49b98e43",
    "hres_synth/0/0030/0": "56bf13598d0a2829a070538ecfb5ae82d9ae64c4d08e7a85ef87d26c3473196c",
    "synth_easy/0/0000/0": "c0d847ab0e9a56aba0c2a30dd086d06e2a3591656fa744761b35f6c8b41eca86",
    "synth_easy/0/0001/0": "69c74b9a4f589ea04e41bb7086a2c986ccab6127e41dc7a05b6281c443c74c8c",
    "synth_easy/0/0030/0": "01e476a76a7f46474dd0668e25f09eddce66d8df4f4ebf5081d28924b1d1afb4",
}
"""SHA-256 of image and mask of samples of the default seed. They change with `synth.VERSION` only."""
GOLDEN_SAMPLES = {
    "thin": "bbfe537d31d0f8e547bb8288575745fe6c9479bee4d304912751315fc5c26389",
    "plain": "a2ffa423b8de720319701d1856e164e903cbf315636fade648d4b1ebf9fbb7d6",
}
"""The digests of 200 samples."""
NAMES = {"thin": "hres_synth", "plain": "synth_easy"}


def drawn(style: Style, seed: int = 0, count: int = 200, *, train: bool = False) -> SynthSource:
    return SynthSource(seed, count, NAMES[style.name], style, train=train)


@pytest.fixture(scope="module", params=STYLES)
def style(request: pytest.FixtureRequest) -> Style:
    return STYLES[request.param]


@pytest.fixture(scope="module")
def source(style: Style) -> SynthSource:
    return drawn(style)


@pytest.fixture(scope="module")
def some(source: SynthSource) -> list[Sample]:
    """Return a sample of every fifth scene."""
    return list({sample.image_id: sample for sample in source.samples()}.values())[::5]


def pixels_digest(source: SynthSource, sample: Sample) -> str:
    image, mask = source.image(sample), source.truth(sample).mask
    return hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest()


# The same bytes everywhere.


def test_golden(source: SynthSource, style: Style) -> None:
    """A detector of changes: that the pixels are right, the other tests say."""
    samples = {sample.id: sample for sample in source.samples()}
    golden = {name: digest for name, digest in GOLDEN.items() if name.startswith(NAMES[style.name])}
    assert {name: pixels_digest(source, samples[name]) for name in golden} == golden


def test_golden_samples(source: SynthSource, style: Style) -> None:
    """A detector of changes in what is sampled."""
    assert source.digest() == GOLDEN_SAMPLES[style.name]


SCRIPT = """
import hashlib
from hlmat_bench.data.synth import SynthSource
source = SynthSource(seed=5, count=12)
digest = hashlib.sha256(source.digest().encode())
for sample in source.samples()[::4]:
    digest.update(source.image(sample).tobytes() + source.truth(sample).mask.tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_processes_and_threads_agree() -> None:
    source = SynthSource(seed=5, count=12)
    here = hashlib.sha256(source.digest().encode())
    for sample in source.samples()[8::-4]:
        source.image(sample)
    for sample in source.samples()[::4]:
        here.update(source.image(sample).tobytes() + source.truth(sample).mask.tobytes())
    for threads, hashing in (("1", "1"), ("4", "77")):
        environ = {**os.environ, "PYTHONHASHSEED": hashing}
        environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=environ, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == here.hexdigest()


def test_trigonometry_is_far_from_rounding_boundaries() -> None:
    for degree in range(-360, 720):
        exact = math.sin(math.radians(degree)) * 2**14
        assert abs(sin(degree) - exact) < 0.5 - 1e-6
        assert cos(degree) == sin(degree + 90)


def test_dice_follow_the_published_pcg64_stream() -> None:
    assert Dice(7, 1, 2).below(2**64) == np.random.PCG64(np.random.SeedSequence(7, spawn_key=(1, 2))).random_raw()
    assert Dice(7, 1).below(2**64) != Dice(7, 2).below(2**64) != Dice(8, 2).below(2**64)


# Samples.


def test_count_does_not_change_a_sample(source: SynthSource, style: Style) -> None:
    few = drawn(style, count=37)
    assert list(few.samples()) == list(source.samples()[:37])
    assert pixels_digest(few, few.samples()[36]) == pixels_digest(source, source.samples()[36])
    assert few.digest() != source.digest()


def test_seeds_differ(source: SynthSource, style: Style) -> None:
    other = drawn(style, seed=1)
    shared = {s.expression for s in source.samples()} & {s.expression for s in other.samples()}
    assert len(shared) < {"thin": 60, "plain": 90}[style.name]
    assert other.digest() != source.digest()
    a, b = source.image(source.samples()[0]), other.image(other.samples()[0])
    assert a.shape != b.shape or (a != b).any()


def test_training_scenes_are_not_among_the_others() -> None:
    """No seed of the test has a scene of a training seed, and the other way round: compare all their numbers."""
    series = [Series(PLAIN, seed, train) for seed in range(8) for train in (False, True)]
    scenes = [repr(script(one, index).scene) for one in series for index in range(12)]
    assert len(set(scenes)) == len(scenes)
    one, other = drawn(PLAIN, count=20), drawn(PLAIN, count=20, train=True)
    assert one.digest() != other.digest()
    assert not {s.image_id for s in one.samples()} & {s.image_id for s in other.samples()}
    assert not {one.digests(s)["image"] for s in one.samples()} & {other.digests(s)["image"] for s in other.samples()}
    assert len({one.image(one.samples()[0]).tobytes(), other.image(other.samples()[0]).tobytes()}) == 2


def test_samples_are_well_formed(source: SynthSource, style: Style) -> None:
    samples = source.samples()
    assert len(samples) == 200
    assert len({sample.id for sample in samples}) == 200
    assert len({sample.ref_id for sample in samples}) == 200
    order = [sample.image_id for sample in samples]
    assert [a for a, b in zip(order, ["", *order], strict=False) if a != b] == list(dict.fromkeys(order))
    assert 85 <= len(set(order)) <= 130
    levels = Counter(sample.tags["difficulty"] for sample in samples)
    assert levels.keys() == {"thin": {"easy", "medium", "hard"}, "plain": {"plain"}}[style.name]
    assert min(levels.values()) >= 50
    assert len({sample.tags["kind"] for sample in samples}) == {"thin": 22, "plain": 10}[style.name]
    forms = Counter(sample.tags["form"] for sample in samples)
    assert forms.keys() == {"attribute", "size", "position", "relation"}
    assert min(forms.values()) >= {"thin": 25, "plain": 12}[style.name]
    sizes = {script(Series(style, 0), sample.key[0]).scene.size for sample in samples}
    assert len(sizes) >= {"thin": 6, "plain": 4}[style.name]


def test_wrong_arguments_are_usage_errors() -> None:
    with pytest.raises(UsageError):
        SynthSource(seed=-1)
    with pytest.raises(UsageError):
        SynthSource(count=0)
    with pytest.raises(UsageError):
        SynthSource().image(Sample("x", "x.png", "x", "a cat"))


# Expressions, read back by a second implementation that knows only the words and the scene.

NOUNS = {kind.plural: noun for noun, kind in KINDS.items()} | {noun: noun for noun in KINDS}
NAME = rf"(?:(?:{'|'.join(COLOURS)}) )?(?:{'|'.join(sorted(NOUNS, key=len, reverse=True))})"
GRAMMAR = re.compile(
    rf"the (?:(?P<pick>smaller|larger) of the two (?P<a>{NAME})"
    rf"|(?P<best>smallest|largest|leftmost|rightmost|topmost|lowest) (?P<b>{NAME})"
    rf"|second (?P<c>{NAME}) from the (?P<side>left|right)"
    rf"|(?P<d>{NAME}) (?P<relation>to the left of|to the right of|above|below|closest to) the (?P<anchor>{NAME})"
    rf"|(?P<e>{NAME}))"
)


def named(things: tuple[Thing, ...], name: str) -> list[Thing]:
    colour, _, rest = name.partition(" ")
    noun, colours = (NOUNS[rest], {colour}) if colour in COLOURS else (NOUNS[name], set(COLOURS))
    return [thing for thing in things if thing.kind == noun and thing.colour in colours]


def corners(thing: Thing) -> np.ndarray:
    w, h = np.array(thing.half) / 16
    turn = np.radians(thing.angle)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.array([(-w, -h), (w, -h), (w, h), (-w, h)]) @ matrix + thing.centre


def lowest_only(values: list[float], gap: float = 0.0, factor: float = 1.0) -> int | None:
    """Return the index of the least value where it is least by the gap and the factor, else None."""
    order = np.argsort(values, kind="stable")
    if len(values) > 1 and (values[order[1]] - values[order[0]] < gap or values[order[1]] < factor * values[order[0]]):
        return None
    return int(order[0])


def meant(scene: Scene, expression: str) -> Thing | None:
    """Return the only object of which the expression is true, or None."""
    match = GRAMMAR.fullmatch(expression)
    assert match, expression
    group = named(scene.things, next(match[key] for key in "abcde" if match[key]))
    x, y = ([float(thing.centre[k]) for thing in group] for k in (0, 1))
    wide, tall = 0.09 * scene.size[1], 0.09 * scene.size[0]
    if match["pick"]:
        assert len(group) == 2, expression
    if word := match["pick"] or match["best"]:
        assert len(group) > 1, expression
        area = [float(thing.half[0] * thing.half[1]) for thing in group]
        values = {
            "small": (area, 0, 1.5),
            "large": ([1 / a for a in area], 0, 1.5),
            "leftm": (x, wide, 1),
            "right": ([scene.size[1] - v for v in x], wide, 1),
            "topmo": (y, tall, 1),
            "lowes": ([scene.size[0] - v for v in y], tall, 1),
        }[word[:5]]
        found = lowest_only(*values)
        return None if found is None else group[found]
    if match["side"]:
        order = sorted(group, key=lambda thing: thing.centre[0], reverse=match["side"] == "right")
        assert min(abs(a.centre[0] - b.centre[0]) for a, b in pairwise(order)) >= wide
        return order[1]
    if match["relation"]:
        return related(match["relation"], scene, group, match["anchor"])
    return group[0] if len(group) == 1 else None


def related(relation: str, scene: Scene, group: list[Thing], anchor_name: str) -> Thing | None:
    (anchor,) = named(scene.things, anchor_name)
    group = [thing for thing in group if thing is not anchor]
    if relation == "closest to":
        found = lowest_only([math.dist(thing.centre, anchor.centre) for thing in group], factor=1.45)
        return None if found is None else group[found]
    axis, sign = {"to the left of": (0, -1), "to the right of": (0, 1), "above": (1, -1), "below": (1, 1)}[relation]
    there = [thing for thing in group if sign * (thing.centre[axis] - anchor.centre[axis]) > 0]
    if len(there) != 1:
        return None
    (thing,) = there
    mine, other = sign * corners(thing)[:, axis], sign * corners(anchor)[:, axis]
    return thing if mine.min() >= other.max() - 2 else None


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_expressions_fit_exactly_one_object(seed: int, style: Style) -> None:
    for sample in drawn(style, seed, 250).samples():
        index, target = sample.key
        scene = script(Series(style, seed), index).scene
        assert meant(scene, sample.expression) is scene.things[target], sample
        thing = scene.things[target]
        kinds = sum(other.kind == thing.kind for other in scene.things)
        colours = sum(other.colour == thing.colour for other in scene.things)
        if style is THIN:
            assert min(kinds, colours) > 1, "the kind or the colour alone would do"
        assert max(kinds, colours) > 1, "nothing is like the object"
        assert sample.tags["colour"] == thing.colour
        assert sample.tags["kind"] == KINDS[thing.kind].family


# Pixels.


def drawn_alone(thing: Thing, size: tuple[int, int]) -> np.ndarray:
    """Return the object's whole mask, each layer on top of the one before."""
    bare = np.ones(size)
    for _, shape in outline(thing):
        bare *= 1 - coverage(shape, (0, 0, size[1], size[0])) / 256
    return bare <= 0.5


@pytest.mark.slow
def test_masks_are_the_visible_part(source: SynthSource, style: Style, some: list[Sample]) -> None:
    for sample in some:
        index, target = sample.key
        scene, mask = script(Series(style, 0), index).scene, source.truth(sample).mask
        alone = drawn_alone(scene.things[target], scene.size)
        assert mask.shape == scene.size == source.image(sample).shape[:2]
        assert (mask & ~alone).sum() <= 0.01 * mask.sum() + 4
        assert mask.sum() >= 0.83 * alone.sum()
        assert 250 <= mask.sum() <= 0.25 * mask.size
        x0, y0, x1, y1 = scene.things[target].box
        outside = mask.copy()
        outside[max(y0 - 3, 0) : y1 + 3, max(x0 - 3, 0) : x1 + 3] = False
        assert not outside.any()


@pytest.mark.slow
def test_objects_are_thin_or_solid(source: SynthSource, style: Style, some: list[Sample]) -> None:
    removed = []
    for sample in some:
        mask = source.truth(sample).mask.astype(np.uint8)
        depth = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 5)
        removed.append(1 - (depth > 6).sum() / mask.sum())
    thin = np.array(removed) > 0.7
    assert np.mean(thin if style is THIN else ~thin) > 0.8


@pytest.mark.slow
def test_masks_lie_on_the_objects(source: SynthSource, style: Style, some: list[Sample]) -> None:
    tones = [256] if style is THIN else [256, 120, 140, 350, 380]  # a solid object's parts are darker or lighter
    for sample in some:
        image, mask = source.image(sample).astype(float), source.truth(sample).mask
        colours = {thing.colour for thing in script(Series(style, 0), sample.key[0]).scene.things}
        far = {name: distance(image, np.array(COLOURS[name]), tones) for name in colours}
        apart = {name: float(far[name][mask].mean()) for name in colours}
        if style is not THIN and apart.keys() & {"white", "black"}:
            continue  # their tones are greys, which other colours and the ground come near to
        assert min(apart, key=lambda colour: apart[colour]) == sample.tags["colour"], sample
        own, here = far[sample.tags["colour"]], apart[sample.tags["colour"]]
        for shift in ((0, 2), (0, -2), (2, 0), (-2, 0)):
            assert own[np.roll(mask, shift, axis=(0, 1))].mean() > here, sample.id


def distance(image: np.ndarray, colour: np.ndarray, tones: list[int]) -> np.ndarray:
    """Return the distance of each pixel to the nearest of the tones, in 1/256, of a colour."""
    shades = [np.minimum(colour * tone / 256, 255) for tone in tones]
    return np.min([np.linalg.norm(image - shade, axis=2) for shade in shades], axis=0)


@pytest.mark.slow
def test_larger_objects_have_larger_masks(source: SynthSource, style: Style) -> None:
    sized = [sample for sample in source.samples() if sample.tags["form"] == "size"][:12]
    for sample in sized:
        index, target = sample.key
        scene = script(Series(style, 0), index).scene
        group = [i for i, thing in enumerate(scene.things) if thing.kind == scene.things[target].kind]
        if scene.things[target].colour in sample.expression:
            group = [i for i in group if scene.things[i].colour == scene.things[target].colour]
        areas = {i: int(drawn_alone(scene.things[i], scene.size).sum()) for i in group}
        best = max if "large" in sample.expression else min
        assert best(areas, key=lambda i: areas[i]) == target, sample


# Drawing.


@pytest.mark.parametrize("noun", KINDS)
def test_every_kind_fills_its_frame(noun: str) -> None:
    kind = KINDS[noun]
    for turn, (length, pen) in enumerate(((60, 24), (110, 40), (240, 90))):
        aspect = kind.aspect[turn % 2]
        long = length * 8
        half = (long, long * 100 // aspect) if aspect > 100 else (long * aspect // 100, long)
        thing = Thing(noun, "red", (150, 150), half, 0, bool(turn % 2), pen, (turn, 3))
        mask = drawn_alone(thing, (300, 300))
        ys, xs = np.nonzero(mask)
        wide, tall = half[0] / 8, half[1] / 8
        assert 0.8 * wide <= np.ptp(xs) + 1 <= 1.1 * wide + 2
        assert 0.8 * tall <= np.ptp(ys) + 1 <= 1.1 * tall + 2
        low, high = (0.3, 0.9) if kind in SOLID_KINDS else (0.03, 0.8)
        assert low < mask.sum() / (wide * tall) < high


def test_mirrored_and_turned_drawings_keep_their_area() -> None:
    thing = Thing("key", "red", (100, 100), (500, 1200), 0, False, 40, (1, 1))
    turned = Thing("key", "red", (100, 100), (500, 1200), 180, True, 40, (1, 1))
    plain, other = (drawn_alone(t, (200, 200)) for t in (thing, turned))
    assert abs(int(plain.sum()) - int(other.sum())) < 0.02 * plain.sum()
    assert (plain[::-1] ^ other).sum() < 0.02 * plain.sum()


def test_turned_half_by_hand() -> None:
    assert turned_half((160, 320), 0) == (10, 20)
    assert turned_half((160, 320), 90) == (20, 10)
    assert turned_half((160, 160), 45) == (15, 15)
