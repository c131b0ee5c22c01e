from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.layouts.image_files import (
    Header,
    ImageReader,
    ReadSettings,
    read_header,
    read_image,
    read_values,
)
from hlmat_bench.data.layouts.problems import Unreadable
from tests.support.data_files import blob, noise, save

# What each value of the tag does to the stored pixels, as the EXIF standard words it (row 0 and column 0 of the
# stored image are the visual top, right, ...), by numpy alone.
SHOWN = {
    None: lambda a: a,
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_orientation_is_applied(tmp_path, orientation, suffix):
    stored = noise(3, 5)
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    options = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(stored).save(path, exif=exif, **options)
    expected = SHOWN[orientation](stored)
    np.testing.assert_array_equal(read_image(path), expected)
    assert read_header(path).size == expected.shape[:2]
    np.testing.assert_array_equal(read_values(path), expected)


@pytest.mark.parametrize("orientation", [1, 6])
def test_size_of_a_jpeg_agrees_with_its_pixels(tmp_path, orientation):
    path = save(tmp_path / "a.jpg", noise(24, 40), orientation)
    assert read_header(path).size == read_image(path).shape[:2] == ((24, 40) if orientation == 1 else (40, 24))


def test_orientation_agrees_with_the_reference(vectors):
    """Where no mask lies, the reference's overlay is the image it decoded; it fails if the mask has another size."""
    arrays = np.load(vectors / "overlay" / "exif.npz")
    compared = 0
    for case in json.loads((vectors / "overlay" / "exif.json").read_text())["cases"]:
        mask = arrays[f"{case['id']}_mask"]
        image = read_image(vectors / "overlay" / "exif_images" / f"o{case['exif_orientation']}.png")
        if case["error"]:
            assert image.shape[:2] != mask.shape
            continue
        out = arrays[f"{case['id']}_out"]
        np.testing.assert_array_equal(image[mask == 0], out[mask == 0])
        compared += 1
    assert compared >= 8


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "LA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    image = Image.fromarray(noise(6, 7)).convert(mode)
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    image.save(path)
    pixels = read_image(path)
    assert pixels.shape == (6, 7, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


def test_palette_masks_become_colours_and_bits_become_bytes(tmp_path):
    palette = Image.fromarray(np.array([[0, 1], [2, 0]], np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_values(tmp_path / "p.png"), [[[0, 0, 0], [128, 0, 0]], [[0, 128, 0], [0, 0, 0]]])
    mask = blob(4, 5)
    Image.fromarray(mask).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_values(tmp_path / "b.png"), mask * 255)


def test_unreadable_files_are_named(tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    whole = save(tmp_path / "whole.jpg", noise(64, 64)).read_bytes()
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole[: len(whole) // 2])
    png = save(tmp_path / "whole.png", noise(64, 64)).read_bytes()
    broken = tmp_path / "broken.png"
    broken.write_bytes(png[:60] + b"\0" * 40 + png[100:])
    for path in (text, cut, broken):
        with pytest.raises(Unreadable, match=path.name):
            read_image(path)
    for read in (read_header, read_values):
        with pytest.raises(UsageError, match=r"text\.jpg"):
            read(text)


def test_reader_decodes_once_and_forgets_the_oldest(tmp_path):
    paths = [save(tmp_path / f"{n}.png", noise(4, 4, n)) for n in range(3)]
    reader = ImageReader(keep=2)
    first = reader.image(paths[0])
    first[:] = 0  # The caller's own.
    paths[0].unlink()
    np.testing.assert_array_equal(reader.image(paths[0]), noise(4, 4, 0))
    reader.image(paths[1])
    reader.image(paths[0])
    reader.image(paths[2])  # Now 1 is the oldest.
    np.testing.assert_array_equal(reader.image(paths[0]), noise(4, 4, 0))
    paths[1].unlink()
    with pytest.raises(Unreadable):
        reader.image(paths[1])
    assert reader.size(paths[0]) == (4, 4)


def test_reader_recovers_from_an_error(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("not yet")
    reader = ImageReader()
    with pytest.raises(Unreadable):
        reader.image(path)
    save(path, noise(4, 5))
    np.testing.assert_array_equal(reader.image(path), noise(4, 5))


def test_reader_in_threads(tmp_path):
    paths = [save(tmp_path / f"{n}.png", noise(40, 40, n)) for n in range(4)]
    (tmp_path / "bad.png").write_text("no image")
    reader = ImageReader(keep=2)

    def look(n: int) -> bool:
        if n % 5 == 4:
            with pytest.raises(Unreadable):
                reader.image(tmp_path / "bad.png")
            return True
        return bool((reader.image(paths[n % 5]) == noise(40, 40, n % 5)).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(look, range(200)))


VALUES = np.random.default_rng(3).integers(0, 256, (6, 7), dtype=np.uint8)


@pytest.mark.parametrize(
    ("suffix", "stored"),
    [
        (".png", VALUES.astype(np.uint16) * 256),
        (".png", VALUES.astype(np.uint16) * 257),
        (".tif", VALUES.astype(np.uint16) * 257),
        (".tif", VALUES.astype(np.uint16).astype(">u2") * 257),
        (".tif", VALUES.astype(np.int32) * 256),
        (".tif", (VALUES / 255).astype(np.float32)),
        (".tif", np.zeros((6, 7), np.uint16)),
        (".tif", np.zeros((6, 7), np.float32)),
    ],
    ids=range(8),
)
def test_pixels_of_more_bits_keep_their_brightness(tmp_path, suffix, stored):
    Image.fromarray(stored).save(tmp_path / f"a{suffix}")
    pixels = read_image(tmp_path / f"a{suffix}")
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.stack([VALUES if stored.any() else np.zeros_like(VALUES)] * 3, axis=2))


@pytest.mark.parametrize(
    "stored",
    [
        VALUES.astype(np.int32) * 2**20,
        VALUES.astype(np.int32) - 100,
        VALUES.astype(np.uint16),  # All but black, if it was meant so.
        VALUES.astype(np.float32),
        VALUES.astype(np.float32) / 255 - 0.5,
        np.full((6, 7), np.nan, np.float32),
        np.where(VALUES > 9, np.inf, 0).astype(np.float32),
    ],
    ids=range(7),
)
def test_pixels_that_fit_no_scale_are_refused(tmp_path, stored):
    Image.fromarray(stored).save(tmp_path / "a.tif")
    with pytest.raises(Unreadable, match=r"a\.tif holds (floats|integers) .*save it with 8 bits"):
        read_image(tmp_path / "a.tif")


@pytest.mark.slow
def test_large_images_are_refused_by_their_header(tmp_path):
    """A file that would need 400 MB is refused although its pixels are not there."""
    Image.new("1", (20_000, 20_000)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:200])
    for read in (read_image, read_header, read_values):
        with pytest.raises(Unreadable, match=r"20000 x 20000 pixels, more than 25,000,000; .*data\.max_pixels"):
            read(tmp_path / "a.png")


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_large_images_are_read_without_pillows_warning(tmp_path):
    usual = Image.MAX_IMAGE_PIXELS
    Image.new("1", (9500, 9500)).save(tmp_path / "a.png")
    large = ReadSettings(max_pixels=100_000_000)
    assert read_header(tmp_path / "a.png", large).size == (9500, 9500)
    assert read_values(tmp_path / "a.png", large).shape == (9500, 9500)
    assert usual == Image.MAX_IMAGE_PIXELS
    save(tmp_path / "b.png", noise(10, 12))
    with pytest.raises(Unreadable, match="12 x 10 pixels, more than 119"):
        read_image(tmp_path / "b.png", ReadSettings(max_pixels=119))
    assert read_image(tmp_path / "b.png", ReadSettings(max_pixels=120)).shape == (10, 12, 3)


@pytest.mark.parametrize(("name", "options"), [("a.webp", {}), ("a.jpg", {"progressive": True})])
def test_the_bound_is_half_where_decoding_takes_twice_the_memory(tmp_path, name, options):
    Image.fromarray(noise(10, 12)).save(tmp_path / name, **options)
    with pytest.raises(Unreadable, match=r"12 x 10 pixels, more than 239 \(half of it for a "):
        read_image(tmp_path / name, ReadSettings(max_pixels=239))
    assert read_image(tmp_path / name, ReadSettings(max_pixels=240)).shape == (10, 12, 3)


def test_other_formats_are_refused_whatever_the_name_says(tmp_path):
    """Pillow would start Ghostscript for this one."""
    Image.fromarray(noise(10, 12)).save(tmp_path / "a.png", "EPS")
    for read in (read_image, read_header, read_values):
        with pytest.raises(Unreadable, match="save it as an ordinary PNG or JPEG"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff", ".tif"])
def test_pixels_as_stored(tmp_path, orientation, suffix):
    stored, path = noise(3, 5), tmp_path / f"a{suffix}"
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    options = {".webp": {"lossless": True}, ".tif": {"compression": "tiff_lzw"}}.get(suffix, {})
    Image.fromarray(stored).save(path, exif=exif, **options)
    how = ReadSettings(turned=False)
    np.testing.assert_array_equal(read_image(path, how), stored)
    np.testing.assert_array_equal(read_values(path, how), stored)
    assert read_header(path, how) == Header((3, 5), orientation or 1)
    assert read_header(path).stored == (3, 5)


@pytest.mark.parametrize("orientation", [None, 3, 6])
def test_exif_behind_the_pixels_of_a_png(tmp_path, orientation):
    """The header alone gives the size, and a tag is found wherever it stands."""
    stored = noise(3, 5)
    path = save(tmp_path / "a.png", stored, orientation)
    data = path.read_bytes()
    if orientation:
        start = data.index(b"eXIf") - 4
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        data = data[:start] + data[end:-12] + data[start:end] + data[-12:]
        path.write_bytes(data)
        assert data.index(b"eXIf") > data.index(b"IDAT")
    expected = SHOWN[orientation](stored)
    np.testing.assert_array_equal(read_image(path), expected)
    assert read_header(path) == Header(expected.shape[:2], orientation or 1)
    np.testing.assert_array_equal(read_image(path, ReadSettings(turned=False)), stored)
