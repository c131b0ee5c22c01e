"""Every format is read by the loader that it is for, and its answers lead to the recorded masks."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from hlmat_bench.actions import Action
from hlmat_bench.core import masks
from hlmat_bench.data.layouts.data_root import DataRoot
from hlmat_bench.data.layouts.segagent import SegAgentSettings
from hlmat_bench.overlay import paint
from hlmat_bench.protocol.segmentation import SegmentationState
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.testing import DiscSegmenter
from hlmat_bench.training.export.exporting import ExportSettings
from tests.training.export.conftest import SIZE, Exporter, Replayed


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def shown(boxes: Path, replayed: Replayed, sample_id: str, step: int) -> np.ndarray:
    """Return the image as it is shown before a step, by the definition of the overlay."""
    episode = replayed.episodes[sample_id]
    image = cv2.cvtColor(cv2.imread(str(boxes / "images" / Path(episode.image).name)), cv2.COLOR_BGR2RGB)
    before = episode.mask_at(step - 1)
    return paint(image, np.zeros(SIZE, bool) if before is None else masks.decode(before))


@pytest.mark.parametrize("format", ["llamafactory", "sharegpt", "ms-swift"])
def test_conversations_show_the_painted_image_and_answer_the_recorded_click(
    format: str, boxes: Path, generated: Run, replayed: Replayed, exported: Exporter, tmp_path: Path
) -> None:
    document = exported(generated, settings=ExportSettings(format, val=0.3))
    rows = {split: lines(tmp_path / "export" / f"{split}.jsonl") for split in ("train", "val")}
    assert {split: len(rows[split]) for split in rows} == {
        split: document["counts"][f"examples {split}"] for split in rows
    }
    assert sum(map(len, rows.values())) == sum(len(episode.steps) for episode in replayed.episodes.values())
    for row in [*rows["train"], *rows["val"]]:
        user, assistant = row.get("messages") or row["conversations"]
        prompt, answer = (each.get("content") or each["value"] for each in (user, assistant))
        about = row["hlmat"]
        assert prompt.startswith("<image>")
        assert prompt.count("<image>") == 1
        assert replayed.episodes[about["sample_id"]].expression in prompt
        replayed.check(about["sample_id"], about["step"], answer)
        with Image.open(tmp_path / "export" / row["images"][0]) as picture:
            assert (np.asarray(picture) == shown(boxes, replayed, about["sample_id"], about["step"])).all()
    images = {split: {replayed.episodes[row["hlmat"]["sample_id"]].image for row in rows[split]} for split in rows}
    assert images["train"]
    assert images["val"]
    assert not images["train"] & images["val"]


def test_the_description_for_llamafactory_names_the_files(generated: Run, exported: Exporter, tmp_path: Path) -> None:
    exported(generated, settings=ExportSettings("sharegpt", val=0.3, name="clicks"))
    info = json.loads((tmp_path / "export" / "dataset_info.json").read_text())
    assert {name: part["file_name"] for name, part in info.items()} == {
        "clicks_train": "train.jsonl",
        "clicks_val": "val.jsonl",
    }
    assert info["clicks_train"]["tags"]["assistant_tag"] == "gpt"


def test_datasets_reads_the_parquet_for_trl_with_its_images(
    boxes: Path, generated: Run, replayed: Replayed, exported: Exporter, tmp_path: Path
) -> None:
    from datasets import Dataset

    exported(generated, settings=ExportSettings("trl"))
    rows = Dataset.from_parquet(str(tmp_path / "export" / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    assert len(rows) == sum(len(episode.steps) for episode in replayed.episodes.values())
    for row in rows:
        [image] = row["images"]
        assert (np.asarray(image) == shown(boxes, replayed, row["sample_id"], row["step"])).all()
        [prompt], [completion] = row["prompt"], row["completion"]
        assert [block["type"] for block in prompt["content"]] == ["image", "text"]
        replayed.check(row["sample_id"], row["step"], completion["content"][0]["text"])


def test_shards_are_read_by_datasets_and_are_the_same_again(
    boxes: Path, generated: Run, replayed: Replayed, exported: Exporter, tmp_path: Path
) -> None:
    from datasets import load_dataset

    settings = ExportSettings("webdataset", shard_size=50)
    document = exported(generated, settings=settings)
    shards = sorted((tmp_path / "export").glob("train-*.tar"))
    before = [shard.read_bytes() for shard in shards]
    assert len(shards) == -(-document["counts"]["examples train"] // 50)
    files = {"train": [str(shard) for shard in shards]}
    rows = load_dataset("webdataset", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == document["counts"]["examples train"]
    for row in rows:
        about = row["json"]
        replayed.check(about["sample_id"], about["step"], about["answer"])
        assert (np.asarray(row["png"]) == shown(boxes, replayed, about["sample_id"], about["step"])).all()
    exported(generated, settings=settings)
    assert [shard.read_bytes() for shard in shards] == before
    with tarfile.open(shards[0]) as shard:
        assert {member.mtime for member in shard} == {0}


def test_verl_gets_a_state_in_which_the_answer_is_rewarded(
    generated: Run, task: str, tool: str, exported: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    from hlmat_bench.training import compute_score

    monkeypatch.setenv("HLMAT_OWN_FILES", "1")
    exported(generated, settings=ExportSettings("verl"), tasks=[task], segmenter=tool)
    rows = pq.read_table(tmp_path / "export" / "train.parquet").to_pylist()
    episodes = {episode.sample_id: episode for episode in generated.episodes()}
    for row in rows:
        info, answer = row["extra_info"], row["reward_model"]["ground_truth"]
        step = episodes[info["sample_id"]].steps[info["step"] - 1]
        score = compute_score(row["data_source"], answer, answer, info)
        assert score["valid"] == 1
        assert score["iou"] == pytest.approx(step.iou, abs=1e-12)
        assert score["score"] == pytest.approx(step.iou - info["iou"], abs=1e-12)
        with Image.open(io.BytesIO(row["images"][0]["bytes"])) as picture:
            assert picture.size == SIZE[::-1]
    assert [row["extra_info"]["index"] for row in rows] == list(range(len(rows)))


def clicked(run: Run, sample_id: str, clicks: list[tuple[bool, int, int]]) -> list[np.ndarray]:
    """Return the masks of clicks (positive, x, y), drawn again from the empty mask on."""
    state, found = SegmentationState(np.zeros((*SIZE, 3), np.uint8), DiscSegmenter()), []
    for click in clicks:
        state.apply(Action("click", *click))
        found.append(state.mask.copy())
    return found


def test_segagents_file_is_read_by_its_layout_and_its_clicks_lead_to_its_masks(
    boxes: Path, generated: Run, exported: Exporter, tmp_path: Path
) -> None:
    exported(generated, settings=ExportSettings("segagent"))
    path = tmp_path / "export" / "train.json"
    episodes = [episode for episode in generated.episodes() if episode.steps]
    entries = json.loads(path.read_text())["data"]
    settings = SegAgentSettings(kind="segagent", annotations=str(path), images=str(boxes / "images"))
    source = settings.open(DataRoot("mine", Path("/"), "", 0))
    assert len(source.samples()) == len(entries) == len(episodes)
    truths = {(one.image, one.expression): source.truth(one).mask for one in source.samples()}
    for entry, episode in zip(entries, episodes, strict=True):
        assert (truths[entry["image_name"], episode.expression] == masks.decode(episode.gt)).all()
        found = entry["clicks_list"]
        assert [click["idx"] for click in found] == list(range(len(episode.steps)))
        again = clicked(generated, "", [(c["is_positive"], c["coor"][1], c["coor"][0]) for c in found])
        for click, mask, step in zip(found, again, episode.steps, strict=True):
            assert (coco.decode(click["mask"]).astype(bool) == mask).all()
            assert click["area"] == mask.sum()
            x, y, width, height = map(int, click["box"])
            assert mask[y : y + height, x : x + width].sum() == mask.sum()
            assert click["iou"] == step.iou


def test_ibisagents_file_holds_what_its_converter_reads(generated: Run, exported: Exporter, tmp_path: Path) -> None:
    exported(generated, settings=ExportSettings("ibis", image_format="jpg"))
    folder = tmp_path / "export"
    entries = json.loads((folder / "train.json").read_text())["data"]
    episodes = [episode for episode in generated.episodes() if episode.steps]
    assert len(entries) == len(episodes)
    for entry, episode in zip(entries, episodes, strict=True):
        assert cv2.imread(str(folder / "train" / f"{entry['image_name']}.jpg")).shape[:2] == SIZE
        truth = cv2.imread(str(folder / "train_masks" / f"{entry['mask_name']}.png"), cv2.IMREAD_GRAYSCALE)
        assert ((truth > 127) == masks.decode(episode.gt)).all()
        assert entry["caption"] == episode.expression
        found = entry["clicks_list"]
        for click, mask in zip(
            found, clicked(generated, "", [(c["is_positive"], *c["coor"]) for c in found]), strict=True
        ):
            counts = zlib.decompress(base64.b64decode(click["mask"]["counts"]))
            assert (coco.decode({"counts": counts, "size": click["mask"]["size"]}) == mask).all()
            assert click["coor_norm"] == [round(click["coor"][0] / 80, 4), round(click["coor"][1] / 60, 4)]
