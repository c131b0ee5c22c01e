"""A ranking of several pages: each page is readable without JavaScript, and search and sorting see all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hlmat_bench.reports.leaderboard import site
from hlmat_bench.reports.leaderboard.submission import make_entry
from tests.support import boards, browsing

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow
COUNT = 103


@pytest.fixture(scope="module")
def built(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many entries of one run; which of them are ranked does not matter here."""
    folder = tmp_path_factory.mktemp("many")
    run = boards.play(folder / "run", task, tool, limit=4, budget=1)
    value = boards.dumped(make_entry(run, boards.DECLARED))
    for number in range(COUNT):
        name = f"m{number:03d}"
        boards.put(folder, value | {"id": name, "title": f"Model {number}", "weights": ["open", "closed"][number % 2]})
    return site.build(folder, folder / "site")


def test_every_entry_is_on_a_page_without_javascript(browser: Browser, built: Path) -> None:
    with browsing.visit(browser, f"file://{built}/index.html", java_script_enabled=False) as made:
        pages = made.page.locator("nav.pages a")
        assert [text.split()[-1] for text in pages.all_inner_texts()] == ["1–100", "101–103"]
        assert made.page.locator("#board tr[data-id]").count() == 100
        assert "103 entries; this page has 100 of them" in made.page.locator("#shown").inner_text()
        pages.last.click()
        found = [row.get_attribute("data-id") for row in made.page.locator("#board tr[data-id]").all()]
        assert found == ["m100", "m101", "m102"]
    loaded = sum((built / "assets" / name).stat().st_size for name in ("base.css", "board.css", "board.js", "hl.js"))
    assert (built / "index.html").stat().st_size + loaded < 300_000


def test_search_and_sorting_see_all_pages(browser: Browser, built: Path) -> None:
    with browsing.visit(browser, f"file://{built}/index.html") as made:
        page, rows = made.page, made.page.locator("#board tr[data-id]")
        page.get_by_role("searchbox").fill("model 102")
        page.wait_for_function("document.querySelectorAll('#board tr[data-id]').length === 1")
        assert "1 of 103 entries; 102 hidden" in page.locator("#shown").inner_text()
        link = rows.first.locator("th a")
        assert (link.inner_text(), link.get_attribute("href")) == ("Model 102", "entries/m102.html")
        assert not page.locator("nav.pages").is_visible()
        there = built / page.url.rpartition("/")[2].partition("#")[0]
        texts = rows.first.inner_text()
        with browsing.visit(browser, page.url) as again:
            again.page.wait_for_function("document.querySelectorAll('#board tr[data-id]').length === 1")
            assert again.page.locator("#board tr[data-id]").inner_text() == texts
        second = next(built.glob("ranking-*-2.html"))
        assert there.is_file()
        page.get_by_role("button", name="Show all").click()
        page.locator("th[data-sort=model] button.sort").click()
        page.get_by_role("button", name="Show more").click()
        assert rows.count() == COUNT
        with browsing.visit(browser, f"file://{second}") as other:  # a row from the data is the row of its own page
            assert other.page.locator("tr[data-id=m102]").inner_text() == texts
        assert made.problems == []
