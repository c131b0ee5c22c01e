from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.records import EPISODES, Episode, read_episodes
from hlmat_bench.runs.episode_log import DAMAGED, EARLY, EpisodeLog, Finished, recorded
from hlmat_bench.runs.run_lock import RunLock
from tests.support.episodes import simple

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"s/{number}" for number in range(12)]


def _lines(folder: Path) -> list[str]:
    return [episode.sample_id for episode in read_episodes(folder / EPISODES)]


def _write(folder: Path, order: list[str], finished: list[str]) -> None:
    log = EpisodeLog(folder, order)
    for name in finished:
        log.append(Finished.of(simple(name)))
    log.close()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    _write(tmp_path, ["a"], ["a"])
    assert list(read_episodes(tmp_path / EPISODES)) == [simple("a")]
    assert Episode.from_json(json.loads((tmp_path / EPISODES).read_text())) == simple("a")


@pytest.mark.slow
@given(st.permutations(NAMES), st.integers(0, len(NAMES)))
@settings(max_examples=30)
def test_any_order_of_ending_and_any_interruption_give_the_samples_order(
    tmp_path_factory: pytest.TempPathFactory, finished: list[str], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    _write(folder, NAMES, finished[:cut])
    assert set(recorded(folder)) == set(finished[:cut]), "nothing that ended may be lost"
    _write(folder, NAMES, [name for name in finished if name not in recorded(folder)])
    assert _lines(folder) == NAMES
    assert not (folder / EARLY).exists()


def test_a_half_written_line_is_cut_off_at_every_possible_byte(tmp_path: Path) -> None:
    _write(tmp_path, ["a", "b"], ["a", "b"])
    path = tmp_path / EPISODES
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for size in (*range(0, len(whole), 37), first, len(whole) - 1):
        path.write_bytes(whole[:size])
        _write(tmp_path, ["a", "b"], [name for name in ("a", "b") if name not in recorded(tmp_path)])
        assert path.read_bytes() == whole, size


def test_an_early_episode_survives_a_kill_between_the_two_files(tmp_path: Path) -> None:
    """Killed after the line went to episodes.jsonl and before the early file was emptied: no line stands twice."""
    _write(tmp_path, ["a", "b"], ["b"])
    early = (tmp_path / EARLY).read_bytes()
    _write(tmp_path, ["a", "b"], ["a"])
    (tmp_path / EARLY).write_bytes(early)
    _write(tmp_path, ["a", "b"], [])
    assert _lines(tmp_path) == ["a", "b"]


def test_a_raised_limit_continues_behind_what_is_there(tmp_path: Path) -> None:
    _write(tmp_path, NAMES[:4], NAMES[:4])
    _write(tmp_path, NAMES, random.Random(0).sample(NAMES[4:], 8))
    assert _lines(tmp_path) == NAMES


def test_what_waits_for_its_turn_is_not_in_memory(tmp_path: Path) -> None:
    """After `redo` of the first sample all others wait: 300 lines of 100 kB."""
    names = [f"s/{number}" for number in range(300)]
    lines = {name: Finished.of(replace(simple(name), expression="x" * 100_000)) for name in names}
    (tmp_path / EARLY).write_bytes(b"".join(lines[name].line for name in names[1:]))
    whole = b"".join(lines[name].line for name in names)
    first = lines["s/0"]
    del lines
    tracemalloc.start()
    try:
        log = EpisodeLog(tmp_path, names)
        log.append(first)
        log.close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000
    assert (tmp_path / EPISODES).read_bytes() == whole
    assert not (tmp_path / EARLY).exists()


def test_waiting_lines_that_another_program_changes_end_the_run(tmp_path: Path) -> None:
    log = EpisodeLog(tmp_path, ["a", "b", "c"])
    log.append(Finished.of(simple("b")))
    while not (tmp_path / EARLY).stat().st_size:
        time.sleep(0.01)
    line = (tmp_path / EARLY).read_bytes()
    with (tmp_path / EARLY).open("r+b") as file:
        file.write(line.replace(b'"b"', b'"x"'))
    log.append(Finished.of(simple("a")))
    with pytest.raises(UsageError, match="another program changed"):
        log.close()
    assert _lines(tmp_path) == ["a"]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    _write(tmp_path, ["a", "b"], ["a", "b"])
    path = tmp_path / EPISODES
    path.write_bytes(path.read_bytes().replace(b'{"schema"', b'["schema"', 1))
    with pytest.raises(UsageError, match="Line 1 of .* is damaged"):
        EpisodeLog(tmp_path, ["a", "b"])


def test_a_damaged_line_is_set_aside_and_its_sample_is_played_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _write(tmp_path, ["a", "b", "c", "d"], ["a", "b", "c"])
    path = tmp_path / EPISODES
    whole = path.read_bytes()
    damaged = whole.replace(b'"sample_id":"b"', b'"sample_id":"x"')
    path.write_bytes(damaged)
    assert list(recorded(tmp_path)) == ["a", "c"]
    assert "Line 2 (the sample x) of" in caplog.text
    assert (tmp_path / DAMAGED).read_bytes() == damaged.splitlines(keepends=True)[1]
    _write(tmp_path, ["a", "b", "c", "d"], ["b"])
    assert path.read_bytes() == whole


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_keeps_what_was_written(tmp_path: Path) -> None:
    """The system refuses to let the file grow (a limit on file sizes stands in for a full disk)."""
    code = (
        "import pathlib, resource, sys, time\n"
        "from hlmat_bench.runs.episode_log import EpisodeLog, Finished\n"
        "from hlmat_bench.errors import UsageError\n"
        "from tests.support.episodes import simple\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))\n"
        "names = [f's/{number:02}' for number in range(20)]\n"
        "log = EpisodeLog(pathlib.Path(sys.argv[1]), names)\n"
        "try:\n"
        "    for name in names: log.append(Finished.of(simple(name))); time.sleep(0.01)\n"
        "except UsageError as error: print(error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "failed (File too large); what was written is kept: make room" in ran.stdout
    names = [f"s/{number:02}" for number in range(20)]
    kept = recorded(tmp_path)
    assert 2 <= len(kept) < 20
    _write(tmp_path, names, [name for name in names if name not in kept])
    assert _lines(tmp_path) == names


@pytest.mark.slow
def test_a_second_process_is_refused_and_a_dead_one_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, os, pathlib; from hlmat_bench.runs.run_lock import RunLock\n"
        "lock = RunLock(pathlib.Path(sys.argv[1])); lock.__enter__(); print('locked', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    with pytest.raises(UsageError, match="Another process"), RunLock(tmp_path):
        pass
    other.kill()
    other.communicate()
    with RunLock(tmp_path):
        pass
