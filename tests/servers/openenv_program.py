"""Play episodes with OpenEnv's client, all at once, and print what they came to; runs where openenv is installed."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any
from urllib.request import Request, urlopen

import cv2
import numpy as np
from openenv.core.generic_client import GenericEnvClient

from tests.support.babbling import babble


async def episode(url: str, sample: int, gate: asyncio.Barrier) -> dict[str, Any]:
    async with GenericEnvClient(base_url=url) as env:
        result = await env.reset(sample=sample, episode_id=f"e{sample}")
        name = result.observation["sample"]
        await gate.wait()  # all sessions are open at once
        rewards, ious = [], []
        while not result.done:
            result = await env.step({"reply": babble(name, len(rewards) + 1).replace("\ud83d", "?")})
            rewards.append(result.reward)
            ious.append(result.observation["metadata"]["iou"])
        image = cv2.imdecode(np.frombuffer(base64.b64decode(result.observation["image"]), np.uint8), 1)
        state = await env.state()
        assert state["episode_id"] == f"e{sample}"
        assert state["step_count"] == len(rewards)
        end = result.observation["metadata"]["end"]
        return {"sample": name, "rewards": rewards, "ious": ious, "end": end, "side": max(image.shape[:2])}


async def refused(url: str) -> str:
    async with GenericEnvClient(base_url=url) as env:
        try:
            await env.reset(sample=99)
        except Exception as error:  # noqa: BLE001  (its client raises what it likes)
            return str(error)
    return ""


async def main(url: str, count: int) -> None:
    gate = asyncio.Barrier(count)
    episodes = await asyncio.gather(*(episode(url, sample, gate) for sample in range(count)))
    asked = Request(f"{url}/hlmat/num_tasks", b'{"split": "samples"}', {"Content-Type": "application/json"})
    with urlopen(asked) as answer:
        tasks = json.load(answer)["num_tasks"]
    print(json.dumps({"episodes": episodes, "refused": await refused(url), "tasks": tasks}))  # noqa: T201


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
