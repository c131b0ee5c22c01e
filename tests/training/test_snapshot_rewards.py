"""Rewards of single replies to snapshots are those of the steps of the run that the snapshots come from."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest

import hlmat_bench
from hlmat_bench import training
from hlmat_bench.core.errors import PluginFailed, UsageError
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.training.pool import SessionSettings
from hlmat_bench.training.rewards import RewardSettings, episode_rewards
from hlmat_bench.training.snapshot_rewards import SnapshotRewards, compute_score, reward, rows
from hlmat_bench.training.states import Snapshot, snapshots
from tests.support.babbling import Babbler, babble


@pytest.fixture(autouse=True)
def _own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HLMAT_OWN_FILES", "1")


@pytest.fixture(scope="module")
def states(babbled: Run, many: str, discs: str) -> list[Snapshot]:
    return list(snapshots(babbled, task=many, segmenter=discs))


@pytest.mark.slow
def test_every_reply_to_every_state_of_a_run_earns_what_the_run_earned(babbled: Run, states: list[Snapshot]) -> None:
    """1,000 episodes; the replies are given as texts and as chat messages."""
    expected = {
        (episode.sample_id, t): one.total
        for episode in babbled.episodes()
        for t, one in enumerate(episode_rewards(episode, RewardSettings.of("gain")), 1)
    }
    assert len(states) == len(expected) > 4000
    said = [babble(state.sample_id, state.t) for state in states]
    chats = [
        [{"role": "assistant", "content": text}] if state.t % 2 else text
        for state, text in zip(states, said, strict=True)
    ]
    texts = [state.to_json() for state in states]
    found = reward(prompts=None, completions=chats, state=texts, completion_ids=None)
    assert found == [expected[state.sample_id, state.t] for state in states]
    for number in range(0, len(states), 50):
        score = compute_score("hlmat", said[number], texts[number], {"index": 3}, reward_router_address=None)
        assert score["score"] == found[number]
        assert compute_score("hlmat", said[number], "", {"state": json.loads(texts[number])}) == score


@pytest.mark.parametrize("initial", ["gt-box", "generated"])
def test_states_of_episodes_that_begin_with_a_box_or_a_mask(initial: str, tmp_path: Any, discs: str) -> None:
    task = "hres_synth" if initial == "gt-box" else "refine_hres_synth"
    run = hlmat_bench.run(Babbler(), task, discs, initial=initial, limit=4, budget=4, out=tmp_path)
    states = list(snapshots(run, segmenter=discs, rewards="ibis-agent"))
    expected = [
        one.total for episode in run.episodes() for one in episode_rewards(episode, RewardSettings.of("ibis-agent"))
    ]
    assert reward([babble(state.sample_id, state.t) for state in states], state=states) == expected


def test_states_of_a_search_are_those_of_the_chosen_clicks(tmp_path: Any) -> None:
    """The embedded segmenter draws a mask from the last one, so that all clicks must be played again in order."""
    run = hlmat_bench.run(
        "oracle", "hres_synth", limit=2, strategy="tree", budget=2, out=tmp_path, settings={"prm": "oracle"}
    )
    states = list(snapshots(run))
    clicks = {(episode.sample_id, step.t): step for episode in run.episodes() for step in episode.steps}
    play = SnapshotRewards().play
    for state in states:
        step = clicks[state.sample_id, state.t]
        size = state.record.size
        at = (1000 * (step.action.x or 0) / size[1], 1000 * (step.action.y or 0) / size[0])
        outcome = play(state, f"Positive point: ({round(at[0])}, {round(at[1])})")
        assert outcome.before == state.iou
    assert len(states) == 4


def test_states_of_a_reference_are_shown_as_the_trained_model_sees_them(tmp_path: Any) -> None:
    """The oracle answers in pixels; who learns from its states has a point format of its own."""
    run = hlmat_bench.run("oracle", "hres_synth", limit=1, budget=2, out=tmp_path, settings={"overlay.color": "blue"})
    first = next(snapshots(run))
    assert (first.sessions.points, first.sessions.settings["overlay.color"]) == (None, "blue")
    assert SnapshotRewards().play(first, "Positive point: (1000, 1000)").action.kind == "click"
    other = next(snapshots(run, model="qwen2.5-vl-7b"))
    request = SnapshotRewards().request(other)
    assert "in pixels of this image" in request.prompt
    assert "semi-transparent blue" in request.prompt
    assert request.image.shape[0] % 28 == 0
    assert next(snapshots(run, points="yx1000")).sessions.points == "yx1000"


def test_many_replies_to_one_state_do_not_disturb_each_other(states: list[Snapshot]) -> None:
    """Threads ask about few states, whose sessions they share and lose again."""
    rewards, few = SnapshotRewards(kept=3), states[:8]
    alone = {
        (n, seed): SnapshotRewards().play(state, babble("x", 1, seed))
        for n, state in enumerate(few)
        for seed in (1, 2, 3)
    }
    found: dict[tuple[int, int], Any] = {}

    def ask(seed: int) -> None:
        for n, state in enumerate(few):
            found[n, seed] = rewards.play(state.to_json(), babble("x", 1, seed))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone


def test_states_that_are_kept_do_not_fill_the_memory(states: list[Snapshot]) -> None:
    """A painted image takes 3 x 5184 bytes: with room for three, the fourth state drives the first one out."""
    rewards = SnapshotRewards(memory=3 * 3 * 36 * 48 * 3)
    sessions = states[0].sessions.shared().setup.segmenter.sessions  # one for each state that is brought back
    before = len(sessions)
    for number in (0, 1, 2, 0, 1, 2, 3, 3, 1, 0):
        rewards.play(states[number], "Finish")
    assert len(sessions) - before == 5


def test_rows_of_a_data_set_show_what_the_model_of_the_run_saw(
    babbled: Run, states: list[Snapshot], options: Any
) -> None:
    pool = SessionSettings.of(options).open()
    for state, row in zip(states[:30], rows(states[:30]), strict=True):
        session = pool.open(state.sample_id)
        for t in range(1, state.t):
            session.step(babble(state.sample_id, t))
        request = session.request()
        assert row["prompt"] == [{"role": "user", "content": request.prompt}]
        assert np.array_equal(np.asarray(row["image"]), request.image)
        assert Snapshot.read(row["state"]) == state


def test_rewards_can_be_others_than_those_of_the_snapshots(states: list[Snapshot]) -> None:
    state, said = states[0], "Positive point: (500, 500)"
    other = SnapshotRewards(rewards={"format": 2})
    assert other.play(state, said).reward.parts == {"format": 2.0}
    assert other([said, "what?"], [state, state]) == [2.0, 0.0]
    assert other.__name__ == "hlmat_reward"


def test_a_state_that_cannot_be_brought_back_is_refused(
    states: list[Snapshot], babbled: Run, many: str, tool: str
) -> None:
    played = next(state for state in states if state.t > 1 and state.record.steps[0].action.kind == "click")
    changed = played.model_copy(
        update={"sessions": played.sessions.model_copy(update={"segmenter": f"{tool},radius=3"})}
    )
    with pytest.raises(UsageError, match="lead to another mask here"):
        reward(["Finish"], state=[changed])
    with pytest.raises(UsageError, match="are not those that the state"):
        reward(["Finish"], state=[played.model_copy(update={"data": "0" * 64})])
    with pytest.raises(UsageError, match="1 completions and 0 states"):
        reward(["Finish"])
    with pytest.raises(UsageError, match="no hlmat-snapshot/1"):
        reward(["Finish"], state=["{}"])
    with pytest.raises(UsageError, match="The state is not JSON"):
        reward(["Finish"], state=["[" * 100_000])
    broken = json.loads(played.to_json())
    broken["episode"]["steps"][0]["action"]["x"] = 4000
    with pytest.raises(UsageError, match="a click is outside of the image"):
        reward(["Finish"], state=[broken])
    with pytest.raises(UsageError, match="A completion is a text or a list"):
        reward([7], state=[played])
    with pytest.raises(UsageError, match=r"task .* is a file; give it to snapshots\(\) with task="):
        next(snapshots(babbled))
    with pytest.raises(UsageError, match=r"segmenter .* is a file"):
        next(snapshots(babbled, task=many))


def test_a_state_of_a_stranger_runs_no_code(
    states: list[Snapshot], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HLMAT_OWN_FILES")
    path = tmp_path / "evil.py"
    path.write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\nSEGMENTERS = {{'x': None}}\n")
    sessions = states[0].sessions
    for changed in (
        {"segmenter": str(path), "task": "hres_synth"},
        {"task": f"{tmp_path}/evil.yaml", "segmenter": "graphcut"},
    ):
        evil = states[0].model_copy(update={"sessions": sessions.model_copy(update=changed)})
        with pytest.raises(UsageError, match="is a file that may hold code; .* set HLMAT_OWN_FILES=1"):
            reward(["Finish"], state=[evil.to_json()])
    assert not (tmp_path / "ran").exists()
    assert SnapshotRewards(own_files=True).play(states[0].to_json(), "Finish").action.kind == "stop"
    assert SnapshotRewards().play(states[0], "Finish").action.kind == "stop"  # made in this process


def test_a_segmenter_that_fails_once_is_asked_again(states: list[Snapshot], tmp_path: Any) -> None:
    path = tmp_path / "shaky.py"
    path.write_text(
        "from hlmat_bench.testing import DiscSegmenter, DiscSession\n"
        "class Session(DiscSession):\n"
        "    def predict(self, clicks, box=None):\n"
        "        self.segmenter.count += 1\n"
        "        assert self.segmenter.count != 1, 'out of memory'\n"
        "        return super().predict(clicks, box)\n"
        "class Shaky(DiscSegmenter):\n"
        "    count = 0\n"
        "    def open(self, image):\n"
        "        return Session(image.shape[:2], self)\n"
        "SEGMENTERS = {'shaky': Shaky}\n"
    )
    first = states[0]
    sessions = first.sessions.model_copy(update={"segmenter": f"{path},radius=6"})
    shaky = first.model_copy(update={"sessions": sessions})
    rewards, said = SnapshotRewards(), "Positive point: (500, 500)"
    with pytest.raises(PluginFailed, match="out of memory"):
        rewards.play(shaky, said)
    assert rewards.play(shaky, said) == rewards.play(first, said)


def test_the_public_names_are_there() -> None:
    for name in training.__all__:
        assert getattr(training, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'snapshot'"):
        training.snapshot  # noqa: B018
