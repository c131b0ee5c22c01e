"""PRM stop and tree search against hand-computed cases: discs that hit, miss, and are told what they are worth."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlmat_bench
from hlmat_bench.clicks import Click
from hlmat_bench.core import masks
from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.core.samples import Sample, Truth
from hlmat_bench.core.types import Box, Mask
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Frame
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.protocol.loop import Play, run_episode
from hlmat_bench.protocol.observation import Observation
from hlmat_bench.protocol.records import Episode
from hlmat_bench.protocol.reward_models import noisy
from hlmat_bench.protocol.search import Convergence
from hlmat_bench.protocol.settings import ProtocolSettings, StopSettings
from hlmat_bench.protocol.state import EpisodeState
from hlmat_bench.protocol.strategies import find_strategy
from hlmat_bench.testing import ChatServer, DiscSegmenter
from hlmat_bench.testing.discs import DiscSession
from tests.support.episodes import iou

SIZE = (60, 80)
Says = Callable[[Observation, int], str]


class FakePolicy:
    """Answers each observation with what a function of it and of the draw's number says."""

    points, frame, deterministic = PointFormat.named("pixel"), None, True

    def __init__(self, says: Says) -> None:
        self.says = says
        self.frame: Frame | None = None
        self.observations: list[tuple[Observation, int]] = []

    async def ask(self, observation: Observation, n: int) -> list[Reply]:
        self.observations.append((observation, n))
        return [Reply(self.says(observation, draw), tokens_in=10, tokens_out=1, cost=0.5) for draw in range(n)]


class BatchDiscs(DiscSegmenter):
    """Discs that are decoded in batches; remembers how many predictions each call made."""

    def __init__(self, radius: int) -> None:
        super().__init__(radius)
        self.batches: list[int] = []

    def open(self, image: Any) -> DiscSession:
        self.sessions.append(BatchDiscSession(SIZE, self))
        return self.sessions[-1]


class BatchDiscSession(DiscSession):
    def predict_each(self, candidates: Sequence[Sequence[Click]], box: Box | None = None) -> list[Mask]:
        calls = list(self.calls)
        found = [self.predict(clicks, box) for clicks in candidates]
        self.segmenter.batches.append(len(candidates))  # type: ignore[attr-defined]
        self.calls = calls
        return found


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def _disc(x: int, y: int, radius: int = 12) -> np.ndarray:
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


GT = _disc(30, 30) | _disc(50, 30)
SAMPLE = Sample("s/1", "a.jpg", "1", "a thing")


async def _play(
    policy: FakePolicy, pool: ThreadPoolExecutor, segmenter: DiscSegmenter | None = None, **rules: Any
) -> Episode:
    settings = ProtocolSettings.build(rules)
    image = np.zeros((*SIZE, 3), np.uint8)
    state = EpisodeState(SAMPLE, image, Truth(GT), segmenter or DiscSegmenter(12), settings, policy)
    return await run_episode(Play(state, policy, pool), find_strategy(settings.strategy).play)


def _click(x: int, y: int, value: int | None = None) -> str:
    said = "" if value is None else f"Current IOU: {value}, "
    return f"{said}Positive point: ({x}, {y})"


def _value(mask: Mask) -> int:
    """Return what a model says that sees all."""
    return round(100 * iou(GT, mask))


async def test_prm_stops_when_the_prediction_falls_and_returns_the_best(pool: ThreadPoolExecutor) -> None:
    spots = [(30, 30), (50, 30), (5, 5), (70, 50)]
    policy = FakePolicy(lambda observation, _: _click(*spots[len(observation.clicks)], _value(observation.mask)))
    episode = await _play(policy, pool, strategy="prm", prm="reply")
    assert [(step.action.x, step.action.y) for step in episode.steps] == spots[:3]
    assert episode.stop == "falling"
    assert episode.selected == {"final": 3, "self": 2, "best": 2}
    # Each reply is asked for once: it speaks of the mask and says the next click.
    assert [n for _, n in policy.observations] == [1, 1, 1, 1]
    assert sum(step.tokens.get("in") or 0 for step in episode.steps) == 40
    assert sum(step.cost or 0 for step in episode.steps) == 2.0
    # The prediction in reply t is about the mask before click t; what the search predicts, about the mask after it.
    ious = [0.0, *(step.iou for step in episode.steps)]
    assert [step.action.predicted_iou for step in episode.steps] == pytest.approx([*ious[:3]], abs=0.005)
    assert [step.chosen_value() for step in episode.steps] == pytest.approx(ious[1:], abs=0.005)


