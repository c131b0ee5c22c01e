"""docs/cli.md and docs/settings.md are what the command line declares, docs/architecture.md what the linter checks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("cli.md", "settings.md")


def _written(folder: Path, **environment: str) -> dict[str, str]:
    folder.mkdir()
    command = [sys.executable, ROOT / "docs" / "generate.py", folder]
    subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=True)
    return {page: (folder / page).read_text(encoding="utf-8") for page in PAGES}


@pytest.mark.parametrize("page", PAGES)
def test_the_page_says_what_the_code_declares(page: str, tmp_path: Path) -> None:
    written = _written(tmp_path / "pages")[page]
    kept = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert kept == written, f"docs/{page} is not what the command line declares; run `make docs-cli` and commit it"


def test_neither_the_terminal_nor_the_environment_changes_the_pages(tmp_path: Path) -> None:
    narrow = _written(tmp_path / "narrow", COLUMNS="40", FORCE_COLOR="1", HLMAT_DATA="/elsewhere")
    assert narrow == _written(tmp_path / "wide", COLUMNS="200", NO_COLOR="1")
    assert not any("\x1b" in text or "/elsewhere" in text for text in narrow.values())


def test_every_command_of_the_help_has_a_section() -> None:
    """The names are taken from the help itself, not from what the pages are written from."""
    from typer.testing import CliRunner

    from hlmat_bench.cli import app

    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    helped = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).stdout
    names = re.findall(r"^  ([a-z-]+)  ", helped.partition("Commands:")[2], re.MULTILINE)
    assert len(names) > 10
    for name in names:
        assert re.search(rf"^## hlmat-bench {name}\b", text, re.MULTILINE), name


def test_the_diagram_of_the_architecture_has_the_layers_that_the_linter_checks() -> None:
    svg = (ROOT / "docs" / "images" / "architecture.svg").read_text(encoding="utf-8")
    drawn: dict[int, list[str]] = {}
    for y, name in re.findall(r'class="folder" x="[^"]*" y="(\d+)">(\w+)<', svg):
        drawn.setdefault(int(y), []).append(name)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [[layer.split(" | ") for layer in each["layers"]] for each in contracts if each["type"] == "layers"]
    assert [sorted(drawn[y]) for y in sorted(drawn)] == [sorted(layer) for layer in layers]


def test_the_architecture_names_every_folder_and_files_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in (ROOT / "hlmat_bench").iterdir():
        if (path / "__init__.py").exists():
            assert f"**[`{path.name}/`]" in text, path.name
    for name in re.findall(r"`([\w/]+\.py)`", text):
        assert list((ROOT / "hlmat_bench").rglob(name)), name
