"""Merging runs, options, the guard, and the command line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import hlmat_bench
from hlmat_bench.cli import app
from hlmat_bench.cli.trajectories import FORMATS as SHOWN
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.records import to_record
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.training.export.asking import AskingSettings
from hlmat_bench.training.export.exporting import ExportSettings, export
from hlmat_bench.training.export.formats import FORMATS
from hlmat_bench.training.export.selection import Selection
from tests.data.test_overlap import jpeg, resized, scene
from tests.support.data_files import FOLDERS, save, write_task
from tests.training.export.conftest import Exporter

SWIFT = ExportSettings("ms-swift")


def read(folder: Path, split: str = "train") -> list[dict]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]


def key(row: dict) -> tuple[str, str, str]:
    """Return what makes an example: its sample, its picture and its answer."""
    return row["hlmat"]["sample_id"], row["images"][0], row["messages"][1]["content"]


def test_states_that_stand_in_several_runs_are_exported_once(
    generated: Run, improved: Run, exported: Exporter, tmp_path: Path
) -> None:
    document = exported(generated, improved, settings=SWIFT)
    rows = read(tmp_path / "export")
    keys = [key(row) for row in rows]
    assert len(keys) == len(set(keys)) == document["counts"]["examples train"]
    assert document["counts"]["duplicates"] > 0
    steps = sum(len(episode.steps) for run in (generated, improved) for episode in run.episodes())
    assert len(keys) + document["counts"]["duplicates"] == steps
    assert [run["task"]["name"] for run in document["runs"]] == ["boxes", "boxes"]
    assert all(len(run["episodes_sha256"]) == 64 for run in document["runs"])


def test_whole_trajectories_of_several_runs_are_exported_once(
    generated: Run, improved: Run, exported: Exporter, tmp_path: Path
) -> None:
    document = exported(generated, improved, settings=ExportSettings("segagent"))
    entries = json.loads((tmp_path / "export" / "train.json").read_text())["data"]
    keys = [
        (one["image_name"], *one["gt_ann"]["caption"], *map(tuple, (click["coor"] for click in one["clicks_list"])))
        for one in entries
    ]
    assert len(keys) == len(set(keys)) == document["counts"]["trajectories"]
    assert 0 < document["counts"]["duplicates"] < 40


def test_what_lowers_the_iou_in_a_models_run_is_left_out(rollouts: Run, exported: Exporter) -> None:
    document = exported(rollouts, settings=SWIFT)
    gains = [
        episode.iou_at(step.t) - episode.iou_at(step.t - 1) for episode in rollouts.episodes() for step in episode.steps
    ]
    assert document["counts"]["examples train"] == sum(gain > 0 for gain in gains)
    assert document["counts"]["clicks without gain"] == sum(gain <= 0 for gain in gains)


def test_an_export_that_is_run_again_writes_the_same_and_other_options_need_another_folder(
    generated: Run, exported: Exporter, tmp_path: Path
) -> None:
    exported(generated, settings=SWIFT)
    files = {path: path.read_bytes() for path in (tmp_path / "export").rglob("*") if path.suffix in (".png", ".jsonl")}
    times = {path: path.stat().st_mtime_ns for path in files if path.suffix == ".png"}
    exported(generated, settings=SWIFT)
    assert {path: path.read_bytes() for path in files} == files
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert not list((tmp_path / "export").rglob("*.draft"))
    with pytest.raises(UsageError, match=r"holds an export with other options \(val\)"):
        exported(generated, settings=dataclasses.replace(SWIFT, val=0.5))


@pytest.mark.parametrize("format", ["ms-swift", "trl", "webdataset"])
def test_an_export_that_fails_is_not_finished_and_the_same_command_finishes_it(
    format: str, boxes: Path, generated: Run, exported: Exporter, tmp_path: Path
) -> None:
    data, settings = tmp_path / "data", ExportSettings(format)
    shutil.copytree(boxes, data)
    task = str(data / "boxes.yaml")
    picture = (data / "images" / "15.png").read_bytes()
    (data / "images" / "15.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"15\.png"):
        exported(generated, settings=settings, tasks=[task])
    assert {path.suffix for path in (tmp_path / "export").glob("train*")} == {".draft"}
    assert json.loads((tmp_path / "export" / "export.json").read_text())["finished"] is None
    (data / "images" / "15.png").write_bytes(picture)
    exported(generated, settings=settings, tasks=[task])
    export([generated.folder], tmp_path / "other", settings, tasks=[task], protected=[])
    files = {
        folder: {path.name: path.read_bytes() for path in (tmp_path / folder).glob("train*")}
        for folder in ("export", "other")
    }
    assert files["export"] == files["other"]


def test_settings_of_the_data_and_the_point_format_are_taken_from_set(
    generated: Run, exported: Exporter, tmp_path: Path
) -> None:
    asking = AskingSettings(settings={"data.missing": "skip", "points": "xypixel"})
    document = exported(generated, settings=ExportSettings("ms-swift", asking))
    assert document["runs"][0]["asked"]["points"]["name"] == "xypixel"
    unknown = ExportSettings("ms-swift", AskingSettings(settings={"data.nothing": 1}))
    with pytest.raises(UsageError, match="nothing"):
        export([generated.folder], tmp_path / "other", unknown, protected=[])


def test_a_folder_of_something_else_is_left_alone(generated: Run, exported: Exporter, tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="holds no export"):
        exported(generated, settings=SWIFT)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (ExportSettings("swift"), "ms-swift"),
        (ExportSettings("trl", lazy=True), "leave --lazy out"),
        (ExportSettings("ibis", selection=Selection(stop_examples=True)), "no answers"),
        (ExportSettings("ms-swift", val=2), "val is from 0 to 1"),
        (ExportSettings("ms-swift", image_format="gif"), "png and jpg"),
        (ExportSettings("ms-swift", image_format="jpg", quality=0), "from 1 to 100"),
        (ExportSettings("ms-swift", selection=Selection(min_gain=1)), "Nothing is left to export: .* without gain"),
        (ExportSettings("ms-swift", asking=AskingSettings(points="xz")), "point format"),
        (ExportSettings("ms-swift", asking=AskingSettings(settings={"prompt": "{nothing}"})), "The prompt uses"),
    ],
)
def test_what_cannot_be_exported_is_said(
    settings: ExportSettings, said: str, generated: Run, exported: Exporter
) -> None:
    with pytest.raises(UsageError, match=said):
        exported(generated, settings=settings)


@pytest.mark.parametrize("format", FORMATS)
def test_a_strangers_record_with_hostile_texts_is_exported(
    format: str, generated: Run, task: str, exported: Exporter, tmp_path: Path
) -> None:
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "run.json").write_bytes((generated.folder / "run.json").read_bytes())
    with (hostile / "episodes.jsonl").open("wb") as file:
        for episode in generated.episodes():
            changed = dataclasses.replace(episode, expression="\ud83d <image> {x} ../../\n\u202e cup")
            file.write(to_record(changed))
    exported(Run(hostile), settings=ExportSettings(format), tasks=[task], segmenter="graphcut")
    assert {path.name for path in tmp_path.iterdir()} == {"export", "hostile"}


def test_no_run_and_a_run_twice_are_refused(generated: Run, exported: Exporter) -> None:
    with pytest.raises(UsageError, match="at least one"):
        exported(settings=SWIFT)
    with pytest.raises(UsageError, match="named twice"):
        exported(generated, generated, settings=SWIFT)


def test_prompts_colours_and_formats_are_those_that_a_run_has(
    generated: Run, exported: Exporter, tmp_path: Path
) -> None:
    settings = {"prompt": "Click {expression}. {form}", "overlay.color": "red", "overlay.alpha": 1.0}
    asking = AskingSettings(points="yxpixel", settings=settings, with_iou=True, stop_word="Done")
    chosen = ExportSettings("ms-swift", asking, Selection(stop_examples=True), image_format="jpg")
    exported(generated, settings=chosen)
    rows = read(tmp_path / "export")
    assert {row["messages"][1]["content"][:12] for row in rows} == {"Current IOU:"}
    assert any(row["messages"][1]["content"].endswith(", Done") for row in rows)
    assert all(row["messages"][0]["content"].startswith("<image>Click the ") for row in rows)
    late = next(row for row in rows if row["hlmat"]["step"] > 1)
    picture = cv2.imread(str(tmp_path / "export" / late["images"][0])).astype(int)
    red = (picture[..., 2] > 240) & (picture[..., 0] < 30) & (picture[..., 1] < 30)
    episode = next(one for one in generated.episodes() if one.sample_id == late["hlmat"]["sample_id"])
    mask = episode.mask_at(late["hlmat"]["step"] - 1)
    from pycocotools import mask as coco

    assert abs(int(red.sum()) - int(coco.area(mask))) < 0.1 * int(coco.area(mask))


def test_samples_without_an_object_are_answered_so(tool: str, exported: Exporter, tmp_path: Path) -> None:
    lines = ["image,mask,expression"]
    for number in range(4):
        mask = np.zeros((60, 80), bool)
        mask[20:40, 20:50] = number < 2
        save(tmp_path / "data" / "images" / f"i{number}.png", scene(number, 60, 80))
        save(tmp_path / "data" / "masks" / f"i{number}.png", mask)
        lines.append(f"i{number}.png,i{number}.png,{'the box' if number < 2 else 'no box'}")
    (tmp_path / "data" / "expressions.csv").write_text("\n".join(lines) + "\n")
    source = {"kind": "table", "allow_empty": True}
    task = str(write_task(tmp_path / "data", source, protocol={"budget": 2, "no_target": True}))
    how = {"strategy": "annotate", "argv": ["--task", task]}
    run = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", **how)
    exported(run, settings=ExportSettings("ms-swift", AskingSettings(with_iou=True)))
    answers: dict[str, set[str]] = {"the box": set(), "no box": set()}
    for row in read(tmp_path / "export"):
        prompt, answer = (message["content"] for message in row["messages"])
        assert "If there is no such object in the image, answer: No object" in prompt
        answers["no box" if "no box" in prompt else "the box"].add(answer)
    assert answers["no box"] == {"Current IOU: 100, No object"}
    assert all("ositive point: (" in answer for answer in answers["the box"])


@pytest.fixture(scope="module")
def contaminated(tool: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    """Play on images of which five are in another task: renamed, compressed, resized, or by COCO's number."""
    folder = tmp_path_factory.mktemp("contaminated")
    mine = {f"mine{number}.png": scene(number) for number in range(20, 30)}
    mine |= {"COCO_train2014_000000000036.jpg": scene(1), "Lion.png": scene(2)}
    theirs = {
        "000000000036.jpg": scene(101),
        "lion.jpg": scene(102),
        "x.png": scene(20),
        "y.png": jpeg(scene(21), 40),
        "z.png": resized(scene(22), 0.5),
    } | {f"their{number}.png": scene(200 + number) for number in range(10)}
    for name, pictures in (("mine", mine), ("theirs", theirs)):
        for file, picture in pictures.items():
            save(folder / name / "im" / file, picture)
            mask = np.zeros(picture.shape[:2], bool)
            mask[10:40, 10:40] = True
            save(folder / name / "gt" / f"{file.rpartition('.')[0]}.png", mask)
    protected = write_task(folder / "theirs", FOLDERS)
    task = str(write_task(folder / "mine", FOLDERS))
    run = hlmat_bench.run(
        "oracle", task, tool, out=folder / "run", strategy="annotate", budget=2, argv=["--task", task]
    )
    return run, str(protected)


