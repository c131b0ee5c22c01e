"""Imperfect masks: properties of each defect over random objects, and of the search for a band."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hlmat_bench.core.samples import Truth
from hlmat_bench.data.perturbations import DEFECTS, imperfect
from hlmat_bench.protocol.mask_settings import RefinementSettings
from hlmat_bench.testing import DiscSegmenter
from tests.support.episodes import iou

SIZE = (90, 120)
IMAGE = np.zeros((*SIZE, 3), np.uint8)


def _blob(seed: int, cut: float = 0.3) -> np.ndarray:
    """Smooth noise above a level: one part or several, with holes, at the edge or not."""
    noise = np.random.default_rng(seed).standard_normal(SIZE).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 9)
    return smooth > cut * smooth.max()


def _distortion(name: str, gt: np.ndarray, others: list[np.ndarray], seed: int = 0) -> Callable[[float], np.ndarray]:
    return DEFECTS[name](gt, others, np.random.default_rng(seed))


objects = st.builds(_blob, st.integers(0, 10_000), st.floats(-0.5, 0.9)).filter(lambda gt: gt.any())


@settings(max_examples=25)
@given(objects, st.sampled_from(["eroded", "cropped"]), st.integers(0, 99))
def test_what_takes_away_only_takes_away_and_takes_more_the_stronger(gt: np.ndarray, name: str, seed: int) -> None:
    distort = _distortion(name, gt, [], seed)
    masks = [distort(strength) for strength in (0.0, 0.2, 0.6, 1.0)]
    assert np.array_equal(masks[0], gt)
    assert not masks[-1].any() or gt.all()
    for weaker, stronger in pairwise(masks):
        assert not (stronger & ~weaker).any()


@settings(max_examples=25)
@given(objects, objects, st.sampled_from(["dilated", "merged"]))
def test_what_adds_only_adds_and_adds_more_the_stronger(gt: np.ndarray, other: np.ndarray, name: str) -> None:
    distort = _distortion(name, gt, [other])
    masks = [distort(strength) for strength in (0.0, 0.2, 0.6, 1.0)]
    assert np.array_equal(masks[0], gt)
    for weaker, stronger in pairwise(masks):
        assert not (weaker & ~stronger).any()
    if name == "merged" and (other & ~gt).any():
        assert np.array_equal(masks[-1], gt | other)


@settings(max_examples=25)
@given(objects, st.sampled_from(sorted(DEFECTS)), st.floats(0, 1), st.integers(0, 99))
def test_all_give_masks_of_the_size_and_leave_the_object_alone(
    gt: np.ndarray, name: str, strength: float, seed: int
) -> None:
    kept = gt.copy()
    mask = _distortion(name, gt, [], seed)(strength)
    assert (mask.shape, mask.dtype) == (gt.shape, np.dtype(bool))
    assert np.array_equal(gt, kept)
    assert np.array_equal(mask, _distortion(name, gt, [], seed)(strength))


@pytest.mark.parametrize("name", ["coarsened", "shifted"])
def test_a_faint_defect_of_the_outline_moves_only_the_outline(name: str) -> None:
    gt = _blob(3)
    mask = _distortion(name, gt, [])(0.01)
    band = cv2.dilate(gt.astype(np.uint8), np.ones((5, 5))) != cv2.erode(gt.astype(np.uint8), np.ones((5, 5)))
    assert not ((mask != gt) & ~band).any()
    assert iou(gt, _distortion(name, gt, [])(0.8)) < iou(gt, mask)


def test_an_erosion_takes_what_is_near_the_outline() -> None:
    """By hand: of a square of 9, at a depth of 5, a strength of 0.5 takes the two outermost rings."""
    gt = np.zeros((15, 15), bool)
    gt[3:12, 3:12] = True
    wanted = np.zeros_like(gt)
    wanted[5:10, 5:10] = True
    assert np.array_equal(_distortion("eroded", gt, [])(0.5), wanted)


def test_without_a_neighbour_the_mirror_image_beside_the_object_is_added() -> None:
    gt = np.zeros((20, 40), bool)
    gt[5:15, 4:10] = True
    gt[5, 4:8] = False
    mask = _distortion("merged", gt, [])(1.0)
    wanted = gt.copy()
    wanted[:, 10:16] = gt[:, 4:10][:, ::-1]
    assert np.array_equal(mask, wanted)
    turned = _distortion("merged", gt.T.copy(), [])(1.0)
    assert np.array_equal(turned, wanted.T)
    flipped = _distortion("merged", gt[:, ::-1].copy(), [])(1.0)
    assert np.array_equal(flipped, wanted[:, ::-1])


def test_the_nearest_neighbour_is_merged_in() -> None:
    gt, near, far = (np.zeros(SIZE, bool) for _ in range(3))
    gt[10:20, 10:20] = near[10:20, 25:30] = far[60:70, 60:70] = True
    assert np.array_equal(_distortion("merged", gt, [far, near])(1.0), gt | near)


@settings(max_examples=40)
@given(
    objects.filter(lambda gt: gt.sum() > 400),
    st.sampled_from(sorted(DEFECTS)),
    st.sampled_from([(0.5, 0.65), (0.65, 0.8), (0.8, 0.9)]),
    st.integers(0, 9),
)
def test_the_band_is_met_or_the_record_says_that_it_is_not(
    gt: np.ndarray, name: str, band: tuple[float, float], seed: int
) -> None:
    rules = RefinementSettings(defects=(name,), bands=(band,), seed=seed)
    made = imperfect(rules, "a/1", IMAGE, Truth(gt), [], DiscSegmenter())
    assert made.iou == iou(gt, made.mask)
    assert made.record()["in_band"] == (band[0] <= made.iou <= band[1])
    assert (made.defect, made.band) == (name, band)
    if name == "cropped":  # pixels are taken one distance after the other, so that every band can be met
        assert made.record()["in_band"]


def test_a_defect_that_cannot_reach_the_band_gives_way() -> None:
    """A line of one pixel is eroded whole or not at all."""
    gt = np.zeros(SIZE, bool)
    gt[40, 10:100] = True
    alone = RefinementSettings(defects=("eroded",), bands=((0.5, 0.8),))
    made = imperfect(alone, "a/1", IMAGE, Truth(gt), [], DiscSegmenter())
    assert made.record()["in_band"] is False
    assert made.iou == 1.0
    for sample in ("a/1", "a/2", "a/3", "a/4"):
        both = RefinementSettings(defects=("eroded", "cropped"), bands=((0.5, 0.8),))
        made = imperfect(both, sample, IMAGE, Truth(gt), [], DiscSegmenter())
        assert (made.defect, made.record()["in_band"]) == ("cropped", True)


def test_masks_depend_on_seed_and_sample_and_nothing_else() -> None:
    gt = _blob(1)

    def made(sample: str, seed: int) -> bytes:
        rules = RefinementSettings(defects=("shifted", "cropped"), seed=seed)
        return imperfect(rules, sample, IMAGE, Truth(gt), [], DiscSegmenter()).mask.tobytes()

    assert made("a/1", 0) == made("a/1", 0)
    assert len({made(f"a/{n}", seed) for n in range(3) for seed in range(3)}) == 9


def test_all_defects_and_bands_are_drawn() -> None:
    gt = _blob(1)
    rules = RefinementSettings(defects=(*DEFECTS, "points"))
    made = [imperfect(rules, f"a/{n}", IMAGE, Truth(gt), [], DiscSegmenter()) for n in range(60)]
    assert {each.band for each in made} == set(rules.bands)
    assert {each.defect for each in made} >= set(DEFECTS)


@pytest.mark.parametrize("full", [False, True])
def test_objects_that_are_nothing_or_everything(full: bool) -> None:
    gt = np.full(SIZE, full)
    for name in (*DEFECTS, "box", "points"):
        rules = RefinementSettings(defects=(name,))
        made = imperfect(rules, "a/1", IMAGE, Truth(gt), [], DiscSegmenter())
        assert made.iou == iou(gt, made.mask)


def test_ignored_pixels_do_not_count() -> None:
    gt, ignore = _blob(2), np.zeros(SIZE, bool)
    ignore[:, :60] = True
    rules = RefinementSettings(defects=("cropped",), bands=((0.5, 0.8),))
    made = imperfect(rules, "a/1", IMAGE, Truth(gt, ignore), [], DiscSegmenter())
    assert made.iou == iou(gt & ~ignore, made.mask & ~ignore)


@pytest.mark.parametrize("band", [(0.5, 0.5), (0.9, 0.5), (-0.1, 0.5), (0.5, 1.1)])
def test_a_band_is_two_shares(band: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="a band is two IoUs"):
        RefinementSettings(bands=(band,))
