"""Measure how large a report may be: build one with many samples, and open it in a browser.

    python -m benchmarks.report [--samples 10000] [--folder DIR]

Images, masks and episodes are generated; only `hlmat-bench report` is measured.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hlmat_bench.core import masks
from hlmat_bench.data.tasks import load_task
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.records import EPISODES
from hlmat_bench.protocol.settings import PROTOCOL_ID, ProtocolSettings
from hlmat_bench.runs.opening import task_spec
from hlmat_bench.runs.run_folder import Run

HEIGHT, WIDTH, BUDGET, OBJECTS = 480, 640, 7, 64
WORDS = [
    "the", "left", "large", "small", "red", "striped", "man", "woman", "dog", "umbrella", "chair", "near", "behind",
]  # fmt: skip
LIMITS = {
    "build, seconds": 90.0, "build, MB": 1000.0, "build without images, seconds": 20.0, "interactive, seconds": 2.0,
    "first transfer, gzipped MB": 1.0, "nodes after scrolling": 2500.0, "sort, ms": 100.0, "filter, ms": 100.0,
    "shards after opening one sample": 1.0,
}  # fmt: skip


def make_run(folder: Path, samples: int) -> Run:
    """Write a task of that many samples, each with its own picture, and a run on it."""
    generator = np.random.default_rng(0)
    for name in ("images", "masks", "run"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    expressions = [" ".join(generator.choice(WORDS, 8)) for _ in range(samples)]
    _write_pictures(folder / "images", samples, generator)
    objects = [_object(generator) for _ in range(OBJECTS)]
    for number, states in enumerate(objects):
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), masks.decode(states[-1]).astype(np.uint8) * 255)
    rows = [f"{n}.jpg,{n % OBJECTS}.png,{text} {n},{n}" for n, text in enumerate(expressions)]
    (folder / "expressions.csv").write_text("image,mask,expression,id\n" + "\n".join(rows) + "\n")
    (folder / "many.yaml").write_text(
        f"name: many\nsource: {{kind: table}}\nprotocol: {{budget: {BUDGET}}}\ntitle: Many samples\n"
    )
    _write_manifest(folder)
    with (folder / "run" / EPISODES).open("w") as file:
        for number, text in enumerate(expressions):
            file.write(json.dumps(_episode(number, f"{text} {number}", objects[number % OBJECTS], generator)) + "\n")
    made = Run(folder / "run")
    made.score()
    return made


def _write_pictures(folder: Path, samples: int, generator: np.random.Generator) -> None:
    """Write images with file sizes like photos: different parts of one large image."""
    large = cv2.resize(generator.integers(0, 256, (90, 120, 3), np.uint8), (1400, 1200), interpolation=cv2.INTER_CUBIC)
    large = cv2.add(large, generator.integers(0, 24, large.shape, np.uint8))
    for number in range(samples):
        y, x = generator.integers(0, 1200 - HEIGHT), generator.integers(0, 1400 - WIDTH)
        part = np.ascontiguousarray(large[y : y + HEIGHT, x : x + WIDTH])
        cv2.imwrite(str(folder / f"{number}.jpg"), part, [cv2.IMWRITE_JPEG_QUALITY, 90])


def _object(generator: np.random.Generator) -> list[masks.RLE]:
    """Draw an object with a ragged edge as masks that come closer to it step by step; the last one is the object."""
    noise = cv2.resize(generator.random((60, 80), np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    y, x, radius = generator.integers(120, 360), generator.integers(150, 490), generator.integers(40, 130)
    distance = np.hypot(rows - y, 0.8 * (columns - x)) + 40 * noise
    return [masks.encode(distance < radius * (0.4 + 0.6 * t / (BUDGET + 1)) + 20) for t in range(BUDGET + 2)]


def _write_manifest(folder: Path) -> None:
    task = load_task(folder / "many.yaml")
    document = manifest.build(
        argv=["hlmat-bench", "run", "--task", str(folder / "many.yaml"), "--model", "made"],
        model={"name": "made", "kind": "model"},
        task=task_spec(task, task.source(folder)),
        segmenter={"name": "made"},
        protocol={"id": PROTOCOL_ID, **ProtocolSettings.build({"budget": BUDGET}).model_dump(mode="json")},
        points={"name": "pixel", "order": "xy", "unit": "pixel", "syntax": "text"},
        resize="none",
        seed=0,
        limit=None,
        shard=None,
        samples=len(task.source(folder).samples()),
    )
    manifest.write_json(folder / "run" / manifest.MANIFEST, document | {"finished": manifest.now()})


def _episode(number: int, text: str, states: list[masks.RLE], generator: np.random.Generator) -> dict[str, Any]:
    gt, skill = states[-1], int(generator.integers(3, BUDGET + 2))
    steps = []
    for t in range(1, BUDGET + 1):
        x, y, predicted = int(generator.integers(WIDTH)), int(generator.integers(HEIGHT)), round(generator.random(), 2)
        steps.append(
            {
                "t": t,
                "raw": f"Current IOU: {predicted}, Positive point: ({x}, {y})",
                "action": {"kind": "click", "positive": True, "x": x, "y": y},
                "predicted_iou": predicted,
                "mask": states[min(t, skill)],
                "iou": 0.5,
                "seconds": {"model": 0.7, "segmenter": 0.05, "harness": 0.004},
                "tokens": {"in": 355, "out": 12},
            }
        )
    return {
        "schema": "hlmat-episode/1", "sample_id": f"many/{number}",
        "image": f"{number}.jpg", "image_id": f"{number}.jpg",
        "ref_id": str(number), "expression": text, "size": [HEIGHT, WIDTH], "gt": gt, "ignore": None,
        "initial": {"kind": "empty", "mask": None, "iou": 0.0}, "steps": steps,
        "selected": {"final": BUDGET, "self": BUDGET, "best": BUDGET}, "stop": "budget", "error": None,
    }  # fmt: skip


def build(run: Path, out: Path, *options: str) -> dict[str, float]:
    """Write the report in another process; return its seconds, CPU seconds of all threads, and peak memory in MB."""
    code = (
        "import resource, sys; from hlmat_bench.cli import app\n"
        "app(sys.argv[1:], standalone_mode=False)\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)"
    )
    started = time.perf_counter()
    command = [sys.executable, "-c", code, "report", str(run), "--out", str(out), *options]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - started
    cpu, memory = map(float, told.split()[-2:])
    return {"seconds": seconds, "CPU seconds": cpu, "MB": memory}


def look(page: Any, site: Path) -> dict[str, float]:
    """Open a report in a page of Playwright, and measure the times that a user waits."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    started = time.perf_counter()
    page.goto(site.as_uri() + "/index.html")
    page.locator(".samples .space .row").first.wait_for()
    interactive = time.perf_counter() - started
    page.locator(".samples").scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    files = [site / address.removeprefix(site.as_uri() + "/") for address in asked if address.startswith("file:")]
    transfer = sum(len(gzip.compress(path.read_bytes())) for path in files)
    page.evaluate(_SCROLL)
    nodes = page.evaluate("document.querySelectorAll('*').length")
    sort, filtered = (page.evaluate(_TIMED, action) for action in ("sort", "filter"))
    before = len(asked)
    page.locator(".samples .space a").first.click()
    page.locator(".player .iou").first.wait_for()
    shards = [address for address in asked[before:] if "shard-" in address]
    return {
        "interactive, seconds": interactive,
        "first transfer, gzipped MB": transfer / 1e6,
        "nodes after scrolling": nodes,
        "sort, ms": sort,
        "filter, ms": filtered,
        "shards after opening one sample": len(shards) + sum("shard-" in address for address in asked[:before]),
    }


