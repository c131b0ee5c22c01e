"""The leaderboard's site in a browser: what it shows, what it keeps from happening, and that it works without much."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import hlmat_bench
from hlmat_bench.cli import app
from hlmat_bench.reports.leaderboard import repository, site
from hlmat_bench.reports.leaderboard.entry import BoardEntry, read_entry
from hlmat_bench.reports.leaderboard.submission import make_entry
from hlmat_bench.reports.leaderboard.verify import schema_level
from hlmat_bench.reports.leaderboard.verify.verification import Evidence, verify
from hlmat_bench.runs.run_folder import Run
from tests.support import boards, browsing

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

GROUP = "group-mine.html"
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


@pytest.fixture(scope="module")
def runs(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    options: dict[str, Any] = {"task": task, "limit": 16, "budget": 4, "segmenter": f"{tool},radius=10"}
    return {
        "good": boards.play(folder / "good", task, tool),
        "low": boards.play(folder / "low", task, tool, 600),
        "short": boards.play(folder / "short", task, tool, budget=3),
        **{name: hlmat_bench.run(name, out=folder / name, **options) for name in ("oracle", "random", "center")},
    }


@pytest.fixture(scope="module")
def board(runs: dict[str, Run], task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two equal entries, a worse one, one with another budget, references, one withdrawn; two levels."""
    folder = tmp_path_factory.mktemp("board")
    paths = {
        name: boards.add(folder, runs[run], title, name, open_weights=name != "twin")
        for name, run, title in (
            ("good", "good", "Good model"),
            ("twin", "good", "Its twin"),
            ("low", "low", "Low model"),
            ("short", "short", "Good model, three clicks"),
            ("oracle", "oracle", "oracle"),
            ("random", "random", "random"),
            ("center", "center", "center"),
            ("gone", "good", "Gone model"),
        )
    }
    for name, segmenter in (("good", f"{tool},radius=10"), ("twin", None)):
        verdict = verify(read_entry(paths[name]), Evidence(runs["good"].folder, segmenter, task=task))
        assert verdict.level is not None
        repository.record(paths[name], verdict.level, verdict.notes)
    repository.withdraw(paths["gone"], "Its training data held the task's images.")
    return folder


