"""`benchmarks/gpu.sh` prints each table, or why it could not be made; its commands run with tiny weights on a CPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.sh"
TITLES = [
    "Weights of the segmenters",
    "Clicks per second",
    "Weights of the model",
    "Requests per second of hf",
    "Episodes per second of a run",
    "Episodes per second on all GPUs",
]


def _ran(*arguments: str, **environment: str) -> tuple[int, dict[str, str]]:
    """Return the exit code of the script, and what it printed under each title."""
    made = subprocess.run(
        [SCRIPT, *arguments], env=os.environ | environment, capture_output=True, text=True, timeout=300, check=False
    )
    _, *parts = re.split(r"^## (.*)$", made.stdout, flags=re.MULTILINE)
    return made.returncode, dict(zip(parts[::2], parts[1::2], strict=True))


def _python(folder: Path, cases: str) -> str:
    """Write a program that takes Python's place in the script, and runs the lines of a shell's `case` by module."""
    program = folder / "python"
    program.write_text(f'#!/bin/sh\n[ "$1" = -c ] && echo "1 GPUs: none" && exit\ncase $2 in\n{cases}\nesac\n')
    program.chmod(0o755)
    return str(program)


def test_a_table_that_fails_says_why_and_the_others_are_made(tmp_path: Path) -> None:
    python = _python(
        tmp_path, "*segmenters) echo 'no memory' >&2; exit 3 ;; *bench) echo --workers ;; *) echo '| 1 |' ;;"
    )
    code, tables = _ran(PYTHON=python)
    assert (code, list(tables)) == (1, TITLES)
    assert "Not made: exit code 3. no memory" in tables["Clicks per second"]
    assert "Left out: there is one GPU." in tables["Episodes per second on all GPUs"]
    assert all("| 1 |" in tables[title] for title in TITLES if title not in (TITLES[1], TITLES[5]))


def test_a_table_that_hangs_is_given_up(tmp_path: Path) -> None:
    python = _python(tmp_path, "*hf) exec sleep 600 ;; *) echo '| 1 |' ;;")
    code, tables = _ran(PYTHON=python, SECONDS_IN_ALL="2")
    assert (code, list(tables)) == (1, TITLES)
    assert "| 1 |" in tables["Weights of the model"]
    assert "Not made: it did not end within its time" in tables["Requests per second of hf"]
    assert "Left out: this version of hlmat-bench has no option --workers." in tables["Episodes per second on all GPUs"]


@pytest.mark.slow
def test_all_tables_are_made_with_tiny_weights(tmp_path: Path) -> None:
    """The table with workers is left out here, because starting Ray takes long; `tests/runs` has tests of workers."""
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\n[ "$2" = hlmat_bench ] || exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    code, tables = _ran("--tiny", PYTHON=str(program))
    assert list(tables) == TITLES
    assert code == 0, tables
    rows = {title: len(re.findall(r"^\| .*\d.* \|$", table, re.MULTILINE)) for title, table in tables.items()}
    assert rows["Clicks per second"] == 3  # the heading has a number, too
    assert rows["Requests per second of hf"] == 2
    assert rows["Episodes per second of a run"] == 1
