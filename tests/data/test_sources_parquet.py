"""The three schemas of the hub, compared with the layout ``refer`` on the same references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hlmat_bench.data.tasks import load_task
from tests.data.test_sources_refer import REFS, instances
from tests.support.data_files import noise, save, write_json, write_task
from tests.support.parquet_files import LMMS, MASKS, REFERENCES, Refer, write

REFER = {"kind": "refer", "refs": "refs.json", "instances": "instances.json", "images": "images", "split": "val"}
SETS = {"refcoco": "refs(unc).p", "refcoco+": "refs(unc).p", "refcocog": "refs(umd).p"}


@pytest.fixture
def data(tmp_path) -> Path:
    found = instances()
    for item in found["annotations"]:
        item["bbox"] = [3.0, 2.0, 6.0, 4.0] if item["id"] == 10 else None
    write_json(tmp_path / "instances.json", found)
    write_json(tmp_path / "refs.json", REFS)
    for n in (1, 2):
        save(tmp_path / "images" / f"COCO_{n}.png", noise(12, 16, n))
    return tmp_path


def opened(folder: Path, **source):
    return load_task(write_task(folder, source)).source()


def numbers(source) -> dict:
    """Return what is compared: samples without their keys, and digests."""
    names = [(s.id, s.image, s.image_id, s.expression, s.ref_id, dict(s.tags)) for s in source.samples()]
    return {"samples": names, "digests": [source.digests(s) for s in source.samples()], "digest": source.digest()}


def same_masks(one, other) -> bool:
    pairs = zip(one.samples(), other.samples(), strict=True)
    return all(np.array_equal(one.truth(a).mask, other.truth(b).mask) for a, b in pairs)


def test_references_give_the_samples_and_the_digests_of_the_pickle(data):
    write(
        data / "data" / "all-00000-of-00001.parquet", Refer(data, "refs.json", data / "images").references(), REFERENCES
    )
    source, refer = opened(data, kind="parquet", images="images", split="val"), opened(data, **REFER)
    assert numbers(source) == numbers(refer)
    assert same_masks(source, refer)
    assert source.describe()["schema"] == "jxu124"
    raw = opened(data, kind="parquet", images="images", split="val", sentence="raw")
    assert raw.samples()[0].expression == "THE CROWD"


def test_lmms_has_the_same_images_and_first_polygons(data):
    rows = Refer(data, "refs.json", data / "images")
    write(data / "data" / "val-00000-of-00001.parquet", rows.lmms("val"), LMMS)
    source = opened(data, kind="parquet")
    other = opened(data, **REFER)
    refer = {sample.expression: sample for sample in other.samples()}
    assert [sample.expression for sample in source.samples()] == ["square", "two squares"]
    square = source.samples()[0]
    assert np.array_equal(source.truth(square).mask, other.truth(refer["square"]).mask)
    assert source.digests(square)["image"] == other.digests(refer["square"])["image"]
    assert source.truth(source.samples()[1]).mask.sum() < other.truth(refer["two squares"]).mask.sum()


def test_masks_are_those_of_the_annotations(data):
    write(data / "data" / "test-00000-of-00001.parquet", Refer(data, "refs.json", data / "images").masks("val"), MASKS)
    source, refer = opened(data, kind="parquet"), opened(data, **REFER)
    first = {sample.ref_id: sample for sample in reversed(refer.samples())}
    assert [s.expression for s in source.samples()] == [
        s.expression for s in sorted(first.values(), key=refer.samples().index)
    ]
    for sample, other in zip(source.samples(), sorted(first.values(), key=refer.samples().index), strict=True):
        assert np.array_equal(source.truth(sample).mask, refer.truth(other).mask)
        assert np.array_equal(source.image(sample), refer.image(other))
        assert source.digests(sample)["image"] == refer.digests(other)["image"]


@pytest.mark.shared
@pytest.mark.parametrize("name", SETS)
def test_real_references_give_the_samples_and_the_digests_of_the_pickle(shared, tmp_path, name):
    root = shared / "realdata" / "refer_seg"
    images, folder = root / "images" / "mscoco" / "images" / "train2014", root / name
    data = Refer(folder, SETS[name], images)
    write(tmp_path / "data" / "x.parquet", data.references(), REFERENCES)
    splits = sorted({ref["split"] for ref in data.refs})
    for split in splits:
        source = opened(tmp_path, kind="parquet", images=str(images), split=split)
        place = {"refs": str(folder / SETS[name]), "instances": str(folder / "instances.json"), "images": str(images)}
        refer = opened(tmp_path, kind="refer", split=split, **place)
        assert numbers(source) == numbers(refer)
        assert same_masks(source, refer)


@pytest.mark.shared
@pytest.mark.parametrize("name", SETS)
def test_real_embedded_images_and_masks(shared, tmp_path, name):
    """The schemas hold no ids, so samples are paired in their order; polygons of one part are the same to the byte."""
    root = shared / "realdata" / "refer_seg"
    images, folder = root / "images" / "mscoco" / "images" / "train2014", root / name
    data = Refer(folder, SETS[name], images)
    place = {"refs": str(folder / SETS[name]), "instances": str(folder / "instances.json"), "images": str(images)}
    for split in sorted({ref["split"] for ref in data.refs}):
        refer = opened(tmp_path, kind="refer", split=split, **place)
        write(tmp_path / "lmms" / f"{split}-00000-of-00001.parquet", data.lmms(split), LMMS)
        write(tmp_path / "masks" / "test-00000-of-00001.parquet", data.masks(split), MASKS)
        lmms = opened(tmp_path, kind="parquet", files="lmms", split=split)
        masks = opened(tmp_path, kind="parquet", files="masks")
        assert [(s.image, s.expression) for s in lmms.samples()] == [(s.image, s.expression) for s in refer.samples()]
        for sample, other in zip(lmms.samples(), refer.samples(), strict=True):
            assert lmms.digests(sample)["image"] == refer.digests(other)["image"]
            if (
                len(
                    data.objects[next(r["ann_id"] for r in data.refs if str(r["ref_id"]) == other.ref_id)][
                        "segmentation"
                    ]
                )
                == 1
            ):
                assert lmms.digests(sample) == refer.digests(other)
                assert np.array_equal(lmms.truth(sample).mask, refer.truth(other).mask)
        first = {sample.ref_id: sample for sample in reversed(refer.samples())}
        assert len(masks.samples()) == len(first)
        for sample in masks.samples():
            other = next(
                s for s in first.values() if s.expression == sample.expression and s.image_id == sample.image_id
            )
            assert np.array_equal(masks.truth(sample).mask, refer.truth(other).mask)
            assert masks.digests(sample)["image"] == refer.digests(other)["image"]
