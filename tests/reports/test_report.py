"""Reports without a browser: their numbers against independent ones, and what they must not tell."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import public, without_paths
from hlmat_bench.reports.build import report
from hlmat_bench.runs import reopen as run_data
from hlmat_bench.runs.ceilings import play as play_ceilings
from hlmat_bench.runs.run import run
from hlmat_bench.runs.run_folder import Run
from tests.support.episodes import read_lines, write_lines
from tests.support.report_runs import write_task

pytestmark = pytest.mark.slow


def _decoded(rle: dict | None, size: list[int]) -> np.ndarray:
    return np.zeros(size, bool) if rle is None else coco.decode({**rle, "counts": rle["counts"].encode()}).astype(bool)


def _downloaded(folder: Path) -> list[list[dict]]:
    """Return the episodes of the shards, per sample one of each run."""
    shards = sorted((folder / "data").glob("shard-*.json"))
    return [sample for shard in shards for sample in json.loads(shard.read_text())]


def _final(episode: dict) -> tuple[int, int]:
    """Intersection and union of the final mask, computed with pycocotools and numpy alone."""
    gt = _decoded(episode["gt"], episode["size"])
    mask = _decoded(episode["steps"][-1]["mask"] if episode["steps"] else None, episode["size"])
    counted = ~_decoded(episode["ignore"], episode["size"])
    return int((gt & mask & counted).sum()), int(((gt | mask) & counted).sum())


def _tiles(page: str) -> dict[str, str]:
    found = re.findall(r'<p class="label">(.*?)</p><p class="value">(.*?)</p>', page, re.DOTALL)
    return {label.partition("<")[0].strip(): value for label, value in found}


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−")


def test_headline_numbers_are_those_of_the_downloads(single: Path) -> None:
    samples = [_final(sample[0]) for sample in _downloaded(single)]
    assert len(samples) == 48
    page = (single / "index.html").read_text()
    shown = _tiles(page)
    miou = np.mean([i / u if u else 1 for i, u in samples])
    assert f'<p class="verdict"><strong>mIoU {_percent(miou)}</strong>' in page
    assert shown["cIoU"] == _percent(sum(i for i, _ in samples) / sum(u for _, u in samples))
    with (single / "data/samples.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, (intersection, union) in zip(rows, samples, strict=True):
        assert (int(row["intersection"]), int(row["union"])) == (intersection, union)
        assert float(row["iou"]) == (intersection / union if union else 1)
    reached = [int(row["clicks_0.85"]) if row["clicks_0.85"] else 4 for row in rows]
    assert shown["Clicks to 85 %"] == f"{np.mean(reached):.2f}"
    never = sum(row["clicks_0.80"] == "" for row in rows)
    assert f"{never} of 48 samples never reach 80 % IoU." in page


def test_the_downloads_are_the_run(single: Path, played: list[Run]) -> None:
    recorded = read_lines(played[0].folder)
    assert [sample for [sample] in _downloaded(single)] == recorded
    keys = [f"s{n}" for n in range(len(recorded))]
    scripts = sorted((single / "data").glob("shard-*.js"))
    found = dict(re.findall(r'HL\.put\("(s\d+)", (".*")\);', "".join(path.read_text() for path in scripts)))
    assert list(found) == keys
    assert [json.loads(json.loads(text)) for text in found.values()] == [[episode] for episode in recorded]
    scores = json.loads((single / "data/scores.json").read_text())
    assert next(iter(scores.values())) == played[0].scores()


def test_two_builds_are_the_same_and_their_sums_are_right(single: Path, played: list[Run], tmp_path: Path) -> None:
    again = report([played[0].folder], tmp_path / "again").parent
    names = sorted(path.relative_to(single) for path in single.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((single / name).read_bytes() == (again / name).read_bytes() for name in names)
    sums = dict(reversed(line.split("  ", 1)) for line in (single / "SHA256SUMS").read_text().splitlines())
    assert sorted([*sums, "SHA256SUMS"]) == sorted(map(str, names))
    assert all(hashlib.sha256((single / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())


def test_nothing_of_the_machine_is_told(single: Path, comparison: Path, played: list[Run]) -> None:
    place = str(played[0].folder.parents[1])
    assert "very-secret" not in json.dumps(played[0].manifest)
    assert place in json.dumps(played[0].manifest["argv"])
    for path in [*single.rglob("*"), *comparison.rglob("*")]:
        if path.is_file() and path.suffix not in (".webp", ".jpg", ".pdf"):
            text = path.read_text(encoding="utf-8")
            assert place not in text, path
            assert "someone" not in text, path
            assert "very-secret" not in text, path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("--out /home/ann/runs/x", "--out …/x"),
        ("pretrained=/models/Qwen", "pretrained=…/Qwen"),
        ("/home/ann", "~"),
        ("~/data/coco ~ann/x", "…/coco …/x"),
        (r"C:\Users\ann\x", "…/x"),
        ('File "/usr/lib/x.py", line 3', 'File "…/x.py", line 3'),
        ("https://host.org/a/b?c=d and/or", "https://host.org/a/b?c=d and/or"),
        ("res/1/2 images/1.jpg ./a/b", "res/1/2 images/1.jpg ./a/b"),
    ],
)  # fmt: skip
def test_paths_are_cut(text: str, shown: str) -> None:
    assert without_paths(text) == shown


def test_secrets_are_blotted_out() -> None:
    value = {"spec": [{"api_key": "abc", "max_tokens": 8, "url": "http://me:word@host/v1"}], "a": "token=abc"}
    assert public(value) == {
        "spec": [{"api_key": "***", "max_tokens": 8, "url": "http://***@host/v1"}],
        "a": "token=***",
    }


def test_open_shows_the_page_in_a_browser(played: list[Run], tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    command = [sys.executable, "-m", "hlmat_bench", "report", str(played[0].folder), "--no-images", "--open"]
    ran = subprocess.run(
        [*command, "--out", str(tmp_path / "site")],
        env={**os.environ, "BROWSER": f"{browser} %s"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    page = tmp_path / "site/index.html"
    assert ran.stdout.strip() == str(page)
    assert (tmp_path / "opened").read_text().strip() == page.as_uri()


def test_a_task_file_that_has_moved_is_asked_for(played: list[Run], tmp_path: Path) -> None:
    moved = tmp_path / "run"
    shutil.copytree(played[0].folder, moved)
    document = json.loads((moved / "run.json").read_text())
    task = document["argv"][document["argv"].index("--task") + 1]
    document["argv"] = [word.replace(task, "/gone/mine.yaml") for word in document["argv"]]
    (moved / "run.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match=r"mine.yaml is not there; give it with --task.*--no-images"):
        report([moved], tmp_path / "site")
    assert report([moved], tmp_path / "site", task=task).exists()


def test_slices_are_the_bands_of_the_scores(played: list[Run], tmp_path: Path) -> None:
    page = report([played[2].folder], tmp_path / "site", images=False).read_text()
    rows = re.findall(
        r'<span class="soft">(.*?)</span> (.*?)</a></th>\n<td>(\d+)</td><td class="cell">(.*?)</td>', page
    )
    found = {(way, name): miou for way, name, _, miou in rows}
    for way, bands in played[2].scores()["bands"].items():
        for name, band in bands.items():
            assert len(bands) == 1 or found[way.replace("_", " "), name] == _percent(band["miou"])


def test_images_have_no_metadata_and_thumbnails_are_small(tmp_path: Path, tool: str) -> None:
    from PIL import Image

    folder = tmp_path / "data"
    task = write_task(folder, 2)
    large = Image.fromarray(np.random.default_rng(1).integers(0, 256, (2100, 300, 3), np.uint8))
    exif = Image.Exif()
    exif[0x013B] = "the photographer"
    for number in range(2):
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), np.eye(2100, 300, dtype=np.uint8) * 255)
    table = (folder / "expressions.csv").read_text().replace("0.png", "0.jpg", 1).replace("\n0.png", "\n0.jpg")
    large.save(folder / "images" / "0.jpg", exif=exif)
    (folder / "expressions.csv").write_text(table.replace(",0.jpg", ",0.png").replace("0_ignored.png", ""))
    made = run("center", task, tool, out=tmp_path / "run", budget=1)
    site = report([made.folder], task=task, data_root=folder).parent
    [thumbnail], [full] = (site / "img/thumb").iterdir(), (site / "img/full").iterdir()
    for path, side in ((thumbnail, 160), (full, 2048)):
        with Image.open(path) as image:
            assert max(image.size) == side
            assert not image.getexif()
        assert b"photographer" not in path.read_bytes()


def test_no_images_needs_no_data(played: list[Run], tmp_path: Path) -> None:
    site = report([played[0].folder], tmp_path / "bare", images=False).parent
    assert [path.name for path in (site / "img").iterdir()] == ["worst"]  # masks on grey, without a pixel of an image
    assert json.loads((site / "data/index.json").read_text())["images"] == []


def test_other_data_is_refused(played: list[Run], tmp_path: Path) -> None:
    other = write_task(tmp_path / "other", 4)
    with pytest.raises(UsageError, match=r"not the data of the run.*--no-images"):
        report([played[0].folder], tmp_path / "site", task=other)
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("words", [["--task", "{}"], ["--task={}"]])
def test_the_data_is_that_of_the_task_file_on_the_command_line(
    played: list[Run], tmp_path: Path, words: list[str]
) -> None:
    task = str(played[0].folder.parents[1] / "mine.yaml")
    document = played[0].manifest | {"argv": ["hlmat-bench", "run", *(word.format(task) for word in words)]}
    assert run_data.reopened(document).digest() == document["task"]["digest"]
    with pytest.raises(UsageError, match=r"gone\.yaml is not there; give it with --task"):
        run_data.reopened(document | {"argv": [word.format("gone.yaml") for word in words]})


def test_runs_on_other_samples_are_refused(played: list[Run], tmp_path: Path, tool: str) -> None:
    task = str(played[0].folder.parents[1] / "mine.yaml")
    fewer = run("center", task, tool, out=tmp_path / "fewer", limit=10)
    with pytest.raises(UsageError, match="10 are in both, 38 in the first only, 0 in the second only"):
        report([played[0].folder, fewer.folder], tmp_path / "site")


def test_ceilings_and_floors_are_found_and_are_on_the_same_samples(tmp_path: Path, tool: str) -> None:
    task, tool = write_task(tmp_path / "data", 24), f"{tool},radius=12"
    made = run("center", task, tool, out=tmp_path / "runs/center", limit=20)
    players = play_ceilings(task, tool, out=tmp_path / "runs/ceilings")
    page = report([made.folder], images=False).read_text()
    rows = [json.loads(line) for line in (players["oracle"].folder / "episodes.jsonl").read_text().splitlines()][:20]
    oracle = np.mean([i / u if u else 1 for i, u in map(_final, rows)])
    assert f'<th scope="row">oracle</th><td>ceiling</td><td>{_percent(oracle)}</td>' in page
    assert re.search(r'<th scope="row">empty</th><td>floor</td><td>\d+\.\d</td>', page)
    assert '<span class="soft">oracle clicks</span>' in page


@pytest.mark.parametrize("damage", ["{", '{"iou": NaN}'])
def test_damaged_episodes_are_named(played: list[Run], tmp_path: Path, damage: str) -> None:
    broken = tmp_path / "run"
    shutil.copytree(played[0].folder, broken)
    with (broken / "episodes.jsonl").open("a") as file:
        file.write(damage + "\n")
    with pytest.raises(UsageError, match=r"Line 49 of .*episodes.jsonl is damaged"):
        report([broken], tmp_path / "site")


def test_a_run_under_way_is_reported_as_far_as_it_is(played: list[Run], tmp_path: Path) -> None:
    early = tmp_path / "run"
    shutil.copytree(played[0].folder, early)
    lines = (early / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (early / "episodes.jsonl").write_bytes(b"".join(lines[:20]) + lines[20][:100])
    page = report([early], tmp_path / "site", images=False).read_text()
    assert "20 samples on 10 images" in page
    (early / "episodes.jsonl").write_bytes(lines[0][:100])
    with pytest.raises(UsageError, match="no finished episode yet"):
        report([early], tmp_path / "site", images=False)


def test_paths_in_errors_are_cut(played: list[Run], tmp_path: Path) -> None:
    failed = tmp_path / "run"
    shutil.copytree(played[0].folder, failed)
    first, *rest = read_lines(failed)
    write_lines(failed, [first | {"error": "no file /home/ann/weights/x.pth", "stop": "error"}, *rest])
    site = report([failed], tmp_path / "site", images=False).parent
    assert _downloaded(site)[0][0]["error"] == "no file …/x.pth"
