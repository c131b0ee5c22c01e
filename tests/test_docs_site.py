"""The documentation as a site: MkDocs builds it without a warning, and it loads nothing from another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]


def _build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def _setting(name: str) -> str:
    """Return the lines of mkdocs.yml that set one of its top-level settings."""
    [lines] = re.findall(rf"^{name}:.*\n(?:[ ].*\n)*", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    return str(lines)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    ran = _build(ROOT, tmp_path / "site")
    assert ran.returncode == 0, ran.stderr
    for page in ("index.html", "cli.html", "python/scores.html", "examples/worker.py.html", "benchmarks/index.html"):
        assert (tmp_path / "site" / page).is_file(), page
    assert "def boundary_iou" not in (tmp_path / "site" / "python" / "scores.html").read_text()
    assert "boundary_iou" in (tmp_path / "site" / "python" / "scores.html").read_text()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("[a page](nowhere.md)", "nowhere.md"),
        ("[a file](../examples/nowhere.py)", "examples/nowhere.py"),
        ("[an anchor](other.md#nowhere)", "nowhere"),
        ("![a picture](https://example.org/a.png)", "https://example.org/a.png"),
        ('<script src="//example.org/a.js"></script>', "//example.org/a.js"),
        ('<link rel="stylesheet" href="https://example.org/a.css">', "https://example.org/a.css"),
    ],
)
def test_a_broken_link_or_an_asset_of_another_host_is_an_error(line: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "hooks.py").write_text((ROOT / "docs" / "hooks.py").read_text())
    (tmp_path / "docs" / "other.md").write_text("# Other\n\n[A file](../README.md), `[no link](nowhere.md)`\n")
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("# A file\n")
    (tmp_path / "mkdocs.yml").write_text(
        "site_name: x\nexclude_docs: '*.py'\ntheme: {name: material, font: false}\n"
        + _setting("hooks")
        + _setting("validation")
    )
    (tmp_path / "docs" / "page.md").write_text("# Page\n\nFine: [A page](other.md), [home](https://example.org/).\n")
    assert _build(tmp_path, tmp_path / "site").returncode == 0
    (tmp_path / "docs" / "page.md").write_text(f"# Page\n\n{line}\n")
    ran = _build(tmp_path, tmp_path / "site")
    assert ran.returncode != 0
    assert complaint in ran.stderr
