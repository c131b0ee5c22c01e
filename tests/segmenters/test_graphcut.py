from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hlmat_bench.clicks import Click, next_click
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.types import Image, Mask
from hlmat_bench.data.tasks import load_task
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import RefiningSession, Segmenter
from hlmat_bench.scores import iou
from hlmat_bench.segmenters.graphcut.min_cut import cheapest


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    made: Segmenter = plugins.make("segmenter", "graphcut")
    return made


def _scene(height: int = 120, width: int = 160, seed: int = 0) -> tuple[Image, Mask]:
    """Draw a textured red ring on a textured green ground."""
    generator = np.random.default_rng(seed)
    rows, columns = np.ogrid[:height, :width]
    radius = np.hypot(rows - height / 2, columns - width / 2) / min(height, width)
    ring = (radius < 0.4) & (radius > 0.15)
    image = generator.normal(0, 12, (height, width, 3)) + np.where(ring[..., None], (190, 60, 50), (60, 140, 70))
    return np.clip(image, 0, 255).astype(np.uint8), ring


def _oracle(
    segmenter: Segmenter, image: Image, gt: Mask, budget: int, ignore: Mask | None = None, start: Mask | None = None
) -> list[float]:
    mask = np.zeros(gt.shape, bool) if start is None else start
    session, clicks, curve = _started(segmenter, image, mask), [], []
    for _ in range(budget):
        click = next_click(gt, mask, ignore=ignore, clicked=clicks)
        if click is not None:
            clicks.append(click)
            mask = session.predict(clicks)
        curve.append(iou(gt, mask, ignore=ignore))
    return curve


def test_a_few_clicks_find_a_ring_and_its_hole(segmenter: Segmenter) -> None:
    assert max(_oracle(segmenter, *_scene(), 4)) > 0.95


@pytest.mark.slow
def test_the_cut_is_the_cheapest_labelling() -> None:
    """Against all labellings of small grids, one by one: the relaxation rounds to the least energy."""
    generator = np.random.default_rng(0)
    height, width = 3, 4
    grids = ((np.arange(2**12)[:, None] >> np.arange(12)) & 1).reshape(-1, height, width).astype(np.float64)
    for _ in range(25):
        price = generator.normal(0, 1, (height, width)).astype(np.float32)
        across = generator.random((height, width - 1)).astype(np.float32)
        down = generator.random((height - 1, width)).astype(np.float32)
        energy = (
            (grids * price).sum((1, 2))
            + (np.abs(np.diff(grids, axis=2)) * across).sum((1, 2))
            + (np.abs(np.diff(grids, axis=1)) * down).sum((1, 2))
        )
        soft = cheapest(price, across, down, iterations=3000)
        [found] = np.flatnonzero((grids == (soft > 0.5)).all((1, 2)))
        assert energy[found] <= energy.min() + 0.01


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (23, 31)])
def test_the_cut_is_that_of_the_published_algorithm(shape: tuple[int, int]) -> None:
    """Algorithm 1 of Chambolle and Pock with sigma 1/2, tau 1/4 and theta 1, in their words, in double precision."""
    generator = np.random.default_rng(0)
    price = generator.normal(0, 2, shape).astype(np.float32)
    across, down = (generator.random((shape[0] - axis, shape[1] - 1 + axis)).astype(np.float32) * 4 for axis in (0, 1))
    x = ahead = (price < 0).astype(np.float64)
    flows = [np.zeros(across.shape), np.zeros(down.shape)]
    for _ in range(30):
        steps = [flow + np.diff(ahead, axis=axis) / 2 for flow, axis in zip(flows, (1, 0), strict=True)]
        flows = [np.clip(step, -most, most) for step, most in zip(steps, (across, down), strict=True)]
        divergence = np.diff(flows[0], axis=1, prepend=0, append=0) + np.diff(flows[1], axis=0, prepend=0, append=0)
        new = np.clip(x - (price - divergence) / 4, 0, 1)
        x, ahead = new, 2 * new - x
    np.testing.assert_allclose(cheapest(price, across, down, iterations=30, levels=0), x, atol=1e-5)


