"""Layouts as plug-ins: what is found by path, by entry point and by name, and what a user can get wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.tasks import layouts, load_task
from hlmat_bench.protocol import plugins
from tests.support.installed import declare

STEMS = """
from hlmat_bench.core.samples import Sample, Truth
from hlmat_bench.data.layouts.layout_settings import SourceSettings

class Stems(SourceSettings):
    count: int = 1
    def needed(self):
        return []
    def open(self, place):
        if self.count == 13:
            raise KeyError("thirteen")
        return [f"{place.task}/{number}" for number in range(self.count)]

LAYOUTS = {"stems": Stems}
"""


def task_of(folder: Path, **source: object) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "source": source}))
    return path


@pytest.mark.parametrize("kind", ["./stems.py", "stems.py:stems", "sub/../stems.py"])
def test_a_file_is_named_from_the_folder_of_the_task_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "stems.py").write_text(STEMS)
    task = load_task(task_of(tmp_path, kind=kind, count=2))
    assert task.source() == ["mine/0", "mine/1"]
    assert task.source(overrides={"count": 3})[2:] == ["mine/2"]
    assert re.fullmatch(r"stems\.py:stems sha256:[0-9a-f]{16}", task.sources[0].kind)


def test_another_content_is_another_layout(tmp_path: Path) -> None:
    (tmp_path / "stems.py").write_text(STEMS)
    first = load_task(task_of(tmp_path, kind="./stems.py"))
    (tmp_path / "stems.py").write_text(STEMS.replace("count: int = 1", "count: int = 2"))
    second = load_task(task_of(tmp_path, kind="./stems.py"))
    assert first.sources[0].kind != second.sources[0].kind
    assert (first.source(), second.source()) == (["mine/0"], ["mine/0", "mine/1"])


@pytest.mark.parametrize(
    ("code", "source", "sentence"),
    [
        (STEMS, {"kind": "./stms.py"}, "There is no plug-in file"),
        (STEMS, {"kind": "./stems.py:stem"}, "no layout called 'stem'. Did you mean stems"),
        (STEMS, {"kind": "./stems.py", "cont": 1}, "called 'cont'. Did you mean count"),
        (STEMS, {"kind": "./stems.py", "count": "x"}, "The field source.count of .* is 'x', which does not fit"),
        ("LAYOUTS = {'stems': dict}", {"kind": "./stems.py"}, "must be a class derived from SourceSettings"),
        (STEMS.replace("def open", "def opn"), {"kind": "./stems.py"}, r"with needed\(\) and open\(\)"),
        ("MODELS = {}", {"kind": "./stems.py"}, "defines no LAYOUTS"),
        ("x = (", {"kind": "./stems.py"}, "is not valid Python"),
        ("import nowhere", {"kind": "./stems.py"}, "cannot be loaded: ModuleNotFoundError"),
        (STEMS, {"kind": 3}, "should be one of coco, .*refer, .*table, or a file"),
        (STEMS, {"kind": "tabel"}, "no layout called 'tabel'. Did you mean table"),
    ],
)
def test_what_is_wrong_is_one_sentence_that_names_the_task_file(
    tmp_path: Path, code: str, source: dict[str, object], sentence: str
) -> None:
    (tmp_path / "stems.py").write_text(code)
    with pytest.raises(UsageError, match=sentence) as caught:
        load_task(task_of(tmp_path, **source))
    assert str(tmp_path) in str(caught.value) or "stems.py" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_failing_layout_is_named(tmp_path: Path) -> None:
    (tmp_path / "stems.py").write_text(STEMS)
    with pytest.raises(UsageError, match=r"The layout stems\.py:stems .* KeyError: 'thirteen'; correct its plug-in"):
        load_task(task_of(tmp_path, kind="./stems.py", count=13)).source()


def test_the_layout_of_a_task_is_not_overridden(tmp_path: Path) -> None:
    task = load_task(task_of(tmp_path, kind="synth"))
    with pytest.raises(UsageError, match="The layout of the task mine is fixed"):
        task.source(overrides={"kind": "table"})


def test_an_installed_layout_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_layouts.py").write_text(STEMS)
    declare(tmp_path, "their-layouts", "[hlmat_bench.layouts]\ntheirs = their_layouts:Stems\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "theirs" in layouts()
    task = load_task(task_of(tmp_path, kind="theirs", count=1))
    assert (task.sources[0].kind, task.source()) == ("theirs", ["mine/0"])


def test_a_shipped_layout_is_named_as_its_file() -> None:
    for name, found in plugins.available("layout").items():
        assert found.origin == f"hlmat_bench.data.layouts.{name}"
