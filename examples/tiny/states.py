"""Makes the training examples of hlmat-tiny: pictures of 128 x 128 pixels, expressions, and what is right there.

Most states come from trajectories (`hlmat-bench trajectories generate` and `improve`). Others need no segmenter: the
empty mask, the perfect one, and distorted ones, each with the oracle's click.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from model import PATCH, SIDE
from numpy.typing import NDArray

from hlmat_bench.clicks import Click, next_click
from hlmat_bench.core import masks
from hlmat_bench.core.samples import Sample
from hlmat_bench.core.types import Image, Mask
from hlmat_bench.data.layouts.image_files import ImageReader
from hlmat_bench.data.perturbations import DEFECTS
from hlmat_bench.data.synth import SynthSource
from hlmat_bench.data.synth.kinds import SOLID_KINDS
from hlmat_bench.data.synth.styles import PLAIN
from hlmat_bench.overlay import Overlay
from hlmat_bench.points.resize import Resize
from hlmat_bench.runs.probe.markers import SHAPES, write_images
from hlmat_bench.training.export.asking import AskingSettings
from hlmat_bench.training.export.recorded import RecordedRun
from hlmat_bench.training.export.selection import Selection, states_of

GRID = SIDE // PATCH
KINDS = [*(kind.noun for kind in SOLID_KINDS), *SHAPES]
PLURALS = [*(kind.plural for kind in SOLID_KINDS), *SHAPES]
COLOURS = list(PLAIN.colours)
STRETCH = Resize.named(f"stretch-{SIDE}x{SIDE}")


@dataclass(frozen=True, slots=True)
class Example:
    """One state and its answer.

    Attributes:
        picture: what the model sees, uint8 (128, 128, 3) RGB.
        expression: the description of the object.
        iou: of the mask that is shown, 0 to 1.
        sign: 0 for a positive click, 1 for a negative one, 2 for the end.
        x, y: the click, relative to the picture, 0 to 1.
        cells: float16 (3, 64), the share of each patch that is in the object, that the mask lacks, and that it has too
            much.
        things: int8 (2, 64), the kind and the colour of what covers most of a patch, numbers in `KINDS` and `COLOURS`;
            -1 where nothing covers a quarter of it.
    """

    picture: Image
    expression: str
    iou: float
    sign: int
    x: float
    y: float
    cells: NDArray[np.float16]
    things: NDArray[np.int8]


class Scene:
    """One image with one object, of which examples are made."""

    def __init__(self, sample: Sample, image: Image, truth: Mask, objects: Sequence[tuple[str, str, Mask]]) -> None:
        self._sample, self._truth, self._overlay = sample, truth, Overlay(image)
        self._things = _things(objects)

    def example(self, mask: Mask, click: Click | None, enough: float) -> Example:
        """Return the example of a mask; from an IoU of ``enough`` on, the right answer is the end."""
        iou = float((mask & self._truth).sum() / (mask | self._truth).sum())
        height, width = mask.shape
        done = click is None or iou >= enough
        spot = (0.0, 0.0) if done or click is None else (click.x / width, click.y / height)
        return Example(
            STRETCH.apply(self._overlay.paint(mask)),
            self._sample.expression,
            iou,
            2 if done or click is None else int(not click.positive),
            *spot,
            np.stack([_cells(region) for region in (self._truth, self._truth & ~mask, mask & ~self._truth)]),
            self._things,
        )


def _cells(region: Mask) -> NDArray[np.float16]:
    shares = cv2.resize(region.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
    return shares.reshape(-1).astype(np.float16)


def _things(objects: Sequence[tuple[str, str, Mask]]) -> NDArray[np.int8]:
    things = np.full((2, GRID * GRID), -1, np.int8)
    for kind, colour, mask in objects:
        things[:, _cells(mask) > 0.25] = [[KINDS.index(kind)], [COLOURS.index(colour)]]
    return things


def of_trajectories(folder: Path, enough: float) -> Iterator[Example]:
    """Give the states of all episodes of a run folder: those before a click that raised the IoU, and the last ones."""
    run, rules = RecordedRun(folder, AskingSettings()), Selection(stop_examples=True, stop_iou=enough)
    for _, episode in run.episodes():
        sample = run.sample(episode)
        scene = Scene(sample, run.image(episode), masks.decode(episode.gt), run.source.objects(sample))
        for state in states_of(episode, rules):
            mask = np.zeros(episode.size, np.bool_) if state.mask is None else masks.decode(state.mask)
            yield scene.example(mask, state.action.click if state.action.kind == "click" else None, enough)


def without_segmenter(source: SynthSource, enough: float) -> Iterator[Example]:
    """Give each sample's empty mask and a distorted one, and of every sixth sample the perfect mask."""
    generator = np.random.default_rng(0)
    names, samples = list(DEFECTS), source.samples()
    for number, sample in enumerate(samples):
        truth = source.truth(sample).mask
        scene = Scene(sample, source.image(sample), truth, source.objects(sample))
        others = [source.truth(other).mask for other in _neighbours(samples, number)]
        distorted = DEFECTS[names[int(generator.integers(len(names)))]](truth, others, generator)
        shown = [np.zeros_like(truth), distorted(float(generator.uniform(0.1, 0.9)))]
        if number % 6 == 0:
            shown.append(truth)
        for mask in shown:
            yield scene.example(mask, next_click(truth, mask), enough)


def of_markers(seeds: range) -> Iterator[Example]:
    """Give small coloured markers, as `hlmat-bench probe` shows them; its own seeds are below 1000."""
    reader = ImageReader()
    for seed in seeds:
        with TemporaryDirectory() as folder:
            for question in write_images(Path(folder), 32, seed):
                image = reader.image(question.image)
                (height, width), (x, y) = image.shape[:2], question.target
                truth = np.zeros((height, width), np.bool_)
                radius = max(5, round(0.045 * min(height, width)))
                truth[max(int(y) - radius, 0) : int(y) + radius, max(int(x) - radius, 0) : int(x) + radius] = True
                sample = Sample(id=question.id, image="", image_id="", expression=question.expression)
                things = [(*question.expression.split()[:-3:-1], truth)]
                yield Scene(sample, image, truth, things).example(
                    np.zeros_like(truth), Click(True, int(x), int(y)), 1.0
                )


def _neighbours(samples: Sequence[Sample], number: int) -> list[Sample]:
    """Return the other objects of a sample's image; the samples of an image are together."""
    near = samples[max(number - 3, 0) : number + 4]
    mine = samples[number]
    return [other for other in near if other.image_id == mine.image_id and other.ref_id != mine.ref_id]
