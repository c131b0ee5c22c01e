from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from hlmat_bench.core.errors import RequestFailed
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol.interfaces import Reply, Request
from hlmat_bench.runs.batching import RequestBatcher

IMAGE = np.zeros((2, 2, 3), np.uint8)


class Echo:
    """A batch model that answers with the sample's id and remembers its batches."""

    name = "echo"
    points = PointFormat.named("pixel")

    def __init__(self, batch_size: int = 4) -> None:
        self.batch_size = batch_size
        self.batches: list[list[str]] = []

    async def reply(self, request: Request) -> list[Reply]:
        raise AssertionError("a batch model is asked in batches")

    def reply_batch(self, requests: Sequence[Request]) -> list[list[Reply]]:
        self.batches.append([f"{request.sample_id}.{request.t}" for request in requests])
        return [[Reply(request.sample_id)] * request.n for request in requests]


async def _play(batcher: RequestBatcher, name: str, steps: int, pause: float = 0.0) -> list[str]:
    texts = []
    with batcher.episode():
        for t in range(1, steps + 1):
            [reply] = await batcher.reply(Request(IMAGE, "?", sample_id=name, t=t))
            texts.append(reply.text)
            await asyncio.sleep(pause)
    return texts


async def test_every_episode_gets_its_own_replies() -> None:
    batcher = RequestBatcher(Echo())
    texts = await asyncio.gather(*(_play(batcher, f"s{number}", 3) for number in range(4)))
    assert texts == [[f"s{number}"] * 3 for number in range(4)]


async def test_no_batch_waits_for_an_ended_episode() -> None:
    model = Echo(batch_size=4)
    batcher = RequestBatcher(model)
    await asyncio.gather(*(_play(batcher, f"s{number}", number + 1) for number in range(4)))
    assert model.batches == [
        ["s0.1", "s1.1", "s2.1", "s3.1"],
        ["s1.2", "s2.2", "s3.2"],
        ["s2.3", "s3.3"],
        ["s3.4"],
    ]


async def test_what_stands_in_a_batch_does_not_depend_on_timing() -> None:
    seen = []
    for pauses in ((0.0, 0.003, 0.001, 0.002), (0.002, 0.0, 0.003, 0.001)):
        model = Echo(batch_size=4)
        batcher = RequestBatcher(model)
        await asyncio.gather(*(_play(batcher, f"s{n}", 3, pause) for n, pause in enumerate(pauses)))
        seen.append(model.batches)
    assert seen[0] == seen[1]


async def test_more_episodes_than_a_batch_holds_are_all_served_in_full_batches() -> None:
    model = Echo(batch_size=4)
    batcher = RequestBatcher(model)
    await asyncio.gather(*(_play(batcher, f"s{number:02}", 2) for number in range(16)))
    assert [len(batch) for batch in model.batches] == [4] * 8


async def test_the_batch_size_of_a_run_replaces_the_models_own() -> None:
    model = Echo(batch_size=4)
    batcher = RequestBatcher(model, batch_size=8)
    await asyncio.gather(*(_play(batcher, f"s{number:02}", 2) for number in range(16)))
    assert [len(batch) for batch in model.batches] == [8] * 4
    assert model.batch_size == 8


async def test_an_error_reaches_every_episode_of_its_batch_and_the_next_batch_works() -> None:
    class Failing(Echo):
        def reply_batch(self, requests: Sequence[Request]) -> list[list[Reply]]:
            if requests[0].t == 1:
                raise RuntimeError("out of memory")
            return super().reply_batch(requests)

    batcher = RequestBatcher(Failing())
    with batcher.episode(), batcher.episode():
        results = await asyncio.gather(
            *(batcher.reply(Request(IMAGE, "?", sample_id=name, t=1)) for name in "ab"), return_exceptions=True
        )
        assert all("RuntimeError: out of memory" in str(result) for result in results)
        replies = await asyncio.gather(*(batcher.reply(Request(IMAGE, "?", sample_id=name, t=2)) for name in "ab"))
    assert [reply.text for [reply] in replies] == ["a", "b"]


async def test_a_request_the_model_cannot_take_spoils_no_other_of_its_batch() -> None:
    class Picky(Echo):
        def reply_batch(self, requests: Sequence[Request]) -> list[list[Reply]]:
            if any(request.sample_id == "bad" for request in requests):
                raise RequestFailed("too large")
            return super().reply_batch(requests)

    batcher = RequestBatcher(Picky())
    with batcher.episode(), batcher.episode(), batcher.episode():
        results = await asyncio.gather(
            *(batcher.reply(Request(IMAGE, "?", sample_id=name)) for name in ("a", "bad", "b")), return_exceptions=True
        )
    assert [r if isinstance(r, Exception) else r[0].text for r in results][::2] == ["a", "b"]
    assert str(results[1]) == "too large"


async def test_a_batch_may_say_itself_which_of_its_requests_failed() -> None:
    class Saying(Echo):
        def reply_batch(self, requests: Sequence[Request]) -> list[list[Reply] | RequestFailed]:
            answers: list[list[Reply] | RequestFailed] = [*super().reply_batch(requests)]
            return [
                RequestFailed("refused") if r.sample_id == "bad" else a for r, a in zip(requests, answers, strict=True)
            ]

    model = Saying()
    batcher = RequestBatcher(model)
    with batcher.episode(), batcher.episode(), batcher.episode():
        results = await asyncio.gather(
            *(batcher.reply(Request(IMAGE, "?", sample_id=name)) for name in ("a", "bad", "b")), return_exceptions=True
        )
    assert [r if isinstance(r, Exception) else r[0].text for r in results][::2] == ["a", "b"]
    assert str(results[1]) == "refused"
    assert len(model.batches) == 1


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_model_without_batches_is_asked_concurrently_up_to_the_bound(concurrency: int) -> None:
    class Slow:
        name = "slow"
        points = PointFormat.named("pixel")
        under_way = most = 0

        async def reply(self, request: Request) -> list[Reply]:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await asyncio.sleep(0.005)
            self.under_way -= 1
            return [Reply("x")]

    model = Slow()
    batcher = RequestBatcher(model, concurrency=concurrency)
    await asyncio.gather(*(_play(batcher, f"s{number}", 2) for number in range(6)))
    assert model.most == concurrency
