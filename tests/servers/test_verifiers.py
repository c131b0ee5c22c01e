"""The taskset and the environment for verifiers in verifiers' own engine."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import pytest

import hlmat_bench
from hlmat_bench.training.rewards import RewardSettings, episode_rewards
from tests.servers.programs import program
from tests.support.babbling import Babbler

pytestmark = pytest.mark.servers
ROOT = Path(__file__).resolve().parents[2]


def test_episodes_of_verifiers_are_those_of_a_run(tmp_path: Path) -> None:
    command = [program("verifiers", "python"), "-m", "tests.servers.verifiers_program", "12", "3"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    played = json.loads(ran.stdout.splitlines()[-1])
    run = hlmat_bench.run(Babbler(resize="fit-long64"), "hres_synth", limit=12, budget=3, out=tmp_path)
    for ours, episode in zip(played, run.episodes(), strict=True):
        assert (ours["sample"], ours["end"]) == (episode.sample_id, episode.stop)
        assert len(ours["said"]) == len(episode.steps)
        assert [step["iou"] for step in ours["steps"]] == [step.iou for step in episode.steps]
        earned = math.fsum(one.total for one in episode_rewards(episode, RewardSettings.of("gain")))
        assert ours["reward"] == pytest.approx(earned)
        assert ours["metrics"]["iou"] == episode.steps[-1].iou
