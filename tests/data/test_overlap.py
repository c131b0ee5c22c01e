"""Images that two tasks share are found however they were renamed, compressed or resized, and no others."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hlmat_bench.cli import app
from hlmat_bench.data.overlap import MOST_DIFFERING, coco_id, perceptual_hash, shared_images
from hlmat_bench.data.tasks import load_task
from tests.support.data_files import FOLDERS, save, write_task


def scene(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """Draw a picture of smooth regions, as photographs have them."""
    generator = np.random.default_rng(seed)
    rough = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(5):
        x, y, r = (int(generator.integers(width)), int(generator.integers(height)), int(generator.integers(5, 40)))
        cv2.circle(picture, (x, y), r, tuple(map(int, generator.integers(0, 256, 3))), -1)
    return picture


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    stored = io.BytesIO()
    Image.fromarray(image).save(stored, "JPEG", quality=quality)
    return np.array(Image.open(stored))


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def source(folder, images):
    for name, image in images.items():
        save(folder / "im" / name, image)
        save(folder / "gt" / f"{name.rpartition('.')[0]}.png", np.eye(*image.shape[:2], dtype=bool))
    return load_task(write_task(folder, FOLDERS)).source()


@pytest.fixture
def two(tmp_path):
    one = {
        "COCO_train2014_000000000036.jpg": scene(1),
        "lion.png": scene(2),
        "b1.png": scene(3),
        "b2.png": scene(4),
        "b3.png": scene(5),
        "b4.png": scene(6),
        "7.png": scene(7),
    }
    other = {
        "000000000036.jpg": scene(100),
        "Lion.jpg": scene(101),
        "x.png": one["b1.png"],
        "y.png": jpeg(one["b2.png"], 40),
        "z.png": resized(one["b3.png"], 0.5),
        "w.png": jpeg(resized(one["b4.png"], 1.6), 60),
        "007.png": scene(102),
    }
    return source(tmp_path / "one", one), source(tmp_path / "other", other)


def test_all_planted_overlaps_are_found_and_nothing_else(two):
    found = {(each.one, each.other): each.why for each in shared_images(*two)}
    assert found == {
        ("COCO_train2014_000000000036.jpg", "000000000036.jpg"): "COCO id",
        ("lion.png", "Lion.jpg"): "file name",
        ("b1.png", "x.png"): "pixels",
        ("b2.png", "y.png"): "pixels",
        ("b3.png", "z.png"): "pixels",
        ("b4.png", "w.png"): "pixels",
    }


def test_names_alone_are_compared_without_a_look_at_pixels(two):
    assert [each.why for each in shared_images(*two, pixels=False)] == ["COCO id", "file name"]


def test_a_thousand_different_images_are_told_apart():
    hashes = np.stack([perceptual_hash(scene(seed)) for seed in range(1000)]).view(np.uint64)
    nearest = min(
        int(np.bitwise_count(hashes[number + 1 :] ^ hashes[number]).sum(axis=1).min()) for number in range(999)
    )
    assert nearest > MOST_DIFFERING


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("COCO_train2014_000000581857.jpg", 581857),
        ("train2014/COCO_val2014_000000000009.jpg", 9),
        ("000000000009.JPG", 9),
        ("9.jpg", None),
        ("COCO_train2014_9.jpg", None),
        ("000000000009.png", None),
        ("IMG_000000000009.jpg", None),
    ],
)
def test_only_the_names_of_coco_have_its_number(name, number):
    assert coco_id(name) == number


def test_the_command_lists_them_and_has_exit_code_1(tmp_path):
    for folder, name in (("one", "lion.png"), ("other", "tiger.png")):
        source(tmp_path / folder, {name: scene(1)})
    words = ["data", "overlap", str(tmp_path / "one" / "own.yaml"), str(tmp_path / "other" / "own.yaml")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "1 of 1 images" in result.stdout
    assert "pixels" in result.stdout
    assert CliRunner().invoke(app, [*words, "--names-only"]).exit_code == 0


@pytest.mark.shared
def test_real_sets_that_share_photographs(shared):
    grabcut, berkeley = (load_task(name).source(shared / "realdata") for name in ("grabcut", "berkeley"))
    found = {(each.one, each.other) for each in shared_images(grabcut, berkeley)}
    assert ("124080.jpg", "124084.jpg") in found
    assert ("21077.jpg", "21077.jpg") in found
