"""Archives from elsewhere: what fits is unpacked, and whatever is not harmless is refused in one sentence."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.data.fetch import unpack as module
from hlmat_bench.data.fetch.problems import AddressFailed
from hlmat_bench.data.fetch.unpack import unpack

PLAIN = {"d/im/1.jpg": b"one", "d/im/sub/2.jpg": b"two", "d/gt/1.png": b"mask", "d/read.me": b"text"}


def zipped(path: Path, files: dict[str, bytes], **changes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, zipfile.ZIP_DEFLATED
            for field, value in changes.items():
                setattr(info, field, value)
            archive.writestr(info, data)
    return path


def tarred(path: Path, files: dict[str, bytes], pack: Callable[[bytes], bytes] = bytes, **changes: object) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in changes.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(data))
    path.write_bytes(pack(buffer.getvalue()))
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


MAKERS = {
    "zip": zipped,
    "tar": tarred,
    "tar.gz": lambda path, files: tarred(path, files, gzip.compress),
    "tar.bz2": lambda path, files: tarred(path, files, bz2.compress),
    "tar.xz": lambda path, files: tarred(path, files, lzma.compress),
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Return a function that makes an archive of each format."""
    return lambda files: MAKERS[request.param](tmp_path / "archive", files)


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """Return the folder to unpack to."""
    folder = tmp_path / "deep" / "to"
    folder.mkdir(parents=True)
    return folder


def test_what_fits_is_unpacked(make: Callable[[dict[str, bytes]], Path], to: Path) -> None:
    unpack(make(PLAIN), ["d/im/*", "d/gt/1.png"], to)
    assert content(to) == {name: data for name, data in PLAIN.items() if name != "d/read.me"}


def test_folders_before_a_pattern_are_left_out(make: Callable[[dict[str, bytes]], Path], to: Path) -> None:
    unpack(make({f"./top/of it/{name}": data for name, data in PLAIN.items()}), ["im/*", "gt/*"], to)
    assert content(to) == {"im/1.jpg": b"one", "im/sub/2.jpg": b"two", "gt/1.png": b"mask"}


def test_leftovers_of_systems_are_not_unpacked(make: Callable[[dict[str, bytes]], Path], to: Path) -> None:
    junk = {"__MACOSX/d/im/._1.jpg": b"", "d/im/.DS_Store": b"", "d/im/._1.jpg": b"x", "d/im/Thumbs.db": b""}
    unpack(make(PLAIN | junk), ["d/im/*"], to)
    assert content(to) == {"d/im/1.jpg": b"one", "d/im/sub/2.jpg": b"two"}


def test_a_pattern_that_fits_nothing_is_told(make: Callable[[dict[str, bytes]], Path], to: Path) -> None:
    with pytest.raises(AddressFailed, match=r"no file that fits d/masks/\*"):
        unpack(make(PLAIN), ["d/im/*", "d/masks/*"], to)


