from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pycocotools import mask as coco

from hlmat_bench.data.layouts.masks import MaskFile, MaskRule, Segmentation, decode
from hlmat_bench.data.layouts.problems import BadAnnotation, Unreadable, WrongSize
from tests.support.data_files import blob, save

SIZE = (8, 10)
RECTANGLE = [2, 1, 6, 1, 6, 4, 2, 4]
RECTANGLE_MASK = np.zeros(SIZE, bool)
RECTANGLE_MASK[1:4, 2:6] = True


def compressed(mask: np.ndarray) -> dict:
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict:
    """Count the runs of the columns, beginning with zeros, one pixel after the other."""
    counts, value = [0], False
    for pixel in mask.T.reshape(-1):
        if pixel != value:
            counts.append(0)
            value = not value
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


@pytest.mark.parametrize(
    "value", [[RECTANGLE], RECTANGLE, [[float(n) for n in RECTANGLE]], compressed(RECTANGLE_MASK)], ids=repr
)
def test_a_rectangle_by_hand(value):
    mask = decode(value, SIZE, "it")
    np.testing.assert_array_equal(mask, RECTANGLE_MASK)
    assert mask.dtype == bool
    assert mask.flags.c_contiguous


def test_several_polygons_are_their_union():
    other = [8, 5, 10, 5, 10, 8, 8, 8]
    expected = RECTANGLE_MASK.copy()
    expected[5:8, 8:10] = True
    np.testing.assert_array_equal(decode([RECTANGLE, other], SIZE, "it"), expected)
    overlapping = [4, 2, 8, 2, 8, 6, 4, 6]
    expected = RECTANGLE_MASK.copy()
    expected[2:6, 4:8] = True
    np.testing.assert_array_equal(decode([RECTANGLE, overlapping], SIZE, "it"), expected)


def test_two_points_enclose_nothing():
    np.testing.assert_array_equal(decode([[1, 1, 5, 5], RECTANGLE], SIZE, "it"), RECTANGLE_MASK)


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_run_lengths_of_any_mask(mask):
    for value in (compressed(mask), uncompressed(mask), [uncompressed(mask), compressed(mask)]):
        np.testing.assert_array_equal(decode(value, mask.shape, "it"), mask)


@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0, 30)), min_size=3, max_size=8))
def test_polygons_are_those_of_pycocotools(points):
    polygon = [number for point in points for number in point]
    expected = coco.decode(coco.frPyObjects([polygon], 30, 40))[..., 0]
    np.testing.assert_array_equal(decode([polygon], (30, 40), "it"), expected)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        "text",
        5,
        [[1, 2, 3, 4, 5]],
        [[1, 2, 3, 4, 5, "6"]],
        [[1, 2, 3, 4, 5, None]],
        [[1, 2, 3, 4, 5, True]],
        [[1, 2, 3, 4, 5, math.nan]],
        [[1, 2, 3, 4, 5, math.inf]],
        [[1, 2, 3, 4, 5, 1e9]],
        [[-1e9, 2, 3, 4, 5, 6]],
        [[10**400, 2, 3, 4, 5, 6]],
        [[1, 2, 3, 4]],
        [RECTANGLE, {"size": [8, 10], "counts": [80]}],
        {"size": [8, 10], "counts": [40, 39]},
        {"size": [8, 10], "counts": [90, -10]},
        {"size": [8, 10], "counts": "zzz"},
        {"size": [8, 10], "counts": b"0".decode()},
        {"size": [8, 10]},
        {"counts": [80]},
        {"size": [10**9, 10**9], "counts": [10**18]},
        [{"size": [8, 10], "counts": [80]}, {"size": [4, 20], "counts": [80]}],
    ],
    ids=repr,
)
def test_what_is_no_segmentation_is_refused(value):
    with pytest.raises(BadAnnotation, match="The sample x"):
        decode(value, SIZE, "The sample x")


def test_a_packed_segmentation_keeps_its_size():
    shape = Segmentation.pack({"segmentation": [RECTANGLE]}, SIZE)
    np.testing.assert_array_equal(shape.truth(SIZE, "it").mask, RECTANGLE_MASK)
    assert shape.truth(SIZE, "it").ignore is None
    with pytest.raises(WrongSize, match=r"sample x has a mask of 8 x 10 and an image of 10 x 8 .*orientation tag"):
        shape.truth((10, 8), "The sample x")
    with pytest.raises(WrongSize, match="make them one size"):
        shape.truth((9, 10), "The sample x")
    other = Segmentation.pack({"segmentation": compressed(np.zeros((3, 3), bool))}, SIZE)
    with pytest.raises(WrongSize, match="3 x 3"):
        other.truth(SIZE, "it")


def test_definitions_differ_where_shapes_differ(tmp_path):
    path = save(tmp_path / "a.png", RECTANGLE_MASK)
    shapes = [
        Segmentation.pack({"segmentation": [RECTANGLE]}, SIZE),
        Segmentation.pack({"segmentation": [RECTANGLE]}, (10, 8)),
        Segmentation.pack({"segmentation": [RECTANGLE[::-1]]}, SIZE),
        MaskFile(path, MaskRule()),
        MaskFile(path, MaskRule(threshold=0)),
        MaskFile(path, MaskRule(), ignore=path),
    ]
    assert len({(shape.definition(), shape.files()) for shape in shapes}) == 6


