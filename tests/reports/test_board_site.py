"""The leaderboard's site in a browser: what it shows, what it keeps from happening, and that it works without much."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest

import hlmat_bench
from hlmat_bench.core import masks
from hlmat_bench.reports.leaderboard import repository, site
from hlmat_bench.reports.leaderboard.entry import read_entry
from hlmat_bench.reports.leaderboard.verify.verification import Evidence, verify
from hlmat_bench.runs.run_folder import Run
from tests.support import boards, browsing

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TOOL = "discs"
CHANGES: dict[str, dict[str, Any]] = {
    "good": {"report": "https://example.org/report/index.html", "trained_on_task": True},
    "twin": {"date": "2026-01-03"},
}


@pytest.fixture(scope="module")
def runs(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    options: dict[str, Any] = {"task": task, "limit": 24, "budget": 4, "segmenter": f"{tool},radius=10"}
    return {
        "good": boards.play(folder / "good", task, tool, limit=24),
        "low": boards.play(folder / "low", task, tool, 600, limit=24),
        "short": boards.play(folder / "short", task, tool, budget=3, limit=24),
        **{name: hlmat_bench.run(name, out=folder / name, **options) for name in ("oracle", "random", "center")},
    }


@pytest.fixture(scope="module")
def board(runs: dict[str, Run], task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two equal entries, a worse one, one with another budget, references, one withdrawn; two levels."""
    folder = tmp_path_factory.mktemp("board")
    paths = {
        name: boards.add(folder, runs[run], title, name, open_weights=name != "twin", **CHANGES.get(name, {}))
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
    """Return the first page, which ends without a problem."""
    with browsing.visit(browser, f"file://{built}/index.html") as made:
        yield made.page
        assert made.problems == []


def _pages(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.html"))


def _page(folder: Path, words: str) -> str:
    """Return the page of the ranking whose heading has some words."""
    found = folder.glob("ranking-*.html")
    return next(path.name for path in found if words in path.read_text().partition("</title>")[0])


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
        "good": "1",
        "twin": "same run",
        "low": "2",
        "oracle": "ceiling",
        "random": "floor",
        "center": "floor",
    }
    levels = {name: row.locator("td").last.inner_text().split()[-1] for name, row in rows.items()}
    assert (levels["good"], levels["twin"], levels["low"]) == ("replayed", "recomputed", "schema")
    assert "the same run as Good model" in rows["twin"].inner_text()
    assert "Good model leads with" in page.locator(".verdict").inner_text()


def test_the_first_page_is_the_largest_ranking_and_tabs_lead_to_the_others(page: Page, built: Path) -> None:
    tabs = page.locator(".tabs a")
    assert tabs.first.inner_text() == f"{TOOL} · 4 clicks 2 entries"
    assert tabs.first.get_attribute("aria-current") == "page"
    ranking = (built / _page(built, "4 clicks")).read_text()
    assert 'data-id="good"' in ranking
    tabs.nth(1).click()
    assert page.locator("#board tbody tr").first.get_attribute("data-id") == "short"
    assert "is the only ranked entry" in page.locator(".verdict").inner_text()


def test_numbers_on_the_pages_are_those_of_the_downloads_and_of_the_runs(
    page: Page, built: Path, runs: dict[str, Run]
) -> None:
    rows = {row["id"]: row for row in json.loads((built / "data" / "mine.json").read_text())["entries"]}
    with (built / "data" / "mine.csv").open(newline="") as file:
        table = {row["id"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(table)
    assert "gone" not in rows
    with next((built / "tables").glob("ranking-*.csv")).open(newline="", encoding="utf-8") as file:
        assert {row["mIoU"] for row in csv.DictReader(file)} <= {f"{100 * row['miou']:.1f}" for row in rows.values()}
    floor, oracle = (runs[name].scores()["selection"]["final"]["miou"] for name in ("center", "oracle"))
    for name, row in rows.items():
        scores = runs["good" if name == "twin" else name].scores()
        assert row["miou"] == pytest.approx(scores["selection"]["final"]["miou"])
        assert row["noc_80"] == pytest.approx(scores["noc"]["0.80"]["mean"])
        entry = json.loads((built / "data" / "entries" / f"{name}.json").read_text())["samples"]
        ious = [above / below for above, below in zip(entry["intersection"], entry["union"], strict=True)]
        assert row["miou"] == pytest.approx(sum(ious) / len(ious))
        assert float(table[name]["miou"]) == row["miou"]
        if name == "short":
            continue
        cells = page.locator(f"tr[data-id={name}] td")
        low, high = (100 * end for end in scores["selection"]["final"]["miou_ci"])
        assert cells.nth(1).inner_text().split("\n") == [f"{100 * row['miou']:.1f}", f"[{low:.1f}, {high:.1f}]"]
        whisker = page.locator(f"tr[data-id={name}] .whisker")
        ends = [float((whisker.get_attribute(x) or "").rstrip("%")) for x in ("x1", "x2")]
        assert ends == pytest.approx([low, high], abs=0.01)
        share = round(100 * (row["miou"] - floor) / (oracle - floor))
        assert cells.nth(3).inner_text() == f"{share} %".replace("-", "−")


def test_search_and_filters_count_what_they_hide_and_are_in_the_address(page: Page, browser: Browser) -> None:
    shown = page.locator("#shown")
    page.get_by_role("searchbox").fill("example LOW")
    assert _ids(page) == ["low", "oracle", "random", "center"]  # the references stay
    assert "1 of 3 entries; 2 hidden" in shown.inner_text()
    page.get_by_role("searchbox").fill("")
    page.get_by_label("Weights").select_option("closed")
    assert _ids(page)[0] == "twin"
    assert page.locator("tr[data-id=low]").count() == 0
    with browsing.visit(browser, page.url) as again:
        assert _ids(again.page)[0] == "twin"
        again.page.wait_for_function("scrollY > 0")  # a link opens at what it speaks of
        again.page.get_by_role("button", name="Show all").click()
        assert len(_ids(again.page)) == 6
    page.goto(page.url.partition("#")[0] + "#weights=odd&sort=x-y&curves=__proto__,nobody")
    page.reload()
    assert len(_ids(page)) == 6


def test_sorting_works_by_keyboard_and_is_in_the_address(page: Page, browser: Browser) -> None:
    header = page.locator("th[data-sort=miou]")
    assert header.get_attribute("aria-sort") == "none"
    built_in = _ids(page)
    header.get_by_role("button", name="mIoU (%)").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Space")
    assert header.get_attribute("aria-sort") == "ascending"
    cells = page.locator("#board tbody").first.locator("td.big").all()
    values = [float(cell.get_attribute("data-value") or "") for cell in cells]
    assert values == sorted(values)
    with browsing.visit(browser, page.url) as again:
        assert _ids(again.page) == _ids(page)
    page.go_back()
    page.go_back()
    assert (header.get_attribute("aria-sort"), _ids(page)) == ("none", built_in)
    page.locator("th[data-sort=noc80] button.sort").click()
    assert page.locator("th[data-sort=noc80]").get_attribute("aria-sort") == "ascending"


def test_chosen_rows_are_overlaid_as_curves(page: Page, runs: dict[str, Run]) -> None:
    """The address of a section alone, `#curves` among others, is no choice of curves."""
    lines = page.locator("#overlay svg.wide [data-key]:visible")

    def keys() -> set[str | None]:
        return {line.get_attribute("data-key") for line in lines.all()}

    assert keys() == {"good", "low", "oracle", "center"}
    points = page.locator("#overlay svg.wide [data-key=good] polyline").get_attribute("points") or ""
    heights = [float(point.split(",")[1]) for point in points.split()]
    curve = [point["miou"] for point in runs["good"].scores()["curve"]]
    zero, one = 270.0, 30.0  # the axis, in pixels
    assert heights == pytest.approx([zero + (one - zero) * value for value in curve], abs=0.06)
    page.locator("input[name=curve][value=low]").uncheck()
    assert keys() == {"good", "oracle", "center"}
    page.reload()
    assert keys() == {"good", "oracle", "center"}
    page.goto(page.url.partition("#")[0] + "#curves")
    page.reload()
    assert len(keys()) == 4


def test_who_beats_whom_leads_to_the_comparison(page: Page, runs: dict[str, Run]) -> None:
    cell = page.locator(".matrix tbody tr").first.locator("td").nth(1)
    scores = {name: runs[name].scores()["selection"]["final"]["miou"] for name in ("good", "low")}
    assert cell.inner_text() == f"+{100 * (scores['good'] - scores['low']):.1f}"
    assert cell.get_attribute("class") == "win"
    cell.locator("a").click()
    assert page.url.endswith("entries/good.html#vs-low")
    row = page.locator("#vs-low")
    assert f"+{100 * (scores['good'] - scores['low']):.1f} [+" in row.inner_text()
    assert "better" in row.inner_text()


def test_without_javascript_tables_and_curves_are_there(browser: Browser, built: Path) -> None:
    with browsing.visit(browser, f"file://{built}/index.html", java_script_enabled=False) as made:
        assert made.page.locator("#board tr[data-id]:visible").count() == 6
        assert made.page.locator("#overlay svg.wide [data-key]:visible").count() == 4
        assert not made.page.locator("#filters").is_visible()
        assert made.page.locator("#shown").inner_text() == "3 entries"
        assert made.page.locator(".stills img").count() == 5
        assert "--submitter" in made.page.locator("#submit + pre").inner_text()
        assert "withdrawn: Its training data held" in made.page.locator(".changes").inner_text()
    with browsing.visit(browser, f"file://{built}/group-res.html", java_script_enabled=False) as made:
        text = made.page.locator("main").inner_text()
        assert "as published" in text
        row = made.page.locator("tr", has_text="SegAgent-LLaVA + SAM").inner_text()
        assert "81.44" in row
        assert "75.72" in row
        assert "51.70" in made.page.locator("tr", has_text="MAttNet").inner_text()  # with the digits of the source
        assert "72.7" in made.page.locator("tr", has_text="LAVT").inner_text().split()
        assert made.page.locator("a[download]").count() == 0  # there is no entry, so no empty file
    assert not (built / "data" / "res.csv").exists()


def test_an_entry_says_where_it_stands_and_leads_to_its_samples(browser: Browser, built: Path) -> None:
    with browsing.visit(browser, f"file://{built}/entries/good.html") as made:
        verdict = made.page.locator(".verdict").inner_text()
        assert re.search(r"^mIoU [\d.]+ % \[[\d.]+, [\d.]+\], \d+ % of the way", verdict)
        assert re.search(r"Rank 1 of 2; [\d.]+ points ahead of Low model \[[\d.]+, [\d.]+\]", verdict)
        assert "trained on this data" in made.page.locator(".flag").inner_text()
        entry = json.loads((built / "data" / "entries" / "good.json").read_text())
        ious = [a / b for a, b in zip(entry["samples"]["intersection"], entry["samples"]["union"], strict=True)]
        shown = made.page.locator(".samples tbody tr")
        assert shown.count() == len(ious)
        assert shown.locator("td:nth-child(2)").all_text_contents() == [f"{100 * iou:.1f}" for iou in sorted(ious)]
        lowest = shown.first.locator("a")
        assert (lowest.get_attribute("href") or "").startswith("https://example.org/report/index.html#sample=")
        levels = made.page.locator(".levels .reached").all_text_contents()
        assert [text.split()[1] for text in levels] == ["schema", "recomputed", "replayed"]
        assert "@misc{hlmat-good" in made.page.locator("#cite-entry").inner_text()
        steps = sum(map(sum, entry["scores"]["steps"].values()))
        texts = made.page.locator("table", has_text="off object").locator("td").all_text_contents()
        assert sum(int(text) for text in texts) == steps
    with browsing.visit(browser, f"file://{built}/entries/twin.html") as made:
        assert made.page.locator(".warning a").get_attribute("href") == "good.html"
        assert made.page.locator(".samples a").count() == 0


def test_an_entry_says_where_its_clicks_fell(built: Path, runs: dict[str, Run]) -> None:
    right = total = 0
    for episode in runs["good"].episodes():
        truth, mask = masks.decode(episode.gt), np.zeros(episode.size, np.bool_)
        for step in episode.steps:
            if step.action.kind == "click":
                click = step.action.click
                wrong = truth & ~mask if click.positive else mask & ~truth
                right, total = right + bool(wrong[click.y, click.x]), total + 1
            mask = mask if step.mask is None else masks.decode(step.mask)
    text = (built / "entries" / "good.html").read_text()
    assert f"{100 * right / total:.1f} % of the valid clicks" in text
    assert "rates highest" not in text  # The model rates no mask.


def test_an_entry_of_a_search_says_which_mask_is_scored(task: str, tool: str, tmp_path: Path) -> None:
    run = boards.play(tmp_path / "run", task, tool, limit=6, strategy="prm", settings={"prm": "oracle"})
    boards.add(tmp_path / "board", run, "Search", "search")
    text = (site.build(tmp_path / "board", tmp_path / "site") / "entries" / "search.html").read_text()
    scores = run.scores()["selection"]
    assert f"mIoU {100 * scores['self']['miou']:.1f} %" in text
    assert f"mIoU {100 * scores['final']['miou']:.1f} % for the last mask" in text
    assert "the score above is of the mask that the model rates highest" in text


def test_changes_are_a_feed(built: Path) -> None:
    feed = ElementTree.parse(built / "changes.xml").getroot()
    atom = "{http://www.w3.org/2005/Atom}"
    titles = [entry.findtext(f"{atom}title") for entry in feed.iter(f"{atom}entry")]
    assert len(titles) == 8
    assert "withdrawn" in str(titles[0])
    links = [link.get("href") for link in feed.iter(f"{atom}link") if link.get("rel") != "self"]
    assert all((built / str(link)).is_file() for link in links)
    ids = [part.text for part in feed.iter(f"{atom}id")]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_no_barrier_and_no_sideways_scroll(width: int, scheme: Any, browser: Browser, built: Path) -> None:
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    with browsing.visit(browser, f"file://{built}/index.html", bypass_csp=True, **options) as made:
        for name in _pages(built):
            if name.startswith(("group-hres", "entries/o", "entries/r", "entries/c", "ranking")):
                continue
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


def test_strangers_links_are_marked(browser: Browser, built: Path) -> None:
    with browsing.visit(browser, f"file://{built}/entries/good.html") as made:
        link = made.page.get_by_role("link", name="https://example.org/paper")
        assert (link.get_attribute("rel"), link.get_attribute("href")) == (
            "noopener nofollow",
            "https://example.org/paper",
        )
