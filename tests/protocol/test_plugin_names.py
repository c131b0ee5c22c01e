"""What a plug-in's module is called, in every process."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol import plugins
from hlmat_bench.runs.run import run
from tests.support.installed import declare

LEVEL = "class Level:\n    def __init__(self, at: int = 1):\n        self.at = at\n\nMODELS = {'level': Level}\n"
STRATEGY = "async def mine(play):\n    return 'budget'\n\nSTRATEGIES = {'mine': mine}\n"


def in_another_process(code: str, seed: str, given: bytes = b"") -> bytes:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, input=given, capture_output=True, check=True).stdout


@pytest.mark.slow
def test_two_processes_give_a_file_the_same_name_and_read_what_the_other_pickled(tmp_path: Path) -> None:
    path = tmp_path / "my_level.py"
    path.write_text(LEVEL)
    made = f"from hlmat_bench.protocol import plugins; made = plugins.make('model', '{path},at=3')\n"
    name = made + "print(type(made).__module__, end='')"
    names = {in_another_process(name, seed) for seed in ("1", "2")}
    assert names == {type(plugins.make("model", str(path))).__module__.encode()}
    pickled = in_another_process(made + "import pickle, sys; sys.stdout.buffer.write(pickle.dumps(made))", "3")
    assert pickle.loads(pickled).at == 3
    read = made + "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()).at)"
    assert in_another_process(read, "4", pickle.dumps(plugins.make("model", f"{path},at=5"))).split() == [b"5"]


def test_a_changed_file_is_loaded_again_and_two_files_are_two_modules(tmp_path: Path) -> None:
    first, second = tmp_path / "one" / "my_level.py", tmp_path / "two" / "my_level.py"
    for path in (first, second):
        path.parent.mkdir()
        path.write_text(LEVEL)
    factories = [plugins.find("model", str(path)).factory for path in (first, second, first)]
    assert factories[0] is factories[2]
    assert factories[0] is not factories[1]
    first.write_text(LEVEL.replace("at: int = 1", "at: int = 22"))
    assert plugins.make("model", str(first)).at == 22


@pytest.mark.slow
def test_a_strategy_is_found_by_path_by_entry_point_and_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_strategies.py").write_text(STRATEGY)
    found = plugins.find("strategy", str(tmp_path / "their_strategies.py"))
    assert found.identity.startswith("their_strategies.py:mine sha256:")
    declare(tmp_path, "their-strategies", "[hlmat_bench.strategies]\ntheirs = their_strategies:mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {"greedy", "prm", "tree", "theirs"} <= set(plugins.available("strategy"))
    assert plugins.find("strategy", "theirs").identity == "theirs"
    made = run("oracle", "hres_synth", strategy="theirs", limit=1, out=tmp_path / "run")
    assert made.manifest["protocol"]["strategy"] == "theirs"
    assert [(len(episode.steps), episode.stop) for episode in made.episodes()] == [(0, "budget")]
    with pytest.raises(UsageError, match="no strategy called 'theirz'. Did you mean theirs.* Strategies are greedy"):
        plugins.find("strategy", "theirz")