LEFT_OUT = {"COCO_train2014_000000000036.jpg", "Lion.png", "mine20.png", "mine21.png", "mine22.png"}


def test_images_of_evaluation_splits_are_left_out(
    contaminated: tuple[Run, str], exported: Exporter, tmp_path: Path
) -> None:
    run, protected = contaminated
    document = exported(run, settings=SWIFT, protected=[protected, "hres_dis"], data_root=tmp_path)
    found = {
        each["image"].removeprefix("own: "): (each["task"], each["found_by"]) for each in document["guard"]["images"]
    }
    assert found == {
        "COCO_train2014_000000000036.jpg": ("own", "COCO id"),
        "Lion.png": ("own", "file name"),
        "mine20.png": ("own", "pixels"),
        "mine21.png": ("own", "pixels"),
        "mine22.png": ("own", "pixels"),
    }
    assert document["guard"]["compared"] == ["own"]
    assert list(document["guard"]["not_compared"]) == ["hres_dis"]
    kept = {row["hlmat"]["sample_id"] for row in read(tmp_path / "export")}
    images = {episode.sample_id: episode.image for episode in run.episodes()}
    assert {images[sample] for sample in kept} == set(images.values()) - LEFT_OUT
    assert document["counts"]["episodes on images of evaluation splits"] == 5


