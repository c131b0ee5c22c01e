"""The settings that leave samples out: `skip` and `only`."""

from __future__ import annotations

import numpy as np
import pytest

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.check import check
from hlmat_bench.data.tasks import load_task
from tests.support.data_files import (
    FOLDERS,
    NAMES,
    blob,
    damage,
    noise,
    open_task,
    save,
    see,
    write_json,
    write_task,
)


def test_kinds_that_are_left_out(data):
    (data / "im" / "a.png").unlink()
    damage(data / "gt" / "b.png")
    save(data / "gt" / "c.png", blob(10, 13))
    source = open_task(data, skip="missing+unreadable+mis-sized")
    assert [s.ref_id for s in source.samples()] == ["d"]
    assert source.describe()["skipped"] == {"missing": 1, "missized": 1, "unreadable": 1}
    assert source.describe()["skip"] == "missing+missized+unreadable"
    see(source)
    assert [s.ref_id for s in open_task(data, skip="missized").samples()] == ["a", "b", "d"]
    assert [s.ref_id for s in open_task(data, skip="unreadable+missing").samples()] == ["c", "d"]
    report = check(load_task(write_task(data, FOLDERS)), overrides={"skip": "missing+unreadable+missized"})
    assert report.skipped == {"missing": 1, "missized": 1, "unreadable": 1}
    assert "left out, as a file is missing: 1" in report.text()
    for wrong in ("missing+broken", 3, [["missing"]], {"missing": 1}):
        with pytest.raises(UsageError, match="missing, unreadable, missized, unannotated, crowd, joined by"):
            open_task(data, skip=wrong)
    for none in ("", None, [], "+"):
        assert len(open_task(data, skip=none).samples()) == 4


def test_the_first_of_those_left_out_is_named_where_none_is_left(data):
    for name in NAMES:
        save(data / "gt" / f"{name}.png", np.dstack([noise(10, 12), blob(10, 12) * np.uint8(255)]))
    with pytest.raises(UsageError, match="all are left out .4 unreadable; the first: .*a.png has an alpha channel"):
        open_task(data, skip="unreadable")


def test_an_unreadable_image_is_left_out(data):
    damage(data / "im" / "a.png")
    assert open_task(data, skip="unreadable").describe()["skipped"] == {"unreadable": 1}


def test_the_same_annotations_without_what_they_lack(tmp_path):
    save(tmp_path / "images" / "a.png", noise(6, 7))
    square = [[1, 1, 4, 1, 4, 4, 1, 4]]
    images = [{"id": 1, "file_name": "a.png", "height": 6, "width": 7}]
    annotations = [
        {"id": 1, "image_id": 1, "segmentation": square, "caption": "whole"},
        {"id": 2, "image_id": 1, "segmentation": [], "caption": "no mask"},
        {"id": 3, "image_id": 1, "segmentation": square},
        {"id": 4, "image_id": 1, "segmentation": square, "caption": ""},
        {"id": 5, "image_id": 1, "segmentation": square, "caption": "many", "iscrowd": 1},
    ]
    write_json(tmp_path / "a.json", {"images": images, "annotations": annotations})
    coco = {"kind": "coco", "annotations": "a.json", "images": "images", "skip": "unannotated"}
    source = load_task(write_task(tmp_path, coco)).source()
    assert [s.id for s in source.samples()] == ["own/1/0"]
    assert source.describe()["skipped"] == {"crowd": 1, "unannotated": 3}

    refs = [
        {"ref_id": n, "ann_id": n, "image_id": 1, "split": "val", "sentences": [{"sent": "x"}] if n != 3 else []}
        for n in (1, 2, 3, 5)
    ]
    write_json(tmp_path / "refs.json", refs)
    refer = {"kind": "refer", "refs": "refs.json", "instances": "a.json", "images": "images", "split": "val"}
    source = load_task(write_task(tmp_path, refer | {"skip": "unannotated"})).source()
    assert [s.id for s in source.samples()] == ["own/1/0", "own/5/0"]  # The published counts have crowds.
    assert source.describe()["skipped"] == {"unannotated": 2}
    source = load_task(write_task(tmp_path, refer | {"skip": "unannotated+crowd"})).source()
    assert source.describe()["skipped"] == {"crowd": 1, "unannotated": 2}

    (tmp_path / "masks").mkdir()
    save(tmp_path / "masks" / "a.png", blob(6, 7))
    (tmp_path / "expressions.csv").write_text("image,mask,expression\na.png,a.png,x\na.png,,y\na.png,a.png,\n")
    source = load_task(write_task(tmp_path, {"kind": "table", "skip": "unannotated"})).source()
    assert [s.expression for s in source.samples()] == ["x"]
    assert source.describe()["skipped"] == {"unannotated": 2}


def test_named_samples_are_played(data):
    (data / "list.txt").write_text("own/b/0\n\n  d.png \r\nc\n", encoding="utf-8")
    assert [s.ref_id for s in open_task(data, only="list.txt").samples()] == ["b", "c", "d"]
    (data / "list.txt").write_text("own/bb/0\n")
    with pytest.raises(UsageError, match="list.txt called 'own/bb/0'.*Did you mean own/b/0"):
        open_task(data, only="list.txt")
    (data / "list.txt").write_text("\n")
    with pytest.raises(UsageError, match="names no sample"):
        open_task(data, only="list.txt")
    with pytest.raises(UsageError, match="needs none.txt"):
        open_task(data, only="none.txt")
