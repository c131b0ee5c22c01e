"""The pages of reports in a browser: a report of one run, a comparison, their gallery and their player."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from benchmarks.report import look, make_run
from hlmat_bench.reports.build import report
from hlmat_bench.runs.run_folder import Run
from tests.support.browsing import Visit, accessibility, open_sample, served, visit
from tests.support.report_runs import HOSTILE

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def episodes(comparison: Path) -> list[list[dict]]:
    """Return the downloaded episodes: per sample one of each run."""
    shards = sorted((comparison / "data").glob("shard-*.json"))
    return [sample for shard in shards for sample in json.loads(shard.read_text())]


@pytest.fixture(params=["file", "http"])
def address(request: pytest.FixtureRequest, comparison: Path, single: Path) -> Iterator[dict[str, str]]:
    """Where the two pages are."""
    if request.param == "file":
        yield {"single": single.as_uri() + "/", "comparison": comparison.as_uri() + "/"}
    else:
        with served(single) as one, served(comparison) as several:
            yield {"single": one, "comparison": several}


def _ids(folder: Path) -> list[str]:
    return json.loads((folder / "data/index.json").read_text())["ids"]


def _use_everything(seen: Visit, sample: int) -> None:
    """Open, step, zoom, hide, leave, filter, sort and search."""
    page = seen.page
    page.locator(".samples .row").nth(3).wait_for()
    open_sample(page, sample)
    for name in ("First step", "Next step", "Next step", "Previous step", "Last step"):
        page.get_by_role("button", name=name).click()
    page.get_by_label("Zoom").select_option("2")
    page.get_by_label("ground truth").uncheck()
    page.get_by_role("button", name="Next sample").click()
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="hidden")
    page.locator("#gallery").get_by_label("Outcome").select_option(index=1)
    page.get_by_role("button", name=re.compile("^IoU")).first.click()
    page.locator("#gallery").get_by_label("Search").fill("proto")
    page.get_by_text(re.compile(r"^[\d,]+ of 48 samples")).wait_for()
    for part in page.locator("main summary").all():
        part.click()
    page.wait_for_load_state("networkidle")


@pytest.mark.parametrize("which", ["single", "comparison"])
def test_no_error_no_violation_and_no_request_elsewhere(
    browser: Browser, address: dict[str, str], which: str, episodes: list[list[dict]]
) -> None:
    sample = max(range(8), key=lambda n: len(episodes[n][0]["steps"]))
    with visit(browser, address[which] + "index.html") as seen:
        _use_everything(seen, sample)
        assert seen.problems == []
        assert all(url.startswith((address[which], "data:,")) for url in seen.requests)
        assert seen.names("/img/full/")
        assert seen.page.evaluate("document.querySelectorAll('[style*=url], base, iframe, object, form').length") == 0


def test_the_policy_forbids_what_is_not_of_the_folder(browser: Browser, single: Path) -> None:
    with visit(browser, single.as_uri() + "/index.html") as seen:
        policy = seen.page.locator('meta[http-equiv="Content-Security-Policy"]').get_attribute("content")
        assert policy == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
            "font-src 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"
        )
        seen.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'fired = 1'}))")
        seen.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=fired=1>')")
        seen.page.evaluate("new Promise((done) => setTimeout(done, 50))")
        assert seen.page.evaluate("window.fired") is None
        assert any("Content Security Policy" in problem for problem in seen.problems)


def test_hostile_strings_are_texts(browser: Browser, comparison: Path, episodes: list[list[dict]]) -> None:
    address = comparison.as_uri() + "/index.html#sort=order"
    with visit(browser, address, viewport={"width": 1280, "height": 2400}) as seen:
        page = seen.page
        page.locator(".samples .space .row").first.wait_for()
        for number, text in enumerate(HOSTILE):
            shown = f"{text} {number}".replace("\u202e", "")
            assert page.locator(f'[data-sample="{number}"]').text_content() == shown
        for number in range(len(HOSTILE)):
            open_sample(page, number)
            page.get_by_role("button", name="First step").click()
            for step in episodes[number][0]["steps"]:
                page.keyboard.press("ArrowRight")
                raw = step["raw"].replace("\u202e", "⟨U+202E⟩")
                assert page.locator(".reply").first.text_content() == raw
            page.keyboard.press("Escape")
        body = page.locator("body").inner_text()
        assert HOSTILE[0] in page.locator("h1").inner_text()
        assert "{{7*7}} ${7*7}" in body
        assert "49 49" not in body
        assert "\u202e" not in body
        assert page.locator("a[href^='javascript:'], a[href^='data:']").count() == 0
        assert page.evaluate("window.fired") is None
        assert seen.problems == []


def test_without_javascript_scores_curves_and_tables_are_readable(
    browser: Browser, single: Path, played: list[Run]
) -> None:
    scores = played[0].scores()
    with visit(browser, single.as_uri() + "/index.html", java_script_enabled=False) as seen:
        page = seen.page
        assert f"mIoU {100 * scores['selection']['final']['miou']:.1f}" in page.locator(".verdict").inner_text()
        assert page.locator(".maps img").count() == 12
        assert page.locator(".maps img").first.evaluate("image => image.complete && image.naturalWidth") == 220
        assert page.locator("figure svg[role=img]:visible polyline.line").first.is_visible()
        summary = page.locator("figure summary").first
        summary.click()
        assert f"{100 * scores['curve'][-1]['miou']:.1f}" in page.locator("figure table").first.inner_text()
        assert page.get_by_text("The gallery and the player need JavaScript").is_visible()
        assert page.locator("#gallery").is_hidden()
        assert page.get_by_role("columnheader", name="mIoU").first.is_visible()


def test_a_link_restores_filters_runs_sample_and_step(
    browser: Browser, comparison: Path, episodes: list[list[dict]]
) -> None:
    ids = _ids(comparison)
    number = max(range(48), key=lambda n: len(episodes[n][1]["steps"]))
    words = {"runs": "1,2", "q": "", "sort": "gap", "sample": ids[number], "step": "2"}
    with visit(browser, f"{comparison.as_uri()}/index.html#{urlencode(words)}") as seen:
        page = seen.page
        page.locator(".pane").nth(1).wait_for()
        names = json.loads((comparison / "data/index.json").read_text())["runs"]
        assert [pane.get_attribute("aria-label") for pane in page.locator(".pane").all()] == [
            names[1]["name"],
            names[2]["name"],
        ]
        assert page.locator(".place").inner_text().startswith("Step 2 of")
        assert page.locator("[aria-sort=descending]").inner_text().startswith("Difference")
        first = page.url
        page.get_by_role("button", name=re.compile("^(Next|Previous) sample")).locator("visible=true").last.click()
        page.wait_for_url(lambda url: url != first)
        second = page.url
        page.get_by_role("button", name="Close").click()
        page.locator("dialog").wait_for(state="hidden")
        page.go_back()
        page.locator("dialog").wait_for(state="visible")
        assert page.url == second
        page.go_back()
        page.wait_for_url(first)
        page.wait_for_function("(n) => HL.gallery.player.sample === n && HL.gallery.player.episodes", arg=number)
        page.go_forward()
        page.wait_for_url(second)
        assert seen.problems == []


def test_filters_sort_and_search_are_right(browser: Browser, single: Path, episodes: list[list[dict]]) -> None:
    index = json.loads((single / "data/index.json").read_text())
    final, texts = index["runs"][0]["final"], index["expressions"]
    with visit(browser, single.as_uri() + "/index.html", viewport={"width": 1280, "height": 900}) as seen:
        page = seen.page
        page.locator(".samples .row").nth(3).wait_for()
        assert page.evaluate("HL.gallery.order") == sorted(range(48), key=lambda n: (final[n], n))
        page.get_by_role("button", name=re.compile("^IoU")).click()
        assert page.evaluate("HL.gallery.order") == sorted(range(48), key=lambda n: (-final[n], n))
        assert page.locator(".samples [role=columnheader].iou").get_attribute("aria-sort") == "descending"
        page.locator("#gallery").get_by_label("Order").select_option(label="in the task's order")
        page.locator("#gallery").get_by_label("Search").fill("SCRIPT window")
        found = [
            n for n, text in enumerate(texts) if "script" in f"{index['ids'][n]} {text}".lower() and "window" in text
        ]
        assert sorted(page.evaluate("HL.gallery.order")) == found
        assert page.get_by_text(f"{len(found)} of 48 samples").is_visible()
        page.locator("#gallery").get_by_label("Search").fill("")
        page.locator("#gallery").get_by_label(re.compile("^Slices")).select_option(
            label=index["slicings"][0]["values"][0]
        )
        members = [n for n, code in enumerate(index["slicings"][0]["codes"]) if code == 0]
        assert sorted(page.evaluate("HL.gallery.order")) == members
        page.reload()
        page.locator(".samples .row").nth(1).wait_for()
        assert sorted(page.evaluate("HL.gallery.order")) == members
        page.get_by_text("What the clicks did").click()
        page.locator("a[href='#outcome=off%20object']").click()
        code = index["outcomes"].index("off object")
        failed = [n for n, outcome in enumerate(index["runs"][0]["outcome"]) if outcome == code]
        assert 0 < len(failed) < 48
        assert sorted(page.evaluate("HL.gallery.order")) == failed


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["single", "comparison"])
def test_it_is_accessible(browser: Browser, single: Path, comparison: Path, scheme: str, which: str) -> None:
    folder = single if which == "single" else comparison
    with visit(browser, folder.as_uri() + "/index.html", color_scheme=scheme) as seen:
        page = seen.page
        page.locator(".samples .row").nth(3).wait_for()
        for part in page.locator("main summary").all():
            part.click()
        assert accessibility(page) == []
        open_sample(page, 1)
        assert accessibility(page) == []
        assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")


@pytest.mark.parametrize("which", ["single", "comparison"])
def test_a_phone_scrolls_down_only(browser: Browser, single: Path, comparison: Path, which: str) -> None:
    folder = single if which == "single" else comparison
    with visit(browser, folder.as_uri() + "/index.html", viewport={"width": 360, "height": 740}) as seen:
        page = seen.page
        page.locator(".samples .row").nth(3).wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        open_sample(page, 1)
        assert page.evaluate("document.querySelector('dialog').scrollWidth <= 360")
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_sort_headers_are_buttons(browser: Browser, single: Path) -> None:
    with visit(browser, single.as_uri() + "/index.html") as seen:
        page = seen.page
        page.get_by_text("Reference players on the same samples", exact=True).click()
        table = page.locator("#summary table.sortable").first
        assert table.locator("th[aria-sort] > button.sort").count() == table.locator("thead th").count()
        header = table.locator("thead th").nth(2)
        header.locator("button.sort").click()
        assert header.get_attribute("aria-sort") == "descending"
        shown = [float(cell.split()[0]) for cell in table.locator("tbody td:nth-child(3)").all_inner_texts()]
        assert shown == sorted(shown, reverse=True)


def test_a_missing_or_damaged_file_is_told_in_place(browser: Browser, single: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(single, site)
    (site / "data/shard-000.js").unlink()
    (site / "data/shard-001.js").write_text('HL.put("s32", "[{");\nnonsense(')
    with visit(browser, site.as_uri() + "/index.html", viewport={"width": 1280, "height": 9000}) as seen:
        page = seen.page
        page.locator("#gallery").get_by_label("Order").select_option("order")
        page.locator('[data-sample="1"]').click()
        page.locator("dialog [role=alert]").get_by_text("data/shard-000.js is missing").wait_for()
        page.keyboard.press("Escape")
        assert page.locator(".samples .row").nth(3).is_visible()
        page.locator("#gallery").get_by_label("Search").fill("32")
        page.locator('[data-sample="32"]').click()
        page.get_by_text("data/shard-001.js is damaged").wait_for()
    (site / "data/index.js").write_text("HL.put('index', '{');")
    with visit(browser, site.as_uri() + "/index.html") as seen:
        seen.page.locator("#gallery [role=alert]").get_by_text("data/index.js is damaged").wait_for()
        assert seen.page.locator(".tiles").is_visible()


def test_of_many_samples_only_what_is_seen_is_loaded(browser: Browser, tmp_path: Path) -> None:
    """`benchmarks/report.py` measures ten thousand of them."""
    samples = 150
    site = report([make_run(tmp_path, samples).folder], data_root=tmp_path).parent
    with visit(browser, "about:blank", viewport={"width": 1280, "height": 900}) as seen:
        found = look(seen.page, site)
        assert found["nodes after scrolling"] < 2500
        assert found["shards after opening one sample"] == 1
        assert found["first transfer, gzipped MB"] < 1
        assert seen.page.evaluate("HL.gallery.order.length") == samples
        assert seen.page.evaluate("document.querySelectorAll('.samples .space .row').length") < 40
        assert len(set(seen.names("/img/full/"))) == 1
        assert seen.problems == []
