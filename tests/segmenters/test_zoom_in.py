"""Where the network looks: boxes computed by hand, and by a second implementation that paints masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.clicks import Click
from hlmat_bench.segmenters.simpleclick.zoom_in import Crop, ZoomIn, overlap

SIZE = (300, 420)
WHOLE = Crop(0, 299, 0, 419)
ZOOM = ZoomIn()


@pytest.mark.parametrize(
    ("found", "clicks", "expected"),
    [
        (None, [], WHOLE),
        (None, [Click(True, 3, 3)], WHOLE),
        # 40 x 80 pixels are less than 200 x 200 even when enlarged: 119.5 +- 100 and 239.5 +- 100, halves to even
        (Crop(100, 139, 200, 279), [], Crop(20, 220, 140, 340)),
        # 200 rows become 280: 109.5 - 140 is above the image, 109.5 + 140 = 249.5 goes to the even 250
        (Crop(10, 209, 200, 279), [], Crop(0, 250, 140, 340)),
        # a positive click at x = 399 makes 200 columns of 80: 299.5 +- 140, of which the image has those up to 419
        (Crop(100, 139, 200, 279), [Click(True, 399, 120)], Crop(20, 220, 160, 419)),
        (Crop(100, 139, 200, 279), [Click(False, 399, 120)], Crop(20, 220, 140, 340)),
        # clicks beyond the image count as at its edge: rows 100..299, columns 200..419; rows 0..139, columns 0..279
        (Crop(100, 139, 200, 279), [Click(True, 420, 300)], Crop(60, 299, 156, 419)),
        (Crop(100, 139, 200, 279), [Click(True, -7, -1)], Crop(0, 170, 0, 336)),
    ],
)
def test_the_first_crop_is_the_object_with_a_margin(found: Crop | None, clicks: list[Click], expected: Crop) -> None:
    assert ZOOM.next_crop(None, found, clicks, SIZE) == expected


def test_a_crop_stays_while_it_holds_the_clicks_and_overlaps_enough() -> None:
    crop = Crop(20, 220, 140, 340)
    found = Crop(100, 139, 160, 239)  # due now: rows 20..220, columns 100..300; 161 of 241 columns are shared
    due = ZOOM.next_crop(None, found, [], SIZE)
    assert due == Crop(20, 220, 100, 300)
    assert overlap(due, crop) == pytest.approx(161 / 241)
    assert ZOOM.next_crop(crop, found, [], SIZE) == crop
    assert ZoomIn(least_overlap=161 / 241).next_crop(crop, found, [], SIZE) == crop
    assert ZoomIn(least_overlap=0.67).next_crop(crop, found, [], SIZE) == due
    for x, y, inside in ((140, 20, True), (339, 219, True), (340, 30, False), (200, 220, False), (139, 30, False)):
        patient = ZoomIn(least_overlap=0)
        assert (patient.next_crop(crop, found, [Click(True, x, y)], SIZE) == crop) is inside
        assert patient.next_crop(crop, found, [Click(False, x, y)], SIZE) == crop


def test_the_overlap_is_a_product_over_the_axes() -> None:
    one, other = Crop(0, 9, 0, 9), Crop(2, 9, 4, 13)
    assert overlap(one, other) == overlap(other, one) == pytest.approx(8 / 10 * 6 / 14)
    assert overlap(one, Crop(10, 12, 0, 9)) == 0
    assert overlap(one, one) == 1


spots = st.tuples(st.booleans(), st.integers(0, 59), st.integers(0, 39)).map(lambda spot: Click(*spot))


@given(
    box=st.tuples(st.integers(0, 39), st.integers(0, 39), st.integers(0, 59), st.integers(0, 59)),
    clicks=st.lists(spots, max_size=3),
    side=st.integers(1, 70),
)
def test_crops_are_those_of_painted_masks(box: tuple[int, ...], clicks: list[Click], side: int) -> None:
    mask = np.zeros((40, 60), bool)
    top, bottom, left, right = *sorted(box[:2]), *sorted(box[2:])
    mask[top : bottom + 1, left : right + 1] = True
    for click in clicks:
        mask[click.y, click.x] |= click.positive
    expected = []
    for axis, length in ((1, 40), (0, 60)):
        places = np.nonzero(mask.any(axis))[0]
        half = max(1.4 * (places[-1] - places[0] + 1), side) / 2
        ends = np.round((places[0] + places[-1]) / 2 + np.array([-half, half]))
        expected += np.clip(ends, 0, length - 1).astype(int).tolist()
    crop = ZoomIn(least_side=side).next_crop(None, Crop(top, bottom, left, right), clicks, (40, 60))
    assert list(crop) == expected
    height, width = crop.size
    assert mask[crop.top :, crop.left :][:height, :width].sum() == mask.sum()


def test_clicks_are_scaled_by_pixels_not_by_corners() -> None:
    zoom, crop = ZoomIn((448, 672)), Crop(100, 199, 50, 249)
    assert zoom.to_input(Click(True, 50, 100), crop) == (0, 0)
    assert zoom.to_input(Click(True, 150, 150), crop) == (224, 336)
    assert zoom.to_input(Click(True, 249, 99), crop) == (-4.48, 672 * 199 / 200)
