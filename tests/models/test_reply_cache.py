"""The cache of replies: the same question is asked once, another one is another."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hlmat_bench
from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.models.api.reply_cache import CachedModel
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol.interfaces import Model, Reply, Request
from hlmat_bench.testing import ChatServer

IMAGE = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
REQUEST = Request(image=IMAGE, prompt="where", temperature=0.0, max_tokens=9, seed=3)


class Counter:
    """Answers with how often it was asked."""

    name, points, closed = "counter", PointFormat.named("xy1000"), False

    def __init__(self, **attributes: Any) -> None:
        self.asked: list[Request] = []
        vars(self).update(attributes)

    async def reply(self, request: Request) -> list[Reply]:
        self.asked.append(request)
        if request.prompt == "fail":
            raise RequestFailed("no")
        text = f"reply {len(self.asked)} \ud800"
        return [Reply(text, 7, 2, 1.5, 0.25, "length"), Reply(text)][: request.n]

    async def close(self) -> None:
        self.closed = True


def ask(model: Counter, folder: Path, *requests: Request, spec: dict[str, Any] | None = None) -> list[list[Reply]]:
    async def all_of_them() -> list[list[Reply]]:
        cached = CachedModel(model, spec or {"model": "m"}, folder)
        assert isinstance(cached, Model)
        try:
            return [await cached.reply(request) for request in requests]
        finally:
            await cached.close()

    return asyncio.run(all_of_them())


def test_a_question_is_asked_once_also_by_a_later_process(tmp_path: Path) -> None:
    model = Counter()
    [[first], [second]] = ask(model, tmp_path, REQUEST, REQUEST)
    [[third]] = ask(Counter(), tmp_path, replace(REQUEST, sample_id="other", t=5, image=IMAGE.copy()))
    assert (len(model.asked), model.closed) == (1, True)
    assert first == Reply("reply 1 \ud800", 7, 2, 1.5, 0.25, "length")
    assert second == third == replace(first, seconds=0.0)


def test_whatever_a_reply_depends_on_is_in_the_key(tmp_path: Path) -> None:
    brighter = IMAGE.copy()
    brighter[4, 3, 2] ^= 1
    others = [
        REQUEST,
        replace(REQUEST, image=brighter),
        replace(REQUEST, image=IMAGE.reshape(4, 5, 3)),
        replace(REQUEST, prompt="where "),
        replace(REQUEST, max_tokens=10),
        replace(REQUEST, seed=4),
        replace(REQUEST, temperature=0.5),
        replace(REQUEST, n=2),
    ]
    model = Counter()
    ask(model, tmp_path, *others)
    ask(model, tmp_path, *others)
    assert len(model.asked) == len(others)
    ask(model, tmp_path, REQUEST, spec={"model": "m", "image": {"quality": 75}})
    assert len(model.asked) == len(others) + 1


def test_failures_are_not_kept(tmp_path: Path) -> None:
    model = Counter()
    for _ in range(2):
        with pytest.raises(RequestFailed):
            ask(model, tmp_path, replace(REQUEST, prompt="fail"))
    assert len(model.asked) == 2


@pytest.mark.parametrize(("attributes", "temperature"), [({"deterministic": False}, 0.0), ({"seeded": False}, 0.7)])
def test_replies_that_would_differ_are_not_kept(attributes: dict[str, Any], temperature: float, tmp_path: Path) -> None:
    model = Counter(**attributes)
    request = replace(REQUEST, temperature=temperature)
    ask(model, tmp_path, request, request)
    assert len(model.asked) == 2
    assert not list(tmp_path.iterdir())


def test_a_view_that_is_not_contiguous_is_the_same_image(tmp_path: Path) -> None:
    model = Counter()
    ask(model, tmp_path, REQUEST, replace(REQUEST, image=np.repeat(IMAGE, 2, axis=1)[:, ::2]))
    assert len(model.asked) == 1


def test_a_cache_that_cannot_be_used_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "replies.sqlite").write_bytes(b"no database, but long enough to look at" * 100)
    for folder in (tmp_path / "file", tmp_path / "broken"):
        cached = CachedModel(Counter(), {}, folder)
        with pytest.raises(UsageError, match="choose another --cache"):
            asyncio.run(cached.reply(REQUEST))


@pytest.mark.slow
def test_a_run_with_a_cache_asks_nothing_twice_and_writes_the_same(task: str, tool: str, tmp_path: Path) -> None:
    with ChatServer(lambda *_: "Positive point: (500, 500)") as server:
        model = f"openai,model=fake,base_url={server.base_url},points=xy1000"
        runs = [
            hlmat_bench.run(model, task, tool, out=tmp_path / name, limit=8, budget=3, cache=tmp_path / "cache")
            for name in ("one", "two")
        ]
        asked = len(server.asked)
        other = hlmat_bench.run(
            model + ",quality=80", task, tool, out=tmp_path / "x", limit=8, budget=3, cache=tmp_path / "cache"
        )
    assert asked == sum(len(episode.steps) for episode in runs[0].episodes())
    assert len(server.asked) == 2 * asked
    assert other.scores()["n"] == 8
    first, second = ([replaced(episode) for episode in run.episodes()] for run in runs)
    assert first == second


def replaced(episode: Any) -> dict[str, Any]:
    """Return an episode without its times."""
    value: dict[str, Any] = episode.to_json()
    return value | {"steps": [{**step, "seconds": None} for step in value["steps"]]}
