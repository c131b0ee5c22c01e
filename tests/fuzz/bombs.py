"""Small inputs that ask for much memory, and how much their readers take: ``python -m tests.fuzz.bombs``."""

from __future__ import annotations

import gzip
import io
import json
import resource
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator

from PIL import Image

from tests.fuzz.targets import TARGETS


def picture(mode: str, format: str, side: int, **options: object) -> Callable[[], bytes]:
    """Return a function that makes a square picture of one colour."""

    def made() -> bytes:
        file = io.BytesIO()
        Image.new(mode, (side, side)).save(file, format, **options)
        return file.getvalue()

    return made


def png_header(side: int) -> bytes:
    """Make a PNG without pixels (https://www.w3.org/TR/png-3/#11IHDR)."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(99))))
    parts = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff_header(side: int) -> bytes:
    """Make a TIFF without pixels (https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf, section 2)."""
    tags = (
        (256, side),
        (257, side),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, side),
        (279, side * side % 2**32),
    )
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def rle(side: int) -> bytes:
    """Make the RLE of a full square."""
    return json.dumps({"size": [side, side], "counts": [0, side * side]}).encode()


def tar_header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Make the header of a member of a tar archive."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def long_name() -> bytes:
    """Make a tar archive whose member has a name of 8 GB, as it says."""
    return tar_header("././@LongLink", 2**33, tarfile.GNUTYPE_LONGNAME) + bytes(2**23)


def zip_of_zeros(size: int) -> bytes:
    """Make a ZIP archive with one file of zeros."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("im/1.png", bytes(size))
    return buffer.getvalue()


PAIRS = b"".join(b"h%c\x86q%c" % (number, number + 1) for number in range(60))
ANCHORS = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))

BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a PNG of 50,000 x 50,000": ("images", lambda: png_header(50_000)),
    "a TIFF of 50,000 x 50,000": ("images", lambda: tiff_header(50_000)),
    "a PNG of 169 megapixels": ("images", picture("1", "PNG", 13_000)),
    "a PNG within the bound": ("images", picture("RGBA", "PNG", 5000)),
    "a TIFF within the bound": ("images", picture("RGB", "TIFF", 5000, compression="tiff_deflate")),
    "a JPEG within the bound": ("images", picture("CMYK", "JPEG", 5000)),
    "a progressive JPEG within the bound": ("images", picture("RGB", "JPEG", 3535, progressive=True, subsampling=0)),
    "a WebP within the bound": ("images", picture("RGB", "WEBP", 3535)),
    "a GIF beyond the bound": ("images", picture("P", "GIF", 6000)),
    "an RLE within the bound": ("rles", lambda: rle(10_000)),
    "an RLE beyond the bound": ("rles", lambda: rle(2**16)),
    "an RLE of many runs": ("rles", lambda: json.dumps({"size": [1000, 2000], "counts": [1] * 2_000_000}).encode()),
    "a pickle that names a far place": ("pickles", lambda: b"]r\xff\xff\xff\x7f."),
    "a pickle of pairs of pairs": ("pickles", lambda: b"}Nq\0" + PAIRS + b"Ns."),
    "a pickle of deep tuples": ("pickles", lambda: b"}N" + b"\x85" * 1_000_000 + b"Ns."),
    "a pickle of deep lists": ("pickles", lambda: b"]" * 1_000_000 + b"a" * 999_999 + b"."),
    "a pickle of one array": ("pickles", lambda: b"\x96" + (2**40).to_bytes(8, "little") + b"."),
    "anchors in a task": ("tasks", lambda: f"name: own\na0: &a0 [lol]\n{ANCHORS}".encode()),
    "anchors in a suite": ("suites", lambda: f"a0: &a0 [lol]\n{ANCHORS}".encode()),
    "deep YAML": ("catalogues", lambda: b"[" * 200_000),
    "deep JSON": ("instances", lambda: b"[" * 1_000_000),
    "one cell": ("tables", lambda: b"image,mask,expression\n0.png,0.png," + b"x" * 5_000_000),
    "digits": ("replies", lambda: b"\0(" + b"9" * 1_000_000),
    "brackets": ("replies", lambda: b"\2" + b'[{"a":' * 100_000),
    "a deep entry": ("entries", lambda: b"[" * 2_000_000),
    "a deep manifest": ("manifests", lambda: b"[" * 2_000_000),
    "a tar with a name of 8 GB": ("tars", lambda: gzip.compress(long_name())),
    "a tar.gz of zeros": ("tars", lambda: gzip.compress(tar_header("im/1.png", 2**30) + bytes(2**23))),
    "a zip of zeros": ("zips", lambda: zip_of_zeros(2**27)),
    "a long line": ("episodes", lambda: b'{"sample_id": "' + b"a" * 10_000_000 + b'"}\n'),
}


def peaks() -> Iterator[tuple[str, int]]:
    """Yield, after each input was read, by how many MB the peak of this process is above what it takes without them."""
    targets = {target.name: target for target in TARGETS}
    for name in {name for name, _ in BOMBS.values()}:
        for seed in targets[name].seeds():
            targets[name](seed)
    inputs = [(what, name, make()) for what, (name, make) in BOMBS.items()]
    usual = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for what, name, data in inputs:
        targets[name](data)
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - usual
        yield what, more // (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    print(json.dumps(dict(peaks())))  # noqa: T201