@st.composite
def _clicked(draw: st.DrawFn) -> tuple[Image, list[Click]]:
    height, width = draw(st.tuples(st.integers(1, 70), st.integers(1, 70)))
    seed, flat = draw(st.integers(0, 5)), draw(st.booleans())
    image = np.full((height, width, 3), 128, np.uint8)
    if not flat:
        image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    places = draw(
        st.lists(st.tuples(st.integers(0, width - 1), st.integers(0, height - 1)), min_size=1, max_size=5, unique=True)
    )
    return image, [Click(draw(st.booleans()), x, y) for x, y in places]


@pytest.mark.slow
@given(_clicked())
@settings(max_examples=60)
def test_every_click_holds_and_every_part_has_a_positive_one(
    segmenter: Segmenter, case: tuple[Image, list[Click]]
) -> None:
    """Images of any size, uniform ones and noise, all clicks negative, clicks on the last pixel."""
    image, clicks = case
    mask = segmenter.open(image).predict(clicks)
    assert (mask.dtype, mask.shape) == (np.bool_, image.shape[:2])
    assert all(mask[click.y, click.x] == click.positive for click in clicks)
    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    assert {int(parts[click.y, click.x]) for click in clicks if click.positive} == set(range(1, count))


@pytest.mark.slow
def test_the_mask_is_a_function_of_image_and_clicks(segmenter: Segmenter) -> None:
    """Step by step, at once, after a snapshot, in another thread, with other threads under way: the same masks."""
    image, _ = _scene()
    clicks = [Click(True, 80, 25), Click(True, 40, 60), Click(False, 80, 60), Click(True, 120, 70)]
    session = segmenter.open(image)
    stepwise = [session.predict(clicks[: n + 1]) for n in range(len(clicks))]
    assert np.array_equal(segmenter.open(image).predict(clicks), stepwise[-1])

    session.predict(clicks[:2])
    state = session.snapshot()
    session.predict([*clicks[:2], Click(False, 10, 10)])
    session.restore(state)
    assert np.array_equal(session.predict(clicks[:3]), stepwise[2])

    results: list[Mask] = []
    threads = [threading.Thread(target=lambda: results.append(segmenter.open(image).predict(clicks))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(result, stepwise[-1]) for result in results)
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    assert np.array_equal(segmenter.open(image).predict(clicks), stepwise[-1])
    cv2.setNumThreads(before)


def _started(segmenter: Segmenter, image: Image, mask: Mask) -> RefiningSession:
    session = segmenter.open(image)
    assert isinstance(session, RefiningSession)
    session.start_from(mask)
    return session


def _depth(mask: Mask) -> np.ndarray:
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)


@pytest.mark.parametrize("off", [-8, -4, 4, 8])
def test_one_click_moves_the_whole_outline_of_a_mask_that_is_wrong_all_around(segmenter: Segmenter, off: int) -> None:
    """A ring that was eroded or dilated by so many pixels. A cut around the click alone leaves most of the error."""
    image, gt = _scene()
    start = _depth(gt) > -off if off < 0 else _depth(~gt) <= off
    click = next_click(gt, start)
    assert click is not None
    mask = _started(segmenter, image, start).predict([click])
    assert iou(gt, start) < 0.82
    assert iou(gt, mask) > 0.93


def test_what_lies_apart_from_the_click_stays_as_it_was_given(segmenter: Segmenter) -> None:
    """A square far away, on the wrong colour and without a click, next to a ring that a click corrects."""
    image, gt = _scene(120, 400)
    start = _depth(gt) > 5
    start[20:40, 20:40] = True
    click = next_click(gt | start, start)
    assert click is not None
    mask = _started(segmenter, image, start).predict([click])
    assert (mask[:, :80] == start[:, :80]).all()
    assert (mask[:, 140:] != start[:, 140:]).any()


