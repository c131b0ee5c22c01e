"""Workers that ask a model behind an API: limits, failures and paid replies are those of the whole run."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import hlmat_bench
from hlmat_bench.core.errors import UsageError
from hlmat_bench.models.api.limits import LimitReached
from hlmat_bench.protocol.records import EPISODES
from hlmat_bench.testing import Answer, ChatServer, Failure
from tests.support.episodes import timeless

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """Start Ray once for all tests that play in this process."""
    import ray

    ray.init("local", num_cpus=4, include_dashboard=False, configure_logging=False, log_to_driver=False)
    yield
    ray.shutdown()


class Clicker:
    """A server that clicks by what it is asked alone, counts the questions, and may do something at one of them."""

    def __init__(self, deed: Any = None, at: int = 0) -> None:
        self.asked: Counter[tuple[str, bytes]] = Counter()
        self._deed, self._at, self._lock = deed, at, threading.Lock()

    def __call__(self, body: Any, image: Any, prompt: str) -> Answer:
        [name] = re.findall("The object: (.*)\n", prompt)
        painted = int(image.sum())
        with self._lock:
            self.asked[name, painted.to_bytes(8)] += 1
            if sum(self.asked.values()) == self._at:
                self._deed()
        return f"Positive point: ({painted % 997}, {painted % 991})"


def play(server: ChatServer, task: str, tool: str, out: Path, **options: Any) -> hlmat_bench.Run:
    model = f"openai,model=fake,base_url={server.base_url},points=xy1000,retries=0"
    return hlmat_bench.run(model, task, tool, out=out, **{"limit": 10, "budget": 3, **options})


def test_the_limit_holds_over_all_workers(task: str, tool: str, tmp_path: Path) -> None:
    clicker, out = Clicker(), tmp_path / "run"
    with ChatServer(clicker) as server:
        for finished in (3, 6, 9):
            with pytest.raises(LimitReached, match=f"{finished} of 10 episodes are done"):
                play(server, task, tool, out, max_requests=10, workers=2)
            assert clicker.asked.total() == 3 * finished
        run = play(server, task, tool, out, max_requests=10, workers=2)
        assert clicker.asked.total() == 30
        assert timeless(run) == timeless(play(server, task, tool, tmp_path / "alone"))


def test_a_server_that_fails_ends_the_run_and_nothing_is_recorded(task: str, tool: str, tmp_path: Path) -> None:
    with (
        ChatServer(lambda *_: Failure(500)) as server,
        pytest.raises(UsageError, match="The first 3 requests .* failed alike.*the same command continues"),
    ):
        play(server, task, tool, tmp_path / "run", workers=2)
    assert (tmp_path / "run" / EPISODES).read_bytes() == b""


def test_no_answered_question_is_asked_again_when_a_worker_dies(task: str, tool: str, tmp_path: Path) -> None:
    """The only worker is killed at its 14th question: what it was answered before is kept by the driver."""
    clicker = Clicker(_kill_workers, at=14)
    with ChatServer(clicker) as server:
        run = play(server, task, tool, tmp_path / "run", workers=1, concurrency=1)
        assert max(clicker.asked.values()) <= 2
        assert clicker.asked.total() == 31, "only the question under way is asked again"
        assert timeless(run) == timeless(play(server, task, tool, tmp_path / "alone"))


def _kill_workers() -> None:
    for process in psutil.Process().children(recursive=True):
        if process.cmdline()[0].startswith("ray::Worker"):
            process.kill()
