"""Servers that others wrote, each in a process of its own, and whole runs against them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from hlmat_bench.protocol.records import Episode
from hlmat_bench.runs.run_folder import Run

ENVIRONMENTS = Path(__file__).resolve().parents[2] / ".venv-servers"
OFFLINE = {"HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
SAYS = "Positive point: (250, 500)"


def program(environment: str, name: str) -> str:
    """Return the path of a program of the environment that `make server-envs` builds."""
    path = ENVIRONMENTS / environment / "bin" / name
    if not path.exists():
        pytest.skip(f"needs {path}: run `make server-envs`")
    return str(path)


def nginx_program() -> str:
    """Return the path of nginx, which comes from the system's packages."""
    path = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        pytest.skip("needs nginx: install the system's package")
    return path


def free_port() -> int:
    """Return a port of the loopback interface at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: Sequence[str], health: str, log: Path) -> Iterator[None]:
    """Run a server until the block ends.

    Args:
        command: the program and its arguments.
        health: an address that answers with a status below 500 as soon as the server is ready.
        log: the file that takes its output.
    """
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | OFFLINE, start_new_session=True
        )
    try:
        _await(process, health, log)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and says why in its log
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    deadline = time.monotonic() + 300  # a guard against waiting for ever, far above what any server needs
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx2.get(health, trust_env=False, timeout=5).status_code < 500:
                return
        except httpx2.TransportError:
            time.sleep(0.1)
    pytest.fail(f"{health} does not answer:\n{log.read_text()}")


@dataclass(frozen=True)
class Played:
    """What a run of the command line came to.

    Attributes:
        code: its exit code.
        out: what it printed as its result.
        errors: what it printed beside that.
        folder: the run's folder.
    """

    code: int
    out: str
    errors: str
    folder: Path

    def episodes(self) -> list[Episode]:
        """Return the recorded episodes."""
        return list(Run(self.folder).episodes())


def play(folder: Path, base_url: str, model: str, *, more: str = "", key: str | None = None) -> Played:
    """Play three samples of `hres_synth`, two clicks each, with the command line."""
    spec = f"openai,model={model},base_url={base_url},points=xy1000,retries=1{more}"
    command = [sys.executable, "-m", "hlmat_bench", "run", "--model", spec, "--task", "hres_synth", "--limit", "3"]
    ran = subprocess.run(
        [*command, "--budget", "2", "--out", str(folder)], capture_output=True, text=True, env=_environment(key)
    )
    return Played(ran.returncode, ran.stdout, ran.stderr, folder)


def _environment(key: str | None) -> dict[str, str]:
    outside = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
    inside = {name: value for name, value in os.environ.items() if name not in outside}
    return inside if key is None else inside | {"OPENAI_API_KEY": key}


def check_good(played: Played) -> None:
    """Every reply came through, and the click is at a quarter of the width and half of the height, as `SAYS` says."""
    assert played.code == 0, played.errors
    episodes = played.episodes()
    assert len(episodes) == 3
    for episode in episodes:
        height, width = episode.size
        first, second = episode.steps
        assert (first.raw, second.raw) == (SAYS, SAYS)
        assert (first.action.x, first.action.y) == (width // 4, height // 2)
        assert second.action.reason == "repeat"


def check_refused(played: Played, *words: str) -> None:
    """Check that the run ends with a code that a script notices, and its last line is a sentence with these words."""
    assert "Traceback" not in played.errors + played.out
    assert played.code in (2, 3), played.errors
    said = played.errors.strip().splitlines()[-1]
    assert said.endswith("."), said
    for word in words:
        assert word in said, played.errors
