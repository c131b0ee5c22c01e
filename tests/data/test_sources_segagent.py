from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.tasks import load_task
from tests.support.data_files import blob, noise, save, write_json, write_task

SOURCE = {"kind": "segagent", "annotations": "val.json", "images": "images"}


def entry(name, caption, segmentation, size=(6, 7)) -> dict:
    return {
        "image_name": name,
        "height": size[0],
        "width": size[1],
        "gt_ann": {"object_id": 0, "caption": caption, "segmentation": segmentation, "bbox": None, "area": None},
    }


def rle(mask: np.ndarray) -> dict:
    value = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": value["counts"].decode()}


def open_task(folder: Path, entries, **source):
    write_json(folder / "val.json", {"info": {}, "data": entries})
    (folder / "images").mkdir(exist_ok=True)
    return load_task(write_task(folder, SOURCE | source)).source()


def test_every_caption_of_every_image_is_a_sample(tmp_path):
    first, second = blob(6, 7, 1), blob(6, 7, 2)
    entries = [
        entry("a", ["one", "two"], rle(first)),
        entry("b.png", "a string", [[1, 1, 4, 1, 4, 4, 1, 4]]),
        entry(36, ["three"], rle(second)),
        entry("a", ["four"], {"size": [6, 7], "counts": [42]}),
    ]
    source = open_task(tmp_path, entries)
    assert [(s.id, s.image, s.expression, s.ref_id) for s in source.samples()] == [
        ("own/0/0", "a.jpg", "one", "0"),
        ("own/0/1", "a.jpg", "two", "0"),
        ("own/3/0", "a.jpg", "four", "3"),
        ("own/1/0", "b.png", "a string", "1"),
        ("own/2/0", "mscoco/images/train2014/COCO_train2014_000000000036.jpg", "three", "2"),
    ]
    for name in ("a.jpg", "b.png", "mscoco/images/train2014/COCO_train2014_000000000036.jpg"):
        save(tmp_path / "images" / name, noise(6, 7))
    truths = {s.id: source.truth(s).mask for s in source.samples()}
    square = np.zeros((6, 7), bool)
    square[1:4, 1:4] = True
    np.testing.assert_array_equal(truths["own/0/1"], first)
    np.testing.assert_array_equal(truths["own/1/0"], square)
    np.testing.assert_array_equal(truths["own/2/0"], second)
    assert not truths["own/3/0"].any()


def test_unknown_captions_stand_for_the_file_name(tmp_path):
    captions = (["Unknown"], ["Unknown", "more"], "Unknown", ["more", "Unknown"])
    entries = [entry(f"sea lion0{n}", caption, rle(blob(6, 7))) for n, caption in enumerate(captions)]
    samples = open_task(tmp_path, entries).samples()
    assert [s.expression for s in samples] == ["sea lion", "sea lion", "Unknown", "more", "Unknown"]


def test_more_than_5000_captions(tmp_path):
    entries = [entry(f"im{n // 3}", [f"c{n}"], rle(blob(6, 7))) for n in range(5200)]
    samples = open_task(tmp_path, entries).samples()
    assert [s.expression for s in samples] == [f"c{n}" for n in range(5200)]


def test_size_mismatch(tmp_path):
    save(tmp_path / "images" / "a.jpg", noise(7, 6))
    source = open_task(tmp_path, [entry("a", "x", rle(blob(6, 7)))])
    with pytest.raises(UsageError, match=r"own/0/0 has a mask of 6 x 7 and an image of 7 x 6"):
        source.truth(source.samples()[0])
    lying = entry("a", "x", rle(blob(6, 7)), size=(7, 6))
    source = open_task(tmp_path, [lying])
    with pytest.raises(UsageError, match=r"own/0/0 has a mask of 6 x 7"):
        source.truth(source.samples()[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.pop("image_name"), "image_name"),
        (lambda e: e.update(image_name=1.5), "image_name"),
        (lambda e: e.update(image_name=True), "image_name"),
        (lambda e: e.update(image_name="../x"), "not inside"),
        (lambda e: e.update(height=None), "height"),
        (lambda e: e.pop("gt_ann"), "gt_ann"),
        (lambda e: e["gt_ann"].update(caption=[]), "caption"),
        (lambda e: e["gt_ann"].update(caption=[3]), "caption"),
        (lambda e: e["gt_ann"].update(segmentation=None), "no segmentation"),
    ],
    ids=range(9),
)
def test_damaged_entries_are_named(tmp_path, change, message):
    damaged = entry("a", ["x"], rle(blob(6, 7)))
    change(damaged)
    with pytest.raises(UsageError, match=f"Entry 1 of .*{message}"):
        open_task(tmp_path, [entry("b", ["x"], rle(blob(6, 7))), damaged])


@pytest.mark.parametrize("name", ["{", "{id", "{0}", "{other}", "{id:q}"])
def test_wrong_name_formats(tmp_path, name):
    with pytest.raises(UsageError, match="coco_name"):
        open_task(tmp_path, [], coco_name=name)


@pytest.mark.parametrize("case", range(3))
def test_agrees_with_the_reference(vectors, tmp_path, case):
    """The reference's own expansion, apart from its decision to leave PNG images out."""
    cases = json.loads((vectors / "rollout" / "dataset.json").read_text())["cases"]
    assert len(cases) == 3
    expected = cases[case]
    file = vectors / "rollout" / expected["ann_file"]
    source = {"annotations": str(file)}
    if "refclef" in expected["ann_file"]:
        source["coco_name"] = "saiapr_tc-12/{thousand:02d}/images/{id}.jpg"
    (tmp_path / "images").mkdir()
    samples = load_task(write_task(tmp_path, SOURCE | source)).source().samples()
    kept = [s for s in samples if ".png" not in s.image]
    by_entry = sorted(kept, key=lambda s: tuple(int(part) for part in s.id.split("/")[1:]))
    assert [(f"{expected['root']}/{s.image}", [s.expression]) for s in by_entry] == [
        (item["img_path"], item["caption"]) for item in expected["expanded"]
    ]
    entries = json.loads(file.read_text())["data"]
    pngs = [e for e in entries if ".png" in str(e["image_name"])]
    assert len(samples) - len(kept) == sum(
        1
        if isinstance(e["gt_ann"]["caption"], str) or e["gt_ann"]["caption"][0] == "Unknown"
        else len(e["gt_ann"]["caption"])
        for e in pngs
    )
    for sample in samples[:5]:
        item = entries[int(sample.ref_id)]
        size = (item["height"], item["width"])
        np.testing.assert_array_equal(
            sample.key.shape.truth(size, "it").mask, coco.decode(item["gt_ann"]["segmentation"])
        )


@pytest.mark.parametrize(
    "name", ["{id:>9999999999}", "{id:{id}}", "{id!r}", "{id:012d}{thousand:>999}", "{id.real}", "{thousand[0]}"]
)
def test_name_formats_with_more_than_a_short_width(tmp_path, name):
    with pytest.raises(UsageError, match="coco_name"):
        open_task(tmp_path, [], coco_name=name)
