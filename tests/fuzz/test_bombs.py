"""What small inputs may cost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_small_files_take_little_memory() -> None:
    """In a process of its own, whose peak is its own."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz.bombs"]
    root = Path(__file__).resolve().parents[2]
    made = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    peaks = json.loads(made.stdout)
    assert len(peaks) > 20
    assert max(peaks.values()) < 200, peaks
