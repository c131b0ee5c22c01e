"""Runs for tests of reports: small pictures, two models, and strings that strangers might write."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

from hlmat_bench.runs.run import run
from hlmat_bench.runs.run_folder import Run

#: None of them may run, load or turn anything; `fired` is what they would set.
HOSTILE = [
    "<script>window.fired=1</script>",
    '<img src=x onerror="window.fired=1">',
    "</script><script>window.fired=1</script>",
    "__proto__",
    "constructor",
    "{{7*7}} ${7*7}",
    "left \u202egnp.exe",
    "javascript:window.fired=1",
    "data:text/html,<script>window.fired=1</script>",
    "=HYPERLINK(1)",
    "'\"><svg onload=window.fired=1>",
    'a & b; \\u0000 \\\\ "quoted"',
]

MODEL = '''
import zlib

from hlmat_bench.interfaces import Reply, Request
from hlmat_bench.points import PointFormat

HOSTILE = {hostile!r}


class Stranger:
    """Clicks here and there, predicts, refuses and babbles, depending on the picture alone."""

    points = PointFormat.named("xy1000")

    def __init__(self, salt: int = 0) -> None:
        self.salt = salt
        self.name = HOSTILE[salt] + " " + str(salt)

    async def reply(self, request: Request) -> list[Reply]:
        number = zlib.crc32(request.image.tobytes() + request.prompt.encode()) + self.salt
        return [self._one(number + turn) for turn in range(request.n)]

    def _one(self, number: int) -> Reply:
        text = HOSTILE[number % len(HOSTILE)]
        if number % 11 == 0:
            return Reply("I'm sorry, I can't help. " + text, finish="refusal")
        if number % 7:
            sign = "Positive" if number % 5 else "Negative"
            text += f" Current IOU: {{number % 100}}, {{sign}} point: ({{number % 997}}, {{number // 7 % 997}})"
        return Reply(text, tokens_in=300, tokens_out=9, cost=0.001)


MODELS = {{"stranger": Stranger}}
'''


def write_task(folder: Path, count: int = 48) -> str:
    """Write a task of this many samples, two on each image, with hostile expressions, ids and tags; return its file."""
    generator = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    with (folder / "expressions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mask", "expression", "id", "ignore", "tag:colour"])
        for number in range(count):
            picture, text = f"{number // 2}.png", HOSTILE[number % len(HOSTILE)]
            if number % 2 == 0:
                cv2.imwrite(str(folder / "images" / picture), generator.integers(0, 256, (120, 200, 3), np.uint8))
            mask = np.zeros((120, 200), np.uint8)
            x, y, r = 20 + generator.integers(0, 150), 20 + generator.integers(0, 80), 4 + number % 23
            cv2.circle(mask, (int(x), int(y)), int(r), 255, -1)
            if number % 3 == 0:
                cv2.circle(mask, (int(x), int(y)), int(r) // 2, 0, -1)
            cv2.imwrite(str(folder / "masks" / f"{number}.png"), mask)
            ignored = ""
            if number % 8 == 0:
                ignored = f"{number}_ignored.png"
                band = np.zeros_like(mask)
                band[int(y) - 3 : int(y) + 3] = 255
                cv2.imwrite(str(folder / "masks" / ignored), band)
            tag = text if number % 2 else "plain"
            writer.writerow([picture, f"{number}.png", f"{text} {number}", f"{number}{text[:30]}", ignored, tag])
    (folder / "mine.yaml").write_text(
        "name: mine\nversion: 1\ntitle: Mine\ngroup: mine\nkind: segmentation\n"
        "source: {kind: table}\nprotocol: {budget: 4}\n"
    )
    return str(folder / "mine.yaml")


def play(folder: Path, task: str, tool: str, **options: object) -> list[Run]:
    """Three runs on a task: two strangers and the oracle."""
    model = folder / "stranger.py"
    model.write_text(MODEL.format(hostile=HOSTILE))
    argv = ["hlmat-bench", "run", "--task", task, "--model", f"{model},api_key=very-secret", "--data-root", str(folder)]
    names = {"first": f"{model},salt=0", "second": f"{model},salt=6", "oracle": "oracle"}
    return [
        run(model, task, f"{tool},radius=12", out=folder / "runs" / name, argv=argv, **options)
        for name, model in names.items()
    ]
