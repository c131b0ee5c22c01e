"""Hostile texts in every field of entries of a leaderboard, in a browser."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from hlmat_bench.cli import app
from hlmat_bench.reports.leaderboard import repository, site
from hlmat_bench.reports.leaderboard.entry import BoardEntry
from hlmat_bench.reports.leaderboard.submission import make_entry
from hlmat_bench.reports.leaderboard.verify import schema_level
from tests.support import boards, browsing

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = [
    "<script>window.fired=1</script>",
    "<img src=x onerror=window.fired=1>",
    "</script><script>window.fired=1</script>",
    "__proto__",
    "{{7*7}}{% raise %}${7*7}",
    "\u202egnp.elif\u2066",
    "javascript:window.fired=1",
    "data:text/html,<script>window.fired=1</script>",
    '"><svg onload=window.fired=1>',
    "=HYPERLINK(1)",
]


def _pages(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.html"))


def _hostile(entry: BoardEntry, text: str, number: int) -> dict[str, Any]:
    """Return the entry with a text wherever a submitter can write one."""
    value = boards.dumped(entry)
    manifest = value["manifest"]
    value |= {"id": f"hostile-{number}", "title": text, "submitter": text, "training_data": text}
    value["links"] = ["https://example.org/?" + re.sub(r"[^\w:=;,.*()$-]", "", text).strip("\u202e\u2066")]
    manifest["argv"] += [text]
    manifest["versions"] |= {text: text}
    manifest["model"] |= {"name": text, text: text}
    manifest["segmenter"] |= {"name": text, text: text}
    manifest["protocol"] |= {"strategy": text, "prompt": text, text: text}
    manifest["points"] |= {text: text}
    manifest["resize"] = text
    manifest["task"] |= {"revision": text, "source": {text: text}}
    for key in ("started", "finished"):
        manifest[key] = text
    value["samples"]["id"] = [f"{text}{n}" for n in range(len(value["samples"]["id"]))]
    value["samples"]["image_id"] = [f"{text}{name}" for name in value["samples"]["image_id"]]
    return value


@pytest.mark.slow
def test_hostile_texts_in_every_field_are_only_texts(browser: Browser, task: str, tool: str, tmp_path: Path) -> None:
    entry = make_entry(boards.play(tmp_path / "run", task, tool, limit=24), boards.DECLARED)
    for number, text in enumerate(HOSTILE):
        value = _hostile(entry, text, number)
        value["manifest"]["protocol_fingerprint"] = schema_level.fingerprint_of(BoardEntry.model_validate(value))
        path = boards.put(tmp_path / "board", value)
        assert CliRunner().invoke(app, ["leaderboard", "verify", str(path)]).exit_code == 0
        repository.record(path, "rerun", [text])
    repository.withdraw(path, HOSTILE[1])
    built = site.build(tmp_path / "board", tmp_path / "site")
    with browsing.visit(browser, f"file://{built}/index.html") as made:
        for name in _pages(built):
            made.page.goto(f"file://{built}/{name}")
            assert made.page.evaluate("window.fired") is None, name
            assert made.problems == [], name
            assert made.page.evaluate("({}).fired") is None
            hrefs = made.page.eval_on_selector_all("a", "links => links.map(link => link.protocol)")
            assert set(hrefs) <= {"file:", "https:"}
            assert "49" not in (made.page.locator("h1").inner_text())
            assert not re.search("[\u202a-\u202e\u2066-\u2069]", made.page.content())
    with browsing.visit(browser, f"file://{built}/index.html") as made:
        assert made.page.locator("#board tbody th a").count() == 1
        titles = set()
        for name in _pages(built):
            made.page.goto(f"file://{built}/{name}")
            titles |= set(made.page.locator("#board tbody th a").all_inner_texts())
        assert {"__proto__", "javascript:window.fired=1", "<script>window.fired=1</script>"} <= titles
        assert "gnp.elif" in titles
    with (built / "data" / "mine.csv").open(newline="") as file:
        assert all(not cell.startswith(("=", "@")) for row in csv.reader(file) for cell in row)
