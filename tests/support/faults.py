"""Programs that are disturbed: plug-in files that fail at a chosen call, and commands that get signals."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

MODEL = """
import asyncio, pathlib, sys, time
import numpy as np
from hlmat_bench.interfaces import Reply
from hlmat_bench.points import PointFormat

CLICK = "Positive point: (500, 500)"

class Model:
    name, deterministic = "odd", False
    def __init__(self):
        self.points, self.calls = PointFormat.named("xy1000"), 0
    async def reply(self, request):
        self.calls += 1
        calls = self.calls
        fails = {fails}
        if fails:
            {body}
        return [Reply(CLICK)]

MODELS = {{"odd": Model}}
"""

SEGMENTER = """
import itertools, pathlib, sys, time
import numpy as np
from hlmat_bench.testing import DiscSegmenter

class Session:
    def __init__(self, session, owner):
        self._session, self._owner = session, owner
    def predict(self, clicks, box=None):
        calls = next(self._owner.counted)
        fails = {fails}
        if fails:
            {body}
        return self._session.predict(clicks, box)
    def snapshot(self):
        return self._session.snapshot()
    def restore(self, state):
        self._session.restore(state)

class Segmenter(DiscSegmenter):
    def __init__(self):
        super().__init__()
        self.counted = itertools.count(1)  # Two threads never get the same number from it.
    def open(self, image):
        return Session(super().open(image), self)

SEGMENTERS = {{"odd": Segmenter}}
"""


def plugin(path: Path, code: str, body: str, fails: str = "True") -> str:
    """Write a plug-in file that runs ``body`` at the calls for which ``fails`` is true, and return its path.

    ``fails`` is an expression in which ``calls`` is the number of the call, from 1.
    """
    path.write_text(code.format(body=body, fails=fails))
    return str(path)


def program(*words: str, stderr: Path) -> subprocess.Popen[bytes]:
    """Start the command line; what it says goes into a file."""
    with stderr.open("wb") as file:
        return subprocess.Popen([sys.executable, "-m", "hlmat_bench", *words], stdout=subprocess.DEVNULL, stderr=file)


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run([sys.executable, "-m", "hlmat_bench", *words], capture_output=True, text=True, check=False)


def await_that(true: Callable[[], bool]) -> None:
    """Wait until something is true; a minute is far more than it takes."""
    for _ in range(6000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("It did not become true.")
