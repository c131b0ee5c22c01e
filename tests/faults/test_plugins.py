"""Plug-ins that fail once, or hang: the episode is recorded as failed, and the same command plays it again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hlmat_bench
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.records import EPISODES
from hlmat_bench.reports.build import report
from hlmat_bench.runs import reply_journal
from hlmat_bench.runs.batching import MOST_CHARACTERS
from hlmat_bench.runs.probe import probe
from tests.support.episodes import timeless
from tests.support.faults import MODEL, SEGMENTER, command, plugin

pytestmark = pytest.mark.slow
STRATEGY = "import asyncio\nasync def odd(play):\n    {body}\nSTRATEGIES = {{'odd': odd}}\n"
#: Seconds after which a call counts as hanging; those that answer need far less, also on a busy machine.
PATIENCE = 4
ONCE = "not pathlib.Path(r'{0}/mended').exists() and calls == 5"


@pytest.fixture(autouse=True)
def no_late_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the end of a run not wait for models that hang."""
    monkeypatch.setattr(reply_journal, "GRACE_SECONDS", 0.0)


@pytest.mark.parametrize(
    ("code", "body", "said"),
    [
        (MODEL, "raise ValueError('boom')", "The model odd failed on the sample boxes/.*ValueError: boom"),
        (MODEL, "sys.exit(7)", "SystemExit: 7"),
        (MODEL, "raise asyncio.CancelledError", "CancelledError"),
        (MODEL, "return None", "returned None"),
        (MODEL, "await asyncio.sleep(10**6)", f"did not return within {PATIENCE} seconds"),
        (SEGMENTER, "raise RuntimeError('boom')", "The segmenter .* failed on the sample boxes/.*RuntimeError: boom"),
        (SEGMENTER, "raise KeyboardInterrupt", "KeyboardInterrupt"),
        (SEGMENTER, "raise MemoryError", "The memory does not suffice"),
        (SEGMENTER, "return np.full((60, 80), np.nan)", "returned float64"),
        (SEGMENTER, "return np.ones((3, 4), bool)", r"returned bool \(3, 4\)"),
        (SEGMENTER, "time.sleep(10**6)", f"did not return within {PATIENCE} seconds"),
    ],
)
def test_what_fails_once_is_recorded_and_played_again(
    task: str, tool: str, tmp_path: Path, code: str, body: str, said: str
) -> None:
    odd = plugin(tmp_path / "odd.py", code, body, ONCE.format(tmp_path))
    model, segmenter = (odd, tool) if code is MODEL else ("oracle", odd)

    def play(out: str) -> hlmat_bench.Run:
        options = {"limit": 6, "budget": 3, "concurrency": 2, "call_timeout": PATIENCE}
        return hlmat_bench.run(model, task, segmenter, out=tmp_path / out, **options)

    failures = play("run").scores()["failures"]
    assert failures["episodes"] == 1
    assert re.search(said, next(iter(failures["reasons"])))
    (tmp_path / "mended").touch()
    assert timeless(play("run")) == timeless(play("whole"))


@pytest.mark.parametrize(
    ("code", "body", "said"),
    [
        (MODEL, "await asyncio.sleep(10**6)", f"first 3 requests to odd failed alike.*within {PATIENCE} seconds"),
        (SEGMENTER, "time.sleep(10**6)", f"first 3 episodes failed alike.*within {PATIENCE} seconds"),
        (STRATEGY, "raise ValueError('boom')", "first 3 episodes failed alike.*ValueError: boom"),
        (STRATEGY, "raise SystemExit(3)", "first 3 episodes failed alike.*SystemExit: 3"),
        (STRATEGY, "raise asyncio.CancelledError", "first 3 episodes failed alike.*CancelledError"),
        (STRATEGY, "return None", "first 3 episodes failed alike.*returned None"),
        (STRATEGY, "return 'error'", "first 3 episodes failed alike.*returned 'error'"),
        (STRATEGY, "asyncio.current_task().cancel(); await asyncio.sleep(0)", "cancelled a task of the run"),
    ],
)
def test_what_always_fails_ends_the_run(task: str, tool: str, tmp_path: Path, code: str, body: str, said: str) -> None:
    odd = plugin(tmp_path / "odd.py", code, body)
    model = odd if code is MODEL else "oracle"
    segmenter, strategy = odd if code is SEGMENTER else tool, odd if code is STRATEGY else None
    with pytest.raises(UsageError, match=said):
        hlmat_bench.run(model, task, segmenter, strategy=strategy, call_timeout=PATIENCE, out=tmp_path / "run")
    assert (tmp_path / "run" / EPISODES).read_bytes() == b""


def test_a_model_that_blocks_the_loop_ends_the_program(task: str, tool: str, tmp_path: Path) -> None:
    odd = plugin(tmp_path / "odd.py", MODEL, "time.sleep(10**6)")
    words = ["run", "--model", odd, "--task", task, "--segmenter", tool, "--call-timeout", str(PATIENCE)]
    ran = command(*words, "--out", str(tmp_path / "run"))
    assert ran.returncode == 2, ran.stderr
    assert re.search(r"odd.py, line 1[0-9], has blocked the run for 4 seconds", ran.stderr)
    assert "Traceback" not in ran.stderr
    assert (tmp_path / "run" / EPISODES).read_bytes() == b""


@pytest.mark.parametrize("text", ["'(' * 10**7", "'1' * 10**7", "CLICK + ' ' + CLICK * 400_000"])
def test_a_reply_of_ten_megabytes_is_cut_and_says_so(task: str, tool: str, tmp_path: Path, text: str) -> None:
    odd = plugin(tmp_path / "odd.py", MODEL, f"return [Reply({text})]")
    made = hlmat_bench.run(odd, task, tool, limit=2, budget=1, out=tmp_path / "run")
    for episode in made.episodes():
        raw = episode.steps[0].raw
        assert raw is not None
        assert len(raw) < MOST_CHARACTERS + 100
        assert raw.endswith("characters]")


def test_failures_of_the_segmenter_in_a_row_end_a_run_that_worked(task: str, tmp_path: Path) -> None:
    odd = plugin(tmp_path / "odd.py", SEGMENTER, "raise RuntimeError('boom')", "calls > 4")
    with pytest.raises(UsageError, match=r"4 episodes in a row failed.*--max-failures 40"):
        hlmat_bench.run("oracle", task, odd, budget=1, concurrency=1, max_failures=4, out=tmp_path / "run")
    assert (tmp_path / "run" / EPISODES).read_bytes().count(b"\n") == 4


def test_texts_that_are_no_unicode_reach_records_reports_and_probes(task: str, tool: str, tmp_path: Path) -> None:
    odd = plugin(tmp_path / "odd.py", MODEL, "return [Reply(CLICK + chr(0xdcff) + chr(0xd800))] * request.n")
    settings = {"prompt": "point at {expression} \udcff"}
    made = hlmat_bench.run(odd, task, tool, limit=2, budget=1, settings=settings, out=tmp_path / "run\udcff")
    assert made.scores()["n"] == 2
    assert report([made.folder], out=tmp_path / "pages", task=task).is_file()
    assert probe(odd, out=tmp_path / "probe").replies.is_file()
