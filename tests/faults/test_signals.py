"""SIGINT and SIGTERM at any moment: one sentence, the exit code of the signal, and a folder that goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import hlmat_bench
from hlmat_bench.protocol.records import EPISODES
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.stopping import Stopped, handlers_kept
from tests.support.episodes import timeless
from tests.support.faults import MODEL, SEGMENTER, await_that, command, plugin, program

pytestmark = pytest.mark.slow
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
HANG = "time.sleep(10**6)"

# Sends a signal to itself when it first imports a module, or opens a file, whose name ends as given.
AT = """
import os, signal, sys
number, what = int(sys.argv[1]), sys.argv[2]
pending = [what]
def hook(event, arguments):
    if pending and event in ("import", "open") and str(arguments[0]).endswith(what):
        pending.clear()
        os.kill(os.getpid(), number)
sys.argv[:] = ["hlmat-bench", *sys.argv[3:]]
from hlmat_bench.__main__ import main
sys.addaudithook(hook)
main()
"""


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_episodes_under_way_are_finished_and_none_begins(
    task: str, tool: str, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    body = f"\n            (pathlib.Path('{tmp_path}') / f'asked{{self.calls}}').touch()"
    body += f"\n            while not pathlib.Path('{tmp_path}/go').exists(): await asyncio.sleep(0.01)"
    words = ["run", "--model", plugin(tmp_path / "odd.py", MODEL, body), "--task", task, "--segmenter", tool]
    words += ["--limit", "6", "--budget", "2", "--concurrency", "2", "--out"]
    ran = program(*words, str(tmp_path / "run"), stderr=tmp_path / "said")
    await_that((tmp_path / "asked2").exists)
    ran.send_signal(number)
    await_that(lambda: b"stopping: " in (tmp_path / "said").read_bytes())
    (tmp_path / "go").touch()
    assert ran.wait(60) == code
    said = (tmp_path / "said").read_text()
    assert said.splitlines()[-1].startswith("error: stopped; what was finished is kept")
    assert "Traceback" not in said
    kept = (tmp_path / "run" / EPISODES).read_bytes()
    assert kept.count(b"\n") == 2
    assert command(*words, str(tmp_path / "run")).returncode == 0
    assert command(*words, str(tmp_path / "whole")).returncode == 0
    assert (tmp_path / "run" / EPISODES).read_bytes().startswith(kept)
    assert timeless(Run(tmp_path / "run")) == timeless(Run(tmp_path / "whole"))


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_what_does_not_end_within_the_grace_is_left(
    task: str, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """A segmenter hangs: its episode is dropped, and its thread does not keep the process alive."""
    body = f"\n            pathlib.Path('{tmp_path}/hangs').touch(); {HANG}"
    tool = plugin(tmp_path / "odd.py", SEGMENTER, body, "calls > 3")
    words = ["run", "--model", "oracle", "--task", task, "--segmenter", tool, "--concurrency", "1", "--budget", "2"]
    ran = program(*words, "--grace", "0.1", "--out", str(tmp_path / "run"), stderr=tmp_path / "said")
    await_that((tmp_path / "hangs").exists)
    ran.send_signal(number)
    assert ran.wait(60) == code
    assert "error: stopped; what was finished is kept" in (tmp_path / "said").read_text()
    assert 1 <= (tmp_path / "run" / EPISODES).read_bytes().count(b"\n") <= 3


@pytest.mark.parametrize("where", ["segmenter", "loop"])
def test_the_second_signal_stops_at_once(task: str, tool: str, tmp_path: Path, where: str) -> None:
    body = f"\n            pathlib.Path('{tmp_path}/hangs').touch(); {HANG}"
    model = plugin(tmp_path / "model.py", MODEL, body) if where == "loop" else "oracle"
    segmenter = plugin(tmp_path / "odd.py", SEGMENTER, body) if where == "segmenter" else tool
    words = ["run", "--model", model, "--task", task, "--segmenter", segmenter, "--out", str(tmp_path / "run")]
    ran = program(*words, stderr=tmp_path / "said")
    await_that((tmp_path / "hangs").exists)
    ran.send_signal(signal.SIGTERM)
    await_that(lambda: b"stopping: " in (tmp_path / "said").read_bytes())
    ran.send_signal(signal.SIGTERM)
    assert ran.wait(60) == 143
    assert "error: stopped at once; what was finished is kept" in (tmp_path / "said").read_text()


@pytest.mark.parametrize(
    ("number", "code", "what"),
    [
        (signal.SIGINT, 130, "typer"),
        (signal.SIGINT, 130, "numpy"),
        (signal.SIGTERM, 143, "boxes.yaml"),
        (signal.SIGTERM, 143, EPISODES),
        (signal.SIGINT, 130, "scores.json.draft"),
    ],
)
def test_a_signal_while_it_loads_or_scores_is_one_sentence(
    task: str, tool: str, tmp_path: Path, number: signal.Signals, code: int, what: str
) -> None:
    words = ["run", "--model", "oracle", "--task", task, "--segmenter", tool, "--limit", "4"]
    words += ["--out", str(tmp_path / "run")]
    ran = subprocess.run(
        [sys.executable, "-c", AT, str(int(number)), what, *words], capture_output=True, text=True, check=False
    )
    assert ran.returncode == code, ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("error: stopped")
    assert "Traceback" not in ran.stderr
    whole = hlmat_bench.run("oracle", task, tool, limit=4, out=tmp_path / "whole")
    assert timeless(hlmat_bench.run("oracle", task, tool, limit=4, out=tmp_path / "run")) == timeless(whole)


def test_a_handler_of_a_library_that_exits_is_a_stop() -> None:
    with pytest.raises(Stopped) as stopped, handlers_kept():
        sys.exit(signal.SIGTERM)
    assert stopped.value.exit_code == 143


def test_ceilings_stop_in_the_same_way(task: str, tmp_path: Path) -> None:
    body = f"\n            pathlib.Path('{tmp_path}/hangs').touch(); {HANG}"
    tool = plugin(tmp_path / "odd.py", SEGMENTER, body, "calls > 3")
    words = ["ceilings", "--task", task, "--segmenter", tool, "--grace", "0.1", "--out", str(tmp_path / "out")]
    ran = program(*words, stderr=tmp_path / "said")
    await_that((tmp_path / "hangs").exists)
    ran.send_signal(signal.SIGTERM)
    assert ran.wait(60) == 143
    assert "error: stopped; what was finished is kept" in (tmp_path / "said").read_text()
