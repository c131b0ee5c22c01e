"""The frame of all pages in a browser: size of text, theme, definitions, and everything that readers take away."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from hlmat_bench.core.tables import TextTable
from hlmat_bench.reports.pages.definitions import DEFINITIONS
from hlmat_bench.reports.pages.files import write_figures, write_table
from hlmat_bench.reports.pages.site import Site
from hlmat_bench.reports.pages.templates import environment
from tests.reports.test_plots import HOSTILE, figures
from tests.support.browsing import served, visit

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HEADERS = ["model", "mIoU (%)", "NoC@q", "Interval", "cost ($)", "a long name of a column"]
ROWS = [[HOSTILE, "68.8", "4.09", "[61.5, 75.6]", "0.40", "12345678"], ["50% a_b", "−1.5", "–", "", "1", "2"]]

PAGE = """{% extends "base.html.j2" %}
{% from "macros.html.j2" import plot, table, cite, copy_link, navigation %}
{% block title %}A page{% endblock %}
{% block nav %}{{ navigation("Sections", [("Plots", "#plots", false), ("Table", "#table", false)]) }}{% endblock %}
{% block main %}
<h1>A page</h1>
<p class="verdict">The result first.</p>
<p class="meta">80 samples {{ copy_link() }} {{ cite("@misc{x}", "cite-page") }}</p>
<section id="plots" aria-label="Plots" class="grid2">
{% for figure in figures %}{{ plot(figure, "Caption " ~ loop.index, "Plot " ~ loop.index, root=root) }}{% endfor %}
</section>
<section id="table" aria-label="Table" data-state="sort outcome">
<h2>Table</h2>
{{ table(headers, rows, "Scores", sortable=true, definitions=definitions, name="scores", root=root) }}
<table><tbody><tr><td id="cell">55.9 <span class="range">[49.1, 62.4]</span></td></tr></tbody></table>
</section>
{% endblock %}
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pages with everything: index.html, and one in a folder below."""
    folder = tmp_path_factory.mktemp("frame") / "site"
    named = [figure.named(f"figure-{n}") for n, figure in enumerate(figures())]
    shown = {"figures": named, "headers": HEADERS, "rows": ROWS, "definitions": DEFINITIONS, "date": "2026-11-26"}
    with Site(folder) as site:
        site.assets("base.css")
        write_figures(site, named)
        write_table(site, "scores", TextTable(HEADERS, ROWS))
        for name, root in (("index.html", ""), ("entries/one.html", "../")):
            site.write(name, environment().from_string(PAGE).render(**shown, root=root))
    return folder


def _sizes(page: Page, selector: str) -> set[str]:
    return set(page.locator(selector).evaluate_all("all => all.map(one => getComputedStyle(one).fontSize)"))


@pytest.mark.parametrize("width", [1440, 1280, 390])
def test_text_has_its_size_and_nothing_is_cut(browser: Browser, pages: Path, width: int) -> None:
    with visit(browser, f"{pages.as_uri()}/index.html", viewport={"width": width, "height": 900}) as seen:
        page = seen.page
        assert _sizes(page, "body") == {"15px"}
        assert _sizes(page, ".drawing text:visible") == {"15px"}
        scales = page.locator(".drawing:visible").evaluate_all("all => all.map(one => one.getScreenCTM().a)")
        assert set(scales) == {1}  # never scaled
        assert page.locator("h1").evaluate("h => getComputedStyle(h).fontSize") == ("28px" if width < 560 else "34px")
        small = page.evaluate(
            """() => [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility()
                 && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim())
                 && parseFloat(getComputedStyle(one).fontSize) < 12).map((one) => one.outerHTML.slice(0, 80))"""
        )
        assert small == []
        wide = "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).length"
        assert page.locator("html, .scroll, .plot").evaluate_all(wide) == 0
        assert page.locator(".top").bounding_box()["height"] == pytest.approx(53, abs=1)
        assert seen.problems == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark"), (1280, "dark")])
def test_everybody_can_use_the_frame(browser: Browser, pages: Path, width: int, scheme: str) -> None:
    """No violation of axe-core, of any impact, also with a definition open."""
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    import importlib.resources

    code = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text()
    with visit(browser, f"{pages.as_uri()}/index.html", **options) as seen:
        seen.page.evaluate(code)
        if width > 560:
            seen.page.get_by_role("button", name="Definition of mIoU").first.click()
        found = seen.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        assert [(rule["id"], node["html"][:160]) for rule in found for node in rule["nodes"]] == []


def test_the_theme_is_chosen_and_kept(browser: Browser, pages: Path) -> None:
    with visit(browser, f"{pages.as_uri()}/index.html", color_scheme="light") as seen:
        page = seen.page
        colour = "getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(colour) == "rgb(255, 255, 255)"
        toggle = page.locator("[data-theme-toggle]")
        toggle.click()
        toggle.click()
        assert toggle.inner_text() == "Theme: dark"
        assert page.evaluate(colour) == "rgb(17, 19, 24)"
        page.reload()
        assert page.evaluate(colour) == "rgb(17, 19, 24)"
        assert toggle.inner_text() == "Theme: dark"
        toggle.click()
        assert page.evaluate(colour) == "rgb(255, 255, 255)"


def test_what_is_taken_away_with_buttons(browser: Browser, pages: Path, tmp_path: Path) -> None:
    """Copies: link with state, table, BibTeX. PNG: three times the size of the SVG file, on white paper."""
    with served(pages) as address, visit(browser, f"{address}entries/one.html#sort=iou&outcome=a+b") as seen:
        page = seen.page
        seen.context.grant_permissions(["clipboard-read", "clipboard-write"])
        clipboard = "navigator.clipboard.readText()"
        page.get_by_role("button", name="Copy link").click()
        page.get_by_role("button", name="Copied").wait_for()
        assert page.evaluate(clipboard) == f"{address}entries/one.html#sort=iou&outcome=a+b"
        page.get_by_role("button", name="Copy Scores as LaTeX").click()
        page.locator("[data-ending=tex]", has_text="Copied").wait_for()
        assert page.evaluate(clipboard) == (pages / "tables/scores.tex").read_text()
        page.locator("main .cite summary").click()
        page.locator("[data-copy=cite-page]").click()
        page.locator("[data-copy=cite-page]", has_text="Copied").wait_for()
        assert page.evaluate(clipboard) == "@misc{x}"
        with page.expect_download() as download:
            page.locator("[data-png=figure-3]").click()
        assert download.value.suggested_filename == "figure-3.png"
        download.value.save_as(tmp_path / "figure.png")
        assert seen.problems == []
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.width == 3 * 540
        assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
        assert (11, 122, 92) in {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}  # helped


def test_buttons_work_for_a_page_opened_from_a_file(browser: Browser, pages: Path) -> None:
    with visit(browser, f"{pages.as_uri()}/index.html") as seen:
        with seen.page.expect_download():
            seen.page.locator("[data-png=figure-0]").click()
        seen.page.get_by_role("button", name="Copy Scores as Markdown").click()
        seen.page.locator("[data-ending=md]", has_text="Copied").wait_for()
        assert seen.problems == []


def test_without_javascript_files_definitions_and_citations_are_there(browser: Browser, pages: Path) -> None:
    with visit(browser, f"{pages.as_uri()}/entries/one.html", java_script_enabled=False) as seen:
        page = seen.page
        links = [link.get_attribute("href") or "" for link in page.locator("a[download]").all()]
        assert len(links) == 4 * len(figures()) + 3
        assert all((pages / "entries" / link).resolve().is_file() for link in links)
        assert page.locator(".js-only:visible").count() == 0
        meaning = page.get_by_text(DEFINITIONS["NoC@q"])
        assert meaning.is_hidden()
        page.get_by_role("button", name="Definition of NoC@q").focus()
        page.keyboard.press("Enter")
        assert meaning.is_visible()
        page.keyboard.press("Escape")
        assert meaning.is_hidden()
        page.get_by_text("Cite hlmat-bench").click()
        assert page.get_by_text("zhu2025segagent").is_visible()
        assert "2026-11-26" in page.locator("footer").inner_text()


def test_links_lead_to_what_one_saw(browser: Browser, pages: Path) -> None:
    """A state opens at its section; a section's own name is no state; a link to a section keeps the state."""
    with visit(browser, f"{pages.as_uri()}/index.html#outcome=wrong+sign") as seen:
        page = seen.page
        page.wait_for_function("scrollY > 100")
        page.locator(".top nav").get_by_text("Plots").click()
        assert page.evaluate("location.hash") == "#outcome=wrong+sign&at=plots"
        page.reload()
        page.wait_for_function("Math.abs(document.getElementById('plots').getBoundingClientRect().top - 68) < 3")
    with visit(browser, f"{pages.as_uri()}/index.html#plots") as seen:
        assert seen.page.evaluate("[...HL.state.read()]") == []


def test_a_copied_cell_is_one_line(browser: Browser, pages: Path) -> None:
    with visit(browser, f"{pages.as_uri()}/index.html") as seen:
        words = "(cell) => { getSelection().selectAllChildren(cell); return getSelection().toString(); }"
        cell = seen.page.locator("#cell")
        assert cell.evaluate(words) == "55.9 [49.1, 62.4]"
        line = cell.evaluate("(cell) => cell.getBoundingClientRect().height")
        assert line > 40  # and yet the interval is below the number


def test_tables_are_the_same_in_every_format(pages: Path) -> None:
    rows = list(csv.reader(io.StringIO((pages / "tables/scores.csv").read_text(), newline="")))
    assert rows[0] == HEADERS
    assert rows[1][1:3] == ["68.8", "4.09"]
    assert rows[2][:3] == ["50% a_b", "-1.5", "–"]
    assert r"50\% a\_b & $-$1.5 & --" in (pages / "tables/scores.tex").read_text()
    assert r"| 50% a\_b | −1.5 | – |" in (pages / "tables/scores.md").read_text()
    value = json.loads((pages / "tables/scores.js").read_text().partition(", ")[2].rstrip(");\n"))
    assert json.loads(value)["md"] == (pages / "tables/scores.md").read_text()
