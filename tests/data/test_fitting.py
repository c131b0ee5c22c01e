"""Masks that do not fit their images as they are: the settings `resize` and `orientation`."""

from __future__ import annotations

import numpy as np
import pytest

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.check import check
from hlmat_bench.data.tasks import load_task
from tests.support.data_files import FOLDERS, blob, noise, open_task, save, see, write_json, write_task


@pytest.mark.parametrize(("resize", "height", "width"), [("crop", 11, 14), ("nearest", 11, 14), ("nearest", 9, 10)])
def test_masks_that_are_a_little_off(data, resize, height, width):
    mask = np.zeros((height, width), bool)
    mask[2:7, 3:8] = True
    save(data / "gt" / "a.png", mask)
    source = open_task(data, resize=resize)
    see(source)
    truth = source.truth(source.samples()[0]).mask
    # Pixel centres, as nearest neighbours are taken: row y of the image lies at (y + 0.5) * height / 10 of the mask.
    rows = np.floor((np.arange(10) + 0.5) * height / 10).astype(int) if resize == "nearest" else np.arange(10)
    columns = np.floor((np.arange(12) + 0.5) * width / 12).astype(int) if resize == "nearest" else np.arange(12)
    np.testing.assert_array_equal(truth, mask[np.ix_(rows, columns)])
    assert open_task(data, resize=resize).digest() != open_task(data).digest()


@pytest.mark.parametrize(
    ("resize", "size"), [("crop", (9, 12)), ("crop", (20, 24)), ("nearest", (12, 10)), ("nearest", (5, 6))]
)
def test_masks_that_are_far_off_stay_refused(data, resize, size):
    save(data / "gt" / "a.png", blob(*size))
    with pytest.raises(UsageError, match="own/a/0 has a mask of"):
        see(open_task(data, resize=resize))


def test_segmentations_are_resized_too(tmp_path):
    save(tmp_path / "images" / "a.png", noise(8, 8))
    images = [{"id": 1, "file_name": "a.png", "height": 9, "width": 8}]
    annotations = [{"id": 1, "image_id": 1, "caption": "x", "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]}]
    write_json(tmp_path / "a.json", {"images": images, "annotations": annotations})
    coco = {"kind": "coco", "annotations": "a.json", "images": "images"}
    source = load_task(write_task(tmp_path, coco | {"resize": "crop"})).source()
    expected = np.zeros((8, 8), bool)
    expected[:4, :4] = True
    np.testing.assert_array_equal(source.truth(source.samples()[0]).mask, expected)


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_pixels_as_they_are_stored(tmp_path, orientation):
    stored, mask = noise(10, 12), blob(10, 12)
    save(tmp_path / "im" / "a.png", stored, orientation)
    save(tmp_path / "gt" / "a.png", mask)
    source = open_task(tmp_path, orientation="stored")
    np.testing.assert_array_equal(source.image(source.samples()[0]), stored)
    np.testing.assert_array_equal(source.truth(source.samples()[0]).mask, mask)
    task = load_task(write_task(tmp_path, FOLDERS))
    assert not check(task, overrides={"orientation": "stored"}).warnings
    report = check(task)
    if orientation < 5:
        assert report.ok
        assert "orientation=stored" in report.warnings["orientation tags"].examples[0]
        assert "read the warnings" in report.text()
        assert not check(task, overrides={"orientation": "applied"}).warnings
        save(tmp_path / "gt" / "a.png", mask, orientation)  # A mask with the same tag is turned like the image.
        assert not check(task).warnings
    else:
        assert "data.orientation=stored" in report.problems["size mismatches"].examples[0]


def test_a_mask_that_is_turned_by_its_own_tag_is_reported(data):
    save(data / "gt" / "a.png", blob(10, 12), orientation=3)
    report = check(load_task(write_task(data, FOLDERS)))
    assert "tag 1 and its mask 3" in report.warnings["orientation tags"].examples[0]
    assert not check(load_task(write_task(data, FOLDERS)), overrides={"orientation": "applied"}).warnings


@pytest.mark.parametrize("orientation", [6, 8])
def test_a_mask_of_the_size_that_is_shown_is_right(tmp_path, orientation):
    save(tmp_path / "im" / "a.png", noise(10, 12), orientation)
    save(tmp_path / "gt" / "a.png", blob(12, 10))
    report = check(load_task(write_task(tmp_path, FOLDERS)))
    assert (report.ok, report.warnings) == (True, {})