@pytest.mark.parametrize(
    ("rule", "values", "mask", "ignore"),
    [
        (MaskRule(), [[0, 128, 129, 255]], [[0, 0, 1, 1]], None),
        (MaskRule(threshold=0), [[0, 1, 128, 255]], [[0, 1, 1, 1]], None),
        (MaskRule(ignore=128), [[0, 128, 129, 255]], [[0, 0, 1, 1]], [[0, 1, 0, 0]]),
        (MaskRule(ignore=128), [[0, 127, 129, 255]], [[0, 0, 1, 1]], None),
        (MaskRule(), [[[200, 0, 0], [0, 200, 200]]], [[1, 0]], None),
        (MaskRule(threshold=0, channel="any"), [[[9, 0, 0], [0, 0, 9], [0, 0, 0]]], [[1, 1, 0]], None),
        (MaskRule(threshold=0, channel="any"), [[[0, 0, 0, 255], [0, 1, 0, 0]]], [[0, 1]], None),
        (MaskRule(threshold=0, channel="any"), [[[0, 255], [1, 0]]], [[0, 1]], None),
        (MaskRule(threshold=300), np.array([[0, 301, 65535]], np.uint16), [[0, 1, 1]], None),
    ],
    ids=range(9),
)
def test_mask_rules(rule, values, mask, ignore):
    truth = rule.truth(np.asarray(values, getattr(values, "dtype", np.uint8)))
    np.testing.assert_array_equal(truth.mask, np.array(mask, bool))
    assert truth.mask.dtype == bool
    if ignore is None:
        assert truth.ignore is None
    else:
        np.testing.assert_array_equal(truth.ignore, np.array(ignore, bool))


def test_mask_file_with_ignored_pixels(tmp_path):
    mask, hidden = blob(5, 6, 1), blob(5, 6, 2)
    band = np.where(mask, 255, 0).astype(np.uint8)
    band[2, 3] = 128
    save(tmp_path / "m.png", band)
    save(tmp_path / "i.png", hidden)
    truth = MaskFile(tmp_path / "m.png", MaskRule(ignore=128), tmp_path / "i.png").truth((5, 6), "it")
    np.testing.assert_array_equal(truth.mask, band == 255)
    expected = hidden.copy()
    expected[2, 3] = True
    np.testing.assert_array_equal(truth.ignore, expected)
    with pytest.raises(WrongSize, match="5 x 6"):
        MaskFile(tmp_path / "m.png", MaskRule()).truth((6, 5), "it")
    (tmp_path / "i.png").write_text("no image")
    with pytest.raises(Unreadable):
        MaskFile(tmp_path / "m.png", MaskRule(), tmp_path / "i.png").truth((5, 6), "it")


def test_a_mask_is_turned_as_its_own_tag_says(tmp_path):
    stored = blob(4, 6)
    Image.fromarray(stored.astype(np.uint8) * 255).save(tmp_path / "m.png", exif=_turned(6))
    np.testing.assert_array_equal(
        MaskFile(tmp_path / "m.png", MaskRule()).truth((6, 4), "it").mask, np.rot90(stored, -1)
    )


def _turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def rgba(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.dstack([np.broadcast_to(colour, (*alpha.shape, 3)), alpha]).astype(np.uint8)


ALPHA = np.where(RECTANGLE_MASK, 255, 0)


@pytest.mark.parametrize(
    "values",
    [
        rgba(np.array(255), ALPHA),
        rgba(np.array(0), ALPHA),
        rgba(np.array([200, 30, 90]), ALPHA),
        np.dstack([np.full(SIZE, 90), ALPHA]).astype(np.uint8),
        rgba(np.random.default_rng(0).integers(0, 256, (*SIZE, 3)), ALPHA),
    ],
    ids=["white", "black", "colour", "gray", "cut out of a picture"],
)
def test_shapes_in_alpha(values):
    with pytest.raises(BadAnnotation, match=r"alpha channel .*--set data\.channel=alpha"):
        MaskRule(threshold=128).truth(values)
    np.testing.assert_array_equal(MaskRule(channel="alpha").truth(values).mask, RECTANGLE_MASK)


@pytest.mark.parametrize(
    "values",
    [
        rgba(ALPHA[..., None], np.full(SIZE, 255)),
        rgba(ALPHA[..., None], ALPHA),
        rgba(ALPHA[..., None], np.where(RECTANGLE_MASK, 255, 90)),
        ALPHA.astype(np.uint8),
    ],
    ids=["opaque", "both", "half transparent", "gray"],
)
def test_shapes_in_colour(values):
    np.testing.assert_array_equal(MaskRule().truth(values).mask, RECTANGLE_MASK)


def test_no_alpha_to_take():
    with pytest.raises(BadAnnotation, match=r"no alpha channel; --set data\.channel=first"):
        MaskRule(channel="alpha").truth(ALPHA)


def test_a_transparent_colour_is_an_alpha_channel(tmp_path):
    palette = Image.fromarray(RECTANGLE_MASK.astype(np.uint8)).convert("P")
    palette.putpalette([255, 255, 255, 255, 255, 255])
    palette.save(tmp_path / "m.png", transparency=0)
    file = MaskFile(tmp_path / "m.png", MaskRule(channel="alpha"))
    np.testing.assert_array_equal(file.truth(SIZE, "it").mask, RECTANGLE_MASK)
    with pytest.raises(BadAnnotation, match=r"m\.png has an alpha channel"):
        MaskFile(tmp_path / "m.png", MaskRule()).truth(SIZE, "it")
