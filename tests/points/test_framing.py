from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.core.errors import UsageError
from hlmat_bench.points import FORMATS, PointFormat
from hlmat_bench.points.resize import BACKGROUND, Resize, fit_size, smart_size

SIDES = st.integers(1, 4000)
EVERY_FORMAT = [
    *FORMATS,
    *(f"{order}{unit}" for order in ("xy", "yx") for unit in ("pixel", "1", "100", "999", "1000", "1023")),
]
RULES = [
    "none",
    "square",
    "smart-28-3136-12845056",
    "smart-32-65536-16777216",
    "fit-long1568-pixels1150000",
    "fit-long2048-short768",
    "stretch-128x160",
]


@given(height=SIDES, width=SIDES, factor=st.sampled_from([14, 28, 32]), tokens=st.tuples(st.integers(1, 64), SIDES))
def test_smart_resize_is_that_of_transformers(height: int, width: int, factor: int, tokens: tuple[int, int]) -> None:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    least, most = sorted(count * factor**2 for count in tokens)
    if max(height, width) > 200 * min(height, width):
        return  # refused there
    expected = smart_resize(height, width, factor, least, most)
    if min(height, width) * 2 > factor:  # sides that would round to 0 are one token wide here
        assert smart_size((height, width), factor, least, most) == expected
    assert all(side >= factor and side % factor == 0 for side in smart_size((height, width), factor, least, most))


@given(size=st.tuples(SIDES, SIDES))
def test_qwens_own_preprocessing_leaves_what_is_sent_as_it_is(size: tuple[int, int]) -> None:
    sent = smart_size(size, 28, 3136, 12845056)
    assert smart_size(sent, 28, 3136, 12845056) == sent


@pytest.mark.parametrize(
    ("rule", "size", "sent"),
    [
        ("smart-28-3136-12845056", (480, 640), (476, 644)),
        ("smart-28-3136-12845056", (3000, 4000), (3000 // 28 * 28, 4004)),
        ("smart-32-65536-16777216", (100, 100), (256, 256)),
        ("fit-long1568", (3000, 4000), (1176, 1568)),
        ("fit-long2048-short768", (3000, 4000), (768, 1024)),
        ("fit-pixels1000000", (1000, 4000), (500, 2000)),
        ("fit-long1568", (480, 640), (480, 640)),
        ("square", (480, 640), (640, 640)),
        ("stretch-128x160", (480, 640), (128, 160)),
        ("stretch-128x160", (50, 20), (128, 160)),
        ("none", (480, 640), (480, 640)),
    ],
)
def test_sizes_computed_by_hand(rule: str, size: tuple[int, int], sent: tuple[int, int]) -> None:
    assert Resize.named(rule).frame(size).sent == sent


@given(
    size=st.tuples(SIDES, SIDES),
    long=st.integers(1, 3000),
    short=st.integers(1, 3000),
    pixels=st.integers(1, 4_000_000),
)
def test_fit_stays_within_its_limits_and_never_enlarges(
    size: tuple[int, int], long: int, short: int, pixels: int
) -> None:
    height, width = fit_size(size, long=long, short=short, pixels=pixels)
    assert height <= size[0]
    assert width <= size[1]
    assert max(height, width) <= long
    assert min(height, width) <= short
    assert height * width <= pixels or min(height, width) == 1


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_round_trips_through_every_rule_and_format(name: str, rule: str) -> None:
    """1,000 random sizes and points: the same pixel comes back."""
    form, resize, generator = PointFormat.named(name), Resize.named(rule), np.random.default_rng(0)
    for _ in range(1000):
        height, width = (int(side) for side in generator.integers(1, 4000, 2))
        x, y = int(generator.integers(width)), int(generator.integers(height))
        frame = resize.frame((height, width))
        assert form.to_pixel(*form.from_pixel(x, y, (height, width), frame), (height, width), frame) == (x, y)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [(40, 300), (1700, 900), (1, 1)])
def test_a_marker_is_found_where_the_frame_says(rule: str, size: tuple[int, int]) -> None:
    """The picture itself and the coordinates go the same way: the centre of a white square is where it is mapped to."""
    height, width = size
    image = np.zeros((height, width, 3), np.uint8)
    x, y, half = width // 3, height * 2 // 3, max(2, min(size) // 10)
    image[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1] = 255
    resize = Resize.named(rule)
    frame, shown = resize.frame(size), resize.apply(image)
    assert shown.shape == (*frame.sent, 3)
    assert shown.dtype == np.uint8
    if min(size) > 1:
        middle = cv2.moments(np.ascontiguousarray(np.where((shown > 200).all(axis=2), 255, 0).astype(np.uint8)))
        u, v = frame.from_original((x + 0.5) / width, (y + 0.5) / height)
        assert middle["m10"] / middle["m00"] + 0.5 == pytest.approx(u * frame.sent[1], abs=1)
        assert middle["m01"] / middle["m00"] + 0.5 == pytest.approx(v * frame.sent[0], abs=1)


def test_a_square_is_padded_with_the_background_and_an_image_that_fits_is_not_copied() -> None:
    image = np.zeros((10, 20, 3), np.uint8)
    shown = Resize.named("square").apply(image)
    assert (shown[:5] == BACKGROUND).all()
    assert (shown[15:] == BACKGROUND).all()
    assert (shown[5:15] == 0).all()
    assert Resize.named("fit-long20").apply(image) is image


@pytest.mark.parametrize(
    "name",
    [
        "smart",
        "smart-28",
        "smart-0-1-2",
        "smart-28-3136-100",
        "fit",
        "fit-long0",
        "fit-x1",
        "stretch-0x1",
        "stretch-128",
        "",
    ],
)
def test_unknown_rules_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no resize rule"):
        Resize.named(name)
