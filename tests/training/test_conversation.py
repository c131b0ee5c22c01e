"""Conversations with tools and pictures are the episodes of a run, in the classes for TRL, verl and VAGEN.

verl is not installed here: `verl` makes a stand-in of the two modules that are used, from their source in the wheel of
version 0.9.1.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import math
import pickle
import random
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

import hlmat_bench
from hlmat_bench.core.errors import HlmatError, PluginFailed, UsageError
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.protocol.records import Episode
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.training.conversation import OVER, Conversation, episode_rows, sample_of, written
from hlmat_bench.training.pool import SessionSettings
from hlmat_bench.training.rewards import RewardSettings, episode_rewards
from hlmat_bench.training.trl import ClickEnvironment, environment_factory
from hlmat_bench.training.vagen import ClickImageEnv
from tests.support.babbling import Babbler, babble
from tests.training.test_session import facts


class Script(Babbler):
    """Says what the tools of a conversation wrote."""

    def __init__(self, lines: dict[str, list[str]], **more: Any) -> None:
        super().__init__(**more)
        self.lines = lines

    async def reply(self, request: Any) -> list[Reply]:
        return [Reply(self.lines[request.sample_id][request.t - 1])]


Calls = list[tuple[str, dict[str, Any]]]


def calls_of(sample_id: str) -> Calls:
    """Return random calls of tools, with the mistakes that models make."""
    draw = random.Random(sample_id)
    odd: list[Any] = [-5, 1000.0, 1001, 12.5, "300", "left", None, math.nan, math.inf, [1, 2], True]
    calls: Calls = []
    for _ in range(6):
        if draw.random() < 0.1:
            calls.append(("stop", {}))
            continue
        x, y = (draw.choice(odd) if draw.random() < 0.1 else draw.randrange(1000) for _ in range(2))
        calls.append(("click", {"x": x, "y": y, "positive": draw.choice((True, True, False, "false", "yes"))}))
    return calls


def reply_of(name: str, arguments: dict[str, Any]) -> str:
    return "Finish" if name == "stop" else written(PointFormat.named("xy1000"), **arguments)


@pytest.fixture(scope="module")
def talked(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Episode]:
    """Return the episodes of a run whose model says what `calls_of` writes."""
    pool = SessionSettings.of(options).shared()
    lines = {sample.id: [reply_of(*call) for call in calls_of(sample.id)] for sample in pool.samples}
    model = Script(lines, resize="fit-long40")
    run = hlmat_bench.run(model, options["task"], options["segmenter"], out=tmp_path_factory.mktemp("talked"))
    return list(run.episodes())


def total(episode: Episode, rewards: str = "gain") -> float:
    return math.fsum(one.total for one in episode_rewards(episode, RewardSettings.of(rewards)))


def test_a_thousand_rollouts_of_trl_are_those_of_a_run(options: dict[str, Any], talked: list[Episode]) -> None:
    environment = environment_factory(options)()
    assert len(talked) == 1000
    for episode in talked:
        environment.reset(sample=episode.sample_id, prompt=[])
        for name, arguments in calls_of(episode.sample_id):
            blocks = getattr(environment, name)(**arguments)
            assert [block["type"] for block in blocks][-1] == "text"
        assert blocks == [{"type": "text", "text": OVER}]
        assert facts(environment.conversation.session.record()) == facts(episode)
        assert environment.get_reward() == pytest.approx(total(episode))


def test_trl_sees_two_tools_with_types_and_descriptions(options: dict[str, Any]) -> None:
    from transformers.utils import get_json_schema

    environment = environment_factory(options)()
    public = [name for name, _ in inspect.getmembers(type(environment), inspect.isfunction) if name[0] != "_"]
    assert public == ["click", "get_reward", "reset", "stop"]
    click, stop = (get_json_schema(getattr(environment, name))["function"] for name in ("click", "stop"))
    kinds = {name: value["type"] for name, value in click["parameters"]["properties"].items()}
    assert kinds == {"x": "number", "y": "number", "positive": "boolean"}
    assert stop["parameters"]["properties"] == {}
    assert "the unit that the instruction states" in click["parameters"]["properties"]["x"]["description"]


def test_the_model_is_told_of_the_tools_and_never_of_the_truth(options: dict[str, Any]) -> None:
    environment = environment_factory(options)()
    image, text = environment.reset(sample=0)
    assert "Call the tool click" in text["text"]
    assert "relative to the image: x from 0 (left edge) to 1000" in text["text"]
    picture, said = environment.click(500, 500, True)
    assert picture["image"].size == image["image"].size
    assert np.any(np.asarray(picture["image"]) != np.asarray(image["image"]))
    assert said["text"] == "This is the mask after 1 steps."
    assert environment.click(2000, 0, True) == [
        {"type": "text", "text": "This click was not carried out (out_of_bounds); give another one."}
    ]
    own = environment_factory({**options, "settings": {"prompt": "Segment {expression}."}})()
    assert own.reset(sample=0)[1]["text"].startswith("Segment thing 0")


def test_a_task_whose_samples_may_have_no_object_has_a_third_tool(options: dict[str, Any]) -> None:
    environment = environment_factory({**options, "settings": {"no_target": True}, "rewards": "medsam-agent"})()
    assert "call the tool no_object" in environment.reset(sample=0)[1]["text"]
    environment.click(500, 500, True)
    public = [name for name, _ in inspect.getmembers(type(environment), inspect.isfunction) if name[0] != "_"]
    assert public == ["click", "get_reward", "no_object", "reset", "stop"]
    assert environment.no_object()[-1]["text"] == OVER
    session = environment.conversation.session
    assert (session.end, session.state.segmentation.mask.any()) == ("none", False)
    assert environment.conversation.outcomes[-1].terminated
    assert environment.get_reward() == pytest.approx(0.2 * 1 + 0.8 * 0)


def test_the_factory_of_trl_can_be_sent_to_other_processes(options: dict[str, Any]) -> None:
    environment = pickle.loads(pickle.dumps(environment_factory(SessionSettings.of(options))))()
    assert isinstance(environment, ClickEnvironment)
    rows = episode_rows(SessionSettings.of({**options, "limit": 3}))
    assert [row["sample"] for row in rows] == ["many/0_0/0", "many/0_1/0", "many/0_2/0"]
    assert environment.reset(**rows[2])[1]["text"]
    assert environment.conversation.session.sample.id == "many/0_2/0"
    for wrong in ({}, {"sample": None}, {"sample": 2.5}):
        with pytest.raises(UsageError, match="needs a column sample"):
            environment.reset(**wrong)
    with pytest.raises(UsageError, match=r"call reset\(\) first"):
        environment.click(1, 1, True)  # the episode before is not played on


def test_a_failure_that_trl_gives_to_the_model_as_text_is_no_reward(options: dict[str, Any], tmp_path: Any) -> None:
    environment = environment_factory({**options, "segmenter": failing(tmp_path)})()
    environment.reset(sample=0)
    for _ in range(2):
        with pytest.raises(PluginFailed, match="out of memory"):
            environment.click(500, 500, True)
    with pytest.raises(PluginFailed, match="out of memory"):
        environment.get_reward()
    environment.reset(sample=1)
    assert environment.get_reward() == 0


def failing(folder: Any) -> str:
    """Write a segmenter whose predictions fail."""
    path = folder / "failing.py"
    path.write_text(
        "from hlmat_bench.testing import DiscSegmenter, DiscSession\n"
        "class Session(DiscSession):\n"
        "    def predict(self, clicks, box=None):\n"
        "        raise MemoryError('out of memory')\n"
        "class Failing(DiscSegmenter):\n"
        "    def open(self, image):\n"
        "        return Session(image.shape[:2], self)\n"
        "SEGMENTERS = {'failing': Failing}\n"
    )
    return str(path)


@pytest.fixture
def verl(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return our module for verl 0.9.1, with stand-ins of ``verl.tools.base_tool`` and ``verl.tools.schemas``."""

    class ToolResponse(BaseModel):
        text: str | None = None
        image: list[Any] | None = None
        video: list[Any] | None = None

    class OpenAIFunctionToolSchema(BaseModel):
        type: str
        function: dict[str, Any]

    class BaseTool:
        def __init__(self, config: dict[str, Any], tool_schema: OpenAIFunctionToolSchema) -> None:
            self.config, self.tool_schema = config, tool_schema
            self.name = tool_schema.function["name"]

    parts = {"base_tool": {"BaseTool": BaseTool}, "schemas": {"ToolResponse": ToolResponse}}
    parts["schemas"]["OpenAIFunctionToolSchema"] = OpenAIFunctionToolSchema
    for name in ("verl", "verl.tools"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for name, members in parts.items():
        module = ModuleType(f"verl.tools.{name}")
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delitem(sys.modules, "hlmat_bench.training.verl", raising=False)
    return importlib.import_module("hlmat_bench.training.verl")


class Trajectory(SimpleNamespace):
    """What the tools need of verl's ``AgentData``: it is compared by identity, and has extra fields."""

    __hash__ = object.__hash__


async def call(tool: Any, arguments: dict[str, Any], trajectory: Any, sample: str) -> tuple[Any, float, dict[str, Any]]:
    """Call a tool as ``ToolAgentLoop._call_tool`` does."""
    instance, _ = await tool.create(create_kwargs={"sample": sample})
    try:
        result: tuple[Any, float, dict[str, Any]] = await tool.execute(instance, arguments, agent_data=trajectory)
        return result
    finally:
        await tool.release(instance)


def test_trajectories_of_verl_are_those_of_a_run(verl: Any, options: dict[str, Any], talked: list[Episode]) -> None:
    config = {"type": "native", **options}
    tools = {"click": verl.ClickTool(config, None), "stop": verl.StopTool(config, None)}
    assert [tool.name for tool in tools.values()] == ["click", "stop"]

    async def rollout(episode: Episode) -> None:
        trajectory, rewards = Trajectory(extra_fields={}), []
        for name, arguments in calls_of(episode.sample_id):
            response, reward, _ = await call(tools[name], arguments, trajectory, episode.sample_id)
            rewards.append(reward)
        assert response.text == OVER
        assert rewards[: len(episode.steps)] == [
            one.total for one in episode_rewards(episode, RewardSettings.of("gain"))
        ]
        extra = {"tool_rewards": rewards, **trajectory.extra_fields}
        assert verl.compute_episode_score("hlmat", "", "", extra) == pytest.approx(total(episode))
        assert await tools["click"].calc_reward("", agent_data=trajectory) == pytest.approx(total(episode))

    async def all_at_once() -> None:
        await asyncio.gather(*map(rollout, talked[:200]))

    asyncio.run(all_at_once())


def test_calls_of_one_turn_are_taken_in_their_order(verl: Any, options: dict[str, Any]) -> None:
    """verl gathers the calls of a turn; they are still one episode."""
    tool = verl.ClickTool({"type": "native", **options, "budget": 4}, None)
    calls = [{"x": 100 * n, "y": 500, "positive": True} for n in range(1, 5)]

    async def turn() -> list[Any]:
        trajectory = Trajectory(extra_fields={})
        return list(await asyncio.gather(*(call(tool, each, trajectory, "many/0_3/0") for each in calls)))

    alone = Conversation(SessionSettings.of({**options, "budget": 4}).shared(), "many/0_3/0")
    expected = [alone.click(**each) and alone.outcomes[-1].reward.total for each in calls]
    assert [reward for _, reward, _ in asyncio.run(turn())] == expected


def test_a_failure_in_verl_is_no_reward(verl: Any, options: dict[str, Any], tmp_path: Any) -> None:
    tool = verl.ClickTool({**options, "segmenter": failing(tmp_path)}, None)
    arguments, trajectory = {"x": 500, "y": 500, "positive": True}, Trajectory(extra_fields={})
    response, reward, _ = asyncio.run(call(tool, arguments, trajectory, "many/0_0/0"))
    assert "out of memory" in response.text
    with pytest.raises(UsageError, match="it has no reward"):
        verl.compute_episode_score("hlmat", "", "", {"tool_rewards": [0.25, reward]})
    with pytest.raises(HlmatError):
        asyncio.run(tool.calc_reward("", agent_data=trajectory))
    with pytest.raises(UsageError, match="no agent_data"):
        asyncio.run(tool.execute("x", arguments))


def test_an_episode_that_verl_ends_gets_what_is_due_at_the_end(verl: Any, options: dict[str, Any]) -> None:
    tool = verl.ClickTool({**options, "rewards": {"final_iou": 1}}, None)
    trajectory = Trajectory(extra_fields={})
    _, reward, metrics = asyncio.run(call(tool, {"x": 500, "y": 500, "positive": True}, trajectory, "many/0_0/0"))
    score = verl.compute_episode_score("", "", "", {"tool_rewards": [reward], **trajectory.extra_fields})
    assert reward == 0
    assert score == metrics["iou"]


def test_rows_of_verl_name_the_sample_for_both_tools(verl: Any, options: dict[str, Any]) -> None:
    first, second = verl.tool_rows({"type": "native", **options, "limit": 2})
    assert first["extra_info"]["tools_kwargs"]["stop"]["create_kwargs"] == {"sample": "many/0_0/0"}
    assert sample_of(second["extra_info"]["tools_kwargs"]["click"]["create_kwargs"]) == "many/0_1/0"
    assert first["prompt"][0]["content"].startswith("<image>\nYou are annotating one object")
    assert first["images"][0].size == (40, 30)


def test_episodes_of_vagen_are_those_of_a_run(babbled: Run, options: dict[str, Any]) -> None:
    async def play() -> None:
        env = ClickImageEnv({**options, "success_iou": 0.3})
        assert (await env.system_prompt())["obs_str"] == ""
        successes = 0
        for number, episode in zip(range(150), babbled.episodes(), strict=False):
            observation, info = await env.reset(number)
            assert info["sample"] == episode.sample_id
            done, rewards = False, []
            while not done:
                assert observation["obs_str"].count("<image>") == len(observation["multi_modal_input"]["<image>"]) == 1
                reply = babble(episode.sample_id, len(rewards) + 1)
                observation, reward, done, info = await env.step(reply)
                rewards.append(reward)
            assert rewards == [one.total for one in episode_rewards(episode, RewardSettings.of("gain"))]
            assert info["success"] == (episode.steps[-1].iou >= 0.3)
            successes += info["success"]
        assert 0 < successes < 150
        with pytest.raises(UsageError, match="over"):
            await env.step("Finish")
        await env.close()
        with pytest.raises(UsageError, match=r"call reset\(\) first"):
            await env.step("Finish")

    asyncio.run(play())


@pytest.mark.parametrize(
    ("points", "arguments", "expected"),
    [
        ("xy1000", (320, 640, True), "Positive point: (320, 640)"),
        ("yx1000", (320, 640, True), "Positive point: (640, 320)"),
        ("xy1", (0.25, 0.5, False), "Negative point: (0.25, 0.5)"),
        ("xy1000", (320.0, 1e-7, "False"), "Negative point: (320, 0)"),
        ("xy1000", ("left", None, True), "Positive point: (left, None)"),
    ],
)
def test_a_call_is_written_as_the_model_would_write_it(points: str, arguments: Any, expected: str) -> None:
    assert written(PointFormat.named(points), *arguments) == expected
