"""Masks against pycocotools and plain numpy; run-length encodings from files are hostile."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from tests.support.episodes import reference_truth

ARRAYS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=80))


def by_hand(rle):
    """Uncompressed runs to a mask, the plain way: column by column."""
    values = [i % 2 for i, run in enumerate(rle["counts"]) for _ in range(run)]
    return np.array(values, bool).reshape(rle["size"], order="F")


@given(ARRAYS)
def test_encodes_what_pycocotools_encodes(mask):
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert masks.encode(mask) == {"size": list(mask.shape), "counts": rle["counts"].decode()}
    assert json.loads(json.dumps(masks.encode(mask))) == masks.encode(mask)
    assert masks.encode(np.where(mask, 255, 0)) == masks.encode(np.asfortranarray(mask)) == masks.encode(mask)


@given(ARRAYS)
def test_decodes_what_it_encodes(mask):
    rle = masks.encode(mask)
    for counts in (rle["counts"], rle["counts"].encode()):
        decoded = masks.decode({"size": list(mask.shape), "counts": counts})
        assert decoded.dtype == bool
        assert decoded.flags.c_contiguous
        np.testing.assert_array_equal(decoded, mask)
    assert masks.area(rle) == mask.sum()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 6))
@example([0, 3, 0, 0, 3], 1)  # runs of no pixels
def test_decodes_lists_of_runs(runs, height):
    runs[-1] += -sum(runs) % height or (height if sum(runs) == 0 else 0)
    rle = {"size": [height, sum(runs) // height], "counts": runs}
    np.testing.assert_array_equal(masks.decode(rle), by_hand(rle))
    assert masks.area(rle) == by_hand(rle).sum()
    assert masks.compress(rle) == masks.encode(by_hand(rle))


@given(hnp.array_shapes(min_dims=2, max_dims=2, max_side=40).flatmap(lambda s: st.tuples(*[hnp.arrays(bool, s)] * 3)))
def test_areas_of_two_rles(arrays):
    first, second, ignore = arrays
    rles = [masks.encode(array) for array in arrays]
    assert masks.intersection_union(*rles[:2]) == ((first & second).sum(), (first | second).sum())
    expected = (first & second & ~ignore).sum(), ((first | second) & ~ignore).sum()
    assert masks.intersection_union(*rles[:2], ignore=rles[2]) == expected


@pytest.mark.parametrize(
    "rle",
    [
        {},
        {"size": [4, 4]},
        {"size": [4, 4], "counts": None},
        {"size": [4, 4], "counts": 16},
        {"size": 16, "counts": "`0"},
        {"size": [4], "counts": "`0"},
        {"size": [4, -4], "counts": [0]},
        {"size": [0, 4], "counts": [0]},
        {"size": [4.0, 4.0], "counts": [16]},
        {"size": [True, 1], "counts": [1]},
        {"size": "44", "counts": [16]},
        {"size": [2**20, 2**20], "counts": [2**40]},
        {"size": [4, 4], "counts": [17]},
        {"size": [4, 4], "counts": [20, -4]},
        {"size": [4, 4], "counts": ["16"]},
        {"size": [4, 4], "counts": [16.0]},
        {"size": [4, 4], "counts": []},
        {"size": [4, 4], "counts": ""},
        {"size": [4, 4], "counts": "ä"},
        {"size": [4, 4], "counts": "p" * 50},  # each number goes on
        {"size": [4, 4], "counts": "oooooo0"},
        {"size": [4, 4], "counts": "`"},  # cut off
        {"size": [4, 4], "counts": "`0\0"},
        {"size": [4, 4], "counts": "P1`"},
        {"size": [4, 4], "counts": "`0O"},  # a negative run
    ],
)
def test_refuses_what_is_no_rle(rle):
    for use in (masks.decode, masks.area, masks.compress, lambda r: masks.intersection_union(r, r)):
        with pytest.raises(UsageError, match="RLE"):
            use(rle)


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=30), st.integers(1, 9), st.integers(1, 9))
def test_any_string_is_refused_or_is_a_mask(counts, height, width):
    rle = {"size": [height, width], "counts": counts}
    try:
        mask = masks.decode(rle)
    except UsageError:
        return
    assert mask.shape == (height, width)
    assert masks.area(rle) == mask.sum()
    assert masks.intersection_union(rle, rle) == (mask.sum(), mask.sum())
    np.testing.assert_array_equal(masks.decode(masks.compress(rle)), mask)


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=60))
def test_any_runs_survive_compression(runs):
    if sum(runs) == 0:
        runs[0] = 1
    rle = {"size": [1, sum(runs)], "counts": runs}
    compressed = coco.frPyObjects(dict(rle), *rle["size"])
    np.testing.assert_array_equal(masks.decode(compressed), by_hand(rle))


def test_masks_of_two_sizes_have_no_common_area():
    with pytest.raises(UsageError, match="one size"):
        masks.intersection_union(masks.encode(np.ones((2, 3))), masks.encode(np.ones((3, 2))))


@pytest.mark.parametrize("array", [np.ones(4), np.ones((0, 4)), np.ones((2, 2, 1)), True])
def test_refuses_what_is_no_mask(array):
    with pytest.raises(UsageError, match="mask"):
        masks.encode(array)


def unpacked(packed, width):
    return np.unpackbits(packed, axis=1, count=width, bitorder="little").astype(bool)


@given(ARRAYS)
def test_packed_masks_are_the_masks(mask):
    packed = masks.pack(mask)
    assert packed.shape == (mask.shape[0], -(-mask.shape[1] // 8))
    np.testing.assert_array_equal(unpacked(packed, mask.shape[1]), mask)
    assert masks.count(packed) == mask.sum()
    aligned = masks.align(packed)
    bits = unpacked(aligned.view(np.uint8), 64 * aligned.shape[1])
    np.testing.assert_array_equal(bits[:, : mask.shape[1]], mask)
    assert bits.shape[1] > mask.shape[1]
    assert not bits[:, mask.shape[1] :].any()


@given(ARRAYS, st.integers(-300, 300))
def test_shift_moves_the_run_of_all_bits(mask, pixels):
    words = masks.align(masks.pack(mask))
    bits = unpacked(words.view(np.uint8), 64 * words.shape[1]).reshape(-1)
    moved = np.zeros_like(bits)
    if abs(pixels) < bits.size:
        moved[max(-pixels, 0) : bits.size - max(pixels, 0)] = bits[max(pixels, 0) : bits.size - max(-pixels, 0)]
    shifted = unpacked(masks.shift(words, pixels).view(np.uint8), 64 * words.shape[1])
    np.testing.assert_array_equal(shifted.reshape(-1), moved)


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)), st.integers(1, 9), st.integers(1, 12))
def test_erode_is_opencvs_erosion(coarse, scale, radius):
    mask = np.kron(coarse, np.ones((scale, scale))).astype(bool)
    padded = np.pad(mask, 1).astype(np.uint8)
    expected = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=radius)[1:-1, 1:-1] == 1
    eroded = masks.erode(masks.align(masks.pack(mask)), radius).view(np.uint8)
    np.testing.assert_array_equal(unpacked(eroded, mask.shape[1]), expected)


def test_reference_areas(vectors: Path):
    """Intersections and unions of the reference's record files, straight from their RLEs."""
    folder = vectors / "res_metrics"
    expected = json.loads((folder / "expected.json").read_text())
    checked = 0
    for name, results in expected.items():
        records = json.loads((folder / f"{name}.json").read_text())
        for result in results:
            if result["error"]:
                continue  # there is no mask of such a number
            pairs = [
                (reference_truth(record), record["pred_list"][picked]["mask"])
                for record, picked in zip(records, result["picked_index"], strict=True)
                if picked is not None
            ]
            areas = np.array([masks.intersection_union(*pair) for pair in pairs])
            assert areas.sum(axis=0).tolist() == [result["intersection"], result["union"]]
            checked += len(pairs)
    assert checked > 500