async def test_prm_converges_after_patience_steps_without_a_rise(pool: ThreadPoolExecutor) -> None:
    said = [0, 40, 41, 41, 42, 90]
    policy = FakePolicy(lambda observation, _: _click(10 + len(observation.clicks), 10, said[len(observation.clicks)]))
    stopped = await _play(policy, pool, strategy="prm", prm="reply")
    assert (stopped.stop, len(stopped.steps), stopped.selected["self"]) == ("converged", 3, 2)
    patient = await _play(policy, pool, strategy="prm", prm="reply", **{"stop.patience": 3, "stop.epsilon": 0.05})
    assert (patient.stop, len(patient.steps), patient.selected["self"]) == ("converged", 4, 4)
    budget = await _play(policy, pool, strategy="prm", prm="reply", budget=5, **{"stop.patience": 2})
    assert (budget.stop, len(budget.steps), budget.selected["self"]) == ("budget", 5, 5)


async def test_a_reply_without_a_prediction_stops_nothing_and_is_never_the_best(pool: ThreadPoolExecutor) -> None:
    said = [0, 40, None, 60, None, 20]
    policy = FakePolicy(lambda observation, _: _click(10 + len(observation.clicks), 10, said[len(observation.clicks)]))
    episode = await _play(policy, pool, strategy="prm", prm="reply")
    assert (episode.stop, len(episode.steps), episode.selected["self"]) == ("falling", 5, 3)


async def test_an_invalid_reply_of_a_deterministic_model_ends_the_search(pool: ThreadPoolExecutor) -> None:
    policy = FakePolicy(lambda observation, _: "Current IOU: 20, hm" if observation.clicks else _click(30, 30, 0))
    episode = await _play(policy, pool, strategy="prm", prm="reply", **{"stop.patience": 5})
    assert (episode.stop, [step.action.reason for step in episode.steps]) == ("stuck", [None, "parse"])


@pytest.mark.parametrize("batched", [False, True])
async def test_tree_keeps_the_best_of_the_candidates(pool: ThreadPoolExecutor, batched: bool) -> None:
    draws = [
        [_click(5, 5), _click(30, 30), _click(5, 5), "what?"],
        [_click(70, 50), _click(5, 5), _click(50, 30), _click(50, 30)],
        [_click(5, 5), "Finish", _click(70, 50), "Finish"],
    ]

    def says(observation: Observation, draw: int) -> str:
        if observation.question == "iou":
            return f"Current IOU: {_value(observation.mask)}"
        return draws[len(observation.clicks)][draw]

    policy, segmenter = FakePolicy(says), BatchDiscs(12) if batched else DiscSegmenter(12)
    policy.deterministic = False
    episode = await _play(policy, pool, segmenter, strategy="tree", candidates=4, prm="ask", budget=5)
    kinds = [(step.action.kind, step.action.x, step.action.y) for step in episode.steps]
    assert kinds == [("click", 30, 30), ("click", 50, 30), ("stop", None, None)]
    assert (episode.stop, episode.selected) == ("stop", {"final": 3, "self": 2, "best": 2})
    assert episode.iou_at(2) == 1.0

    first = episode.steps[0].candidates
    assert [(len(each["replies"]), each["action"]["kind"], each["chosen"]) for each in first] == [
        (2, "click", False),
        (1, "click", True),
        (1, "invalid", False),
    ]
    for each, clicks in zip(first, ([(5, 5)], [(30, 30)], []), strict=True):
        expected = np.any([_disc(*spot) for spot in clicks], axis=0) if clicks else np.zeros(SIZE, bool)
        assert np.array_equal(masks.decode(each["mask"]), expected)
        assert each["iou"] == pytest.approx(iou(GT, expected))
        assert each["predicted_iou"] == pytest.approx(iou(GT, expected), abs=0.005)
    assert first[2]["judgement"] is None  # an invalid reply leads to no mask that would have to be judged
    # One question of four draws a step, and one greedy question for each different mask; all are counted.
    asked = [(observation.question, observation.greedy, n) for observation, n in policy.observations]
    assert asked[:4] == [("click", False, 4), ("iou", True, 1), ("iou", True, 1), ("click", False, 4)]
    assert [step.tokens["in"] for step in episode.steps] == [60, 70, 60]
    assert [len(observation.clicks) for observation, _ in policy.observations[:3]] == [0, 1, 1]
    if batched:
        assert segmenter.batches == [2, 3, 2]  # type: ignore[attr-defined]


