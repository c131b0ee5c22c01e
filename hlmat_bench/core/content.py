"""Where the four content folders are: in the installed package, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def folder(name: str) -> Path:
    """Return the path of the content folder `adapters`, `tasks`, `reports` or `leaderboard`.

    A wheel ships them under ``hlmat_bench/_content``; in a checkout or an editable install they are next to the
    folder of the package.
    """
    shipped = _PACKAGE / "_content" / name
    return shipped if shipped.is_dir() else _PACKAGE.parent / name


def file(name: str) -> Path:
    """Return the path of a file that stands at the top of a checkout, and that a wheel ships with the content."""
    shipped = _PACKAGE / "_content" / name
    return shipped if shipped.is_file() else _PACKAGE.parent / name
