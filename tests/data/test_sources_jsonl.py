"""JSON lines: GSEval's file, fields of other names, and damaged files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.check import check, look
from hlmat_bench.data.layouts.file_source import FileSource
from hlmat_bench.data.tasks import load_task
from tests.support.data_files import blob, noise, save, write_json, write_task

SHAPE = (12, 16)
MASKS = [blob(*SHAPE, seed) for seed in range(4)]
NAMES = {1: "stuff", 2: "part", 3: "multi", 4: "single"}


def encoded(mask: np.ndarray) -> dict[str, Any]:
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": rle["counts"].decode()}


def row(number: int) -> dict[str, Any]:
    """Return an object of GSEval's file, with its class, its box and fields that are not read."""
    return {
        "idx": number,
        "image_path": f"unlabeled2017/{number // 2:012d}.jpg",
        "class_id": number + 1,
        "label": "a thing",
        "caption": f"The thing “{number}”.",
        "box": [0.5, 1.5, 9.25, 8.0],
        "segmentation": encoded(MASKS[number]),
    }


ROWS = [row(number) for number in range(4)]


def write_lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows), encoding="utf-8")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write a data root with GSEval's file and two images."""
    write_lines(tmp_path / "GSEval" / "GroundingSuite-Eval.jsonl", *ROWS)
    for number in range(2):
        save(tmp_path / "coco" / "unlabeled2017" / f"{number:012d}.jpg", noise(*SHAPE, number))
    return tmp_path


def opened(root: Path, **source: Any) -> FileSource:
    """Open a file of our own; `source` are the settings."""
    given = {"kind": "jsonl", "annotations": "rows.jsonl", "images": "coco", **source}
    found = load_task(write_task(root, given)).source(root)
    assert isinstance(found, FileSource)
    return found


def test_gseval_is_read_as_it_lies(root: Path) -> None:
    source = load_task("res_gseval").source(root)
    assert isinstance(source, FileSource)
    for number, sample in enumerate(source.samples()):
        assert sample.id == f"res_gseval/{number}/0"
        assert sample.image == sample.image_id == f"unlabeled2017/{number // 2:012d}.jpg"
        assert sample.expression == f"The thing “{number}”."
        assert sample.ref_id == str(number)
        assert dict(sample.tags) == {"granularity": NAMES[number + 1]}
        np.testing.assert_array_equal(source.truth(sample).mask, MASKS[number])
        assert source.image(sample).shape == (*SHAPE, 3)
    look(source, source.samples())
    report = check(load_task("res_gseval"), root)
    assert not report.problems
    assert report.counts == {"images": 2, "refs": 4, "expressions": 4}


@pytest.mark.parametrize("place", ["unlabeled2017", "images/unlabeled2017", "GSEval/unlabeled2017"])
def test_the_images_lie_in_any_of_several_places(root: Path, place: str) -> None:
    (root / place).parent.mkdir(exist_ok=True)
    (root / "coco" / "unlabeled2017").rename(root / place)
    source = load_task("res_gseval").source(root)
    assert source.image(source.samples()[0]).shape == (*SHAPE, 3)


def test_fields_of_other_names_polygons_and_several_expressions(root: Path) -> None:
    square = {"height": SHAPE[0], "width": SHAPE[1], "outline": [[2, 1, 6, 1, 6, 4, 2, 4]]}
    first = {"key": "a", "file": f"{0:012d}.jpg", "texts": ["one", "two"], "where": "left", "count": 3} | square
    second = {"key": 7, "file": f"{1:012d}.jpg", "texts": "three", "where": "right", "count": 1} | square
    write_lines(root / "rows.jsonl", first, second)
    fields = {"id": "key", "image": "file", "expression": "texts", "segmentation": "outline"}
    tags = {"tags": {"side": "where", "objects": "count"}, "tag_names": {"1": "one"}}
    source = opened(root, images="coco/unlabeled2017", **fields, **tags)
    assert [(s.id, s.expression, s.ref_id, dict(s.tags)) for s in source.samples()] == [
        ("own/a/0", "one", "a", {"side": "left", "objects": "3"}),
        ("own/a/1", "two", "a", {"side": "left", "objects": "3"}),
        ("own/7/0", "three", "7", {"side": "right", "objects": "one"}),
    ]
    expected = np.zeros(SHAPE, bool)
    expected[1:4, 2:6] = True
    np.testing.assert_array_equal(source.truth(source.samples()[0]).mask, expected)
    assert source.describe()["expression_from"] == "texts"


