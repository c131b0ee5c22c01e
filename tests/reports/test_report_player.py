"""The player of reports in a browser: steps, clicks, masks, candidates, two runs in step."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pycocotools import mask as coco

from hlmat_bench.reports.build import report
from hlmat_bench.runs.run import run
from hlmat_bench.runs.run_folder import Run
from tests.support.browsing import open_sample, visit
from tests.support.report_runs import HOSTILE, MODEL, write_task

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def episodes(comparison: Path) -> list[list[dict]]:
    """Return the downloaded episodes: per sample one of each run."""
    shards = sorted((comparison / "data").glob("shard-*.json"))
    return [sample for shard in shards for sample in json.loads(shard.read_text())]


def test_steps_by_button_and_by_key_are_announced(browser: Browser, single: Path, episodes: list[list[dict]]) -> None:
    number = max(range(16), key=lambda n: len(episodes[n][0]["steps"]))
    last = len(episodes[number][0]["steps"])
    with visit(browser, single.as_uri() + "/index.html") as seen:
        page = seen.page
        open_sample(page, number)
        announced = page.locator("dialog [role=status]")

        def at(step: int) -> None:
            assert announced.inner_text().startswith(f"Step {step} of {last}.")
            iou = episodes[number][0]["steps"][step - 1]["iou"] if step else 0
            assert announced.inner_text().endswith(f"IoU {100 * iou:.1f} %.")
            assert page.locator(".strip [aria-current=step]").inner_text().startswith(str(step) if step else "start")

        for name, step in (("First", 0), ("Next", 1), ("Next", 2), ("Previous", 1), ("Last", last)):
            page.get_by_role("button", name=f"{name} step").click()
            at(step)
        moves = {
            "Home": 0,
            "ArrowRight": 1,
            "ArrowLeft": 0,
            "Shift+ArrowRight": last,
            "Shift+ArrowLeft": 0,
            "End": last,
        }
        for key, step in moves.items():
            page.keyboard.press(key)
            at(step)
        page.keyboard.press("ArrowRight")
        at(last)
        page.locator(".strip button").nth(1).click()
        at(1)
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.dataset.sample") == str(number)


@pytest.mark.parametrize("scale", [1, 2])
def test_clicks_lie_where_they_are_recorded(
    browser: Browser, single: Path, episodes: list[list[dict]], scale: float
) -> None:
    [number, *_] = [n for n, (one, *_) in enumerate(episodes[:20]) if sum("x" in s["action"] for s in one["steps"]) > 1]
    episode = episodes[number][0]
    with visit(browser, single.as_uri() + "/index.html", device_scale_factor=scale) as seen:
        page = seen.page
        open_sample(page, number)
        for zoom in ("1", "4"):
            page.get_by_label("Zoom").select_option(zoom)
            found = page.evaluate(
                """() => {
                    const frame = document.querySelector(".frame").getBoundingClientRect();
                    return [frame.width, frame.height, [...document.querySelectorAll(".click")].map((mark) => {
                        const circle = mark.querySelector("circle").getBoundingClientRect();
                        return [mark.classList.contains("positive"), circle.x + circle.width / 2 - frame.x,
                            circle.y + circle.height / 2 - frame.y, circle.width];
                    })];
                }"""
            )
            width, height, marks = found
            assert width / height == pytest.approx(200 / 120, rel=1e-3)
            clicks = [step["action"] for step in episode["steps"] if step["action"]["kind"] == "click"]
            assert [mark[0] for mark in marks] == [click["positive"] for click in clicks]
            for (_, x, y, size), click in zip(marks, clicks, strict=True):
                assert x == pytest.approx((click["x"] + 0.5) * width / 200, abs=1)
                assert y == pytest.approx((click["y"] + 0.5) * height / 120, abs=1)
                assert 12 <= size <= 22


def _decoded(rle: dict | None, size: list[int]) -> np.ndarray:
    return np.zeros(size, bool) if rle is None else coco.decode({**rle, "counts": rle["counts"].encode()}).astype(bool)


def test_painted_masks_and_shown_ious_are_pythons(browser: Browser, single: Path, episodes: list[list[dict]]) -> None:
    """At every step of the first samples, some with ignored pixels; the outline is the ground truth's."""
    with visit(browser, single.as_uri() + "/index.html") as seen:
        page = seen.page
        open_sample(page, 0)
        for number in range(5):
            episode = episodes[number][0]
            size, gt = episode["size"], _decoded(episode["gt"], episode["size"])
            counted = ~_decoded(episode["ignore"], size)
            page.keyboard.press("Home")
            for t in range(len(episode["steps"]) + 1):
                mask = _decoded(episode["steps"][t - 1]["mask"] if t else None, size)
                painted = page.evaluate(
                    """() => { const canvas = document.querySelector(".mask");
                    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                    return [[canvas.height, canvas.width],
                        Array.from({length: data.length / 4}, (_, i) => (data[4 * i + 3] ? "1" : "0")).join("")]; }"""
                )
                assert painted[0] == size
                assert painted[1] == "".join(mask.astype(int).astype(str).ravel())
                union = ((gt | mask) & counted).sum()
                iou = (gt & mask & counted).sum() / union if union else 1.0
                shown = float(page.locator(".iou[data-iou]").get_attribute("data-iou"))
                assert shown == pytest.approx(iou, abs=1e-6)
                page.keyboard.press("ArrowRight")
            edges = sum(np.count_nonzero(np.diff(np.pad(gt, 1).astype(int), axis=axis)) for axis in (0, 1))
            path = page.locator(".outline .edge").get_attribute("d")
            assert sum(map(int, re.findall(r"[hv](\d+)", path))) == edges
            page.get_by_role("button", name="Next sample").click()
            page.wait_for_function(
                "(n) => HL.gallery.player.sample === n && HL.gallery.player.episodes", arg=number + 1
            )


