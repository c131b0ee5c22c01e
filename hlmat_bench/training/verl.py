"""verl 0.9.1: the tools of an episode for its agent loop, as subclasses of ``verl.tools.base_tool.BaseTool``.

The file that verl's ``actor_rollout_ref.rollout.multi_turn.tool_config_path`` names:

    tools:
      - class_name: hlmat_bench.training.verl.ClickTool
        config: {type: native, task: hres_synth, segmenter: "server,url=http://127.0.0.1:8765", points: xy1000}
      - class_name: hlmat_bench.training.verl.StopTool
        config: {type: native, task: hres_synth, segmenter: "server,url=http://127.0.0.1:8765", points: xy1000}

A task in which samples may have no object has a third tool, ``NoObjectTool``. The rows of the data set, which
`tool_rows` makes, name the sample in ``extra_info.tools_kwargs``. verl creates and releases a tool instance at each
call (``ToolAgentLoop._call_tool``), so an episode is kept with the ``agent_data`` of its trajectory, which all tools
get.

verl 0.9.1 asks a tool for no reward of a whole episode: name `compute_episode_score` as ``custom_reward_function``,
with the reward manager ``naive``. Where one reply to one state is trained, that is
`hlmat_bench.training.compute_score`.

Signatures: ``verl/tools/base_tool.py``, ``verl/tools/schemas.py`` and
``verl/experimental/agent_loop/tool_agent_loop.py`` of the wheel verl 0.9.1. This module imports verl.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from verl.tools.base_tool import BaseTool
from verl.tools.schemas import OpenAIFunctionToolSchema, ToolResponse

from hlmat_bench.core.errors import HlmatError, UsageError
from hlmat_bench.training.conversation import Conversation, Turn, sample_of, tool_settings
from hlmat_bench.training.pool import SessionSettings

_NUMBER = {"type": "number"}
CLICK: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "click",
        "description": "Click on the image, and get the image with the new mask.",
        "parameters": {
            "type": "object",
            "properties": {
                "x": {**_NUMBER, "description": "The horizontal position, in the unit that the instruction states."},
                "y": {**_NUMBER, "description": "The vertical position, in the unit that the instruction states."},
                "positive": {"type": "boolean", "description": "Whether the place belongs to the object."},
            },
            "required": ["x", "y", "positive"],
        },
    },
}
STOP: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "stop",
        "description": "Say that the mask covers the object and nothing else. This ends the annotation.",
        "parameters": {"type": "object", "properties": {}, "required": []},
    },
}

NO_OBJECT: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "no_object",
        "description": "Say that there is no such object in the image. This ends the annotation.",
        "parameters": {"type": "object", "properties": {}, "required": []},
    },
}

#: The key of a trajectory's ``extra_fields`` under which the reward is that is due if it ends now.
_DUE = "hlmat_due"


class _Episode:
    """The episode of a trajectory. Calls of one turn are gathered by verl; they are taken in their order."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.conversation: Conversation | None = None


#: By ``agent_data``; an episode goes when verl drops its trajectory.
_EPISODES: WeakKeyDictionary[Any, _Episode] = WeakKeyDictionary()