def test_a_negative_click_takes_away_a_part_and_leaves_the_rest(segmenter: Segmenter) -> None:
    image, gt = _scene()
    start = gt.copy()
    start[:25, :25] = True
    for clicks in ([Click(False, 10, 10)], [Click(False, 10, 10), Click(False, 15, 15)]):
        mask = _started(segmenter, image, start).predict(clicks)
        assert not mask[5:20, 5:20].any()
        assert iou(gt, mask) > 0.97


def test_a_click_that_the_mask_agrees_with_leaves_it_nearly_as_it_is(segmenter: Segmenter) -> None:
    image, gt = _scene()
    for click in (Click(True, 80, 25), Click(False, 3, 3)):
        assert iou(gt, _started(segmenter, image, gt).predict([click])) > 0.97


@pytest.mark.slow
def test_oracle_clicks_on_a_spoilt_mask_end_no_lower_than_from_nothing(segmenter: Segmenter) -> None:
    """Scenes of hres_synth; docs/segmenters.md has the figures of all of them, and of more ways to spoil a mask."""
    source = load_task("hres_synth").source()
    gains = []
    for sample in source.samples()[::40]:
        image, gt = source.image(sample), source.truth(sample).mask
        from_nothing = _oracle(segmenter, image, gt, 4)
        depth = _depth(gt)
        shift = max(2, int(0.35 * depth.max()))
        for start in (depth > 0.35 * depth.max(), np.roll(gt, shift, axis=1)):
            from_mask = _oracle(segmenter, image, gt, 4, start=start)
            assert from_mask[-1] > iou(gt, start)
            gains.append(from_mask[-1] - from_nothing[-1])
    assert np.mean(gains) > -0.01


@pytest.mark.slow
def test_a_large_mask_stays_as_sharp_as_it_was_given_where_no_click_is(segmenter: Segmenter) -> None:
    image, gt = _scene(1500, 2000)
    start = gt.copy()
    start[::2, :100] = True  # stripes of one pixel, finer than the canvas
    start[700:800, 400:600] = False
    mask = _started(segmenter, image, start).predict([Click(True, 500, 750)])
    assert (mask[:, :90] == start[:, :90]).all()
    assert iou(gt[:, 200:], mask[:, 200:]) > 0.97


def test_a_large_image_is_reduced_and_clicks_still_hold(segmenter: Segmenter) -> None:
    image, gt = _scene(1500, 2000)
    clicks = [Click(True, 1000, 300), Click(False, 1000, 750), Click(True, 1999, 1499)]
    mask = segmenter.open(image).predict(clicks)
    assert mask.shape == gt.shape
    assert all(mask[click.y, click.x] == click.positive for click in clicks)


def test_a_box_is_refused_and_the_spec_names_what_matters(segmenter: Segmenter) -> None:
    with pytest.raises(UsageError, match="takes only clicks"):
        segmenter.open(_scene()[0]).predict([], (0, 0, 5, 5))
    spec = segmenter.spec()
    assert spec["versions"]["opencv"]
    assert spec["settings"]["radii"] == 5


@pytest.mark.slow
@pytest.mark.shared
def test_real_photos_are_cut_out_with_few_clicks(segmenter: Segmenter, shared: Path) -> None:
    """Four photos of GrabCut; the whole sets are measured by benchmarks/graphcut.py."""
    folder = shared / "realdata" / "GrabCut"
    images = {path.stem: path for path in sorted((folder / "data_GT").iterdir())}
    reached = []
    for name in list(images)[:4]:
        truth = cv2.imread(str(folder / "boundary_GT" / f"{name}.bmp"), 0)
        image = cv2.cvtColor(cv2.imread(str(images[name])), cv2.COLOR_BGR2RGB)
        reached.append(max(_oracle(segmenter, image, truth == 255, 8, ignore=truth == 128)))
    assert np.mean(reached) > 0.9
