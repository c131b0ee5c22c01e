"""What a link to a report restores, and how the page looks on wide and narrow screens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.support.browsing import accessibility, open_sample, visit

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: What a reader sees: the list, its filters, the player and the place on the page.
SEEN = """() => {
  const { order, sorting, filters, player } = HL.gallery;
  const open = player.dialog.open;
  return { order, sorting, filters: filters.state(), chips: filters.chosen.innerText, open,
    player: open && [player.sample, player.step, player.state(), player.about.textContent],
    top: open ? null : Math.round(document.getElementById("samples").getBoundingClientRect().top) };
}"""
READY = "() => HL.gallery?.order && (!HL.gallery.player.dialog.open || HL.gallery.player.episodes)"


def _states(folder: Path) -> list[dict[str, str]]:
    index = json.loads((folder / "data/index.json").read_text())
    ids, ways = index["ids"], index["slicings"]
    used = sorted({index["outcomes"][code] for code in index["runs"][0]["outcome"]})
    kinds = sorted({index["kinds"][int(digit)] for steps in index["runs"][0]["kinds"] for digit in steps})
    words = [f"{way['name']}: {value}" for way in ways for value in way["values"][:2]]
    filters: list[dict[str, str]] = [{"outcome": name} for name in [*used, "never"]]
    filters += [{"kind": name} for name in kinds] + [{"kind": kinds[0], "click": "2"}]
    filters += [{"slice": words[0]}, {"slice": words[0], "slice2": words[-1]}, {"iou": "10-60"}, {"iou": "0-20.5"}]
    filters += [
        {"q": "script window"},
        {"sort": "clicks0"},
        {"sort": "lost"},
        {"sort": "order"},
        {"sort": "expression,up"},
    ]
    mixed = {"q": "left", "iou": "0-90", "sort": "iou0"}
    samples: list[dict[str, str]] = [
        {"sample": ids[3], "step": "1"},
        {"sample": ids[5], "step": "0", "view": "map"},
        {"sample": ids[8], "step": "1", "opacity": "80", "hide": "outline,clicks"},
        {"sample": ids[40], "step": "1", "zoom": "object"},
        {"sample": ids[1], "step": "1", "zoom": "4", "view": "none", "sort": "order"},
        {"outcome": used[0], "sample": ids[2], "step": "1"},
        {"sort": "clicks0,up", "sample": ids[7], "step": "0", "zoom": "2", "hide": "clicks"},
        {"kind": kinds[-1], "slice": words[1], "sample": ids[11], "step": "1", "view": "map", "opacity": "20"},
    ]
    return [*filters, mixed, *samples]


def _seen(page: Page) -> dict:
    page.wait_for_function(READY)
    page.wait_for_load_state("load")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate(SEEN)


def test_a_copied_link_shows_the_same_in_another_browser(browser: Browser, single: Path) -> None:
    states = _states(single)
    assert len(states) >= 30
    address = single.as_uri() + "/index.html"
    with visit(browser, address) as first, visit(browser, "about:blank") as second:
        for state in states:
            first.page.evaluate("(words) => { location.hash = words; }", urlencode(state))
            before = _seen(first.page)
            link = first.page.url
            told = {**before["filters"], **(dict(state) if before["open"] else {})}
            assert all(str(told.get(key, value)) == value for key, value in state.items()), state
            second.page.goto("about:blank")  # else only the hash would change
            second.page.goto(link)
            assert _seen(second.page) == before, state
            assert second.page.url == link
        assert second.problems == []


def test_a_part_of_a_bar_shows_its_samples(browser: Browser, single: Path) -> None:
    index = json.loads((single / "data/index.json").read_text())
    code = str(index["kinds"].index("off object"))
    expected = [n for n, steps in enumerate(index["runs"][0]["kinds"]) if steps[1:2] == code]
    with visit(browser, single.as_uri() + "/index.html") as seen:
        link = seen.page.locator("svg:visible a[href='#kind=off+object&click=2']")
        assert link.get_attribute("aria-label") == f"off object: {len(expected)} of 48 at click 2"
        link.click()
        seen.page.wait_for_function("(n) => HL.gallery.order.length === n", arg=len(expected))
        assert sorted(seen.page.evaluate("HL.gallery.order")) == expected
        top = seen.page.locator("#samples").evaluate("section => section.getBoundingClientRect().top")
        assert 0 <= top < 200


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_nothing_is_cut_small_or_inaccessible(browser: Browser, single: Path, width: int, scheme: str) -> None:
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    with visit(browser, single.as_uri() + "/index.html", **options) as seen:
        page = seen.page
        page.locator(".samples .space .row").first.wait_for()
        page.evaluate("document.querySelectorAll('main details').forEach((part) => { part.open = true; })")
        wide = "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.outerHTML.slice(0, 90))"
        assert page.locator("html, .scroll, .plot").evaluate_all(wide) == []
        small = """() => [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility()
          && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim())
          && parseFloat(getComputedStyle(one).fontSize) < 12).map((one) => one.outerHTML.slice(0, 90))"""
        assert page.evaluate(small) == []
        assert accessibility(page, every=True) == []
        open_sample(page, 1)
        assert page.evaluate(small) == []
        assert accessibility(page, every=True) == []


def test_the_reply_is_seen_without_scrolling(browser: Browser, single: Path) -> None:
    with visit(browser, single.as_uri() + "/index.html", viewport={"width": 1280, "height": 900}) as seen:
        open_sample(seen.page, 0)
        seen.page.keyboard.press("Home")
        seen.page.keyboard.press("ArrowRight")
        assert seen.page.locator(".reply").first.evaluate("pre => pre.getBoundingClientRect().top") < 500
        prompt = seen.page.locator(".asked")
        prompt.locator("summary").click()
        expression = json.loads((single / "data/index.json").read_text())["expressions"][0]
        assert f"The object: {expression}" in prompt.inner_text()
        number = seen.page.evaluate("HL.gallery.player.sample")
        seen.page.keyboard.press("n")
        seen.page.wait_for_function("(n) => HL.gallery.player.sample !== n && HL.gallery.player.episodes", arg=number)
        seen.page.keyboard.press("p")
        seen.page.wait_for_function("(n) => HL.gallery.player.sample === n && HL.gallery.player.episodes", arg=number)
        seen.page.keyboard.press("e")
        assert seen.page.locator(".frame.map").count() == 1


def test_two_runs_are_tabs_on_a_phone(browser: Browser, comparison: Path) -> None:
    with visit(browser, comparison.as_uri() + "/index.html", viewport={"width": 390, "height": 844}) as seen:
        open_sample(seen.page, 0)
        assert seen.page.locator(".pane:visible").count() == 1
        tabs = seen.page.locator(".tabs button")
        assert tabs.count() == 2
        tabs.nth(1).click()
        name = tabs.nth(1).inner_text()
        assert seen.page.locator(".pane:visible").get_attribute("aria-label") == name
        assert seen.problems == []
