"""Play episodes with verifiers' own engine and print what they came to; runs where verifiers is installed.

A harness of three lines stands for the agent's program, and a server of ours for its model.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import types
from importlib.machinery import ModuleSpec
from typing import Any

import httpx
import verifiers.v1 as vf
from verifiers.v1.dialects.chat import message_to_wire
from verifiers.v1.utils.loaders import environment_class

from hlmat_bench.testing import ChatServer
from hlmat_bench.training import verifiers as ours
from tests.support.babbling import babble


class PlainConfig(vf.HarnessConfig):
    """The configuration of the harness."""


class PlainHarness(vf.Harness[PlainConfig]):
    """Sends the conversation to the model once."""

    SUPPORTS_RESUME = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self, ctx: Any, trace: Any, runtime: Any, endpoint: str, secret: str, mcp_urls: Any, data: Any
    ) -> Any:
        messages = [message_to_wire(message) for message in data.prompt]
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            answer = await client.post(
                f"{endpoint}/chat/completions",
                json={"model": ctx.model, "messages": messages},
                headers={"Authorization": f"Bearer {secret}"},
            )
        answer.raise_for_status()
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")


def plug_in(name: str, **members: Any) -> None:
    """Install a module as a plug-in of verifiers, which looks for it by name."""
    module = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(members, __all__=list(members))
    sys.modules[name] = module


async def main(count: int, budget: int) -> None:
    plug_in("plain_harness", PlainHarness=PlainHarness)
    plug_in("hlmat_click", ClickTaskset=ours.ClickTaskset, ClickEnv=ours.ClickEnv)
    sessions = {"task": "hres_synth", "limit": count, "budget": budget, "resize": "fit-long64"}
    config = vf.SingleAgentEnvConfig.model_validate(
        {
            "taskset": {"id": "hlmat_click", "sessions": sessions},
            "agent": {"harness": {"id": "plain_harness"}, "runtime": {"type": "subprocess"}},
        }
    )
    env = environment_class("hlmat_click")(config)
    tasks = list(env.taskset)
    names = {task.data.description: task.data.sample for task in tasks}
    assert len(names) == len(tasks) == count

    def answer(body: dict[str, Any], image: Any, prompt: str) -> str:
        asked = [message for message in body["messages"] if message["role"] == "user"]
        [name] = {name for text, name in names.items() if f"The object: {text}\n" in prompt}
        assert max(image.shape[:2]) == 64
        return babble(name, len(asked)).replace("\ud83d", "?") or " "

    os.environ["FAKE_KEY"] = "none"
    with ChatServer(answer) as server:
        client = vf.EvalClientConfig(base_url=server.base_url, api_key_var="FAKE_KEY")
        context = vf.ModelContext(client=client, model="fake", sampling=vf.SamplingConfig())
        async with env.serving():
            slots = [slot for task in tasks for slot in env.slots(task)]
            episodes = await asyncio.gather(*(env.run_slot(slot, context) for slot in slots))
    print(json.dumps([summary(episode) for episode in episodes]))  # noqa: T201


def summary(episode: Any) -> dict[str, Any]:
    [trace] = episode.traces or [None]
    assert episode.ok, (episode.errors, trace and trace.errors)
    said = [node.message.content for node in trace.nodes if node.sampled]
    return {"sample": episode.task.data.sample, "reward": trace.reward, "metrics": trace.metrics,
            "said": said, **trace.info["hlmat"]}  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
