"""Kills, full disks, damaged lines and wrong clocks: the same command gives the episodes of an undisturbed run."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hlmat_bench
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.records import EPISODES
from hlmat_bench.runs.episode_log import DAMAGED, recorded
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.testing import ChatServer
from tests.support.episodes import timeless
from tests.support.faults import await_that, command, program

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("HLMAT_KILLS", "2"))
LIMITED = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)\n"
BACKWARDS = "import itertools, time; back = itertools.count(2e9, -1000); time.time = lambda: float(next(back))\n"
MAIN = "from hlmat_bench.__main__ import main; main()"


@pytest.fixture(scope="module")
def whole(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return hlmat_bench.run("oracle", task, tool, limit=6, budget=2, out=tmp_path_factory.mktemp("whole") / "run")


def again(whole: Run, task: str, tool: str, folder: Path) -> None:
    assert timeless(hlmat_bench.run("oracle", task, tool, limit=6, budget=2, out=folder)) == timeless(whole)


def test_killed_at_random_moments_it_is_the_undisturbed_run(task: str, tool: str, tmp_path: Path) -> None:
    """What a killed process had asked for and not yet received, at most 4 replies, is all that is asked again."""
    moments, kills, asked, folder = random.Random(12), 0, itertools.count(), tmp_path / "run"

    def answer(*_: object) -> str:
        next(asked)
        return "Positive point: (500, 500)"

    with ChatServer(answer) as server:
        model = f"openai,model=x,points=xy1000,api_key=x,base_url={server.base_url}"
        words = ["run", "--model", model, "--task", task, "--segmenter", f"{tool},pause=0.02", "--concurrency", "4"]
        assert command(*words, "--out", str(tmp_path / "whole")).returncode == 0
        whole = begun = next(asked)
        while kills < KILLS:
            ran = program(*words, "--out", str(folder), stderr=tmp_path / "said")
            await_that((folder / EPISODES).exists)
            time.sleep(moments.uniform(0, 1))
            if ran.poll() is not None:
                assert ran.returncode == 0, (tmp_path / "said").read_text()
                shutil.rmtree(folder)  # it came to its end: the next one begins anew
                begun = next(asked)
            ran.kill()
            kills += ran.wait() == -9
        assert command(*words, "--out", str(folder)).returncode == 0
        assert next(asked) - begun <= whole + 4 * KILLS
    assert timeless(Run(folder)) == timeless(Run(tmp_path / "whole"))


@pytest.mark.parametrize("size", [1, 4000, 8000])
def test_a_disk_that_is_full_at_any_file(whole: Run, task: str, tool: str, tmp_path: Path, size: int) -> None:
    """No file may grow beyond a size; a limit on file sizes stands in for a full disk."""
    words = ["run", "--model", "oracle", "--task", task, "--segmenter", tool, "--limit", "6", "--budget", "2"]
    ran = subprocess.run(
        [sys.executable, "-B", "-c", LIMITED + MAIN, str(size), *words, "--out", str(tmp_path / "run")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 2, ran.stderr
    assert "File too large" in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
    again(whole, task, tool, tmp_path / "run")


def test_a_disk_that_is_full_while_paid_replies_are_kept(task: str, tool: str, tmp_path: Path) -> None:
    with ChatServer(lambda *_: "Positive point: (500, 500) " + "for a reason " * 40) as server:
        model = f"openai,model=x,points=xy1000,api_key=x,base_url={server.base_url}"
        words = ["run", "--model", model, "--task", task, "--segmenter", tool, "--limit", "6", "--budget", "3"]
        ran = subprocess.run(
            [sys.executable, "-B", "-c", LIMITED + MAIN, "4000", *words, "--out", str(tmp_path / "run")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 2, ran.stderr
        assert "make room" in ran.stderr.splitlines()[-1]
        assert "Traceback" not in ran.stderr
        for name in ("run", "whole"):
            hlmat_bench.run(model, task, tool, limit=6, budget=3, out=tmp_path / name)
    assert timeless(Run(tmp_path / "run")) == timeless(Run(tmp_path / "whole"))


def test_images_that_break_meanwhile_end_the_run_until_they_are_back(
    whole: Run, boxes: Path, tool: str, tmp_path: Path
) -> None:
    shutil.copytree(boxes, tmp_path / "data")
    for part, broken in (("images/1.png", b""), ("masks/1_left.png", b"no image")):
        path, out = tmp_path / "data" / part, tmp_path / part.replace("/", "_")
        kept = path.read_bytes()

        def harm(done: int, total: int, path: Path = path, broken: bytes = broken) -> None:
            path.write_bytes(broken)

        options = {"limit": 6, "budget": 2, "concurrency": 1, "out": out}
        with pytest.raises(UsageError, match=path.name):
            hlmat_bench.run("oracle", str(tmp_path / "data" / "boxes.yaml"), tool, progress=harm, **options)
        path.write_bytes(kept)
        made = hlmat_bench.run("oracle", str(tmp_path / "data" / "boxes.yaml"), tool, **options)
        assert timeless(made) == timeless(whole)


def test_a_last_line_that_is_cut_at_every_byte(whole: Run, task: str, tool: str, tmp_path: Path) -> None:
    data = (whole.folder / EPISODES).read_bytes()
    last = data.splitlines(keepends=True)[-1]
    folder = tmp_path / "run"
    shutil.copytree(whole.folder, folder)
    for size in range(len(data) - len(last), len(data)):
        (folder / EPISODES).write_bytes(data[:size])
        assert len(recorded(folder)) == 5
    again(whole, task, tool, folder)


def test_a_bit_that_flips_anywhere_is_found(whole: Run, task: str, tool: str, tmp_path: Path) -> None:
    """One bit of every byte of the digest and of the line's end, and of every fifth byte of the third line."""
    data = (whole.folder / EPISODES).read_bytes()
    lines = data.splitlines(keepends=True)
    begin, end = len(lines[0] + lines[1]), len(lines[0] + lines[1] + lines[2])
    bits = [(place, place % 8) for place in range(begin, end - 80, 5)]
    bits += [(place, place % 8) for place in range(end - 80, end)]
    folder = tmp_path / "run"
    shutil.copytree(whole.folder, folder)
    for place, bit in bits:
        changed = bytearray(data)
        changed[place] ^= 1 << bit
        (folder / EPISODES).write_bytes(changed)
        assert len(recorded(folder)) <= 5, (place, bit)
        assert (folder / DAMAGED).exists()
        (folder / DAMAGED).unlink()
    again(whole, task, tool, folder)


def test_a_clock_that_runs_backwards(whole: Run, task: str, tool: str, tmp_path: Path) -> None:
    words = ["run", "--model", "oracle", "--task", task, "--segmenter", tool, "--limit", "6", "--budget", "2"]
    code = [sys.executable, "-c", BACKWARDS + MAIN, *words, "--out", str(tmp_path / "run")]
    subprocess.run(code, capture_output=True, check=True)
    assert timeless(Run(tmp_path / "run")) == timeless(whole)
