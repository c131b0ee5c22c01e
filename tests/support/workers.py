"""Worker processes for the tests of the command adapter."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hlmat_bench.core.content import folder
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import Request
from hlmat_bench.runs.run_folder import Run
from tests.support.episodes import read_lines

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "worker.py"
CommandModel = plugins.find("model", str(folder("adapters") / "models" / "command.py")).factory
CANARY = "canary-0123456789"

# A worker of the tests: a scenario defines `answer(request)`, and `hello` where it greets otherwise.
WORKER = """
import base64, hashlib, io, json, os, subprocess, sys, time

def send(**message):
    print(json.dumps({"schema": "hlmat-worker/1", **message}), flush=True)

def hello(**more):
    send(**{"type": "hello", "name": "w", "version": "1", "weights": "abc", "points": "xy1000", **more})

def reply(request, text="Positive point: (500, 500)", **more):
    send(**{"type": "reply", "id": request["id"], "texts": [text] * request["n"], **more})

def once(name):
    if os.path.exists(name):
        return False
    open(name, "w").close()
    return True

answer = reply
SCENARIO
print(os.getpid(), file=open("pids", "a"), flush=True)
hello()
for line in sys.stdin:
    for request in json.loads(line)["requests"]:
        answer(request)
"""


def starts(place: Path) -> list[int]:
    """Return the process ids of the workers that got as far as their hello."""
    return [int(word) for word in (place / "pids").read_text().split()]


def gone(pid: int) -> bool:
    """No such process, not even one that nobody has waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def ended(pid: int) -> bool:
    """Gone, or dead and left to whoever adopted it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return gone(pid)
    return state == "Z"


def await_that(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Wait until the condition is true, but no longer than a generous time; return whether it is."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def request(prompt: str = "where is the cat", **changes: Any) -> Request:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    return Request(**{"image": image, "prompt": prompt, "seed": 7, "max_tokens": 33, **changes})


def texts(model: Any, *requests: Request) -> list[list[str]]:
    return [[reply.text for reply in replies] for replies in model.reply_batch(requests)]


def plain(made: Run) -> list[dict[str, Any]]:
    """Return a run's episodes as they are on disk, without their times."""
    episodes = read_lines(made.folder)
    for episode in episodes:
        for step in episode["steps"]:
            del step["seconds"]
    return sorted(episodes, key=lambda episode: str(episode["sample_id"]))