@pytest.fixture(scope="module")
def built(board: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site.build(board, tmp_path_factory.mktemp("built") / "site")


@pytest.fixture
def page(browser: Browser, built: Path) -> Iterator[Page]:
    """Return the group's page, which ends without a problem."""
    with browsing.visit(browser, f"file://{built}/{GROUP}") as made:
        yield made.page
        assert made.problems == []


def _pages(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.html"))


def _ids(page: Page) -> list[str]:
    """Return the rows that are seen, from the top."""
    return [row.get_attribute("data-id") or "" for row in page.locator("#board tr[data-id]:visible").all()]


def test_every_page_is_quiet_from_a_file_and_under_a_sub_path(browser: Browser, built: Path) -> None:
    with browsing.served(built) as address:
        for root in (f"file://{built}/", address):
            with browsing.visit(browser, root + "index.html") as made:
                for name in _pages(built):
                    made.page.goto(root + name)
                    assert made.page.locator("h1").count() == 1
                    assert made.problems == [], name
                assert all(request.startswith((root, "data:")) for request in made.requests)


def test_every_link_leads_somewhere(browser: Browser, built: Path) -> None:
    with browsing.visit(browser, f"file://{built}/index.html") as made:
        for name in _pages(built):
            made.page.goto(f"file://{built}/{name}")
            for href in made.page.eval_on_selector_all("a", "links => links.map(link => link.href)"):
                if href.startswith("file://"):
                    path, _, anchor = href.removeprefix("file://").partition("#")
                    assert Path(path).is_file(), (name, href)
                    assert not anchor or f'id="{anchor}"' in Path(path).read_text(), (name, href)
                else:
                    assert href.startswith("https://")


def test_ranks_are_ranges_and_badges_follow_verification(page: Page) -> None:
    rows = {row.get_attribute("data-id"): row for row in page.locator("#board tr[data-id]").all()}
    ranks = {name: row.locator(".rank").inner_text() for name, row in rows.items()}
    assert ranks == {
        "good": "1–2",
        "twin": "1–2",
        "low": "3",
        "short": "1",
        "oracle": "ceiling",
        "random": "floor",
        "center": "floor",
    }
    levels = {name: row.locator(".badge").inner_text().split()[-1] for name, row in rows.items()}
    assert (levels["good"], levels["twin"], levels["low"]) == ("replayed", "recomputed", "schema")
    headings = page.locator("#board tbody[data-budget] .fixed").all_inner_texts()
    assert [re.search(r"\d clicks", text)[0] for text in headings] == ["3 clicks", "4 clicks"]  # type: ignore[index]
    assert "Gone model" in page.locator("#board .withdrawn").inner_text()


def test_numbers_on_the_pages_are_those_of_the_downloads_and_of_the_runs(
    page: Page, built: Path, runs: dict[str, Run]
) -> None:
    rows = {row["id"]: row for row in json.loads((built / "data" / "mine.json").read_text())["entries"]}
    with (built / "data" / "mine.csv").open(newline="") as file:
        table = {row["id"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(table)
    assert "gone" not in rows
    for name, row in rows.items():
        assert float(table[name]["miou"]) == row["miou"]
        shown = page.locator(f"tr[data-id={name}] td.number").first
        assert float(shown.get_attribute("data-value") or "") == row["miou"]
        assert shown.inner_text().split()[0] == f"{row['miou']:.3f}"
        scores = runs["good" if name == "twin" else name].scores()
        assert row["miou"] == pytest.approx(scores["selection"]["final"]["miou"])
        assert row["noc_80"] == pytest.approx(scores["noc"]["0.80"]["mean"])
        entry = json.loads((built / "data" / "entries" / f"{name}.json").read_text())["samples"]
        ious = [above / below for above, below in zip(entry["intersection"], entry["union"], strict=True)]
        assert row["miou"] == pytest.approx(sum(ious) / len(ious))


def test_filters_count_what_they_hide_and_are_in_the_address(page: Page, browser: Browser) -> None:
    shown = page.locator("#shown")
    page.get_by_label("Budget").select_option("4")
    assert "6 of 7 rows; 1 hidden" in shown.inner_text()
    page.get_by_label("Weights").select_option("closed")
    assert set(_ids(page)) == {"twin", "oracle", "center", "random"}  # reference policies go with all weights
    assert "4 of 7 rows; 3 hidden" in shown.inner_text()
    assert page.locator("tr[data-id=twin] .rank").inner_text() == "1–2"  # among all, not among what is shown
    with browsing.visit(browser, page.url) as again:
        assert _ids(again.page)[0] == "twin"
        again.page.get_by_role("button", name="Show all").click()
        assert len(_ids(again.page)) == 7
    page.go_back()
    assert len(_ids(page)) == 6
    page.goto(page.url.partition("#")[0] + "#budget=99&segmenter=__proto__&sort=x-y&curves=__proto__,nobody")
    page.reload()
    assert len(_ids(page)) == 7


def test_sorting_stays_within_each_ranking_and_works_by_keyboard(page: Page, browser: Browser) -> None:
    header = page.locator("th[data-sort=miou]")
    assert header.get_attribute("aria-sort") == "none"
    built_in = _ids(page)
    header.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert _ids(page)[0] == "short"  # the other ranking stays where it is
    values = [
        float(cell.get_attribute("data-value") or "")
        for cell in page.locator("tbody[data-budget='4'] tr[data-id] td:nth-child(3)").all()
    ]
    assert values == sorted(values, reverse=True)
    page.keyboard.press("Space")
    assert header.get_attribute("aria-sort") == "ascending"
    with browsing.visit(browser, page.url) as again:
        assert _ids(again.page) == _ids(page)
        again.page.go_back()
    page.go_back()
    page.go_back()
    assert (header.get_attribute("aria-sort"), _ids(page)) == ("none", built_in)
    page.locator("th[data-sort=noc80] button").click()
    assert page.locator("th[data-sort=noc80]").get_attribute("aria-sort") == "ascending"


def test_chosen_rows_are_overlaid_as_curves(page: Page, runs: dict[str, Run]) -> None:
    lines = page.locator("#overlay svg.wide [data-key]:visible")
    assert lines.count() == 5
    box = page.get_by_label("Curve of random")
    assert box.is_disabled()
    page.get_by_label("Curve of Low model").uncheck()
    box.check()
    keys = {line.get_attribute("data-key") for line in lines.all()}
    assert keys == {"short", "good", "twin", "oracle", "random"}
    assert "random" in page.locator("#overlay .legend").inner_text()
    assert "Low model" not in page.locator("#overlay .legend").inner_text()
    kinds = {line.get_attribute("class") for line in lines.all()}
    assert kinds == {f"hue s{number}" for number in range(5)}
    points = page.locator("#overlay svg.wide [data-key=good] polyline").get_attribute("points") or ""
    heights = [float(point.split(",")[1]) for point in points.split()]
    curve = [point["miou"] for point in runs["good"].scores()["curve"]]
    zero, one = 270.0, 30.0  # the axis, in pixels
    assert heights == pytest.approx([zero + (one - zero) * value for value in curve], abs=0.06)
    page.reload()
    assert {line.get_attribute("data-key") for line in lines.all()} == keys


def test_without_javascript_tables_and_curves_are_there(browser: Browser, built: Path) -> None:
    with browsing.visit(browser, f"file://{built}/{GROUP}", java_script_enabled=False) as made:
        assert made.page.locator("#board tr[data-id]:visible").count() == 7
        assert made.page.locator("#overlay [data-key]:visible").count() == 5
        assert not made.page.locator("#filters").is_visible()
        assert "none is hidden" in made.page.locator("#shown").inner_text()
    with browsing.visit(browser, f"file://{built}/group-res.html", java_script_enabled=False) as made:
        text = made.page.locator("main").inner_text()
        assert "As published, metric as stated, not verified" in text
        row = made.page.locator("tr", has_text="SegAgent-LLaVA + SAM").inner_text()
        assert "81.44" in row
        assert "75.72" in row


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_no_barrier_and_no_sideways_scroll(width: int, scheme: Any, browser: Browser, built: Path) -> None:
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    with browsing.visit(browser, f"file://{built}/index.html", bypass_csp=True, **options) as made:
        for name in ("index.html", GROUP, "group-res.html", "entries/good.html", "entries/gone.html"):
            made.page.goto(f"file://{built}/{name}")
            assert browsing.accessibility(made.page) == [], name
            assert made.page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_two_builds_are_the_same_and_tell_nothing_of_the_machine(board: Path, built: Path, tmp_path: Path) -> None:
    again = site.build(board, tmp_path / "again")
    first, second = ({str(p.relative_to(root)): p for p in sorted(root.rglob("*"))} for root in (built, again))
    assert list(first) == list(second)
    for name, path in first.items():
        if path.is_file():
            data = path.read_bytes()
            assert data == second[name].read_bytes(), name
            assert str(board).encode() not in data
            assert str(Path.home()).encode() + b"/" not in data


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


def test_hostile_texts_in_every_field_are_only_texts(browser: Browser, runs: dict[str, Run], tmp_path: Path) -> None:
    entry = make_entry(runs["good"], boards.DECLARED)
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
    with browsing.visit(browser, f"file://{built}/{GROUP}") as made:
        for value in HOSTILE[:4]:
            made.page.get_by_label("Segmenter").select_option(value)
            assert made.page.locator("#board tr[data-id]:visible").count() == 1
            assert made.page.evaluate("window.fired") is None
        made.page.get_by_role("button", name="Show all").click()
        titles = made.page.locator("tr[data-id] th a").all_inner_texts()
        assert {"__proto__", "javascript:window.fired=1", "<script>window.fired=1</script>"} <= set(titles)
        assert "gnp.elif" in titles
    with (built / "data" / "mine.csv").open(newline="") as file:
        assert all(not cell.startswith(("=", "@")) for row in csv.reader(file) for cell in row)


def test_strangers_links_are_marked(browser: Browser, built: Path) -> None:
    with browsing.visit(browser, f"file://{built}/entries/good.html") as made:
        link = made.page.get_by_role("link", name="https://example.org/paper")
        assert (link.get_attribute("rel"), link.get_attribute("href")) == (
            "noopener nofollow",
            "https://example.org/paper",
        )
