"""Files of runs and of data that are lost, doubled or changed are noticed, and never counted in silence."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path

import pytest
import yaml

import hlmat_bench
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.records import EPISODES
from hlmat_bench.runs import shards
from hlmat_bench.runs.episode_log import EARLY, HISTORY, EpisodeLog, Finished, recorded, set_aside
from hlmat_bench.runs.measures import MEASURES
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.run_lock import RunLock
from tests.support.episodes import simple


def test_a_folder_with_episodes_and_no_manifest_is_refused(task: str, tool: str, tmp_path: Path) -> None:
    hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=3)
    (tmp_path / "run.json").unlink()
    with pytest.raises(UsageError, match=r"holds episodes but no run\.json"):
        hlmat_bench.run("random", task, tool, out=tmp_path, limit=3)


def test_a_sample_that_stands_twice_is_named_with_its_lines(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=4)
    lines = (tmp_path / EPISODES).read_bytes().splitlines(keepends=True)
    (tmp_path / EPISODES).write_bytes(b"".join([*lines, lines[1]]))
    for reads in (made.score, lambda: hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=4)):
        with pytest.raises(UsageError, match="stands twice in .*, in the lines 2 and 5"):
            reads()


def test_a_lock_that_does_not_hold_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunLock(tmp_path):
        pass
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)  # a file system that grants every lock
    with pytest.raises(UsageError, match="no locks that work.*--no-lock"), RunLock(tmp_path):
        pass
    with RunLock(tmp_path, used=False):
        pass


@pytest.fixture
def copied(task: str, tmp_path: Path) -> Path:
    """Return the task's data, to be changed."""
    shutil.copytree(Path(task).parent, tmp_path / "data")
    return tmp_path / "data"


CUTTER = """
import os
from hlmat_bench.testing import DiscSegmenter

class Cutter(DiscSegmenter):
    opened = 0
    def open(self, image):
        Cutter.opened += 1
        if Cutter.opened == 30:
            {deed}
        return super().open(image)

SEGMENTERS = {{"cutter": Cutter}}
"""


@pytest.mark.parametrize("deed", ["os.truncate(PATH, 100)", "os.remove(PATH)"])
def test_episodes_that_vanish_while_a_run_goes_on_are_noticed(task: str, tmp_path: Path, deed: str) -> None:
    path = tmp_path / "run" / EPISODES
    (tmp_path / "cutter.py").write_text(CUTTER.format(deed=deed.replace("PATH", repr(str(path)))))
    with pytest.raises(UsageError) as caught:
        hlmat_bench.run("center", task, str(tmp_path / "cutter.py"), out=tmp_path / "run", concurrency=1)
    assert str(path) in str(caught.value) or "run it first" in str(caught.value)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"] is None


@pytest.mark.parametrize(("file", "name"), [("images/3.png", "image"), ("masks/3_left.png", "ground truth")])
def test_data_that_changes_while_a_run_goes_on_is_noticed(copied: Path, tmp_path: Path, file: str, name: str) -> None:
    """The segmenter replaces a file that was played before by another of the same kind."""
    deed = f"import shutil; shutil.copy({str(copied / file.replace('3', '9', 1))!r}, {str(copied / file)!r})"
    (tmp_path / "cutter.py").write_text(CUTTER.format(deed=deed))
    with pytest.raises(UsageError, match=f"The {name} of the sample boxes/3_.* is not the one"):
        hlmat_bench.run(
            "center", str(copied / "boxes.yaml"), str(tmp_path / "cutter.py"), out=tmp_path / "run", concurrency=1
        )
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"] is None


def test_scores_that_are_not_of_these_episodes_are_computed_again(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=6)
    right = made.scores()
    wrong = json.loads((tmp_path / "scores.json").read_text())
    wrong["selection"]["final"]["miou"] = 0.999
    (tmp_path / "scores.json").write_text(json.dumps(wrong))
    assert Run(tmp_path).scores() == right
    assert json.loads((tmp_path / "scores.json").read_text()) == right
    lines = (tmp_path / EPISODES).read_bytes().splitlines(keepends=True)
    (tmp_path / EPISODES).write_bytes(b"".join(lines[:5]))
    assert Run(tmp_path).scores()["n"] == 5
    assert not Run(tmp_path).finished()


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["lost", "torn", "limit", "unfinished"])
def test_shards_that_lack_episodes_are_not_merged_in_silence(task: str, tool: str, tmp_path: Path, loss: str) -> None:
    limit = 5 if loss == "limit" else None
    parts = [
        hlmat_bench.run(
            "oracle", task, tool, out=tmp_path / f"{n}", shard=f"{n}/2", limit=limit if n == 2 else None
        ).folder
        for n in (1, 2)
    ]
    path = parts[1] / EPISODES
    if loss == "lost":
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-3]))
    if loss == "torn":
        path.write_bytes(path.read_bytes()[:-7])
    if loss == "unfinished":
        document = json.loads((parts[1] / "run.json").read_text())
        (parts[1] / "run.json").write_text(json.dumps(document | {"finished": None}))
    with pytest.raises(UsageError, match=r"--allow-incomplete"):
        shards.merge(parts, tmp_path / "merged")
    shards.merge(parts, tmp_path / "merged", allow_incomplete=True)
    merged = Run(tmp_path / "merged")
    assert merged.manifest["finished"] is None
    assert (
        merged.scores()["n"]
        == merged.manifest["samples"]
        == sum(path.read_bytes().count(b"\n") for path in (parts[0] / EPISODES, parts[1] / EPISODES))
    )


