"""What all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import hypothesis
import numpy as np
import pytest

from tests.support.browsing import ARGUMENTS, find_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from hlmat_bench.runs.run_folder import Run

TOOL = """
from hlmat_bench.testing import DiscSegmenter

SEGMENTERS = {"discs": DiscSegmenter}
"""

# No test asks a model hub, and small networks are slower with more threads than free cores. Both are read when torch or
# huggingface_hub are first imported, and by the programs that tests start.
os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

# How long an example takes is no matter of right or wrong.
hypothesis.settings.register_profile("hlmat", deadline=None)
hypothesis.settings.load_profile("hlmat")

# A suite that was started in the background inherits an ignored SIGINT, and so would the programs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real files and reference vectors beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder ../shared")
    return SHARED


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Return the reference vectors that come with the tests; vectors/README.md says what they are."""
    return Path(__file__).with_name("vectors")


@pytest.fixture(scope="session")
def networks(shared: Path) -> Path:
    """Return the reference vectors of networks, which are larger."""
    return shared / "vectors" / "dev"


@pytest.fixture(scope="session")
def tool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make a segmenter's plug-in file, as a user writes one: it draws discs and boxes."""
    path = tmp_path_factory.mktemp("tool") / "discs.py"
    path.write_text(TOOL)
    return str(path)


@pytest.fixture(scope="session")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty expressions on twenty small images, in the plain folder layout, with the task file boxes.yaml."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    lines = ["image,mask,expression"]
    for number in range(20):
        image = generator.integers(0, 256, (60, 80, 3), np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        for side in ("left", "right"):
            mask = np.zeros((60, 80), np.uint8)
            x = generator.integers(0, 20) + (40 if side == "right" else 0)
            mask[10 : 20 + number, x : x + 20] = 255
            cv2.imwrite(str(folder / "masks" / f"{number}_{side}.png"), mask)
            lines.append(f"{number}.png,{number}_{side}.png,the {side} box {number}")
    (folder / "expressions.csv").write_text("\n".join(lines) + "\n")
    (folder / "boxes.yaml").write_text(
        "name: boxes\nversion: 1\ntitle: Boxes\ngroup: mine\nkind: segmentation\n"
        "source: {kind: table}\nprotocol: {budget: 5}\n"
    )
    return folder


@pytest.fixture(scope="session")
def task(boxes: Path) -> str:
    """Return the task file of `boxes`."""
    return str(boxes / "boxes.yaml")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Open a headless Chromium."""
    from playwright.sync_api import sync_playwright

    program = find_browser()
    if program is None:
        pytest.skip("needs Chromium: install it, or name its program in HLMAT_CHROMIUM")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory, tool: str) -> list[Run]:
    """Three runs on one task, with hostile strings in all that is written: two strangers and the oracle."""
    from tests.support.report_runs import play, write_task

    folder = tmp_path_factory.mktemp("someone") / "data"
    return play(folder, write_task(folder), tool)


@pytest.fixture(scope="session")
def single(played: list[Run]) -> Path:
    """Return the report of the first of them."""
    from hlmat_bench.reports.build import report

    return report([played[0].folder]).parent


@pytest.fixture(scope="session")
def comparison(played: list[Run]) -> Path:
    """Return the comparison of all three."""
    from hlmat_bench.reports.build import report

    return report([one.folder for one in played]).parent


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Where HLMAT_NO_SKIPS is set, a skip is a failure, except for `shared` tests."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("HLMAT_NO_SKIPS") and not item.get_closest_marker("shared"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and HLMAT_NO_SKIPS forbids that: {report.longrepr}"
