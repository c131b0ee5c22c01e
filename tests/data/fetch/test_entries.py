"""The section ``fetch`` of task files: what it may say, and that the shipped ones give what their tasks need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.fetch.entries import FetchEntry
from hlmat_bench.data.tasks import load_task, task_names
from tests.support.fetching import boxes

A = "https://a.org/set.zip"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({}, "fetch.0.from .* is missing"),
        ({"from": []}, "fetch.0.from"),
        ({"from": "ftp://a.org/b"}, "begins with https://, http:// or hub:"),
        ({"from": "https:///b"}, "names a server"),
        ({"from": "http://[::1/b"}, "names a server"),
        ({"from": "https://a.org/b%00c"}, "printable letters"),
        ({"from": A, "to": "../up"}, "inside the data root"),
        ({"from": A, "to": "/etc"}, "inside the data root"),
        ({"from": A, "to": "a\\b"}, "inside the data root"),
        ({"from": A, "to": ""}, "inside the data root"),
        ({"from": A, "unpack": "../a/*"}, "inside the data root"),
        ({"from": A, "unpack": "*"}, "a pattern of unpack begins with a folder"),
        ({"from": A, "size": 0}, "should be at least 1"),
        ({"from": A, "sha256": "ABC"}, "fetch.0.sha256"),
        ({"from": A, "form": "zip"}, "no field .*form.*from"),
        ({"from": [A, "https://a.org/{name}"]}, "all addresses of an entry have {name}, or none has"),
        ({"from": "https://a.org/{name}", "unpack": "a/*"}, "has no unpack, sha256 and instead"),
        ({"from": A, "instead": [{"from": A, "instead": [{"from": A}]}]}, "under instead has no instead"),
        ({"from": "hub:a/b/*.parquet"}, "an entry of several files has a folder `to`"),
        ({"from": "hub:a/b/*.parquet", "to": "c", "size": 3}, "and no unpack, size and sha256"),
    ],
)
def test_what_does_not_fit_is_told(entry: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        boxes(tmp_path, [entry])


@pytest.mark.parametrize(
    ("entry", "name", "gives"),
    [
        ({"from": A}, "set.zip", ["set.zip"]),
        ({"from": "https://a.org/a%20b.json?download=1#x", "to": "c/d"}, "a b.json", ["c/d/a b.json"]),
        ({"from": A, "to": "c", "unpack": ["*"]}, "set.zip", ["c"]),
        ({"from": A, "unpack": ["im/*", "d/refs(unc).p", "e/x*/*.png"]}, "set.zip", ["im", "d/refs(unc).p", "e"]),
        ({"from": "hub:a/b@v1/data/*.parquet", "to": "a/b/data"}, "*.parquet", ["a/b/data"]),
        ({"from": "hub:models/a/b/c.zip", "to": "."}, "c.zip", ["c.zip"]),
        ({"from": "https://a.org/", "to": "c"}, "file", ["c/file"]),
    ],
)
def test_what_an_entry_gives(entry: dict[str, Any], name: str, gives: list[str]) -> None:
    read = FetchEntry.model_validate(entry)
    assert (read.name, read.gives()) == (name, gives)


@pytest.mark.parametrize("name", [name for name in task_names() if load_task(name).fetch])
def test_the_shipped_tasks_fetch_what_they_need(name: str) -> None:
    """Everything that one of a task's layouts needs is given, or lies in a folder that is given."""
    task = load_task(name)
    given = [place for entry in task.fetch for place in entry.gives()]

    def covered(needed: str) -> bool:
        return any(needed == place or needed.startswith(f"{place}/") for place in given)

    assert any(all(map(covered, settings.needed())) for settings in task.sources)


def test_every_task_with_files_says_how_to_get_them() -> None:
    for name in task_names():
        task = load_task(name)
        assert not task.fetch or f"run `hlmat-bench data fetch {name}`" in task.advice
        assert task.advice