async def test_a_beam_leaves_the_best_first_click_and_keeps_the_cost_of_what_it_tried(pool: ThreadPoolExecutor) -> None:
    """GT: two discs. The best first click hits one of them, but after it only harmful clicks are offered."""
    straight, beside, other, harm = "(30, 30)", "(22, 30)", "(50, 30)", "(10, 50)"

    def says(seen: Observation, draw: int) -> str:
        first = seen.clicks[0] if seen.clicks else None
        offered = (
            (straight, beside) if first is None else (harm, harm) if first == Click(True, 30, 30) else (other, harm)
        )
        return f"Positive point: {offered[draw]}"

    beam = find_strategy("examples/beam_search.py")
    settings = {"prm": "oracle", "candidates": 2, "budget": 2, "temperature": 1.0}
    found = {}
    for name, strategy in (("tree", find_strategy("tree")), ("beam", beam)):
        policy = FakePolicy(says)
        rules = ProtocolSettings.build(settings | {"strategy": "tree", "stop.patience": 9})
        state = EpisodeState(SAMPLE, np.zeros((*SIZE, 3), np.uint8), Truth(GT), DiscSegmenter(12), rules, policy)
        found[name] = await run_episode(Play(state, policy, pool), strategy.play)
        replies = sum(n for _, n in policy.observations)
        assert sum(step.cost or 0.0 for step in found[name].steps) == 0.5 * replies  # each reply costs 0.5
        assert sum(step.tokens.get("in") or 0 for step in found[name].steps) == 10 * replies
    clicked = {name: [step.action.click for step in episode.steps] for name, episode in found.items()}
    assert clicked["tree"][0] == Click(True, 30, 30)
    assert clicked["beam"] == [Click(True, 22, 30), Click(True, 50, 30)]
    last = found["beam"].steps[-1]
    both = _disc(22, 30) | _disc(50, 30)
    assert last.iou == iou(GT, both) > found["tree"].steps[0].iou == iou(GT, _disc(30, 30))
    assert np.array_equal(masks.decode(last.mask), both)
    assert [step.t for step in found["beam"].steps] == [1, 2]
    assert found["beam"].stop == "budget"


def test_a_strategy_of_a_file_declares_its_settings_and_requests(tmp_path: Path) -> None:
    given = {"strategy": "examples/beam_search.py", "prm": "ask", "candidates": 3, "budget": 5}
    needs = find_strategy("examples/beam_search.py").needs
    assert ProtocolSettings.build(given, needs).most_requests(needs) == 5 * 2 * (1 + 3) + 1
    with pytest.raises(UsageError, match=r"does not use stop"):
        hlmat_bench.run(
            "oracle", "hres_synth", strategy=given["strategy"], settings={"stop.patience": 2}, limit=1, out=tmp_path
        )
    with pytest.raises(UsageError, match=r"needs a predicted IoU"):
        hlmat_bench.run("center", "hres_synth", strategy="examples/beam_search.py", limit=1, out=tmp_path)


async def test_tree_with_one_candidate_is_prm(pool: ThreadPoolExecutor) -> None:
    generator = np.random.default_rng(0)
    for _ in range(10):
        spots = generator.integers(0, 60, (9, 2)).tolist()

        def says(observation: Observation, _: int, spots: list[list[int]] = spots) -> str:
            return _click(*spots[len(observation.clicks)], _value(observation.mask))

        policy = FakePolicy(says)
        one = await _play(policy, pool, strategy="tree", candidates=1, prm="reply")
        other = await _play(policy, pool, strategy="prm", prm="reply")
        for episode in (one, other):
            for step in episode.steps:
                step.seconds.clear()
        assert one.to_json() == other.to_json()


async def test_candidates_that_are_all_invalid_spend_a_click(pool: ThreadPoolExecutor) -> None:
    policy = FakePolicy(lambda observation, draw: "hm" if observation.t == 1 else _click(30, 30 + draw))
    policy.deterministic = False
    episode = await _play(policy, pool, strategy="tree", candidates=2, prm="oracle", budget=2, **{"stop.patience": 9})
    assert [step.action.kind for step in episode.steps] == ["invalid", "click"]
    assert episode.steps[0].candidates[0]["action"] == {"kind": "invalid", "reason": "parse"}