def test_a_list_and_lines_are_the_same(root: Path) -> None:
    write_json(root / "rows.json", ROWS)
    (root / "rows.jsonl").write_text("\r\n".join(["", *map(json.dumps, ROWS), "", ""]))
    assert opened(root).digest() == opened(root, annotations="rows.json").digest()


def test_a_line_may_hold_any_letter(root: Path) -> None:
    """Only a line feed ends a line: Python's splitlines also breaks at letters such as U+2028."""
    write_lines(root / "rows.jsonl", ROWS[0] | {"caption": "a\u2028b\x85c"})
    assert opened(root).samples()[0].expression == "a\u2028b\x85c"


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([ROWS[0], {"idx": 1}], "The object 1 of rows.jsonl should have a string 'image_path'"),
        ([{}], "Line 1 of .*rows.jsonl should have an integer 'idx'"),
        ([3], "Line 1 of .*rows.jsonl should have an integer 'idx'"),
        ([ROWS[0], ROWS[0]], "Two of the objects of .* have the id 0: number 1 and number 2"),
        ([ROWS[0] | {"segmentation": None}], "The object 0 of rows.jsonl has no 'segmentation'"),
        ([ROWS[0] | {"caption": ""}], "should have a string or a list of strings 'caption'"),
        ([ROWS[0] | {"segmentation": {"size": [12], "counts": "0"}}], r"whose size is not \[height, width\]"),
        ([ROWS[0] | {"segmentation": {"counts": "0"}}], "The segmentation of .* should have a list 'size'"),
        ([ROWS[0] | {"segmentation": [[0, 0, 4, 0, 4, 4]]}], "should have an integer 'height'"),
        ([ROWS[0] | {"image_path": "../x.jpg"}], "not inside the image folder"),
        ([], "there are no annotations for it"),
    ],
)
def test_a_damaged_file_is_one_sentence(root: Path, rows: list[Any], sentence: str) -> None:
    write_lines(root / "rows.jsonl", *rows)
    with pytest.raises(UsageError, match=sentence) as caught:
        opened(root)
    assert "\n" not in str(caught.value)


def test_a_broken_line_is_named(root: Path) -> None:
    (root / "rows.jsonl").write_text(json.dumps(ROWS[0]) + "\n" + json.dumps(ROWS[1])[:50])
    with pytest.raises(UsageError, match="Line 2 of .*rows.jsonl is not valid JSON"):
        opened(root)
    write_json(root / "rows.json", {"rows": ROWS})
    with pytest.raises(UsageError, match="should hold a list of objects; one object a line needs the suffix .jsonl"):
        opened(root, annotations="rows.json")


def test_counts_that_are_damaged_are_found_before_a_run(root: Path) -> None:
    write_lines(root / "rows.jsonl", ROWS[0] | {"segmentation": {"size": list(SHAPE), "counts": "zz"}})
    source = opened(root)
    with pytest.raises(UsageError, match="own/0/0 has a damaged segmentation"):
        look(source, source.samples())


def test_objects_without_a_segmentation_can_be_left_out(root: Path) -> None:
    write_lines(root / "rows.jsonl", ROWS[0] | {"segmentation": None}, ROWS[1])
    source = opened(root, skip="unannotated")
    assert [sample.ref_id for sample in source.samples()] == ["1"]
    assert source.describe()["skipped"] == {"unannotated": 1}
