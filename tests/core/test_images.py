"""Encoded images, read back with another library."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import JpegImagePlugin

from hlmat_bench.core import images
from hlmat_bench.core.errors import UsageError

SAMPLINGS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}  # as Pillow numbers them


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.integers(0, 256, (61, 90, 3), dtype=np.uint8), (0, 0), 2)
    noise[20:40, 30:60] = (10, 200, 30)
    return noise


def opened(data):
    return Pillow.open(io.BytesIO(data))


def test_png_is_lossless_rgb(picture):
    image = opened(images.encode(picture, "png"))
    assert (image.format, image.mode) == ("PNG", "RGB")
    np.testing.assert_array_equal(np.asarray(image), picture)


def test_jpeg_is_by_default_nearly_lossless_and_keeps_full_colour(picture):
    image = opened(images.encode(picture))
    assert image.format == "JPEG"
    assert JpegImagePlugin.get_sampling(image) == SAMPLINGS["4:4:4"]
    assert np.abs(np.asarray(image).astype(int) - picture).mean() < 1.5
    same = io.BytesIO()
    Pillow.fromarray(picture).save(same, "JPEG", quality=95, subsampling=0)
    assert image.quantization == opened(same.getvalue()).quantization


@pytest.mark.parametrize("subsampling", SAMPLINGS)
@pytest.mark.parametrize("quality", [1, 50, 100])
def test_jpeg_settings_are_those_of_the_file(picture, quality, subsampling):
    image = opened(images.encode(picture, "jpeg", quality=quality, subsampling=subsampling))
    assert JpegImagePlugin.get_sampling(image) == SAMPLINGS[subsampling]
    same = io.BytesIO()
    Pillow.fromarray(picture).save(same, "JPEG", quality=quality, subsampling=SAMPLINGS[subsampling])
    assert image.quantization == opened(same.getvalue()).quantization


def test_equal_images_are_equal_bytes(picture):
    assert images.encode(picture) == images.encode(picture[:, ::-1][:, ::-1])
    assert set(images.MEDIA_TYPES) == {"jpeg", "png"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "jpg"}, "jpeg"),
        ({"quality": 0}, "quality"),
        ({"quality": 101}, "quality"),
        ({"subsampling": "4:1:1"}, "4:2:0"),
        ({"image": np.zeros((4, 4), np.uint8)}, "image"),
        ({"image": np.zeros((0, 4, 3), np.uint8)}, "image"),
        ({"image": np.zeros((4, 4, 3), np.float32)}, "image"),
    ],
)
def test_refuses_what_cannot_be_encoded(picture, arguments, message):
    with pytest.raises(UsageError, match=message):
        images.encode(**({"image": picture} | arguments))