@pytest.mark.parametrize(
    "name",
    [
        "../d/im/x",
        "d/im/../../../../x",
        "d/im/..",
        "/d/im/x",
        "//d/im/x",
        "..\\d\\im\\x",
        "d\\im\\..\\..\\..\\..\\x",
        "\\d\\im\\x",
        "C:/d/im/x",
        "c:d/im/x",
        "a/" * 80 + "d/im/x",
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_nothing_leads_out_of_the_folder(name: str, kind: str, tmp_path: Path, to: Path) -> None:
    before = content(tmp_path)
    archive = MAKERS[kind](tmp_path / "archive", {"d/im/1.jpg": b"one", name: b"evil"})
    with suppress(AddressFailed):  # or it fits no pattern, or is a plain name inside
        unpack(archive, ["d/im/*"], to)
    assert set(content(tmp_path)) - set(before) <= {"archive", "deep/to/d/im/1.jpg"}


def test_a_name_with_a_zero_byte_is_refused(tmp_path: Path, to: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"d/im/1.jpg_d/im/2.jpg": b"one"})
    archive.write_bytes(archive.read_bytes().replace(b"1.jpg_", b"1.jpg\0"))
    with pytest.raises(AddressFailed, match="leads out|cannot be unpacked"):
        unpack(archive, ["d/im/*"], to)
    assert content(to) == {}


@pytest.mark.parametrize(
    ("type_", "said"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.FIFOTYPE, "a device or pipe"),
        (tarfile.CHRTYPE, "a device or pipe"),
        (tarfile.BLKTYPE, "a device or pipe"),
        (tarfile.GNUTYPE_SPARSE, "a sparse file|cannot be unpacked"),
    ],
)
def test_only_plain_files_of_a_tar(type_: bytes, said: str, tmp_path: Path, to: Path) -> None:
    archive = tarred(tmp_path / "a.tar", {"d/im/x": b""}, type=type_, linkname="/etc/passwd")
    with pytest.raises(AddressFailed, match=said):
        unpack(archive, ["d/im/*"], to)
    assert list(to.rglob("*")) == []


@pytest.mark.parametrize(
    ("mode", "said"), [(stat.S_IFLNK, "a link"), (stat.S_IFCHR, "a device"), (stat.S_IFIFO, "pipe")]
)
def test_only_plain_files_of_a_zip(mode: int, said: str, tmp_path: Path, to: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"d/im/x": b"/etc/passwd"}, external_attr=(mode | 0o777) << 16)
    with pytest.raises(AddressFailed, match=said):
        unpack(archive, ["d/im/*"], to)
    assert list(to.rglob("*")) == []


