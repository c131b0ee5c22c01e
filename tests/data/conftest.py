"""What the tests of data share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.data_files import NAMES, blob, noise, save


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Write four images and their masks, in the folders of `FOLDERS`."""
    for n, name in enumerate(NAMES):
        save(tmp_path / "im" / f"{name}.png", noise(10, 12, n))
        save(tmp_path / "gt" / f"{name}.png", blob(10, 12, n))
    return tmp_path
