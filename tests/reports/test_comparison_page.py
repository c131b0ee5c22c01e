"""The page of a comparison: what it shows without JavaScript, on every screen, and where its links lead."""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from hlmat_bench.reports.build import report
from hlmat_bench.reports.compare import figures
from hlmat_bench.runs.run import run
from hlmat_bench.runs.run_folder import Run
from tests.support.browsing import visit
from tests.support.report_runs import write_task

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_WIDE = """all => all.filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1)
    .map((one) => one.outerHTML.slice(0, 120))"""
_SMALL = """() => [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility()
    && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim())
    && parseFloat(getComputedStyle(one).fontSize) < 12).map((one) => one.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def site(comparison: Path) -> str:
    return comparison.as_uri() + "/index.html"


def test_nothing_is_cut_on_any_screen(browser: Browser, site: str) -> None:
    with visit(browser, site) as seen:
        page = seen.page
        for part in page.locator("summary").all():
            part.click()
        for width in (1440, 1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(100)
            assert page.locator("html, .plot, #difference .scroll, #slices .scroll").evaluate_all(_WIDE) == [], width
            assert page.evaluate(_SMALL) == []
        assert seen.problems == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_everybody_can_use_it(browser: Browser, site: str, width: int, scheme: str) -> None:
    code = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text()
    with visit(browser, site, viewport={"width": width, "height": 900}, color_scheme=scheme) as seen:
        seen.page.locator(".samples .row").nth(2).wait_for()
        for part in seen.page.locator("summary").all():
            part.click()
        seen.page.evaluate(code)
        found = seen.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        assert [(rule["id"], node["html"][:160]) for rule in found for node in rule["nodes"]] == []


def test_without_javascript_the_verdict_and_the_largest_differences_are_there(
    browser: Browser, site: str, comparison: Path
) -> None:
    index = json.loads((comparison / "data/index.json").read_text())
    with visit(browser, site, java_script_enabled=False, viewport={"width": 1280, "height": 4000}) as seen:
        page = seen.page
        assert re.search(r" has the highest mIoU, \d+\.\d \[", page.locator(".verdict").inner_text())
        assert page.locator(".matrix td.win, .matrix td.loss, .matrix td.open").count() == 6
        rows = page.locator(".apart-list li")
        assert rows.count() == 12
        image = rows.first.locator("img").first
        assert image.evaluate("one => one.complete && one.naturalWidth") == 220
        assert rows.first.locator("img").count() == 2
        chosen = [index["runs"][n]["final"] for n in _runs_of(rows.first.locator("a").get_attribute("href"))]
        gaps = sorted(np.abs(np.subtract(*chosen)), reverse=True)[:12]
        shown = [abs(float(text.replace("−", "-"))) for text in page.locator(".apart-list .gap").all_inner_texts()]
        assert shown == [pytest.approx(100 * gap, abs=0.06) for gap in gaps]


def _runs_of(address: str | None) -> list[int]:
    found = re.search(r"runs=(\d)%2C(\d)", address or "")
    assert found is not None
    return [int(found[1]), int(found[2])]


def test_links_open_what_they_show(browser: Browser, site: str, comparison: Path) -> None:
    index = json.loads((comparison / "data/index.json").read_text())
    with visit(browser, site, viewport={"width": 1280, "height": 900}) as seen:
        page = seen.page
        page.locator(".samples .row").nth(2).wait_for()
        dot = page.locator("[aria-label^='IoU of every sample'] a:visible").nth(5)
        address, name = dot.get_attribute("href"), dot.get_attribute("aria-label")
        assert address is not None
        assert name is not None
        page.goto(f"{site}{address}")
        page.locator("dialog .pane").nth(1).wait_for()
        assert name.startswith(page.locator("dialog .names .mono").inner_text())
        page.keyboard.press("Escape")
        cell = page.locator(".matrix tbody tr").nth(0).locator("td a").nth(1)
        runs = [int(n) for n in str(cell.get_attribute("href")).partition("=")[2].split(",")]
        cell.click()
        page.wait_for_function("(pair) => HL.gallery.pair.join() === pair", arg=",".join(map(str, runs)))
        gaps = np.abs(np.subtract(*(index["runs"][n]["final"] for n in runs)))
        order = page.evaluate("HL.gallery.order")
        assert [gaps[n] for n in order] == sorted(gaps, reverse=True)
        outcome = page.locator("[aria-label^='Kinds of failures'] a:visible").first
        word = str(outcome.get_attribute("href")).partition("=")[2].replace("+", " ")
        page.goto(f"{site}{outcome.get_attribute('href')}")
        page.wait_for_function("HL.gallery.order.length < 48")
        code = index["outcomes"].index(word)
        assert sorted(page.evaluate("HL.gallery.order")) == [
            n for n in range(48) if any(index["runs"][run]["outcome"][n] == code for run in (0, 1))
        ]
        assert seen.problems == []


def test_two_builds_are_the_same(played: list[Run], comparison: Path, tmp_path: Path) -> None:
    again = report([one.folder for one in played], tmp_path / "again").parent
    names = sorted(path.relative_to(comparison) for path in comparison.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert [name for name in names if (comparison / name).read_bytes() != (again / name).read_bytes()] == []


def test_equal_runs_have_no_failures_and_the_same_model(tmp_path: Path, tool: str) -> None:
    """The object is a disc of the segmenter's size, so that one click solves each sample."""
    task = _discs(tmp_path / "data")
    folders = [
        run("oracle", task, f"{tool},radius=12", strategy="greedy", settings=settings, out=tmp_path / str(n)).folder
        for n, settings in enumerate(({}, {"history": "on"}))
    ]
    page = report(folders, tmp_path / "site", images=False).read_text()
    assert "Kinds of failures" not in page
    assert "oracle (1) and oracle (2) do not differ" in page
    assert "Both runs are of the same model, oracle." in page
    assert "They differ in:" in page
    assert '<th scope="row">earlier clicks in the prompt</th><td>no</td><td>yes</td>' in page
    assert "have the same result on every sample" in page
    shown = page.partition('<section id="reproduce"')[0]
    assert "null" not in shown
    assert "{&#34;" not in shown


def _discs(folder: Path) -> str:
    task = write_task(folder, 24)
    for number in range(24):
        mask = cv2.circle(np.zeros((120, 200), np.uint8), (40 + 5 * (number % 20), 60), 12, 255, -1)
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), mask)
        (folder / "masks" / f"{number}_ignored.png").unlink(missing_ok=True)
    table = re.sub(r",\d+_ignored\.png,", ",,", (folder / "expressions.csv").read_text(encoding="utf-8"))
    (folder / "expressions.csv").write_text(table, encoding="utf-8")
    return task


def test_a_scatter_of_many_samples_has_a_bounded_number_of_dots() -> None:
    assert [figures.step_of(count) for count in (1, 400, 401, 10_000)] == [1, 1, 2, 25]
    assert figures.short("a" * 40 + "z") == "aaaaaaaa…aaaaaaaaz"
