"""A new leaderboard: a repository that validates submissions and publishes its site."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import UsageError
from hlmat_bench.reports.leaderboard.repository import ENTRIES, VERIFIED, WITHDRAWN

_FILES = {
    "README.md": "README.md",
    "validate.yml": ".github/workflows/validate.yml",
    "publish.yml": ".github/workflows/publish.yml",
}
_PLACEHOLDER = "HLMAT_BENCH_VERSION"


def init(out: Path) -> list[Path]:
    """Write a new leaderboard, its workflows pinned to this version of hlmat-bench.

    Returns:
        The files that were written.

    Raises:
        UsageError: when the folder is not empty or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(path.name != ".git" for path in out.iterdir())):
        raise UsageError(f"{out} is not empty; choose a new folder.")
    version = importlib.metadata.version("hlmat-bench")
    templates = folder("leaderboard") / "repository"
    texts = {target: (templates / name).read_text(encoding="utf-8") for name, target in _FILES.items()}
    texts |= {f"{name}/.gitkeep": "" for name in (ENTRIES, VERIFIED, WITHDRAWN)}
    try:
        return [_write(out / name, text.replace(_PLACEHOLDER, version)) for name, text in texts.items()]
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror}); choose another folder.") from error


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
