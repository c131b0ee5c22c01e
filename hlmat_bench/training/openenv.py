"""OpenEnv 0.10 (https://github.com/huggingface/OpenEnv): the environment as a server, ``hlmat-bench serve-env``.

Each connection is a session of its own; all share the task and the segmenter. A client needs no package of ours:

    with GenericEnvClient(base_url="http://127.0.0.1:8766").sync() as env:
        result = env.reset(sample="hres_synth/0")
        result = env.step({"reply": "Positive point: (500, 500)"})

Interfaces: ``openenv/core/env_server/interfaces.py``, ``types.py`` and ``http_server.py`` of the wheel openenv 0.10.0.
This module imports openenv.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State
from pydantic import Field

from hlmat_bench.core import images
from hlmat_bench.core.errors import UsageError
from hlmat_bench.segmenters.server.app import listen
from hlmat_bench.training.conversation import Conversation, Turn
from hlmat_bench.training.pool import SessionPool, SessionSettings

#: The only split of a task.
SPLIT = "samples"


class ClickAction(Action):  # type: ignore[misc]
    """A reply of the policy."""

    reply: str = Field(description="What the policy said, in the point format of the environment.")


class ClickObservation(Observation):  # type: ignore[misc]
    """What the policy is shown: ``metadata`` holds what the last reply came to."""

    prompt: str = Field(description="The whole instruction.")
    image: str = Field(description="The painted image: a PNG file in base64.")
    sample: str = Field(description="The id of the sample.")


class ClickState(State):  # type: ignore[misc]
    """The state of the episode."""

    sample: str | None = Field(None, description="The id of the sample.")
    end: str | None = Field(None, description="Why the episode is over: stop, stuck, budget or error.")


class ClickServerEnvironment(Environment[ClickAction, ClickObservation, ClickState]):  # type: ignore[misc]
    """One episode at a time, for one connection.

    Args:
        settings: what sessions are opened from.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, settings: SessionSettings) -> None:
        super().__init__()
        self._settings = settings
        self._conversation: Conversation | None = None
        self._episode: str | None = None

    @property
    def _pool(self) -> SessionPool:
        return self._settings.shared()

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> ClickObservation:
        """Open an episode: of ``sample`` (a number or an id), of ``split`` and ``index``, or of one that is drawn.

        Raises:
            UsageError: when there is no such sample.
        """
        chosen = kwargs.get("sample", kwargs.get("index"))
        if chosen is None:
            chosen = int(np.random.default_rng(seed).integers(len(self._pool)))
        self._check_split(kwargs.get("split", SPLIT))
        self._conversation, self._episode = None, episode_id
        self._conversation = Conversation(self._pool, chosen)
        state = self._conversation.session.state
        return self._observation(self._conversation.opening(), None, {"iou": state.iou})

    def step(self, action: ClickAction, timeout_s: float | None = None, **kwargs: Any) -> ClickObservation:
        """Take a reply.

        Raises:
            UsageError: before `reset`, and after the end of the episode.
            PluginFailed: when the segmenter fails; the client gets an error and no reward.
        """
        if (conversation := self._conversation) is None:
            raise UsageError("No episode is running; call reset() first.")
        turn = conversation.say(action.reply)
        outcome = conversation.outcomes[-1]
        return self._observation(turn, outcome.reward.total, {**outcome.info(), "truncated": outcome.truncated})

    @property
    def state(self) -> ClickState:
        """The episode, the number of its steps, its sample and its end."""
        if (conversation := self._conversation) is None:
            return ClickState(episode_id=self._episode)
        session = conversation.session
        steps = len(session.state.steps)
        return ClickState(episode_id=self._episode, step_count=steps, sample=session.sample.id, end=session.end)

    def list_splits(self) -> list[str]:
        """Return the only split."""
        return [SPLIT]

    def num_tasks(self, split: str) -> int:
        """Return the number of samples."""
        self._check_split(split)
        return len(self._pool)

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """Return all samples."""
        return [self.get_task(split, index) for index in range(self.num_tasks(split))]

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """Return a sample.

        Raises:
            IndexError: when there is none of that number, as OpenEnv's server expects it.
        """
        if not 0 <= index < self.num_tasks(split):
            raise IndexError(f"There is no sample number {index}; they are 0 to {len(self._pool) - 1}.")
        sample = self._pool.samples[index]
        return {"id": sample.id, "index": index, "expression": sample.expression}

    def _check_split(self, split: str) -> None:
        if split != SPLIT:
            raise UsageError(f"There is no split {split!r}; the only one is {SPLIT!r}.")

    def _observation(self, turn: Turn, reward: float | None, info: dict[str, Any]) -> ClickObservation:
        assert turn.image is not None and self._conversation is not None
        return ClickObservation(
            prompt=turn.text,
            image=base64.b64encode(images.encode(turn.image, "png")).decode(),
            sample=self._conversation.session.sample.id,
            done=turn.over,
            reward=reward,
            metadata=info,
        )


def make_app(settings: SessionSettings, sessions: int) -> Any:
    """Return the FastAPI application.

    Args:
        settings: what sessions are opened from; the task and the segmenter are opened now.
        sessions: most connections at once.

    Raises:
        UsageError: when a part cannot be opened.
    """
    settings.shared()
    return create_fastapi_app(
        lambda: ClickServerEnvironment(settings),
        ClickAction,
        ClickObservation,
        max_concurrent_envs=sessions,
        env_name="hlmat",
        state_cls=ClickState,
    )


def serve(settings: SessionSettings, host: str, port: int, sessions: int, ready: Callable[[str], None]) -> None:
    """Serve the environment until it is interrupted.

    Args:
        settings: what sessions are opened from.
        host: interface to listen on.
        port: port to listen on; 0 takes a free one.
        sessions: most connections at once.
        ready: is called with the address when connections are accepted.

    Raises:
        UsageError: when a part cannot be opened, or the port is taken.
    """
    listen(make_app(settings, sessions), host, port, ready)
