"""verifiers 0.3.1 and later, its interface ``verifiers.v1``: a taskset of samples, and the environment that plays them.

verifiers finds a taskset by the name of an installed module. Write a module of your own with two lines, for example
``hlmat_click.py``, and evaluate or train with ``--env.taskset.id hlmat_click``:

    from hlmat_bench.training.verifiers import ClickEnv, ClickTaskset
    __all__ = ["ClickEnv", "ClickTaskset"]

The settings of sessions stand in the section ``[env.taskset.sessions]`` of its TOML file. An episode is a conversation:
each user turn has the painted image and the whole prompt, and each reply is a step.

Interfaces: ``verifiers/v1/{taskset,task,env,agent,trace}.py`` of the wheel verifiers 0.3.1. This module imports
verifiers.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from typing import Any

import verifiers.v1 as vf
from pydantic import Field

from hlmat_bench.core import images
from hlmat_bench.training.conversation import Conversation, Turn
from hlmat_bench.training.pool import SessionPool, SessionSettings

__all__ = ["ClickEnv", "ClickTaskset"]

#: The key of a trace's ``info`` under which stands what the episode came to.
INFO = "hlmat"


class ClickConfig(vf.TasksetConfig):  # type: ignore[misc]
    """The taskset's configuration: ``sessions`` holds the settings of `SessionSettings`."""

    sessions: dict[str, Any] = Field(default_factory=dict)

    def pool(self) -> SessionPool:
        """Return the pool of these sessions; see `SessionSettings.shared`."""
        return SessionSettings.of(self.sessions).shared()


class ClickData(vf.TaskData):  # type: ignore[misc]
    """A sample by its id. The prompt is left open: the environment opens the conversation."""

    sample: str


class ClickTask(vf.Task[ClickData, vf.State, vf.TaskConfig]):  # type: ignore[misc]
    """The annotation of a sample."""

    @property
    def key(self) -> str:
        """The id of the sample."""
        return str(self.data.sample)

    @vf.reward(weight=1.0)  # type: ignore[untyped-decorator]
    async def hlmat(self, trace: Any) -> float:
        """Return the reward of the episode; a trace without an episode is an error, no reward of 0."""
        return float(trace.info[INFO]["reward"])

    @vf.metric  # type: ignore[untyped-decorator]
    async def iou(self, trace: Any) -> float:
        """Return the IoU at the end."""
        return float(trace.info[INFO]["iou"])


class ClickTaskset(vf.Taskset[ClickTask, ClickConfig]):  # type: ignore[misc]
    """All samples of a task."""

    def load(self) -> Iterable[ClickTask]:
        """Give a task for each sample; no image is read."""
        for number, sample in enumerate(self.config.pool().samples):
            data = ClickData(idx=number, name=sample.id, description=sample.expression, sample=sample.id)
            yield ClickTask(data, self.config.task)


class ClickEnv(vf.SingleAgentEnv):  # type: ignore[misc]
    """Plays a sample with the agent, turn by turn."""

    async def run(self, task: Any, agents: Any) -> None:
        """Play one episode. What it came to stands in the trace's ``info`` before the trace is scored.

        Raises:
            HlmatError: when the segmenter fails; verifiers records the episode as failed.
        """
        pool = await asyncio.to_thread(self.taskset.config.pool)
        conversation = await asyncio.to_thread(Conversation, pool, task.data.sample)
        turn = await asyncio.to_thread(conversation.opening)
        async with agents.agent.interaction(task) as talk:
            while not turn.over:
                segment = await talk.turn([_message(turn)])
                if segment.terminated:
                    break
                turn = await asyncio.to_thread(conversation.say, _said(segment))
            talk.trace.info[INFO] = await asyncio.to_thread(_summary, conversation)


def _message(turn: Turn) -> Any:
    """Return a user message with image and prompt."""
    assert turn.image is not None
    url = f"data:image/png;base64,{base64.b64encode(images.encode(turn.image, 'png')).decode()}"
    image = vf.ImageUrlContentPart(image_url=vf.ImageUrlSource(url=url))
    return vf.UserMessage(content=[image, vf.TextContentPart(text=turn.text)])


def _said(segment: Any) -> str:
    """Return what the agent said last, unchanged: `Segment.last_reply` cuts off blanks."""
    said = [message.content for message in segment.messages if isinstance(message, vf.AssistantMessage)]
    return str(said[-1] or "") if said else ""


def _summary(conversation: Conversation) -> dict[str, Any]:
    """Return what an episode came to, as JSON values."""
    state = conversation.session.state
    return {
        "reward": conversation.reward(),
        "iou": state.iou,
        "end": conversation.session.end,
        "steps": [outcome.info() for outcome in conversation.outcomes],
    }
