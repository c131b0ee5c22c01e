"""The command serve-env, where OpenEnv is not installed; tests/servers has it with OpenEnv."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from hlmat_bench.core.errors import UsageError
from hlmat_bench.training.rewards import RewardSettings


@pytest.mark.skipif(importlib.util.find_spec("openenv") is not None, reason="openenv is installed")
def test_it_says_what_is_missing() -> None:
    command = [sys.executable, "-m", "hlmat_bench", "serve-env", "--task", "hres_synth"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].endswith("pip install 'openenv>=0.10'.")


def test_rewards_on_the_command_line() -> None:
    assert RewardSettings.parse(["ibis-agent"]) == "ibis-agent"
    assert RewardSettings.parse(["gain=1", "turns=0.01"]) == {"gain": 1.0, "turns": 0.01}
    for words in (["gain", "turns=1"], ["gain=much"]):
        with pytest.raises(UsageError, match="should look like gain=1"):
            RewardSettings.parse(words)
