"""measures.jsonl never decides a score: whatever it holds, scores are those of the masks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import hlmat_bench
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.records import EPISODES, Episode, to_record
from hlmat_bench.runs.episode_log import EpisodeLog, Finished, recorded
from hlmat_bench.runs.measures import MEASURES, Heads
from hlmat_bench.runs.measuring import Measuring, measured
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.scores import registry
from hlmat_bench.scores.episode_scores import EpisodeScores
from hlmat_bench.scores.episodes import score_episode
from hlmat_bench.scores.scoring import score_episodes, score_samples
from tests.support.episodes import click, episode, simple

MASKS = arrays(bool, (5, 7))


def _played(seed: int, name: str) -> Episode:
    generator = np.random.default_rng(seed)
    gt, *states = (generator.random((5, 40, 60)) < 0.5)[:5]
    return episode(
        name, gt, [(click(seed % 2 == 0, 3 + seed % 50, 4), mask) for mask in states], image_id=f"i{seed % 3}"
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Write twelve episodes, none of them measured."""
    lines = [to_record(_played(seed, f"s/{seed}")) for seed in range(12)]
    (tmp_path / EPISODES).write_bytes(b"".join(lines))
    return tmp_path


def _scores(folder: Path) -> str:
    return json.dumps(score_samples(measured(folder, 7, "final"), budget=7, track="point"))


def _from_masks(folder: Path) -> str:
    lines = (folder / EPISODES).read_bytes().splitlines()
    episodes = [Episode.from_json(json.loads(line)) for line in lines]
    return json.dumps(score_episodes(episodes, budget=7, track="point"))


@given(MASKS, st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 4), MASKS), max_size=4))
def test_numbers_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, gt: np.ndarray, steps: list[tuple[bool, int, int, np.ndarray]]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    made = episode(
        "a b/\N{GREEK SMALL LETTER ALPHA}", gt, [(click(sign, x, y, 0.5), mask) for sign, x, y, mask in steps]
    )
    (folder / EPISODES).write_bytes(line := to_record(made))
    (folder / MEASURES).write_bytes(Measuring(7, "self").line(line, made) or b"")
    expected = score_episode(made, 7, rule="self", boundary=True)
    [found] = measured(folder, 7, "self")
    for name in EpisodeScores.__slots__:
        if name not in ("gt", "mask"):
            assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    assert found.gt is None


def test_what_was_measured_is_used_and_not_measured_again(run: Path) -> None:
    first = _scores(run)
    kept = (run / MEASURES).read_bytes()
    assert kept.count(b"\n") == 12
    assert _scores(run) == first == _from_masks(run)
    assert (run / MEASURES).read_bytes() == kept


def _flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[len(data) // 3 :],
        lambda data: b"\x00" * 5000,
        lambda data: b"\n\n{}\n[1]\n" + data,
        lambda data: b"x" * 300 + b"\n" + b"\xff" * 300 + b"\n",
        lambda data: data.replace(b'"iou":[0', b'"iou":[1'),
        lambda data: data.replace(b'"stop":"budget"', b'"stop":"error"'),
    ],
)
def test_a_damaged_file_changes_no_score(run: Path, harm: Callable[[bytes], bytes]) -> None:
    expected = _scores(run)
    (run / MEASURES).write_bytes(harm((run / MEASURES).read_bytes()))
    assert _scores(run) == expected