@pytest.mark.parametrize(("file", "name"), [("images/0.png", "image"), ("masks/0_left.png", "ground truth")])
def test_data_that_changes_under_a_run_is_refused(
    copied: Path, tool: str, tmp_path: Path, file: str, name: str
) -> None:
    task, other = str(copied / "boxes.yaml"), file.replace("0", "9", 1)
    hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=4)
    shutil.copy(copied / other, copied / file)
    with pytest.raises(UsageError, match=f"The {name} of the sample .* is not the one"):
        hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=8)


def test_a_truth_that_was_corrected_before_its_turn_lets_the_run_continue(
    copied: Path, tool: str, tmp_path: Path
) -> None:
    task = str(copied / "boxes.yaml")
    hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=4)
    shutil.copy(copied / "masks/9_left.png", copied / "masks/7_left.png")
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run")
    assert made.scores()["n"] == 40


def test_a_smaller_limit_keeps_what_is_there(task: str, tool: str, tmp_path: Path) -> None:
    hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=6)
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=2)
    assert (made.scores()["n"], made.manifest["limit"], made.manifest["samples"]) == (6, 6, 6)


@pytest.mark.parametrize("cut", ["history", "early", "done"])
def test_a_kill_while_failed_episodes_move_loses_none(tmp_path: Path, cut: str) -> None:
    """The three writes of `set_aside`, interrupted after each of them: the next call finishes the work."""
    names = [f"s/{number}" for number in range(5)]
    log = EpisodeLog(tmp_path, names)
    for name in names:
        log.append(Finished.of(simple(name)))
    log.close()
    whole = (tmp_path / EPISODES).read_bytes()

    set_aside(tmp_path, {"s/2"})
    if cut != "done":
        (tmp_path / EPISODES).write_bytes(whole)
    if cut == "history":
        (tmp_path / EARLY).unlink()
    set_aside(tmp_path, {"s/2"})
    assert (tmp_path / HISTORY).read_bytes().count(b"\n") == 1
    assert set(recorded(tmp_path)) == {"s/0", "s/1", "s/3", "s/4"}
    log = EpisodeLog(tmp_path, names)
    log.append(Finished.of(simple("s/2")))
    log.close()
    assert (tmp_path / EPISODES).read_bytes() == whole


def test_shards_that_hold_the_same_sample_are_not_merged(task: str, tool: str, tmp_path: Path) -> None:
    parts = [hlmat_bench.run("oracle", task, tool, out=tmp_path / f"{n}", shard=f"{n}/2").folder for n in (1, 2)]
    lines = [(part / EPISODES).read_bytes().splitlines(keepends=True) for part in parts]
    (parts[1] / EPISODES).write_bytes(b"".join([lines[0][0], *lines[1][1:]]))
    sample = json.loads(lines[0][0])["sample_id"]
    with pytest.raises(UsageError, match=f"both hold the sample {sample}"):
        shards.merge(parts, tmp_path / "merged")
    assert not (tmp_path / "merged" / EPISODES).exists()


def test_a_merge_keeps_lines_as_they_are(task: str, tool: str, tmp_path: Path) -> None:
    parts = [hlmat_bench.run("oracle", task, tool, out=tmp_path / f"{n}", shard=f"{n}/2").folder for n in (1, 2)]
    (parts[1] / MEASURES).unlink()
    shards.merge(parts, tmp_path / "merged")
    lines = [(folder / EPISODES).read_bytes().splitlines() for folder in (*parts, tmp_path / "merged")]
    assert sorted(lines[0] + lines[1]) == sorted(lines[2])
    assert (tmp_path / "merged" / MEASURES).read_bytes().count(b"\n") == len(lines[0])
    assert Run(tmp_path / "merged").scores()["n"] == 40


def test_a_run_goes_on_and_shards_merge_where_the_same_data_lie_elsewhere(
    boxes: Path, tool: str, tmp_path: Path
) -> None:
    task = tmp_path / "boxes.yaml"
    places = {"images": ["images", "coco/images"], "masks": ["masks", "coco/masks"]}
    task.write_text(yaml.safe_dump({"name": "boxes", "source": {"kind": "table", **places}}))
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(boxes, here)
    shutil.copytree(boxes, there / "coco")
    (there / "expressions.csv").write_bytes((boxes / "expressions.csv").read_bytes())
    first = hlmat_bench.run("oracle", str(task), tool, out=tmp_path / "run", limit=2, data_root=here)
    more = hlmat_bench.run("oracle", str(task), tool, out=tmp_path / "run", limit=3, data_root=there)
    assert len(list(first.episodes())) == len(list(more.episodes())) == 3
    halves = [
        hlmat_bench.run("oracle", str(task), tool, out=tmp_path / str(n), shard=f"{n}/2", data_root=root).folder
        for n, root in ((1, here), (2, there))
    ]
    shards.merge(halves, tmp_path / "whole")
    assert Run(tmp_path / "whole").scores()["n"] == 40