async def test_a_failed_judgement_is_recorded_and_keeps_what_was_there(pool: ThreadPoolExecutor) -> None:
    def says(observation: Observation, _: int) -> str:
        if observation.question == "iou" and len(observation.clicks) == 2:
            raise RequestFailed("the server is gone")
        return "Current IOU: 50" if observation.question == "iou" else _click(30 + 20 * len(observation.clicks), 30)

    episode = await _play(FakePolicy(says), pool, strategy="prm", prm="ask")
    assert (episode.stop, episode.error) == ("error", "the server is gone")
    assert [step.action.reason for step in episode.steps] == [None, "api"]
    assert episode.steps[1].mask == episode.steps[0].mask


def test_a_candidate_survives_the_way_to_disk(pool: ThreadPoolExecutor) -> None:
    policy = FakePolicy(lambda observation, draw: _click(30 + draw, 30))
    policy.deterministic = False
    episode = asyncio.run(_play(policy, pool, strategy="tree", candidates=3, prm="oracle", budget=1))
    assert len(episode.steps[0].candidates) == 3
    assert Episode.from_json(episode.to_json()) == episode


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0, 0.3), st.integers(1, 4), st.floats(0, 1))
def test_the_stop_rule(values: list[float], epsilon: float, patience: int, start: float) -> None:
    """It ends at the first step for which the last so many values do not exceed what was best before each of them."""
    rule = Convergence(StopSettings(epsilon=epsilon, patience=patience), start)
    stops = [number for number, value in enumerate(values, 1) if rule.after(value)]
    rises = [value > max([start, *values[:number]]) + epsilon for number, value in enumerate(values)]
    expected = [n for n in range(patience, len(values) + 1) if not any(rises[n - patience : n])]
    assert stops[:1] == expected[:1]


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_a_noisy_reward_has_the_correlation_it_is_given(correlation: float) -> None:
    generator = np.random.default_rng(1)
    truth, draws = generator.random(20000), generator.random(20000)
    said = np.array([noisy(q, correlation, u) for q, u in zip(truth, draws, strict=True)])
    assert said.min() >= 0
    assert said.max() <= 1
    expected = 6 / np.pi * np.arcsin(correlation / 2)  # of two even distributions joined by a Gaussian copula
    assert statistics.correlation(truth.tolist(), said.tolist()) == pytest.approx(expected, abs=0.02)
    if correlation == 1.0:
        assert np.allclose(said, truth)


def test_the_noise_follows_the_runs_seed(task: str, tool: str, tmp_path: Path) -> None:
    def said(name: str, seed: int) -> list[float | None]:
        settings = {"prm": "noisy", "correlation": 0.5, "stop.patience": 9}
        run = hlmat_bench.run(
            "oracle", task, tool, strategy="prm", seed=seed, limit=4, settings=settings, out=tmp_path / name
        )
        return [step.chosen_value() for episode in run.episodes() for step in episode.steps]

    one, again, other = said("one", 3), said("again", 3), said("other", -4)
    assert one == again
    assert len(one) == len(other)
    assert one != other


def test_a_search_wants_a_reward_model(task: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a predicted IoU.*prm=ask"):
        hlmat_bench.run("oracle", task, strategy="prm", out=tmp_path / "r")


def test_a_catalogued_model_that_predicts_needs_no_more_settings(task: str, tmp_path: Path) -> None:
    with ChatServer(lambda body, image, prompt: "Current IOU: 30, Positive point: (500, 500)") as server:
        model = f"segagent-qwen,model=fake,base_url={server.base_url}"
        run = hlmat_bench.run(model, task, strategy="prm", limit=2, out=tmp_path / "r")
    assert run.manifest["protocol"]["prm"] == "reply"
    assert [episode.stop for episode in run.episodes()] == ["converged", "converged"]
    assert len(server.asked) == 4  # the reply to the empty mask, and the reply to the first click's


MINE = """
async def two_clicks(play):
    for _ in range(2):
        [reply] = await play.ask()
        await play.do(play.read(reply), reply)
    return "budget"

STRATEGIES = {"two-clicks": two_clicks}
"""


def test_a_strategy_of_a_users_own_file(task: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    run = hlmat_bench.run("oracle", task, strategy=str(path), limit=2, out=tmp_path / "r")
    assert [len(episode.steps) for episode in run.episodes()] == [2, 2]
    assert run.manifest["protocol"]["strategy"].startswith("mine.py:two-clicks sha256:")
    path.write_text(MINE.replace("range(2)", "range(1)"))
    with pytest.raises(UsageError, match="holds another run"):
        hlmat_bench.run("oracle", task, strategy=str(path), limit=2, out=tmp_path / "r")
