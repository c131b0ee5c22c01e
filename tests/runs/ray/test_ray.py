"""Runs with workers: the same episodes as without, whatever dies meanwhile."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import hlmat_bench
from hlmat_bench.core.errors import UsageError
from tests.support.episodes import timeless

pytestmark = pytest.mark.slow

POISON = """
import os, signal
from hlmat_bench.testing import DiscSegmenter

class Poison(DiscSegmenter):
    def open(self, image):
        if int(image.sum()) == SUM:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open(image)

SEGMENTERS = {"poison": Poison}
"""
SLOW = """
import time
from hlmat_bench.testing import DiscSegmenter

class Slow(DiscSegmenter):
    def open(self, image):
        time.sleep(0.2)
        return super().open(image)

SEGMENTERS = {"slow": Slow}
"""


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """Start Ray once for all tests that play in this process."""
    import ray

    ray.init("local", num_cpus=4, include_dashboard=False, configure_logging=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_play_the_same_episodes(workers: int, tmp_path: Path) -> None:
    how = {"budget": 3, "limit": 12, "settings": {"history": True}}
    alone = hlmat_bench.run("oracle,misplaced=0.3", "hres_synth", out=tmp_path / "alone", **how)
    told: list[tuple[int, int]] = []
    together = hlmat_bench.run(
        "oracle,misplaced=0.3",
        "hres_synth",
        out=tmp_path / "together",
        workers=workers,
        progress=lambda *numbers: told.append(numbers),
        **how,
    )
    assert timeless(together) == timeless(alone)
    assert together.finished()
    same = ("model", "task", "segmenter", "protocol", "protocol_fingerprint", "points", "seed", "samples")
    assert [together.manifest[key] for key in same] == [alone.manifest[key] for key in same]
    assert told == [(done, 12) for done in range(13)]


def test_any_number_of_workers_continues_a_run(task: str, tool: str, tmp_path: Path) -> None:
    undisturbed = hlmat_bench.run("oracle", task, tool, out=tmp_path / "a")
    for limit, workers in ((7, 3), (15, None), (22, 1), (31, None), (None, 2)):
        run = hlmat_bench.run("oracle", task, tool, out=tmp_path / "b", limit=limit, workers=workers)
        assert run.finished()
    assert timeless(run) == timeless(undisturbed)


def test_an_image_that_kills_its_worker_is_recorded_as_failed(task: str, boxes: Path, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    total = int(np.asarray(Image.open(boxes / "images" / "3.png").convert("RGB")).sum())
    (tmp_path / "poison.py").write_text(POISON.replace("SUM", str(total)))
    run = hlmat_bench.run("center", task, str(tmp_path / "poison.py"), out=tmp_path / "run", workers=2)
    failed = [episode for episode in run.episodes() if episode.stop == "error"]
    assert {episode.image for episode in failed} == {"3.png"}
    assert len(failed) == 2
    assert {episode.error for episode in failed} == {"The worker process died 3 times while it played this image."}
    assert run.scores()["n"] == 40
    assert run.scores()["failures"]["episodes"] == 2
    assert run.finished()
    others = hlmat_bench.run("center", task, _harmless(tmp_path), out=tmp_path / "others")
    kept = [value for value in timeless(others) if value["image"] != "3.png"]
    assert [value for value in timeless(run) if value["image"] != "3.png"] == kept


def _harmless(folder: Path) -> str:
    """Return a segmenter that makes the same masks and kills nobody."""
    (folder / "poison_2.py").write_text(POISON.replace("SUM", "-1"))
    return str(folder / "poison_2.py")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": "many"}, "--workers must be a number from 1, or auto"),
        ({"workers": 0}, "--workers must be a number from 1, or auto"),
        ({"executor": "local", "workers": 2}, "leave --executor local out"),
        ({"executor": "slurm"}, "--executor must be local or ray"),
        ({"workers": 1, "max_requests": 5}, "runs here, so leave them out"),
        ({"workers": 1, "segmenter": "no_such"}, "no segmenter called 'no_such'"),
    ],
)
def test_what_the_user_can_correct_is_one_sentence(
    given: dict[str, object], message: str, task: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        hlmat_bench.run("oracle", task, out=tmp_path, **given)


def test_an_error_of_a_plug_in_ends_the_run_and_is_in_its_log(task: str, tool: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        POISON.replace("int(image.sum()) == SUM", "True").replace(
            "os.kill(os.getpid(), signal.SIGKILL)", "raise ZeroDivisionError('no ' + 'luck')"
        )
    )
    with pytest.raises(UsageError, match=r"ZeroDivisionError: no luck.*plug-in"):
        hlmat_bench.run("center", task, str(tmp_path / "bad.py"), out=tmp_path / "run", workers=1)
    assert "ZeroDivisionError: no luck" in (tmp_path / "run" / "errors.log").read_text()


def test_workers_that_die_and_a_driver_that_dies_lose_nothing(task: str, tool: str, tmp_path: Path) -> None:
    """A random worker is killed again and again; the program once, and once it is asked to end."""
    (tmp_path / "slow.py").write_text(SLOW)
    words = ["run", "--model", "oracle", "--task", task, "--segmenter", str(tmp_path / "slow.py"), "--budget", "4"]
    undisturbed = hlmat_bench.run("oracle", task, str(tmp_path / "slow.py"), budget=4, out=tmp_path / "undisturbed")
    generator = random.Random(0)
    command = [sys.executable, "-m", "hlmat_bench", *words, "--workers", "2", "--out", str(tmp_path / "run")]
    for end, expected in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        goal = _recorded(tmp_path / "run") + 3
        while driver.poll() is None and _recorded(tmp_path / "run") < goal:
            time.sleep(0.2)
        _kill_a_worker(driver.pid, generator)
        while driver.poll() is None and _recorded(tmp_path / "run") < goal + 3:
            time.sleep(0.2)
        driver.send_signal(end)
        said, _ = driver.communicate()
        assert driver.returncode == expected, said
    run = hlmat_bench.run("oracle", task, str(tmp_path / "slow.py"), budget=4, out=tmp_path / "run")
    assert timeless(run) == timeless(undisturbed)
    assert run.finished()


def _recorded(folder: Path) -> int:
    files = [folder / "episodes.jsonl", folder / "episodes.early.jsonl"]
    return sum(path.read_bytes().count(b"\n") for path in files if path.exists())


def _kill_a_worker(driver: int, generator: random.Random) -> None:
    try:
        below = psutil.Process(driver).children(recursive=True)
        workers = [process for process in below if any("ray::Worker" in word for word in process.cmdline()[:1])]
        if workers:
            generator.choice(workers).kill()
    except psutil.NoSuchProcess:
        pass
