"""Make the five stills of one sample that the first page of a leaderboard shows: `leaderboard/assets/still-N.webp`.

    python docs/stills.py

The oracle clicks on a sample of `hres_synth`, and the graph cut makes the masks. `leaderboard/stills.yaml` gets what is
said of them.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import hlmat_bench
from hlmat_bench.core import masks
from hlmat_bench.data.tasks import load_task

ROOT = Path(__file__).resolve().parents[1] / "leaderboard"
SAMPLE, CLICKS, WIDTH = "hres_synth/0/0014/0", 5, 400
COLOURS = {True: (64, 200, 64), False: (40, 40, 230)}  # BGR, of positive and of negative clicks


def main() -> None:
    """Play the sample and write the stills."""
    with tempfile.TemporaryDirectory() as folder:
        hlmat_bench.run("oracle", "hres_synth", "graphcut", out=Path(folder) / "run", limit=28)
        lines = (Path(folder) / "run" / "episodes.jsonl").read_text().splitlines()
    episode = next(each for each in map(json.loads, lines) if each["sample_id"] == SAMPLE)
    source = load_task("hres_synth").source(None, seed=0)
    sample = next(each for each in source.samples() if each.id == SAMPLE)
    image = source.image(sample)
    for number in range(CLICKS):
        still = _still(image, episode["steps"][: number + 1])
        cv2.imwrite(str(ROOT / "assets" / f"still-{number + 1}.webp"), still, [cv2.IMWRITE_WEBP_QUALITY, 55])
    height, width = still.shape[:2]
    ious = [round(100 * step["iou"], 1) for step in episode["steps"][:CLICKS]]
    signs = ["positive" if step["action"]["positive"] else "negative" for step in episode["steps"][:CLICKS]]
    text = f"expression: {episode['expression']}\nwidth: {width}\nheight: {height}\nsteps:\n"
    rows = [f"- {{sign: {sign}, iou: {iou}}}" for sign, iou in zip(signs, ious, strict=True)]
    (ROOT / "stills.yaml").write_text("# Written by docs/stills.py.\n" + text + "\n".join(rows) + "\n")


def _still(image: np.ndarray[Any, Any], steps: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    """Paint the mask in blue with its outline, and the clicks, on the image; BGR, small."""
    mask = masks.decode(steps[-1]["mask"])
    painted = cv2.cvtColor(image, cv2.COLOR_RGB2BGR).astype(np.float32)
    painted[mask] = 0.35 * painted[mask] + 0.65 * np.array([255, 110, 40])
    shown = painted.astype(np.uint8)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown, outlines, -1, (255, 255, 255), 1)
    for step in steps:
        place = int(step["action"]["x"]), int(step["action"]["y"])
        cv2.circle(shown, place, 11, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(shown, place, 9, COLOURS[step["action"]["positive"]], -1, cv2.LINE_AA)
        sign = cv2.MARKER_CROSS
        if step["action"]["positive"]:
            cv2.drawMarker(shown, place, (255, 255, 255), sign, 10, 2)
        else:
            cv2.line(shown, (place[0] - 5, place[1]), (place[0] + 5, place[1]), (255, 255, 255), 2)
    height = round(WIDTH * shown.shape[0] / shown.shape[1])
    return cv2.resize(shown, (WIDTH, height), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
