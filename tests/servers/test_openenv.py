"""The environment server against OpenEnv's own client, with many sessions at once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import hlmat_bench
from hlmat_bench.training.rewards import RewardSettings, episode_rewards
from tests.servers.programs import free_port, program, running
from tests.support.babbling import Babbler

pytestmark = pytest.mark.servers
OPTIONS = ["--task", "hres_synth", "--limit", "12", "--budget", "3", "--resize", "fit-long64"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command = [program("openenv", "python"), "-m", "hlmat_bench", "serve-env", *OPTIONS, "--port", str(port)]
    log = tmp_path_factory.mktemp("openenv") / "log"
    with running(command, f"http://127.0.0.1:{port}/health", log):
        yield f"http://127.0.0.1:{port}"


def test_episodes_of_concurrent_sessions_are_those_of_a_run(url: str, tmp_path: Path) -> None:
    """Twelve clients play at once, each sample with the replies that a run's model gives."""
    command = [program("openenv", "python"), "-m", "tests.servers.openenv_program", url, "12"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    played = json.loads(ran.stdout.splitlines()[-1])
    model = Babbler(resize="fit-long64")
    run = hlmat_bench.run(model, "hres_synth", limit=12, budget=3, out=tmp_path)
    for number, episode in enumerate(run.episodes()):
        ours = played["episodes"][number]
        assert ours["sample"] == episode.sample_id
        assert ours["rewards"] == [one.total for one in episode_rewards(episode, RewardSettings.of("gain"))]
        assert ours["ious"] == [step.iou for step in episode.steps]
        assert ours["end"] == episode.stop
        assert ours["side"] == 64
    assert played["tasks"] == 12
    assert "no sample number 99" in played["refused"]
