"""What is complete is moved to its place, and nothing that is there is lost."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.fetch.placing import put

FILES = {"im/1.png": b"one", "im/sub/2.png": b"two", "read.me": b"text"}


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    """Return a folder of files that were unpacked."""
    folder = tmp_path / "staged"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_folder(staged: Path, tmp_path: Path) -> None:
    put(staged, tmp_path / "new" / "root")
    assert content(tmp_path / "new" / "root") == FILES
    assert not staged.exists()


def test_among_other_files(staged: Path, tmp_path: Path) -> None:
    """What is there stays, also a folder behind a link, and a file of the same content."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "0.png").write_bytes(b"zero")
    root.mkdir()
    (root / "im").symlink_to(elsewhere)
    (root / "read.me").write_bytes(b"text")
    put(staged, root)
    assert (root / "im").is_symlink()
    assert content(elsewhere) == {"0.png": b"zero", "1.png": b"one", "sub/2.png": b"two"}


@pytest.mark.parametrize("kind", ["another content", "a folder", "a link to nothing"])
def test_something_else_is_there(kind: str, staged: Path, tmp_path: Path) -> None:
    other = tmp_path / "root" / "im" / "sub" / "2.png"
    other.parent.mkdir(parents=True)
    if kind == "another content":
        other.write_bytes(b"TWO")
    elif kind == "a folder":
        other.mkdir()
    else:
        other.symlink_to(tmp_path / "nothing")
    with pytest.raises(UsageError, match="2.png is there already and differs"):
        put(staged, tmp_path / "root")
    assert content(staged) == FILES
    assert not (tmp_path / "root" / "im" / "1.png").exists()


@pytest.mark.parametrize("name", ["im", "read.me"])
def test_a_place_on_another_disk(name: str, staged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses to rename from one disk to another; a copy then appears whole."""
    rename = Path.rename

    def of_one_disk(self: Path, target: Path) -> Path:
        if self.is_relative_to(staged):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", of_one_disk)
    put(staged / name, tmp_path / "root" / name)
    assert content(tmp_path / "root") == {key: data for key, data in FILES.items() if key.startswith(name)}
    assert not (staged / name).exists()