_SCROLL = """async () => {
    const view = document.querySelector(".samples .view");
    for (let part = 1; part <= 20; part++) {
        view.scrollTop = (view.scrollHeight * part) / 20;
        await new Promise((done) => setTimeout(() => requestAnimationFrame(done), 20));
    }
}"""

_TIMED = """async (action) => {
    const times = [];
    for (let turn = 0; turn < 5; turn++) {
        const started = performance.now();
        if (action === "sort") document.querySelector(`[data-key=${turn % 2 ? "expression" : "iou0"}]`).click();
        else {
            const search = document.querySelector("#gallery input");
            search.value = ["umbrella", "red dog", "", "9", "the"][turn];
            search.dispatchEvent(new Event("input"));
        }
        document.body.getBoundingClientRect();
        times.push(performance.now() - started);
    }
    document.querySelector("#gallery input").value = "";
    document.querySelector("#gallery input").dispatchEvent(new Event("input"));
    return Math.max(...times);
}"""


def main() -> None:
    """Measure and print a table."""
    from playwright.sync_api import sync_playwright

    from tests.support.browsing import ARGUMENTS, find_browser

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=None, help="where the run is made; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        run = folder / "run" if (folder / "run" / "scores.json").exists() else make_run(folder, options.samples).folder
        found = {f"build, {name}": value for name, value in build(run, folder / "site").items()}
        bare = build(run, folder / "bare", "--no-images")
        found |= {f"build without images, {name}": value for name, value in bare.items()}
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_browser(), args=ARGUMENTS)
            found |= look(browser.new_page(viewport={"width": 1280, "height": 900}), folder / "site")
            browser.close()
    for name, value in found.items():
        limit = LIMITS.get(name, math.inf)
        print(f"{name:36} {value:10.2f}   limit {limit:g}{'' if value <= limit else '   ABOVE'}")


if __name__ == "__main__":
    main()
