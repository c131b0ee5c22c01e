"""Measure the throughput of an API model as a share of what its server's latency allows.

    python benchmarks/api.py [--seconds 15] [--rounds 3] [--latency 0.3] [--episodes 64,256]

A server in a process of its own answers every chat completion after a fixed latency; episodes ask it through the
policy and the request batcher of a run and the adapter: the mask is painted over a 640x480 image, the image is encoded
and sent, and the reply is read. The ideal is episodes / latency replies per second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from hlmat_bench.core.samples import Sample
from hlmat_bench.core.types import Image, Mask
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.observation import Observation, RequestBuilder
from hlmat_bench.protocol.policies import ModelPolicy
from hlmat_bench.protocol.settings import ProtocolSettings
from hlmat_bench.runs.batching import RequestBatcher
from hlmat_bench.runs.reply_journal import JournaledModel, ReplyJournal
from hlmat_bench.testing import completion

_HEIGHT, _WIDTH = 480, 640
_WARM_UP_SECONDS = 3.0
_ENCODINGS = {"JPEG 75, 4:2:0": ",quality=75,subsampling=420", "JPEG 95, 4:4:4 (default)": ""}


class Measured(NamedTuple):
    """Replies per second; CPU milliseconds per reply of this process, and of its event loop's thread alone."""

    rate: float
    cpu: float
    loop: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a run")
    parser.add_argument("--rounds", type=int, default=3, help="runs, of which the median is shown")
    parser.add_argument("--latency", type=float, default=0.3, help="of the server, in seconds")
    parser.add_argument("--episodes", default="64,256", help="numbers of episodes in flight")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(_serve(options.latency))
        return
    print(f"{'image':<26}{'episodes':>9}{'ideal/s':>9}{'replies/s':>11}{'of ideal':>10}{'CPU ms':>9}{'loop ms':>9}")
    for name, encoding in _ENCODINGS.items():
        for episodes in map(int, options.episodes.split(",")):
            rounds = [_measure(episodes, encoding, options) for _ in range(options.rounds)]
            rate, cpu, loop = (statistics.median(values) for values in zip(*rounds, strict=True))
            ideal = episodes / options.latency
            share = f"{rate / ideal:.1%}"
            print(f"{name:<26}{episodes:>9}{ideal:>9.0f}{rate:>11.1f}{share:>10}{cpu:>9.2f}{loop:>9.2f}", flush=True)


def _measure(episodes: int, encoding: str, options: argparse.Namespace) -> Measured:
    with _server(options.latency) as url:
        model = plugins.make("model", f"openai,model=m,points=xy1000,api_key=none,base_url={url}{encoding}")
        return asyncio.run(_ask(model, episodes, options.seconds))


async def _ask(model: Any, episodes: int, seconds: float) -> Measured:
    """Ask for ``seconds`` with ``episodes`` in flight, as a run does: replies are kept until their episode ends."""
    replies = 0
    image, masks = _scene()

    def policy(seed: int) -> ModelPolicy:
        sample = Sample(id=f"s/{seed}", image="i.jpg", image_id="i", expression="the second red disc")
        builder = RequestBuilder(sample, image, ProtocolSettings(), model.points, seed=seed)
        return ModelPolicy(builder, batcher.reply, deterministic=True, pool=pool)

    async def episode(number: int) -> None:
        nonlocal replies
        asking = await asyncio.get_running_loop().run_in_executor(pool, policy, number)
        while True:
            for t, mask in enumerate(masks, 1):
                await asking.ask(Observation(mask, (), t), 1)
                replies += 1
            journal.forget(f"s/{number}")

    with ThreadPoolExecutor(2) as pool, tempfile.TemporaryDirectory() as folder:
        journal = ReplyJournal(Path(folder), ())
        batcher = RequestBatcher(JournaledModel(model, journal), concurrency=episodes)
        tasks = [asyncio.create_task(episode(number)) for number in range(episodes)]
        await asyncio.sleep(_WARM_UP_SECONDS)
        before = replies, time.perf_counter(), time.process_time(), time.thread_time()
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        after = replies, time.perf_counter(), time.process_time(), time.thread_time()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.close()
        journal.close()
    count, wall, cpu, loop = (later - earlier for earlier, later in zip(before, after, strict=True))
    return Measured(count / wall, 1000 * cpu / count, 1000 * loop / count)


def _scene() -> tuple[Image, list[Mask]]:
    """Draw a smooth picture with a photograph's noise, and the masks of an episode."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
    image = np.clip(smooth + generator.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)
    rows, columns = np.ogrid[:_HEIGHT, :_WIDTH]
    return image, [(rows - 240) ** 2 + (columns - 320) ** 2 <= (30 * t) ** 2 for t in range(7)]


@contextlib.contextmanager
def _server(latency: float) -> Iterator[str]:
    """Start a server in another process and return its base URL."""
    words = [sys.executable, __file__, "--serve", "--latency", str(latency)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


class _Chat(asyncio.Protocol):
    """A connection that answers every request after the latency; it counts the bytes of a body, and ignores them."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        body = json.dumps(completion(["Positive point: (500, 500)"], prompt="a prompt")).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._response = head.encode() + body
        self._head, self._missing = b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            self._head, self._missing = b"", int(length.split(b":")[1])
        self._missing -= len(data)
        if not self._missing:
            asyncio.get_running_loop().call_later(self._latency, self._transport.write, self._response)


async def _serve(latency: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Chat(latency), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    main()