@given(st.data())
def test_a_flipped_bit_changes_no_score(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder, made = tmp_path_factory.mktemp("run"), _played(1, "s")
    (folder / EPISODES).write_bytes(line := to_record(made))
    measure = Measuring(7, "final").line(line, made)
    assert measure is not None
    (folder / MEASURES).write_bytes(_flip(measure, data.draw(st.integers(0, len(measure) - 1))))
    [found] = measured(folder, 7, "final")
    assert found.iou.tolist() == score_episode(made, 7).iou.tolist()
    assert recorded(folder)["s"].stop == "budget"


def test_measures_of_another_run_or_another_line_are_not_used(run: Path) -> None:
    measured(run, 7, "final")
    lines = [to_record(_played(seed + 20, f"s/{seed}")) for seed in range(12)]
    (run / EPISODES).write_bytes(b"".join(lines))
    assert _scores(run) == _from_masks(run)


def test_measures_of_another_budget_or_rule_are_not_used(run: Path) -> None:
    assert [len(sample.iou) for sample in measured(run, 7, "final")] == [8] * 12
    assert [len(sample.iou) for sample in measured(run, 5, "final")] == [6] * 12
    best = measured(run, 7, "best")
    assert [sample.score for sample in best] == [sample.at("best") for sample in best]


def test_a_score_that_is_declared_later_is_measured(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FURTHER", {})
    measured(run, 7, "final")

    def doubled(sample: EpisodeScores) -> float:
        return 2 * float(sample.iou[1])

    registry.score("doubled", title="Doubled", definition="Twice the first IoU.")(doubled)
    assert [sample.further["doubled"] for sample in measured(run, 7, "final")] == [
        (2 * float(sample.iou[1]), 1.0) for sample in measured(run, 7, "final")
    ]


def test_a_folder_that_cannot_be_written_is_scored(run: Path) -> None:
    (run / MEASURES).mkdir()  # also what the superuser cannot write to
    assert _scores(run) == _from_masks(run)


def test_a_line_that_was_cut_off_spoils_no_later_one(run: Path) -> None:
    measured(run, 7, "final")
    whole = (run / MEASURES).read_bytes()
    (run / MEASURES).write_bytes(whole[:-20])
    measured(run, 7, "final")
    assert (run / MEASURES).read_bytes().splitlines()[-1] == whole.splitlines()[-1]


def test_what_is_wrong_with_a_record_is_said(run: Path) -> None:
    lines = (run / EPISODES).read_bytes().splitlines(keepends=True)
    measured(run, 7, "final")
    (run / EPISODES).write_bytes(b"".join([*lines, lines[3]]))
    with pytest.raises(UsageError, match="stands twice in .*, in the lines 4 and 13"):
        measured(run, 7, "final")
    (run / EPISODES).write_bytes(b"".join([lines[0], lines[1].replace(b"budget", b"error!"), lines[2]]))
    with pytest.raises(UsageError, match=r"Line 2 \(the sample s/1\) of .*episodes\.jsonl is damaged"):
        measured(run, 7, "final")


def test_many_episodes_are_measured_in_several_processes_from_an_unguarded_script(tmp_path: Path) -> None:
    """The script has no ``if __name__``: processes that run it again would never end."""
    lines = [to_record(_played(seed, f"s/{seed}")) for seed in range(500)]
    (tmp_path / EPISODES).write_bytes(b"".join(lines))
    (tmp_path / "script.py").write_text(
        "import sys\nfrom pathlib import Path\nfrom hlmat_bench.runs.measuring import measured\n"
        "print(sum(sample.score for sample in measured(Path(sys.argv[1]), 7, 'final')))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (tmp_path / MEASURES).read_bytes().count(b"\n") == 500
    expected = [score_episode(_played(seed, f"s/{seed}"), 7).score for seed in range(500)]
    assert float(made.stdout) == pytest.approx(sum(expected))


def test_an_episode_is_measured_where_it_is_played(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=6)
    kept = (tmp_path / MEASURES).read_bytes()
    expected = made.scores()
    (tmp_path / MEASURES).unlink()
    assert Run(tmp_path).score() == expected
    assert sorted((tmp_path / MEASURES).read_bytes().splitlines()) == sorted(kept.splitlines())


def test_a_run_that_continues_knows_its_episodes_from_the_measures(tmp_path: Path) -> None:
    log = EpisodeLog(tmp_path, ["a", "b"])
    log.append(Finished.of(simple("a"), Measuring(7, "final")))
    log.append(Finished.of(simple("b")))
    log.close()
    lines = (tmp_path / EPISODES).read_bytes().splitlines(keepends=True)
    assert (tmp_path / MEASURES).read_bytes().count(b"\n") == 1
    digests = [json.loads(line)["digest"] for line in lines]
    assert Heads(tmp_path).find(digests[0]) == {"sample_id": "a", "image_id": "a", "stop": "budget", "data": {}}
    assert Heads(tmp_path).find(digests[1]) is None
    assert list(recorded(tmp_path)) == ["a", "b"]


def test_a_finished_run_is_left_as_it_is(task: str, tool: str, tmp_path: Path) -> None:
    hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=4)
    names = (EPISODES, MEASURES, "run.json", "scores.json")
    before = [(tmp_path / name).read_bytes() for name in names]
    assert hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=4).finished()
    assert [(tmp_path / name).read_bytes() for name in names] == before
