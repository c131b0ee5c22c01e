"""Moves what was downloaded and unpacked to its place under the data root, never over another file."""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import cut


def put(staged: Path, target: Path) -> None:
    """Move a file, or a folder with all that is in it; a folder that is not there yet appears at once.

    Args:
        staged: what is moved; it is not there afterwards.
        target: its place. Files that are there already stay.

    Raises:
        UsageError: when a file of the same name and another content is there; then nothing was moved.
    """
    for path in _clashes(staged, target):
        raise UsageError(
            f"{cut(str(path))} is there already and differs from what was downloaded; move it away or delete it, and "
            "run the same command again."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    _move(staged, target)


def _clashes(staged: Path, target: Path) -> Iterator[Path]:
    """Yield the paths at which something else is."""
    if not os.path.lexists(target):
        return
    if staged.is_dir() and target.is_dir():
        for path in staged.iterdir():
            yield from _clashes(path, target / path.name)
    elif not (staged.is_file() and target.is_file() and filecmp.cmp(staged, target, shallow=False)):
        yield target


def _move(staged: Path, target: Path) -> None:
    if not os.path.lexists(target):
        _rename(staged, target)
    elif staged.is_dir():
        for path in list(staged.iterdir()):
            _move(path, target / path.name)
        staged.rmdir()
    else:
        staged.unlink()


def _rename(staged: Path, target: Path) -> None:
    """Rename; where the target is on another disk, as behind a link, copy under another name first."""
    try:
        staged.rename(target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    draft = target.with_name(f"{target.name}.part")
    if staged.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(staged, draft)
        draft.rename(target)
        shutil.rmtree(staged)
    else:
        shutil.copyfile(staged, draft)
        draft.rename(target)
        staged.unlink()
