"""A leaderboard with many entries: how long its site takes to build, and how its ranks are found.

The entries are made from one played run: their samples are shifted at random and all scores that `verify` can check are
computed again, so that every entry passes the same checks as a submitted one.

    python -m benchmarks.board [--entries 1000] [--samples 200] [--pairs 60] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.scale import LARGE, Task, command
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.manifest import MANIFEST, write_json
from hlmat_bench.reports.leaderboard.paired import PairedScores
from hlmat_bench.reports.leaderboard.submission import Declaration, make_entry
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.scores.intervals import Estimate, bootstrap_difference, with_intervals
from tests.support.browsing import ARGUMENTS, find_browser


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--entries", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=60, help="entries whose ranks are also found by sorting all draws")
    parser.add_argument("--folder", type=Path, help="where the files are put and stay; default: a temporary folder")
    arguments = parser.parse_args()
    _compare_ways(arguments.pairs, arguments.samples)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        folder = arguments.folder or Path(place)
        board = write_board(folder, arguments.entries, arguments.samples)
        built = folder / "site"
        before = _processor_seconds()
        cost = command("leaderboard", "build", str(board), "--out", str(built))
        page = _bytes_of_page(built)
        used = _processor_seconds() - before
        times = f"{cost.seconds:.1f} s, of that {used:.1f} s on a processor"
        print(f"build of {arguments.entries} entries: {times}, {cost.memory:.0f} MB")
        print(f"first page with what it loads: {page / 1000:.0f} kB")
        if program := find_browser():
            interactive, searched = _browse(built, program)
            print(f"interactive after {interactive:.0f} ms; search, all rows loaded: {searched:.1f} ms")


def _processor_seconds() -> float:
    """Return the seconds that processes which this one started have run on a processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _compare_ways(count: int, samples: int) -> None:
    """Print how much faster counting draws is than the interval of every pair; both must give the same ranks."""
    generator = np.random.default_rng(0)
    base = generator.random(samples)
    values = [
        np.clip(base + 0.3 * generator.random() + 0.1 * generator.standard_normal(samples), 0, 1) for _ in range(count)
    ]
    images = [str(n // 2) for n in range(samples)]
    times = []
    for way in (_ranges_of_all_intervals, lambda *given: PairedScores(*given).rank_ranges()):
        started = time.perf_counter()
        times.append((way(values, images), time.perf_counter() - started))
    (expected, slow), (found, fast) = times
    if expected != found:
        raise RuntimeError("Counting draws and the intervals of all pairs give other ranks.")
    print(f"ranks of {count} entries: {slow / fast:.0f} times as fast as the interval of every pair ({slow:.2f} s)")


def _ranges_of_all_intervals(values: list[NDArray[np.float64]], images: list[str]) -> list[tuple[int, int]]:
    better = np.zeros((len(values), len(values)), bool)
    for first in range(len(values) - 1):
        others = np.stack(values[first + 1 :], axis=1)
        ours = np.repeat(values[first][:, None], others.shape[1], axis=1)
        ones = np.ones_like(others)
        low, high = bootstrap_difference((ours, ones), (others, ones), images)
        better[first, first + 1 :], better[first + 1 :, first] = low > 0, high < 0
    above, below = better.sum(axis=0), better.sum(axis=1)
    return [(1 + int(a), len(values) - int(b)) for a, b in zip(above, below, strict=True)]


def write_board(folder: Path, count: int, samples: int) -> Path:
    """Write a leaderboard of entries that differ, and return its folder."""
    task = Task(folder / "board-task", samples, LARGE)
    out = folder / "board-run"
    task.write_run(out)
    document = manifest.read(out)
    write_json(out / MANIFEST, document | {"model": {**document["model"], "kind": "model"}})
    made = make_entry(Run(out), Declaration("Example Lab", "Nothing.", True, date="2026-01-02")).model_dump()
    board = folder / "board"
    (board / "entries").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(count):
        value = _varied(json.loads(json.dumps(made)), number, generator)
        write_json(board / "entries" / f"{value['id']}.json", value)
    return board


def _varied(value: dict[str, Any], number: int, generator: np.random.Generator) -> dict[str, Any]:
    """Change an entry into one of another model: other intersections, marks and price, and the scores of these."""
    samples, scores = value["samples"], value["scores"]
    union = np.array(samples["union"])
    share = np.clip(generator.normal(0.2 + 0.6 * generator.random(), 0.2, union.size), 0, 1)
    inner = (share * union).astype(int)
    answers = {"miou": Estimate(inner / union), "ciou": Estimate(inner, union)}
    found = with_intervals(answers, samples["image_id"])
    scores["selection"] = {rule: {**chosen, **found} for rule, chosen in scores["selection"].items()}
    for point in scores["curve"]:
        point["miou"] = found["miou"] * point["t"] / scores["budget"]
    scores["cost"]["dollars"] = round(float(10 ** generator.uniform(-2, 1)), 4)
    samples["intersection"] = inner.tolist()
    samples["marks"] = [
        "".join(f"{part:08x}" for part in generator.integers(2**32, size=len(each) // 8)) for each in samples["marks"]
    ]
    label = f"Model {number}"
    return value | {
        "id": f"entry-{number}",
        "title": label,
        "submitter": f"Lab {number % 40}",
        "episodes_sha256": f"{number:064x}",
    }


_SEARCH = """async () => {
  const field = document.querySelector("#filters [name=q]");
  const frame = () => new Promise(requestAnimationFrame);
  const search = async (text) => {
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    for (let n = 0; n < 3; n++) await null; // what the page awaits, once all rows are loaded
    document.body.offsetHeight; // lays the page out
  };
  await search("model 1");
  while (/this page/.test(document.getElementById("shown").textContent)) await frame();
  const times = [];
  for (const text of ["lab 12", "model 7", "open", "model 99", "lab 3"]) {
    await frame();
    const started = performance.now();
    await search(text);
    times.push(performance.now() - started);
  }
  return times.sort((a, b) => a - b)[2];
}"""


def _browse(site: Path, program: str) -> tuple[float, float]:
    """Return after how many ms the first page is interactive, and the median ms of a search, its rows laid out."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        page = browser.new_page()
        page.goto(f"file://{site}/index.html")
        interactive = page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
        searched = page.evaluate(_SEARCH)
        browser.close()
    return float(interactive), float(searched)


def _bytes_of_page(site: Path) -> int:
    """Return the bytes of the first page, with the style sheets, scripts and pictures that it loads at once."""
    text = (site / "index.html").read_text()
    loaded = set(re.findall(r'(?:src|href)="((?:assets|data)/[^"]+\.(?:css|js|svg|png|webp))"', text))
    size: int = sum((site / name).stat().st_size for name in loaded)
    return len(text.encode()) + size


if __name__ == "__main__":
    main()
