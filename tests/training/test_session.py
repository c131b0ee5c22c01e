"""Sessions play by the rules of a run, and can be saved and restored."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hlmat_bench
from hlmat_bench.core import masks
from hlmat_bench.core.errors import PluginFailed, UsageError
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.protocol.records import Episode
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.testing import DiscSegmenter
from hlmat_bench.training.pool import SessionSettings
from hlmat_bench.training.rewards import RewardSettings, episode_rewards
from hlmat_bench.training.session import ClickSession, Outcome
from tests.support.babbling import Babbler, babble

KEPT = ("t", "raw", "action", "predicted_iou", "mask", "iou")


def played(session: ClickSession) -> list[Outcome]:
    """Play an episode with what the model of `babbled` says."""
    outcomes: list[Outcome] = []
    while session.end is None:
        outcomes.append(session.step(babble(session.sample.id, len(outcomes) + 1)))
    return outcomes


def facts(episode: Episode) -> dict[str, Any]:
    """Return an episode as JSON values without what depends on the clock."""
    value = episode.to_json()
    return value | {"steps": [{key: step[key] for key in KEPT} for step in value["steps"]]}


def test_a_thousand_episodes_are_those_of_a_run(babbled: Run, options: dict[str, Any]) -> None:
    pool = SessionSettings.of(options).open()
    count = 0
    for sample, episode in zip(pool.samples, babbled.episodes(), strict=True):
        session = pool.open(sample.id)
        outcomes = played(session)
        assert facts(session.record()) == facts(episode)
        assert [outcome.after for outcome in outcomes] == [step.iou for step in episode.steps]
        assert outcomes[-1].terminated == (episode.stop == "stop")
        assert outcomes[-1].truncated == (episode.stop == "budget")
        assert math.isclose(sum(each.reward.total for each in outcomes), episode.iou_at(99) - episode.iou_at(0))
        count += 1
    assert count == 1000


@pytest.mark.parametrize("rewards", ["ibis-agent", "medsam-agent", {"gain": 1, "overshoot": 0.5, "turns": 0.01}])
def test_rewards_are_those_computed_from_the_record(
    babbled: Run, options: dict[str, Any], rewards: str | dict[str, float]
) -> None:
    pool = SessionSettings.of({**options, "rewards": rewards, "limit": 60}).open()
    for sample, episode in zip(pool.samples, babbled.episodes(), strict=False):
        found = [outcome.reward for outcome in played(pool.open(sample.id))]
        assert found == episode_rewards(episode, RewardSettings.of(rewards))


@pytest.mark.parametrize("initial", ["gt-box", "empty"])
def test_a_deterministic_policy_and_an_initial_box(options: dict[str, Any], initial: str, tmp_path: Any) -> None:
    """An invalid reply ends the episode of a policy that would repeat it, in a session as in a run."""
    model = Babbler(deterministic=True)
    run = hlmat_bench.run(model, options["task"], options["segmenter"], initial=initial, limit=100, out=tmp_path)
    more = {"initial": initial, "limit": 100, "deterministic": True, "resize": "none"}
    pool = SessionSettings.of({**options, **more}).open()
    stops = set()
    for sample, episode in zip(pool.samples, run.episodes(), strict=True):
        session = pool.open(sample.id)
        outcomes = played(session)
        assert facts(session.record()) == facts(episode)
        assert outcomes[-1].terminated == (episode.stop != "budget")
        stops.add(episode.stop)
    assert stops == {"stuck", "stop", "budget"}


def test_what_the_policy_sees_is_what_a_model_of_a_run_sees(options: dict[str, Any], tmp_path: Any) -> None:
    class Watcher(Babbler):
        async def reply(self, request: Any) -> list[Reply]:
            self.asked.append((request.sample_id, request.t, request.prompt, request.image.copy()))
            return await super().reply(request)

    settings = {"history": True, "jpeg": 75, "overlay.color": "blue"}
    watcher: Any = Watcher(resize="fit-long40")
    where = {"settings": settings, "limit": 5}
    hlmat_bench.run(watcher, options["task"], options["segmenter"], out=tmp_path, concurrency=1, **where)
    seen = {(sample, t): (prompt, image) for sample, t, prompt, image in watcher.asked}
    pool = SessionSettings.of({**options, **where}).open()
    for sample in pool.samples:
        session = pool.open(sample.id)
        while session.end is None:
            request = session.request()
            prompt, image = seen.pop((sample.id, request.t))
            assert request.prompt == prompt
            assert np.array_equal(request.image, image)
            session.step(babble(sample.id, request.t))
    assert not seen


def test_a_state_is_saved_and_restored(options: dict[str, Any]) -> None:
    """After any detour, an episode goes on as if it had gone straight."""
    pool = SessionSettings.of({**options, "limit": 30}).open()
    for number in range(30):
        straight, searching = pool.open(number), pool.open(number)
        expected = played(straight)
        for t, outcome in enumerate(expected, 1):
            saved = searching.save()
            while searching.end is None:  # to the end with other replies
                searching.step(babble(searching.sample.id, len(searching.state.steps) + 1, seed=7))
            searching.restore(saved)
            assert searching.end is None
            assert searching.step(babble(searching.sample.id, t)) == outcome
        assert facts(searching.record()) == facts(straight.record())


@pytest.mark.parametrize("forget", [False, True])
def test_what_a_detour_cost_stays_in_the_record_unless_it_is_forgotten(options: dict[str, Any], forget: bool) -> None:
    session = SessionSettings.of(options).open().open(0)
    saved = session.save()
    for _ in range(3):
        session.step(Reply("Positive point: (100, 100)", tokens_in=10, tokens_out=5, cost=1.0))
        session.restore(saved, forget=forget)
    session.step(Reply("Finish", tokens_in=10, tokens_out=5, cost=1.0))
    [step] = session.record().steps
    assert (step.cost, step.tokens["in"]) == ((1.0, 10) if forget else (4.0, 40))


def test_the_end_of_a_conversation_pays_what_is_due_at_the_end(options: dict[str, Any]) -> None:
    pool = SessionSettings.of({**options, "rewards": {"gain": 1, "final_iou": 2, "turns": 1, "placement": 1}}).open()
    session = pool.open(0)
    first = session.step("Positive point: (500, 500)")
    due = session.closing_reward()
    assert due.parts == {"gain": 0.0, "turns": 0.0, "final_iou": 2 * first.after, "placement": 0.0}
    session.step("Finish")
    assert session.closing_reward().total == 0


def test_a_failing_segmenter_ends_the_episode_as_in_a_run_and_earns_nothing(
    options: dict[str, Any], tmp_path: Any
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(
        "from hlmat_bench.testing import DiscSegmenter\n"
        "class Broken(DiscSegmenter):\n"
        "    name = 'broken'\n"
        "    def open(self, image):\n"
        "        session = super().open(image)\n"
        "        session.predict = None\n"
        "        return session\n"
        "SEGMENTERS = {'broken': Broken}\n"
    )
    session = SessionSettings.of({**options, "segmenter": str(path)}).open().open(0)
    session.step("nothing")
    with pytest.raises(PluginFailed, match="The segmenter broken failed on the sample"):
        session.step("Positive point: (500, 500)")
    with pytest.raises(PluginFailed):
        session.step("Positive point: (500, 500)")
    with pytest.raises(PluginFailed):
        session.closing_reward()
    episode = session.record()
    assert (episode.stop, episode.steps[-1].action.reason) == ("error", "api")
    assert "broken failed" in str(episode.error)


def test_a_session_says_what_it_cannot_do(options: dict[str, Any]) -> None:
    pool = SessionSettings.of({**options, "limit": 2, "budget": 1}).open()
    with pytest.raises(UsageError, match="There is no sample number 2"):
        pool.open(2)
    with pytest.raises(UsageError, match="no sample called 'many/x'"):
        pool.open("many/x")
    session = pool.open(0)
    with pytest.raises(UsageError, match="not over"):
        session.record()
    session.step("Finish")
    with pytest.raises(UsageError, match="over; open the next one"):
        session.step("Finish")
    with pytest.raises(UsageError, match="strategy"):
        SessionSettings.of({"task": "filter_hres_synth"}).open()
    with pytest.raises(UsageError, match="initial=gt-box"):
        SessionSettings.of({**options, "initial": "model-box"}).open()
    with pytest.raises(UsageError, match="Did you mean segmenter"):
        SessionSettings.of({"task": "hres_synth", "segmentr": "sam_b"})


def test_a_session_opens_where_an_event_loop_runs(boxes: Any) -> None:
    """Trainers are asynchronous, and notebooks, too."""

    async def opened() -> ClickSession:
        settings = {"task": "refine_hres_synth", "limit": 1}
        return SessionSettings.of(settings).open().open(0)

    session = asyncio.run(opened())
    assert session.state.initial["kind"] == "generated"
    assert masks.area(session.state.segmentation.rle) > 0


def test_the_catalogue_says_how_a_model_answers_without_loading_it() -> None:
    pool = SessionSettings.of({"task": "hres_synth", "model": "qwen2.5-vl-7b", "limit": 1}).open()
    assert pool.setup.points.name == "xypixel-json"
    assert pool.setup.resize.name.startswith("smart-28")
    request = pool.open(0).request()
    assert request.image.shape[0] % 28 == 0
    assert "in pixels of this image" in request.prompt


def test_settings_take_paths_and_a_segmenter_itself(task: str) -> None:
    settings = SessionSettings.of({"task": Path(task), "points": "xy1"})
    tool = DiscSegmenter(4)
    session = settings.open(tool).open(3)
    assert session.step("Positive point: (0.5, 0.5)").action.click == (True, 40, 30)
    assert len(tool.sessions) == 1
    with pytest.raises(UsageError, match="setting task of the environment is missing"):
        SessionSettings.of({"segmenter": "graphcut"})


def test_pools_are_shared_within_a_process(options: dict[str, Any]) -> None:
    first, again = (SessionSettings.of({**options, "limit": 3}).shared() for _ in range(2))
    assert first is again
    assert SessionSettings.of({**options, "limit": 4}).shared() is not first
