"""Packages as they lie in a folder of installed ones, for tests of entry points."""

from __future__ import annotations

from pathlib import Path


def declare(place: Path, name: str, entry_points: str) -> None:
    """Write what an installer writes of a package.

    Args:
        place: the folder, which is on the path or is put there.
        name: the package's name, as pip shows it.
        entry_points: the text of its entry_points.txt.
    """
    info = place / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
