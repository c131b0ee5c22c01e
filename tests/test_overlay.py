"""The overlay against the plain formula and the reference vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hlmat_bench.core.errors import UsageError
from hlmat_bench.overlay import Overlay, paint
from hlmat_bench.protocol.settings import ProtocolSettings

COLORS = st.tuples(*[st.integers(0, 255)] * 3)


def plain(image, mask, color, alpha):
    """Compute the formula in float64, cut to an integer."""
    tinted = (image.astype(np.float64) * (1 - alpha) + np.array(color, np.float64) * alpha).astype(np.uint8)
    return np.where(mask[..., None], tinted, image)


@given(
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12).flatmap(
        lambda shape: st.tuples(hnp.arrays(np.uint8, (*shape, 3)), hnp.arrays(bool, shape))
    ),
    COLORS,
    st.floats(0, 1),
)
def test_is_the_plain_formula(arrays, color, alpha):
    image, mask = arrays
    before = image.copy()
    painted = paint(image, mask, color=color, alpha=alpha)
    assert painted.dtype == np.uint8
    np.testing.assert_array_equal(painted, plain(image, mask, color, alpha))
    np.testing.assert_array_equal(image, before)


def test_half_green_is_the_default_and_cuts():
    image = np.array([[[255, 254, 1], [9, 8, 7]]], np.uint8)
    assert paint(image, [[True, False]]).tolist() == [[[127, 254, 0], [9, 8, 7]]]


def test_one_overlay_paints_many_masks_apart():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    overlay = Overlay(image, color=(255, 0, 0), alpha=0.3)
    shapes = [rng.random((40, 50)) < 0.5 for _ in range(3)]
    painted = [overlay.paint(mask) for mask in shapes]
    for mask, result in zip(shapes, painted, strict=True):
        np.testing.assert_array_equal(result, plain(image, mask, (255, 0, 0), 0.3))
    assert not any(np.shares_memory(image, result) for result in painted)


def test_views_of_other_arrays_are_painted_too():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)
    mask = rng.random((20, 30)) < 0.5
    np.testing.assert_array_equal(
        paint(image[::-1, ::2], mask.T[:, ::2]), paint(image[::-1, ::2].copy(), mask.T[:, ::2].copy())
    )
    np.testing.assert_array_equal(paint(image, mask.T.astype(np.uint8) * 255), paint(image, mask.T))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": np.ones((4, 5), bool)}, "resize"),
        ({"alpha": 1.1}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"color": (0, 256, 0)}, "colour"),
        ({"color": (0, 255)}, "colour"),
        ({"image": np.zeros((5, 4), np.uint8)}, "image"),
        ({"image": np.zeros((5, 4, 4), np.uint8)}, "image"),
        ({"image": np.zeros((5, 4, 3))}, "image"),
    ],
)
def test_refuses_what_cannot_be_painted(arguments, message):
    good = {"image": np.zeros((5, 4, 3), np.uint8), "mask": np.ones((5, 4), bool)}
    paint(**good)
    with pytest.raises(UsageError, match=message):
        paint(**(good | arguments))


def test_reference_overlays(vectors: Path):
    arrays = np.load(vectors / "overlay" / "overlay.npz")
    reference = json.loads((vectors / "overlay" / "overlay.json").read_text())
    ours = ProtocolSettings.build({}).overlay
    assert (list(ours.color), ours.alpha) == (reference["default_color"], reference["default_alpha"])
    cases = reference["cases"]
    for case in cases:
        image, mask, expected = (arrays[f"{case['id']}_{part}"] for part in ("image", "mask", "out"))
        painted = paint(image, mask, color=tuple(case["color"]), alpha=case["alpha"])
        np.testing.assert_array_equal(painted, expected, err_msg=case["id"])
    assert len(cases) > 20