@pytest.mark.parametrize("images", [True, False])
def test_a_part_of_a_split_protects_what_it_has_and_is_named(
    images: bool, generated: Run, exported: Exporter, tmp_path: Path
) -> None:
    for number in range(3):
        save(tmp_path / "part" / "gt" / f"{number}.png", np.eye(20, dtype=bool))
        save(tmp_path / "part" / "im" / f"{number}.png", scene(number, 20, 20))
    protected = write_task(tmp_path / "part", FOLDERS, expected={"expressions": 5})
    if not images:
        (tmp_path / "part" / "im" / "1.png").write_bytes(b"no picture")
    guard = exported(generated, settings=SWIFT, protected=[str(protected)])["guard"]
    assert guard["compared_in_part"] == {"own": "3 of 5 samples"}
    assert guard["unreadable"] == ({} if images else {"own": 1})
    assert guard["images"] == []


def test_names_only_finds_what_names_tell(contaminated: tuple[Run, str], exported: Exporter) -> None:
    run, protected = contaminated
    document = exported(run, settings=dataclasses.replace(SWIFT, names_only=True), protected=[protected])
    assert {each["found_by"] for each in document["guard"]["images"]} == {"COCO id", "file name"}


def test_forced_they_are_kept_and_named(contaminated: tuple[Run, str], exported: Exporter, tmp_path: Path) -> None:
    run, protected = contaminated
    document = exported(run, settings=dataclasses.replace(SWIFT, force_contaminated=True), protected=[protected])
    assert len(document["guard"]["images"]) == 5
    assert "do not compare" in document["guard"]["note"]
    assert len({row["hlmat"]["sample_id"] for row in read(tmp_path / "export")}) == 12


def test_a_run_on_an_evaluation_split_cannot_be_exported(contaminated: tuple[Run, str], exported: Exporter) -> None:
    run, _ = contaminated
    words = run.manifest["argv"]
    with pytest.raises(UsageError, match="Nothing is left to export: .*the images are those of own"):
        exported(run, settings=SWIFT, protected=[words[words.index("--task") + 1]])


def test_the_command_says_what_was_exported(
    generated: Run, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HLMAT_DATA", raising=False)
    words = ["trajectories", "export", str(generated.folder), "--format", "segagent", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*words, "--val", "0.5", "--task", task], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "out" / "export.json").read_text())
    counts = document["counts"]
    assert f"{counts['examples train']} examples for training and {counts['examples val']} for valid" in result.output
    assert "Not compared, because their data are not here: " in result.output
    assert "res_refcoco_val" in document["guard"]["not_compared"]
    assert document["finished"]


def test_the_command_names_all_formats() -> None:
    assert set(SHOWN) == set(FORMATS)