class _Tool(BaseTool):  # type: ignore[misc]
    """What both tools share.

    Args:
        config: the settings of `SessionSettings`, and verl's ``type``.
        tool_schema: verl's; None: the tool's own.
    """

    schema: Mapping[str, Any]

    def __init__(self, config: dict[str, Any], tool_schema: Any = None) -> None:
        super().__init__(config, tool_schema or OpenAIFunctionToolSchema.model_validate(self.schema))
        self._settings = tool_settings(_settings(config))
        self._samples: dict[str, int | str] = {}

    async def create(self, instance_id: str | None = None, **kwargs: Any) -> tuple[str, Any]:
        """Take the row's ``create_kwargs``, which name the ``sample``."""
        name = instance_id or str(uuid.uuid4())
        self._samples[name] = sample_of(kwargs.get("create_kwargs") or kwargs)
        return name, ToolResponse()

    async def execute(
        self, instance_id: str, parameters: dict[str, Any], **kwargs: Any
    ) -> tuple[Any, float, dict[str, Any]]:
        """Take a call, and return what the model is shown, the reward of the step, and metrics.

        A failure gives the reward NaN, which `compute_episode_score` refuses: verl would turn an exception into text
        and the reward 0.

        Raises:
            UsageError: when verl passes no ``agent_data``.
        """
        trajectory = kwargs.get("agent_data")
        if trajectory is None:
            raise UsageError("verl passed no agent_data; these tools need the agent loop of verl 0.9.1.")
        episode = _EPISODES.setdefault(trajectory, _Episode())
        async with episode.lock:
            try:
                return await asyncio.to_thread(
                    self._execute, episode, self._samples[instance_id], parameters, trajectory
                )
            except HlmatError as error:
                return ToolResponse(text=f"The tool failed: {error}"), math.nan, {}

    def _execute(
        self, episode: _Episode, sample: int | str, parameters: dict[str, Any], trajectory: Any
    ) -> tuple[Any, float, dict[str, Any]]:
        if episode.conversation is None:
            episode.conversation = Conversation(self._settings.shared(), sample)
        conversation = episode.conversation
        before = len(conversation.outcomes)
        turn = self._take(conversation, parameters)
        trajectory.extra_fields[_DUE] = conversation.session.closing_reward().total
        pictures = turn.pictures()
        shown = ToolResponse(text=turn.text, **({"image": pictures} if pictures else {}))
        if len(conversation.outcomes) == before:
            return shown, 0.0, {}
        outcome = conversation.outcomes[-1]
        valid = float(outcome.action.kind != "invalid")
        return shown, outcome.reward.total, {"iou": outcome.after, "valid": valid}

    async def calc_reward(self, instance_id: str, **kwargs: Any) -> float:
        """Return the reward of the whole episode, if it ends now; 0 before its first call.

        Raises:
            HlmatError: when the segmenter failed, because a failure has no reward.
        """
        episode = _EPISODES.get(kwargs.get("agent_data"))
        return 0.0 if episode is None or episode.conversation is None else episode.conversation.reward()

    async def release(self, instance_id: str, **kwargs: Any) -> None:
        """Forget the instance; the episode stays with its trajectory."""
        self._samples.pop(instance_id, None)

    def _take(self, conversation: Conversation, parameters: Mapping[str, Any]) -> Turn:
        raise NotImplementedError


class ClickTool(_Tool):
    """The tool ``click``."""

    schema = CLICK

    def _take(self, conversation: Conversation, parameters: Mapping[str, Any]) -> Turn:
        return conversation.click(*(parameters.get(name) for name in ("x", "y", "positive")))


class StopTool(_Tool):
    """The tool ``stop``."""

    schema = STOP

    def _take(self, conversation: Conversation, parameters: Mapping[str, Any]) -> Turn:
        return conversation.stop()


class NoObjectTool(_Tool):
    """The tool ``no_object``, for tasks in which samples may have no object."""

    schema = NO_OBJECT

    def _take(self, conversation: Conversation, parameters: Mapping[str, Any]) -> Turn:
        return conversation.no_object()


def _settings(config: Mapping[str, Any]) -> SessionSettings:
    return SessionSettings.of({name: value for name, value in config.items() if name != "type"})


def compute_episode_score(
    data_source: Any, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None, **more: Any
) -> float:
    """Return the reward of an episode that was played with the tools, for verl's ``custom_reward_function``.

    Args:
        data_source, solution_str, ground_truth, more: what verl passes, which is not used.
        extra_info: the row's, to which verl adds the trajectory's ``tool_rewards`` and extra fields.

    Raises:
        UsageError: when a tool failed, because a failure has no reward.
    """
    given = extra_info or {}
    rewards = [float(reward) for reward in given.get("tool_rewards") or ()]
    if any(map(math.isnan, rewards)):
        raise UsageError("A tool failed in this episode, so it has no reward; see the log for the reason.")
    return math.fsum([*rewards, float(given.get(_DUE) or 0.0)])


def tool_rows(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a row of verl's data set for each sample: ``prompt``, ``images`` (PIL), and the sample for both tools.

    Args:
        config: that of the tools.

    Raises:
        UsageError: when it does not fit.
    """
    pool = tool_settings(_settings(config)).shared()
    for number, sample in enumerate(pool.samples):
        turn = Conversation(pool, sample.id).opening()
        named = {"create_kwargs": {"sample": sample.id}}
        yield {
            "data_source": "hlmat",
            "agent_name": "tool_agent",
            "prompt": [{"role": "user", "content": f"<image>\n{turn.text.replace('<image>', '')}"}],
            "images": turn.pictures(),
            "reward_model": {"style": "rule", "ground_truth": ""},
            "extra_info": {
                "index": number,
                "sample": sample.id,
                "need_tools_kwargs": True,
                "tools_kwargs": {"click": named, "stop": named, "no_object": named},
            },
        }
