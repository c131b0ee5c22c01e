"""What models and segmenters of plug-ins hand over is checked there: one sentence with the plug-in and the sample."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hlmat_bench
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.records import EPISODES


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hlmat_bench", *words], capture_output=True, text=True, check=False)


MODEL = """
import asyncio, numpy as np
from hlmat_bench.errors import RequestFailed
from hlmat_bench.interfaces import Reply
from hlmat_bench.points import PointFormat

class Odd:
    name, points = "odd", PointFormat.named("xy1000")
    async def reply(self, request):
        return {answer}

MODELS = {{"odd": Odd}}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ('[Reply("Finish", cost=float("nan"))]', "cost=nan"),
        ('[Reply("Finish", seconds=-1.0)]', "seconds=-1.0"),
        ('[Reply("Finish", tokens_in=-3)]', "tokens_in=-3"),
        ('[Reply("Finish", tokens_out=2.5)]', "tokens_out=2.5"),
        ('[Reply("Finish", finish=object())]', "finish=<object"),
        ("[Reply(None)]", "text=None"),
        ("None", "returned None"),
        ('"Finish"', "returned 'Finish'"),
        ('[Reply("Finish")] * 2', "a list of 1 Reply"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_what_a_models_plugin_must_not_return_is_one_sentence(
    task: str, tool: str, tmp_path: Path, answer: str, said: str
) -> None:
    (tmp_path / "odd.py").write_text(MODEL.format(answer=answer))
    words = ["run", "--model", str(tmp_path / "odd.py"), "--task", task, "--segmenter", tool]
    ran = command(*words, "--out", str(tmp_path / "run"), "--limit", "3")
    assert (ran.returncode, "Traceback" in ran.stderr) == (2, False)
    assert "The model odd" in ran.stderr
    assert said in ran.stderr
    assert ("ZeroDivisionError" in said) == (tmp_path / "run" / "errors.log").exists()


@pytest.mark.parametrize(
    "answer",
    [
        '[Reply("Finish", tokens_in=np.int64(7), tokens_out=np.uint8(2), seconds=np.float32(0.5), cost=0)]',
        '[Reply("Finish " + chr(0xD83D))]',
    ],
)
def test_numbers_of_numpy_and_half_a_surrogate_pair_are_recorded(
    task: str, tool: str, tmp_path: Path, answer: str
) -> None:
    (tmp_path / "odd.py").write_text(MODEL.format(answer=answer))
    made = hlmat_bench.run(str(tmp_path / "odd.py"), task, tool, out=tmp_path / "run", limit=5)
    assert made.scores()["n"] == 5
    (tmp_path / "run" / EPISODES).read_bytes().decode("utf-8")
    said = {step.raw for episode in made.episodes() for step in episode.steps}
    assert said <= {"Finish", "Finish \ud83d"}
    from hlmat_bench.reports.build import report

    report([made.folder], images=False)


SEGMENTER = """
import numpy as np
from hlmat_bench.testing import DiscSegmenter

class Session:
    def __init__(self, image):
        self.shape = image.shape[:2]
    def predict(self, clicks, box=None):
        return {mask}

class Odd(DiscSegmenter):
    def open(self, image):
        return Session(image)

SEGMENTERS = {{"odd": Odd}}
"""


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ("None", "returned NoneType"),
        ("np.zeros((3, 4), bool)", r"returned bool (3, 4)"),
        ("np.full(self.shape, np.nan)", "returned float64"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_what_a_segmenters_plugin_must_not_return_is_one_sentence(
    task: str, tmp_path: Path, mask: str, said: str
) -> None:
    (tmp_path / "odd.py").write_text(SEGMENTER.format(mask=mask))
    with pytest.raises(UsageError, match="first 3 episodes failed alike") as caught:
        hlmat_bench.run("center", task, str(tmp_path / "odd.py"), out=tmp_path / "run", limit=3)
    assert said in str(caught.value)
    assert "the sample boxes/" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ("(_ for _ in ()).throw(MemoryError())", "The memory does not suffice"),
        (
            "(_ for _ in ()).throw(type('OutOfMemoryError', (RuntimeError,), {{}})('CUDA out of memory.'))",
            "--concurrency",
        ),
    ],
)
def test_memory_that_does_not_suffice_in_a_segmenter_is_one_sentence(
    task: str, tmp_path: Path, mask: str, said: str
) -> None:
    (tmp_path / "odd.py").write_text(SEGMENTER.format(mask=mask.format()))
    words = ["run", "--model", "center", "--task", task, "--segmenter", str(tmp_path / "odd.py"), "--limit", "3"]
    ran = command(*words, "--out", str(tmp_path / "run"))
    assert (ran.returncode, "Traceback" in ran.stderr) == (2, False)
    assert said in ran.stderr
    assert "the sample boxes/" in ran.stderr
