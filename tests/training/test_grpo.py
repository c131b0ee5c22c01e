"""TRL's own trainer trains a tiny checkpoint, and its rewards are those of a run."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import hlmat_bench
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.testing import tiny_vlm
from hlmat_bench.training import episode_rewards, reward, rows, snapshots
from hlmat_bench.training.pool import SessionSettings
from hlmat_bench.training.rewards import RewardSettings
from hlmat_bench.training.snapshot_rewards import text_of
from hlmat_bench.training.states import Snapshot
from hlmat_bench.training.trl import environment_factory, episode_rows
from tests.support.babbling import Babbler
from tests.training.test_session import facts

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    monkeypatch.setenv("HLMAT_OWN_FILES", "1")


def trainer(folder: Path, says: Sequence[str], **options: Any) -> Any:
    """Return a GRPOTrainer of a tiny Qwen3-VL that says these pieces, about every second time."""
    import trl
    from transformers import AutoModelForImageTextToText, AutoProcessor

    checkpoint = tiny_vlm(folder / "tiny", "qwen3_vl", says=says)
    processor = AutoProcessor.from_pretrained(checkpoint)
    templates = Path(trl.__file__).with_name("chat_templates")
    processor.chat_template = (templates / "qwen3_vl.jinja").read_text()
    model = AutoModelForImageTextToText.from_pretrained(checkpoint)
    model.config.text_config.max_position_embeddings = 16384  # its tokens are single bytes
    arguments = trl.GRPOConfig(
        os.fspath(folder / "out"),
        per_device_train_batch_size=4,
        num_generations=2,
        learning_rate=1e-6,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        generation_kwargs={"suppress_tokens": model.generation_config.suppress_tokens},
        **options.pop("arguments"),
    )
    return trl.GRPOTrainer(model=model, processing_class=processor, args=arguments, **options)


class Said(Babbler):
    """A model of a run that says these lines, by sample and step."""

    def __init__(self, lines: dict[tuple[str, int], str], **more: Any) -> None:
        super().__init__(**more)
        self.lines = lines

    async def reply(self, request: Any) -> list[Reply]:
        return [Reply(self.lines[request.sample_id, request.t])]


def test_twenty_steps_with_the_reward_function(options: dict[str, Any], tmp_path: Path) -> None:
    from datasets import Dataset

    run = hlmat_bench.run("center", options["task"], options["segmenter"], limit=8, budget=1, out=tmp_path / "run")
    states = list(snapshots(run, task=options["task"], segmenter=options["segmenter"], points="xy1000"))
    seen: list[tuple[str, str, float]] = []

    def watched(completions: Sequence[Any], state: Sequence[str], **columns: Any) -> list[float]:
        found = reward(completions, state=state, **columns)
        names = [Snapshot.read(one).sample_id for one in state]
        seen.extend(zip(names, map(text_of, completions), found, strict=True))
        return found

    made = trainer(
        tmp_path,
        ["Positive point: (450, 400)"],
        arguments={"max_steps": 20, "max_completion_length": 8, "temperature": 0.3},
        train_dataset=Dataset.from_list(list(rows(states))),
        reward_funcs=watched,
    )
    made.train()
    assert made.state.global_step == 20
    assert len(seen) == 80
    logged = [entry["reward"] for entry in made.state.log_history if "reward" in entry]
    assert logged == pytest.approx([sum(one[2] for one in seen[n : n + 4]) / 4 for n in range(0, 80, 4)], abs=1e-6)
    _check_against_runs(seen, options, tmp_path)


def _check_against_runs(seen: list[tuple[str, str, float]], options: dict[str, Any], folder: Path) -> None:
    """Play each reply in a run, the n-th reply to each sample in the n-th run."""
    waiting = list(seen)
    earned = []
    while waiting:
        round_: dict[str, tuple[str, float]] = {}
        left = []
        for name, said, found in waiting:
            if name in round_:
                left.append((name, said, found))
            else:
                round_[name] = (said, found)
        lines = {(f"many/0_{n}/0", 1): "nothing" for n in range(8)}
        lines |= {(name, 1): said for name, (said, _) in round_.items()}
        where = {"budget": 1, "limit": 8, "out": folder / f"round{len(waiting)}"}
        run = hlmat_bench.run(Said(lines), options["task"], options["segmenter"], **where)
        for episode in run.episodes():
            if episode.sample_id in round_:
                [one] = episode_rewards(episode, RewardSettings.of("gain"))
                assert one.total == round_[episode.sample_id][1]
                earned.append(one.total)
        waiting = left
    assert len(earned) == len(seen)
    assert 10 < sum(map(bool, earned)) < 70  # about half of the replies are noise


def test_steps_with_the_environment(options: dict[str, Any], tmp_path: Path) -> None:
    """The checkpoint calls tools until its tokens are used up; each rollout is an episode of a run."""
    from datasets import Dataset

    call = '<tool_call>\n{"name": "click", "arguments": {"x": %d, "y": 400, "positive": true}}\n</tool_call>'
    settings = SessionSettings.of({**options, "limit": 4, "budget": 2, "rewards": {"gain": 1, "final_iou": 1}})
    made = trainer(
        tmp_path,
        [call % 300, call % 700],
        arguments={"max_steps": 3, "max_completion_length": 500, "temperature": 0.25},
        train_dataset=Dataset.from_list(episode_rows(settings)),
        environment_factory=environment_factory(settings),
    )
    finished: list[Any] = []
    keep_rollouts(made, finished.append)
    made.train()
    assert made.state.global_step == 3
    assert len(finished) == 12
    logged = [entry["rewards/ClickEnvironment/mean"] for entry in made.state.log_history if "reward" in entry]
    assert logged == pytest.approx([sum(one[2] for one in finished[n : n + 4]) / 4 for n in range(0, 12, 4)], abs=1e-6)
    over = [(name, record, found) for name, record, found in finished if record is not None]
    assert len(over) > 2
    for number, (name, record, found) in enumerate(over[:4]):
        lines = {(name, step.t): step.raw for step in record.steps}
        lines |= {(f"many/0_{n}/0", t): lines.get((f"many/0_{n}/0", t), "Finish") for n in range(4) for t in (1, 2)}
        where = {"budget": 2, "limit": 4, "out": tmp_path / f"run{number}"}
        run = hlmat_bench.run(Said(lines, resize="fit-long40"), options["task"], options["segmenter"], **where)
        [episode] = [episode for episode in run.episodes() if episode.sample_id == name]
        assert facts(episode) == facts(record)
        weights = RewardSettings.of({"gain": 1, "final_iou": 1})
        assert math.isclose(found, sum(one.total for one in episode_rewards(episode, weights)))


def keep_rollouts(made: Any, keep: Callable[[tuple[str, Any, float]], None]) -> None:
    """Have the trainer's reward functions also keep the sample, the record and the reward of each rollout."""
    [original] = made.reward_funcs

    def watched(environments: Sequence[Any], **columns: Any) -> list[float]:
        found: list[float] = original(environments=environments, **columns)
        for environment, value in zip(environments, found, strict=True):
            session = environment.conversation.session
            keep((session.sample.id, session.record() if session.end else None, value))
        return found

    made.reward_funcs[0] = watched


def test_the_example_trains_for_two_steps_on_a_cpu() -> None:
    script = Path(__file__).resolve().parents[2] / "examples" / "grpo_trl.py"
    ran = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("'rewards/reward/mean'") == 2
