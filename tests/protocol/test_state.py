"""The transition core without any event loop: an outside program plays an episode as a run does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlmat_bench
from hlmat_bench.actions import Action
from hlmat_bench.clicks import Click
from hlmat_bench.core import masks
from hlmat_bench.core.samples import Sample, Truth
from hlmat_bench.protocol.interfaces import Reply, Request
from hlmat_bench.protocol.observation import RequestBuilder
from hlmat_bench.protocol.settings import ProtocolSettings
from hlmat_bench.protocol.state import TRUNCATED, EpisodeState, ended
from hlmat_bench.runs.plan import RunSpec
from hlmat_bench.testing import ChatServer, DiscSegmenter, completion
from tests.support.episodes import timeless
from tests.support.fakes import ScriptPolicy

SIZE = (60, 80)
SAMPLE = Sample("s/1", "a.jpg", "1", "a thing")
#: What the model says in turn, whatever it sees.
SAID = ["Positive point: (400, 300)", "Negative point: (900, 900)", "Positive point: (500, 510)", "Finish"]


def _state(budget: int = 7) -> EpisodeState:
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    gt = (rows - 30) ** 2 + (columns - 40) ** 2 <= 12**2
    settings = ProtocolSettings.build({"budget": budget})
    image = np.zeros((*SIZE, 3), np.uint8)
    return EpisodeState(SAMPLE, image, Truth(gt), DiscSegmenter(12), settings, ScriptPolicy((), "pixel"))


def _said(asked: list[str]) -> str:
    """Return what is said to the last of these prompts: the next line of those for its sample."""
    return SAID[(asked.count(asked[-1]) - 1) % len(SAID)]


def test_an_episode_played_step_by_step_is_that_of_a_run(tmp_path: Path) -> None:
    """The same requests are sent and the same record is made as by `hlmat_bench.run` with an API model."""
    seen: list[tuple[str, bytes]] = []

    def answer(body: Any, image: np.ndarray, prompt: str) -> Any:
        seen.append((prompt, image.tobytes()))
        return completion([_said([prompt for prompt, _ in seen])])

    with ChatServer(answer) as server:
        model = f"openai,model=m,points=xy1000,image_format=png,base_url={server.base_url},api_key=none"
        run = hlmat_bench.run(model, "hres_synth", budget=4, limit=3, out=tmp_path, concurrency=1)
        setup = RunSpec(model, "hres_synth", budget=4, limit=3).open()
    asked: list[Request] = []
    episodes = []
    for sample in setup.data.samples:
        image, truth = setup.data.source.image(sample), setup.data.source.truth(sample)
        builder = RequestBuilder(sample, image, setup.settings, setup.points, setup.resize)
        replies = ScriptPolicy((), "xy1000")
        replies.frame = builder.frame
        state = EpisodeState(sample, image, truth, setup.segmenter, setup.settings, replies)
        while (end := state.ended()) is None:
            asked.append(builder.request(state.observation()))
            reply = Reply(_said([request.prompt for request in asked]), finish="stop")
            state.apply(state.interpret(reply), reply)
        episodes.append(state.record(end).to_json())
    assert [(request.prompt, request.image.tobytes()) for request in asked] == seen
    kept = ("t", "raw", "action", "predicted_iou", "mask", "iou")
    for ours, theirs in zip(episodes, timeless(run), strict=True):
        assert len(ours["steps"]) == 4
        for key in ("sample_id", "gt", "initial", "selected", "stop", "error"):
            assert ours[key] == theirs[key]
        for mine, other in zip(ours["steps"], theirs["steps"], strict=True):
            assert [mine[key] for key in kept] == [other[key] for key in kept]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 79), st.integers(0, 59)), min_size=1, max_size=6), st.data())
def test_goto_brings_back_the_state_that_was_left(places: list[tuple[bool, int, int]], data: st.DataObject) -> None:
    clicks = [Click(*each) for each in dict.fromkeys(places)]
    at = data.draw(st.integers(0, len(clicks) - 1))
    straight, forked = _state(), _state()
    for number, click in enumerate(clicks):
        if number == at:
            point = forked.fork()
            forked.apply(Action("click", True, 5, 5), Reply("astray"))
            forked.goto(point)
        for state in (straight, forked):
            state.apply(Action("click", *click), Reply("there"))
    one, other = (state.record("budget").steps for state in (straight, forked))
    assert [(step.t, step.mask, step.iou) for step in one] == [(step.t, step.mask, step.iou) for step in other]
    assert [step.t for step in other] == list(range(1, len(clicks) + 1))


def test_what_an_abandoned_step_cost_is_kept() -> None:
    state = _state()
    point = state.fork()
    for x, cost in ((5, 0.5), (40, 0.25)):
        state.goto(point)
        reply = Reply("a click", cost=cost, tokens_in=10, tokens_out=2)
        state.asked.append(reply)
        state.apply(Action("click", True, x, 30), reply)
    [step] = state.record("budget").steps
    assert (step.action.x, step.cost, step.tokens) == (40, 0.75, {"in": 20, "out": 4})
    assert masks.decode(step.mask)[30, 40]
    assert not masks.decode(step.mask)[30, 5]


@pytest.mark.parametrize(
    ("actions", "deterministic", "end", "truncated"),
    [
        ([Action("stop")], True, "stop", False),
        ([Action("invalid", reason="parse")], True, "stuck", False),
        ([Action("invalid", reason="parse")], False, None, False),
        ([Action("invalid", reason="api")], False, "error", False),
        ([Action("click", True, 1, 1)] * 2, True, "budget", True),
        ([Action("click", True, 1, 1), Action("stop")], True, "stop", False),
    ],
)
def test_ends_are_terminated_or_truncated(
    actions: list[Action], deterministic: bool, end: str | None, truncated: bool
) -> None:
    assert ended(actions, 2, deterministic=deterministic) == end
    assert (end in TRUNCATED) == truncated
