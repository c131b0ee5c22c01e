"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real files and reference vectors beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder ../shared")
    return SHARED


@pytest.fixture(scope="session")
def vectors(shared: Path) -> Path:
    """The reference vectors."""
    return shared / "vectors" / "dev"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Where HLMAT_NO_SKIPS is set, a skip is a failure, except for `shared` and `gpu` tests."""
    outcome = yield
    report = outcome.get_result()
    allowed = item.get_closest_marker("shared") or item.get_closest_marker("gpu")
    if report.skipped and os.environ.get("HLMAT_NO_SKIPS") and not allowed:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and HLMAT_NO_SKIPS forbids that: {report.longrepr}"