def test_runs_go_in_step_and_their_first_difference_is_marked(
    browser: Browser, comparison: Path, episodes: list[list[dict]]
) -> None:
    def differs(a: dict, b: dict) -> int | None:
        longest = max(len(a["steps"]), len(b["steps"]))
        actions = [[s["action"] for s in one["steps"]] + [None] * (longest - len(one["steps"])) for one in (a, b)]
        return next((t for t, (x, y) in enumerate(zip(*actions, strict=True), 1) if x != y), None)

    with visit(browser, comparison.as_uri() + "/index.html", viewport={"width": 1280, "height": 2400}) as seen:
        page = seen.page
        for number in range(6):
            one, other, _ = episodes[number]
            open_sample(page, number)
            marked = page.locator(".strip .diverges")
            expected = differs(one, other)
            assert marked.count() == (expected is not None)
            if expected is not None:
                assert marked.locator(".t").inner_text() == str(expected)
                assert "first difference" in marked.inner_text()
                marked.click()
                assert "First difference." in page.locator("dialog [role=status]").inner_text()
            page.get_by_role("button", name="Last step").click()
            ends = [float(output.get_attribute("data-iou")) for output in page.locator(".iou[data-iou]").all()]
            recorded = [episode["steps"][-1]["iou"] if episode["steps"] else 0 for episode in (one, other)]
            assert ends == pytest.approx(recorded, abs=1e-6)
            page.keyboard.press("Escape")


def test_a_search_shows_its_answer_and_what_it_tried(browser: Browser, tmp_path: Path, tool: str) -> None:
    task = write_task(tmp_path / "data", 12)
    model = tmp_path / "stranger.py"
    model.write_text(MODEL.format(hostile=HOSTILE))
    settings = {"candidates": 3, "prm": "reply"}
    made = run(str(model), task, f"{tool},radius=12", strategy="tree", settings=settings, out=tmp_path / "run")
    episodes = list(made.episodes())
    number = next(n for n, one in enumerate(episodes) if len(one.steps) > 1 and len(one.steps[0].candidates) > 1)
    page_of = report([made.folder], images=False)
    assert f"mIoU {100 * made.scores()['selection']['self']['miou']:.1f}" in page_of.read_text()
    assert "Search: all numbers" in page_of.read_text()
    with visit(browser, page_of.as_uri()) as seen:
        page = seen.page
        open_sample(page, number)
        answer = episodes[number].selected["self"]
        assert "answer" in page.locator(".strip button").nth(answer).inner_text()
        assert (
            page.locator(".strip [aria-current=step]").inner_text()
            == page.locator(".strip button").nth(answer).inner_text()
        )
        page.locator(".strip button").nth(1).click()
        rows = page.locator(".pane tbody tr")
        tried = episodes[number].steps[0].candidates
        assert rows.count() == len(tried)
        for row, candidate in zip(rows.all(), tried, strict=True):
            assert ("chosen" in row.inner_text()) == candidate["chosen"]
            row.locator("button").click()
            assert page.locator("dialog [role=status]").inner_text().endswith(f"IoU {100 * candidate['iou']:.1f} %.")
        assert seen.problems == []


def test_masks_that_were_rated_are_shown_with_their_ratings(browser: Browser, tmp_path: Path) -> None:
    made = run("oracle", "filter_hres_synth", limit=2, out=tmp_path / "run")
    [first, _] = made.episodes()
    with visit(browser, report([made.folder], images=False).as_uri()) as seen:
        page = seen.page
        assert "The predicted IoU is off by 0.0 points" in page.locator(".verdict").inner_text()
        assert page.locator(".samples [data-sample]").count() == 2
        open_sample(page, 0)
        for step in first.steps:
            page.locator(".strip button").nth(step.t).click()
            told = page.locator(".facts").inner_text()
            assert re.search(rf"IoU\s+{100 * step.iou:.2f} %", told)
            assert re.search(rf"Predicted IoU\s+{100 * step.action.predicted_iou:.1f} %", told)
            assert "predicted the IoU of this mask" in told
        assert seen.problems == []


def test_a_box_that_an_episode_began_with_is_drawn(
    browser: Browser, played: list[Run], tool: str, tmp_path: Path
) -> None:
    task = str(played[0].folder.parents[1] / "mine.yaml")
    made = run("oracle", task, tool, initial="gt-box", limit=2, budget=2, out=tmp_path / "run")
    first = next(made.episodes())
    rows, columns = np.nonzero(_decoded(dict(first.gt), list(first.size)))
    with visit(browser, report([made.folder], images=False).as_uri()) as seen:
        open_sample(seen.page, 0)
        seen.page.keyboard.press("Home")
        drawn = seen.page.locator(".marks .box")
        x, y, width, height = (float(drawn.get_attribute(name)) for name in ("x", "y", "width", "height"))
        assert [x, y] == pytest.approx([columns.min(), rows.min()], abs=1)
        assert [x + width, y + height] == pytest.approx([columns.max(), rows.max()], abs=1)