@pytest.mark.parametrize("kind", sorted(MAKERS.keys() - {"tar"}))
def test_bombs_are_refused(kind: str, tmp_path: Path, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALWAYS_ALLOWED", 10_000)
    archive = MAKERS[kind](tmp_path / "a", {"d/im/1": bytes(200), "d/im/2": bytes(20_000_000)})
    with pytest.raises(AddressFailed, match="more than 100 times its size"):
        unpack(archive, ["d/im/*"], to)
    assert content(to).keys() <= {"d/im/1"}


def test_too_many_files_are_refused(
    make: Callable[[dict[str, bytes]], Path], to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_FILES", 20)
    with pytest.raises(AddressFailed, match="more than 20 files"):
        unpack(make({f"d/im/{number}": b"x" for number in range(21)}), ["d/im/*"], to)


def test_a_zip_that_lies_about_sizes_is_refused(tmp_path: Path, to: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"d/im/1": b"x" * 100_000})
    for size in (10, 200_000):
        lie = archive.read_bytes().replace((100_000).to_bytes(4, "little"), size.to_bytes(4, "little"))
        (tmp_path / "lie.zip").write_bytes(lie)
        with pytest.raises(AddressFailed):
            unpack(tmp_path / "lie.zip", ["d/im/*"], to)
        assert content(to).keys() <= {"d/im/1.part"}
        for path in to.rglob("*.part"):
            path.unlink()


def test_a_long_header_takes_no_memory(tmp_path: Path, to: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**33
    header = info.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tgz").write_bytes(gzip.compress(header + bytes(10_000)))
    with pytest.raises(AddressFailed, match="a header is too long"):
        unpack(tmp_path / "a.tgz", ["d/im/*"], to)


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(("second", "fails"), [(b"one", False), (b"two", True)])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice(kind: str, second: bytes, fails: bool, tmp_path: Path, to: Path) -> None:
    """Two of the same content are one file; of two others, none is chosen."""
    archive = MAKERS[kind](tmp_path / "a", {"a/im/1": b"one", "b/im/1": second})
    if fails:
        with pytest.raises(AddressFailed, match="two different files"):
            unpack(archive, ["im/*"], to)
    else:
        unpack(archive, ["im/*"], to)
    assert content(to)["im/1"] == b"one"


def test_a_file_where_a_folder_should_be(make: Callable[[dict[str, bytes]], Path], to: Path) -> None:
    with pytest.raises(AddressFailed, match="a file and a folder of one name"):
        unpack(make({"d/im/1": b"", "d/im/1/2": b""}), ["d/im/*"], to)


def test_names_in_other_capital_letters(make: Callable[[dict[str, bytes]], Path], to: Path) -> None:
    """Both are written where the disk tells them apart; elsewhere the second is another file of the same name."""
    tells_apart = not ((to / "a").touch() or (to / "A").exists())
    (to / "a").unlink()
    archive = make({"d/A.png": b"upper", "d/a.png": b"lower"})
    if tells_apart:
        unpack(archive, ["d/*"], to)
        assert content(to) == {"d/A.png": b"upper", "d/a.png": b"lower"}
    else:
        with pytest.raises(AddressFailed, match="two different files"):
            unpack(archive, ["d/*"], to)


def test_names_that_are_not_utf8(tmp_path: Path, to: Path) -> None:
    """A tar's bytes stay as they are; a zip's are read as UTF-8, or else as code page 437, as its format says."""
    archive = zipped(tmp_path / "a.zip", {"d/im/na__ve.jpg": b"1", "d/im/caf_.jpg": b"2"})
    data = archive.read_bytes().replace(b"na__ve", "naïve".encode()).replace(b"caf_", b"caf\x82")
    archive.write_bytes(data)
    unpack(archive, ["d/im/*"], to)
    assert set(content(to)) == {"d/im/naïve.jpg", "d/im/café.jpg"}

    tar = tarred(tmp_path / "a.tar", {"d/gt/caf_.jpg": b"3"})
    raw = bytearray(tar.read_bytes())
    raw[raw.index(b"caf_") + 3] = 0xE9
    raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + sum(raw[156:512]) + 8 * 32)
    tar.write_bytes(raw)
    with suppress(AddressFailed):  # on a disk that takes UTF-8 alone
        unpack(tar, ["d/gt/*"], to)
        assert (to / "d" / "gt").joinpath(b"caf\xe9.jpg".decode(errors="surrogateescape")).read_bytes() == b"3"


def test_what_is_no_archive(tmp_path: Path, to: Path) -> None:
    for data in (b"", b"<html>not found</html>", b"PK\x03\x04 and so on", b"\x1f\x8b" + bytes(50), b"BZh9" + bytes(50)):
        (tmp_path / "a.zip").write_bytes(data)
        with pytest.raises(AddressFailed, match="a.zip (cannot be unpacked|has no file)"):
            unpack(tmp_path / "a.zip", ["d/*"], to)


def test_a_password_is_told(tmp_path: Path, to: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"d/im/1": b"one"})
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    archive.write_bytes(data)
    with pytest.raises(AddressFailed, match="password"):
        unpack(archive, ["d/im/*"], to)


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_half_an_archive_is_no_archive(keep: float, make: Callable[[dict[str, bytes]], Path], to: Path) -> None:
    archive = make({f"d/im/{number}": bytes([number]) * 5000 for number in range(20)})
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(AddressFailed):
        unpack(archive, ["d/im/*", "d/im/19"], to)


NAMES = st.lists(
    st.sampled_from(["..", ".", "", "d", "im", "C:", "x", "\\", "~", "a\\..\\..", "é"]), min_size=1, max_size=6
)


@given(parts=NAMES, kind=st.sampled_from(["zip", "tar"]))
def test_no_name_leads_out(parts: list[str], kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("names")
    to = folder / "a" / "b"
    to.mkdir(parents=True)
    archive = MAKERS[kind](folder / "archive", {"/".join(parts) or "x": b"data"})
    with suppress(AddressFailed):
        unpack(archive, ["*"], to)
    outside = {path for path in folder.rglob("*") if path.is_file() and to not in path.parents}
    assert outside == {archive}
