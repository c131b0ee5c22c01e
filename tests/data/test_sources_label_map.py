"""SBD and PASCAL VOC: the objects of label maps, against scipy's reader of MATLAB files and RITM's way with OpenCV."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.check import check
from hlmat_bench.data.layouts.file_source import FileSource
from hlmat_bench.data.layouts.label_map import read_labels
from hlmat_bench.data.layouts.matlab import MOST_BYTES, read_matrix
from hlmat_bench.data.tasks import load_task
from tests.support.data_files import damage, noise, save, write_task

NUMBERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")


def palette() -> list[int]:
    """Return the colours of PASCAL VOC: the bits of an index go in turn to red, green and blue, highest first."""
    colours = []
    for index in range(256):
        bits = [index >> n & 1 for n in range(8)]
        colours += [sum(bits[n] << (7 - n // 3) for n in range(first, 8, 3)) for first in range(3)]
    return colours


def discs(values: list[int], size: tuple[int, int] = (40, 60)) -> np.ndarray:
    """Draw a label map: a field of squares, one for each value, over the background."""
    labels = np.zeros(size, np.uint8)
    for place, value in enumerate(values):
        row, column = divmod(place, 5)
        labels[2 + row * 9 : 9 + row * 9, 3 + column * 11 : 12 + column * 11] = value
    return labels


def save_voc(folder: Path, name: str, labels: np.ndarray) -> None:
    for part in ("JPEGImages", "SegmentationObject"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels, "P")
    image.putpalette(palette())
    image.save(folder / "SegmentationObject" / f"{name}.png")
    save(folder / "JPEGImages" / f"{name}.jpg", noise(*labels.shape))


def save_sbd(folder: Path, name: str, labels: np.ndarray, **options: Any) -> Path:
    """Write a file as SBD has them: the label map, the outlines as sparse matrices in cells, the categories."""
    values = [value for value in np.unique(labels) if value]
    outlines = np.empty((len(values), 1), object)
    for n, value in enumerate(values):
        outlines[n, 0] = scipy.sparse.csc_matrix(labels == value)
    made = {"Segmentation": labels, "Boundaries": outlines, "Categories": np.array([[7.0]] * max(len(values), 1))}
    (folder / "inst").mkdir(parents=True, exist_ok=True)
    path = folder / "inst" / f"{name}.mat"
    scipy.io.savemat(path, {"other": 3, "GTinst": made}, **options)
    save(folder / "img" / f"{name}.jpg", noise(*labels.shape))
    return path


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    maps = {"2007_000033": discs([1, 2, 255]), "2007_000042": discs([3, 7, 11]), "2007_000061": discs([255])}
    for name, labels in maps.items():
        save_voc(folder, name, labels)
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("\n".join(maps) + "\n\n")
    return tmp_path


@pytest.fixture
def sbd(tmp_path: Path) -> Path:
    folder = tmp_path / "SBD" / "dataset"
    save_sbd(folder, "2008_000002", discs([1, 2, 3]), do_compression=True)
    save_sbd(folder, "2008_000007", discs([1]), do_compression=False)
    (folder / "val.txt").write_text("2008_000002  \n2008_000007\n")
    return tmp_path


def opened(name: str, root: Path, **overrides: Any) -> FileSource:
    source = load_task(name).source(root, overrides=overrides)
    assert isinstance(source, FileSource)
    return source


def test_every_object_of_voc_is_a_sample_and_void_is_ignored(voc: Path) -> None:
    source = opened("pascalvoc", voc)
    names = [(sample.id, sample.image_id, sample.ref_id, sample.expression) for sample in source.samples()]
    assert names == [
        (f"pascalvoc/{name}/{value}", name, f"{name}/{value}", "the object")
        for name, value in (("2007_000033", 1), ("2007_000033", 2), *(("2007_000042", n) for n in (3, 7, 11)))
    ]
    for sample in source.samples():
        folder = voc / "VOCdevkit" / "VOC2012" / "SegmentationObject"
        gray = cv2.cvtColor(cv2.imread(str(folder / f"{sample.image_id}.png")), cv2.COLOR_BGR2GRAY)
        value = int(str(sample.ref_id).rpartition("/")[2])
        colour = np.array(palette()[3 * value : 3 * value + 3], np.uint8)
        truth = source.truth(sample)
        np.testing.assert_array_equal(truth.mask, gray == cv2.cvtColor(colour[None, None], cv2.COLOR_RGB2GRAY))
        assert (truth.ignore is not None) == (gray == 220).any()
        if truth.ignore is not None:
            np.testing.assert_array_equal(truth.ignore, gray == 220)


def test_indices_tell_objects_apart_that_have_one_gray_value(voc: Path) -> None:
    save_voc(voc / "VOCdevkit" / "VOC2012", "2007_000042", discs(list(range(1, 19))))
    source = opened("pascalvoc", voc)
    assert sum(sample.image_id == "2007_000042" for sample in source.samples()) == 18
    first = next(sample for sample in source.samples() if sample.id == "pascalvoc/2007_000042/1")
    gray = cv2.cvtColor(np.array(palette(), np.uint8).reshape(1, 256, 3), cv2.COLOR_RGB2GRAY)[0]
    assert gray[1] == gray[16]
    assert source.truth(first).mask.sum() == 63


def test_every_object_of_sbd_is_a_sample(sbd: Path) -> None:
    source = opened("sbd", sbd)
    assert [sample.id for sample in source.samples()] == [
        *(f"sbd/2008_000002/{n}" for n in (1, 2, 3)),
        "sbd/2008_000007/1",
    ]
    for sample in source.samples():
        loaded = scipy.io.loadmat(sbd / "SBD" / "dataset" / "inst" / f"{sample.image_id}.mat")
        truth = source.truth(sample)
        labels = loaded["GTinst"][0][0]["Segmentation"]
        np.testing.assert_array_equal(truth.mask, labels == int(sample.id.rpartition("/")[2]))
        assert truth.ignore is None
    report = check(load_task("sbd"), sbd)
    assert not report.problems


def test_the_digest_is_of_the_maps(sbd: Path) -> None:
    before = opened("sbd", sbd).digest()
    assert opened("sbd", sbd).digest() == before
    save_sbd(sbd / "SBD" / "dataset", "2008_000007", np.ascontiguousarray(discs([1])[::-1]))
    assert opened("sbd", sbd).digest() != before


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(NUMBERS),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.booleans(),
    st.integers(0, 2**16),
)
def test_matrices_are_read_as_scipy_reads_them(
    tmp_path_factory: pytest.TempPathFactory, kind: str, size: tuple[int, int], compressed: bool, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 100, size).astype(kind)
    path = save_sbd(tmp_path_factory.mktemp("mat"), "x", values, do_compression=compressed)
    loaded = scipy.io.loadmat(path)["GTinst"][0][0]["Segmentation"]
    np.testing.assert_array_equal(read_labels(path), loaded)
    np.testing.assert_array_equal(loaded, values)


def mat(*elements: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H2s", 0x0100, b"IM") + b"".join(elements)


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(content: bytes, kind: int, name: bytes = b"", dims: tuple[int, ...] = (1, 1)) -> bytes:
    flags = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(dims)}i", *dims))
    return element(14, flags + element(1, name) + content)


def gtinst(field: bytes, names: bytes = b"Segmentation", **more: Any) -> bytes:
    return matrix(element(5, struct.pack("<i", 32)) + element(1, names.ljust(32, b"\0")) + field, 2, b"GTinst", **more)


def nested(depth: int) -> bytes:
    """Return a cell in a cell in a cell: what overflows the stack of scipy.io.loadmat."""
    head = matrix(b"", 1)[8:]
    inner = element(14, b"")
    sizes = [len(inner)]
    for _ in range(depth):
        sizes.append(sizes[-1] + len(head) + 8)
    return b"".join(struct.pack("<II", 14, size - 8) + head for size in reversed(sizes[1:])) + inner


UINT8 = matrix(element(2, bytes([0, 1, 2, 3])), 9, dims=(2, 2))
MATRICES = {
    "not a MATLAB file": b"\x89HDF\r\n\x1a\n" + bytes(600),
    "nothing": b"",
    "level 4": struct.pack("<5i", 0, 100000, 100000, 0, 2) + b"x\0" + bytes(200),
    "another variable": mat(matrix(b"", 2, b"GTcls")),
    "another field": mat(gtinst(UINT8, b"Boundaries")),
    "a struct of several": mat(gtinst(UINT8, dims=(1, 2))),
    "three dimensions": mat(gtinst(matrix(element(2, bytes(8)), 9, dims=(2, 2, 2)))),
    "too few values": mat(gtinst(matrix(element(2, bytes(3)), 9, dims=(2, 2)))),
    "a giant": mat(gtinst(matrix(element(2, bytes(4)), 9, dims=(2**31 - 1, 2**31 - 1)))),
    "a negative size": mat(gtinst(matrix(element(2, bytes(4)), 9, dims=(-2, -2)))),
    "characters": mat(gtinst(matrix(element(4, bytes(8)), 4, dims=(2, 2)))),
    "numbers of no known type": mat(gtinst(matrix(element(99, bytes(4)), 9, dims=(2, 2)))),
    "cells in cells": mat(gtinst(nested(30_000))),
    "no whole number": mat(gtinst(matrix(element(9, struct.pack("<4d", 0, 1, 0.5, np.nan)), 6, dims=(2, 2)))),
    "negative numbers": mat(gtinst(matrix(element(1, b"\0\1\2\xff"), 8, dims=(2, 2)))),
    "damaged compression": mat(struct.pack("<II", 15, 4) + b"abcd"),
    "a bomb": mat(struct.pack("<II", 15, len(zeros := zlib.compress(bytes(MOST_BYTES + 1)))) + zeros),
    "an element beyond the end": mat(struct.pack("<II", 14, 2**31)),
    "no name": mat(element(14, b"")),
}


def test_a_small_file_is_read(tmp_path: Path) -> None:
    fields = gtinst(matrix(b"", 1) + UINT8, b"Boundaries".ljust(32, b"\0") + b"Segmentation".ljust(32, b"\0"))
    (tmp_path / "a.mat").write_bytes(mat(matrix(element(1, b"x"), 4, b"note"), fields))
    assert read_matrix(tmp_path / "a.mat", "GTinst", "Segmentation", 4).tolist() == [[0, 2], [1, 3]]
    with pytest.raises(UsageError, match=r"has 2 x 2 values, not 1 to 3"):
        read_matrix(tmp_path / "a.mat", "GTinst", "Segmentation", 3)


@pytest.mark.parametrize("content", MATRICES.values(), ids=MATRICES)
def test_what_is_no_label_map_is_one_sentence(sbd: Path, content: bytes) -> None:
    (sbd / "SBD" / "dataset" / "inst" / "2008_000002.mat").write_bytes(content)
    with pytest.raises(UsageError, match=r"2008_000002\.mat .*; get the file again\.$") as caught:
        opened("sbd", sbd)
    assert "\n" not in str(caught.value)
    left = opened("sbd", sbd, skip="unreadable")
    assert [sample.id for sample in left.samples()] == ["sbd/2008_000007/1"]
    assert left.describe()["skipped"] == {"unreadable": 1}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("mat")
    path = save_sbd(folder, "x", discs([1, 2], (8, 60)), do_compression=data.draw(st.booleans()))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(UsageError):  # every other exception fails the test
        assert read_labels(path).ndim == 2


def test_a_map_that_is_missing_cut_off_coloured_or_a_picture(voc: Path) -> None:
    folder = voc / "VOCdevkit" / "VOC2012" / "SegmentationObject"
    path = folder / "2007_000042.png"
    damage(path)
    with pytest.raises(UsageError, match=r"2007_000042\.png cannot be read"):
        opened("pascalvoc", voc)
    Image.fromarray(noise(40, 60)).save(path)
    with pytest.raises(UsageError, match=r"2007_000042\.png has colours \(Pillow calls them RGB\); save it as a PNG"):
        opened("pascalvoc", voc)
    Image.fromarray(np.arange(6000, dtype=np.uint16).reshape(60, 100)).save(path)
    with pytest.raises(UsageError, match=r"has 5,998 different values: it is a picture, and no label map"):
        opened("pascalvoc", voc)
    path.unlink()
    with pytest.raises(
        UsageError, match=r"The sample pascalvoc/2007_000042 needs .*SegmentationObject/2007_000042\.png"
    ):
        opened("pascalvoc", voc)
    assert opened("pascalvoc", voc, skip="missing").describe()["skipped"] == {"missing": 1}


def test_names_stay_in_their_folder_and_sizes_are_compared(voc: Path) -> None:
    folder = voc / "VOCdevkit" / "VOC2012"
    save(folder / "JPEGImages" / "2007_000042.jpg", noise(60, 40))
    source = opened("pascalvoc", voc)
    sample = next(one for one in source.samples() if one.image_id == "2007_000042")
    for look in (source.truth, source.check_headers):
        with pytest.raises(UsageError, match=r"has a mask of 40 x 60 and an image of 60 x 40"):
            look(sample)
    names = folder / "ImageSets" / "Segmentation" / "val.txt"
    names.write_text("../../2007_000042\n")
    with pytest.raises(UsageError, match=r"val.txt names the file '../../2007_000042.jpg', which is not inside"):
        opened("pascalvoc", voc)


def test_gray_maps_of_a_set_of_ones_own(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.jpg", noise(40, 60))
    (tmp_path / "labels").mkdir()
    Image.fromarray(discs([1, 2]).astype(np.uint16) * 300).save(tmp_path / "labels" / "a_map.png")
    (tmp_path / "names.txt").write_text("a\n")
    source = {"kind": "label_map", "names": "names.txt", "images": "images", "labels": "labels"}
    own = load_task(write_task(tmp_path, source | {"label_suffix": "_map.png", "expression": "a square"})).source()
    assert [(sample.id, sample.expression) for sample in own.samples()] == [
        ("own/a/300", "a square"),
        ("own/a/600", "a square"),
    ]
    assert own.truth(own.samples()[0]).mask.sum() == 63
