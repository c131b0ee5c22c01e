from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.tasks import load_task
from tests.support.data_files import noise, save, write_json, write_task

SOURCE = {"kind": "coco", "annotations": "a.json", "images": "images"}
SQUARE = [[1, 1, 4, 1, 4, 4, 1, 4]]


def value() -> dict:
    return {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 6, "width": 7} for n in (1, 2)],
        "annotations": [
            {"id": 5, "image_id": 2, "category_id": 8, "segmentation": SQUARE, "caption": "a", "words": ["b", "c"]},
            {"id": 6, "image_id": 1, "category_id": 9, "segmentation": SQUARE, "caption": "d", "words": ["e"]},
            {
                "id": 7,
                "image_id": 2,
                "category_id": 9,
                "iscrowd": 1,
                "segmentation": {"size": [6, 7], "counts": [6, 12, 24]},
                "caption": "f",
                "words": "g",
            },
        ],
        "categories": [{"id": 8, "name": "dining table"}, {"id": 9, "name": "cat"}],
    }


def open_task(folder: Path, annotations: dict, **source):
    write_json(folder / "a.json", annotations)
    for n in (1, 2):
        save(folder / "images" / f"{n}.png", noise(6, 7, n))
    return load_task(write_task(folder, SOURCE | source)).source()


def test_a_field_of_each_annotation(tmp_path):
    source = open_task(tmp_path, value())
    assert [(s.id, s.image, s.image_id, s.expression, s.ref_id) for s in source.samples()] == [
        ("own/5/0", "2.png", "2", "a", "5"),
        ("own/6/0", "1.png", "1", "d", "6"),
    ]
    assert source.describe()["skipped"] == {"crowd": 1}
    assert source.truth(source.samples()[0]).mask.sum() == 9
    np.testing.assert_array_equal(source.image(source.samples()[0]), noise(6, 7, 2))


def test_another_field_and_categories(tmp_path):
    samples = open_task(tmp_path, value(), field="words").samples()
    assert [(s.id, s.expression) for s in samples] == [
        ("own/5/0", "b"),
        ("own/5/1", "c"),
        ("own/6/0", "e"),
    ]
    samples = open_task(tmp_path, value(), field="category").samples()
    assert [s.expression for s in samples] == ["dining table", "cat"]


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("words", lambda v: v["annotations"][1].pop("words"), "The annotation 6 .*'words'"),
        ("words", lambda v: v["annotations"][1].update(words=[]), "'words'"),
        ("words", lambda v: v["annotations"][1].update(image_id=4), "names the image 4"),
        ("words", lambda v: v["annotations"][1].update(segmentation=[]), "The annotation 6 has no segmentation"),
        ("words", lambda v: v["annotations"][1].pop("id"), "'id'"),
        ("words", lambda v: v.pop("annotations"), "'annotations'"),
        ("category", lambda v: v["categories"].pop(), "categor"),
        ("category", lambda v: v["annotations"][0].pop("category_id"), "categor"),
        (
            "category",
            lambda v: v["annotations"][1].update(id=5),
            "annotations of .* have the id 5: number 1 and number 2",
        ),
        ("category", lambda v: v["annotations"][1].update(id="5"), "annotations of .* have the id 5"),
        ("category", lambda v: v["images"][1].update(id=1), "Two images of .* have the id 1"),
        ("category", lambda v: v["categories"][1].update(id=8), "Two categories of .* have the id 8"),
    ],
    ids=range(12),
)
def test_damaged_annotations_are_one_sentence(tmp_path, field, change, message):
    annotations = value()
    change(annotations)
    with pytest.raises(UsageError, match=message):
        open_task(tmp_path, annotations, field=field)


@pytest.mark.shared
def test_real_coco_with_a_crowd(shared, tmp_path):
    root = shared / "realdata" / "coco_instances_tiny"
    source = {"kind": "coco", "annotations": "annotations/instances_train2017.json", "images": "train2017"}
    opened = load_task(write_task(tmp_path, source | {"field": "category"})).source(root)
    real = json.loads((root / source["annotations"]).read_text())
    annotations = {str(item["id"]): item for item in real["annotations"]}
    sizes = {item["id"]: (item["height"], item["width"]) for item in real["images"]}
    names = {item["id"]: item["name"] for item in real["categories"]}
    crowds = sum(item["iscrowd"] for item in annotations.values())
    assert opened.describe()["skipped"] == {"crowd": crowds}
    assert len(opened.samples()) + crowds == len(annotations) == 111
    assert crowds
    for sample in opened.samples():
        item = annotations[sample.ref_id]
        rle = coco.frPyObjects(item["segmentation"], *sizes[item["image_id"]])
        rle = coco.merge(rle) if isinstance(rle, list) else rle
        np.testing.assert_array_equal(opened.truth(sample).mask, coco.decode(rle))
        assert sample.expression == names[item["category_id"]]


@pytest.mark.shared
def test_real_flat_lists_are_single_polygons(shared, tmp_path):
    root = shared / "realdata" / "coco_subset_542"
    source = {"kind": "coco", "annotations": "annotations/instances_train2014.json", "images": "images/train2014"}
    opened = load_task(write_task(tmp_path, source | {"field": "category"})).source(root)
    real = json.loads((root / source["annotations"]).read_text())
    flat = {str(a["id"]): a for a in real["annotations"] if isinstance(a["segmentation"][0], float)}
    assert (len(opened.samples()), len(flat)) == (11, 9)
    for sample in opened.samples():
        mask = opened.truth(sample).mask
        if sample.ref_id in flat:
            item = flat[sample.ref_id]
            rle = coco.frPyObjects([item["segmentation"]], *mask.shape)
            np.testing.assert_array_equal(mask, coco.decode(rle)[..., 0])
            assert mask.sum() == pytest.approx(item["area"], rel=0.05, abs=5)


def test_an_image_that_is_listed_twice_is_one(tmp_path):
    annotations = value()
    annotations["images"].append(dict(annotations["images"][0]))
    assert len(open_task(tmp_path, annotations).samples()) == 2
