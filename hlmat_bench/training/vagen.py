"""VAGEN (https://github.com/mll-lab-nu/VAGEN, 2026-07-23): an environment with the interface of its ``GymImageEnv``.

VAGEN reads environments from its ``env_registry.yaml`` by their dotted path, here
``hlmat_bench.training.vagen.ClickImageEnv``, and needs no base class:

- ``__init__(env_config: dict)``
- ``async reset(seed: int) -> (obs, info)``
- ``async step(action_str: str) -> (obs, reward, done, info)``
- ``async system_prompt() -> obs``
- ``async close()``

An ``obs`` is ``{"obs_str": "... <image> ...", "multi_modal_input": {"<image>": [PIL image]}}``; ``info["success"]``
counts in its logs. In VAGEN's mode without concatenation each turn stands alone, as in the click protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np

from hlmat_bench.core.errors import UsageError
from hlmat_bench.training.conversation import Conversation, Turn
from hlmat_bench.training.pool import SessionSettings

IMAGE = "<image>"


class ClickImageEnv:
    """One episode at a time.

    Args:
        env_config: the settings of `SessionSettings`, and ``success_iou`` (0.8), the IoU from which an episode counts
            as a success in VAGEN's logs.

    Raises:
        UsageError: when they do not fit.
    """

    def __init__(self, env_config: Mapping[str, Any]) -> None:
        options = dict(env_config)
        self._success = float(options.pop("success_iou", 0.8))
        self._settings = SessionSettings.of(options)
        self._conversation: Conversation | None = None

    async def system_prompt(self) -> dict[str, Any]:
        """Return an empty observation: the prompt of each step holds the whole instruction."""
        return {"obs_str": "", "multi_modal_input": {IMAGE: []}}

    async def reset(self, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Open the episode of the sample that a seed draws: seeds below the number of samples name them in order."""
        pool = await asyncio.to_thread(self._settings.shared)
        number = seed if 0 <= seed < len(pool) else int(np.random.default_rng(abs(seed)).integers(len(pool)))
        self._conversation = await asyncio.to_thread(Conversation, pool, number)
        turn = await asyncio.to_thread(self._conversation.opening)
        return _observation(turn), {"sample": self._conversation.session.sample.id, "success": False}

    async def step(self, action_str: str) -> tuple[dict[str, Any], float, bool, dict[str, Any]]:
        """Take a reply.

        Raises:
            UsageError: before `reset`, and after the end of the episode.
            PluginFailed: when the segmenter fails.
        """
        if (conversation := self._conversation) is None:
            raise UsageError("No episode is running; call reset() first.")
        turn = await asyncio.to_thread(conversation.say, action_str)
        outcome = conversation.outcomes[-1]
        info = {**outcome.info(), "success": turn.over and outcome.after >= self._success}
        return _observation(turn), outcome.reward.total, turn.over, info

    async def close(self) -> None:
        """Forget the episode."""
        self._conversation = None


def _observation(turn: Turn) -> dict[str, Any]:
    return {"obs_str": f"{IMAGE}\n{turn.text.replace(IMAGE, '')}", "multi_modal_input": {IMAGE: turn.pictures()}}
