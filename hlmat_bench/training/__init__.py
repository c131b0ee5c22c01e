"""One environment for every trainer: episodes played by the rules of a run, and rewards for what they came to.

The code that scores is the code that trains: a session plays an episode with the task, the segmenter, the prompts and
the rules of ``hlmat-bench run``, and a reward is computed from what the run would record.

    settings = SessionSettings(task="hres_synth", segmenter="graphcut", points="xy1000")
    session = settings.shared().open(0)
    request = session.request()  # the painted image and the prompt
    outcome = session.step("Positive point: (500, 500)")

``gymnasium.make("hlmat/Click-v0", task=...)`` finds the environment as soon as this package is imported. The modules
`trl`, `verl`, `verifiers`, `openenv` and `vagen` have the classes of these frameworks. Nothing heavy is imported here.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hlmat_bench.training.dataset import LazyExport, TrajectoryDataset
    from hlmat_bench.training.gym import HLMATEnv
    from hlmat_bench.training.pool import SessionPool, SessionSettings
    from hlmat_bench.training.rewards import RewardSettings, episode_rewards
    from hlmat_bench.training.session import ClickSession, Outcome, SavedState
    from hlmat_bench.training.snapshot_rewards import SnapshotRewards, compute_score, reward, rows
    from hlmat_bench.training.states import Snapshot, snapshots

__all__ = [
    "ClickSession",
    "HLMATEnv",
    "LazyExport",
    "Outcome",
    "RewardSettings",
    "SavedState",
    "SessionPool",
    "SessionSettings",
    "Snapshot",
    "SnapshotRewards",
    "TrajectoryDataset",
    "compute_score",
    "episode_rewards",
    "reward",
    "rows",
    "snapshots",
]

_PLACES = {
    "HLMATEnv": "gym",
    **dict.fromkeys(("LazyExport", "TrajectoryDataset"), "dataset"),
    **dict.fromkeys(("SessionPool", "SessionSettings"), "pool"),
    **dict.fromkeys(("RewardSettings", "episode_rewards"), "rewards"),
    **dict.fromkeys(("ClickSession", "Outcome", "SavedState"), "session"),
    **dict.fromkeys(("Snapshot", "snapshots"), "states"),
}

#: The name of the environment in Gymnasium's registry.
ENVIRONMENT = "hlmat/Click-v0"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'hlmat_bench.training' has no attribute {name!r}")
    return getattr(importlib.import_module(f"hlmat_bench.training.{_PLACES.get(name, 'snapshot_rewards')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register() -> None:
    """Tell Gymnasium of the environment, where Gymnasium is installed."""
    if importlib.util.find_spec("gymnasium") is None:
        return
    from gymnasium.envs.registration import register, registry

    if ENVIRONMENT not in registry:
        register(ENVIRONMENT, entry_point="hlmat_bench.training.gym:HLMATEnv")


_register()
