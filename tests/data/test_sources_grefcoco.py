"""gRefCOCO: unions, references to nothing, and how a check tells these from empty masks."""

from __future__ import annotations

import pickle
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
SOURCE = {"kind": "grefcoco", "refs": "grefs(unc).json", "instances": "instances.json", "images": "images"}
BLOB, CROWD = blob(*SHAPE, 1), blob(*SHAPE, 2)


def rectangle(x0: int, y0: int, x1: int, y1: int) -> list[int]:
    """Return a polygon that covers the pixels x0 <= x < x1, y0 <= y < y1."""
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def pixels(*rectangles: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    for x0, y0, x1, y1 in rectangles:
        mask[y0:y1, x0:x1] = True
    return mask


LEFT, RIGHT, FAR = (1, 2, 5, 6), (4, 3, 9, 8), (12, 9, 15, 12)
ENCODED = coco.encode(np.asfortranarray(BLOB.astype(np.uint8)))["counts"].decode()
SEGMENTATIONS: dict[int, Any] = {
    10: [rectangle(*LEFT)],
    11: [rectangle(*RIGHT), rectangle(*FAR)],
    12: {"size": list(SHAPE), "counts": ENCODED},
    13: {"size": list(SHAPE), "counts": coco.encode(np.asfortranarray(CROWD.astype(np.uint8)))["counts"].decode()},
    14: [rectangle(*FAR)],
}


def instances() -> dict[str, Any]:
    listed = [{"id": n, "file_name": f"{n}.png", "height": SHAPE[0], "width": SHAPE[1]} for n in (1, 2)]
    objects = [
        {"id": n, "image_id": 2 if n == 14 else 1, "iscrowd": int(n == 13), "segmentation": value, "category_id": 3}
        for n, value in SEGMENTATIONS.items()
    ]
    return {"images": listed, "annotations": objects, "categories": []}


def ref(number: int, ann_id: Any, *texts: str, **fields: Any) -> dict[str, Any]:
    sentences = [{"sent": text, "raw": text.upper(), "sent_id": 9, "tokens": []} for text in texts]
    no_target = {"no_target": ann_id == [-1]}
    return (
        {"ref_id": number, "ann_id": ann_id, "image_id": 1, "split": "val", "sentences": sentences} | no_target | fields
    )


REFS = [
    ref(0, [-1], "the dog", "the cat"),
    ref(1, [10, 11], "both"),
    ref(2, [11, 12], "the right ones"),
    ref(3, [10, 13], "one and a crowd"),
    ref(4, [10], "one"),
    ref(5, 10, "one, not in a list"),
    ref(6, [10, 10], "the same twice"),
    ref(7, [14], "in the other image", image_id=2),
    ref(8, [-1], "hidden", split="train"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_json(tmp_path / "instances.json", instances())
    write_json(tmp_path / "grefs(unc).json", REFS)
    for n in (1, 2):
        save(tmp_path / "images" / f"{n}.png", noise(*SHAPE, n))
    return tmp_path


def open_task(data: Path, **source: Any) -> FileSource:
    opened = load_task(write_task(data, SOURCE | {"split": "val"} | source)).source()
    assert isinstance(opened, FileSource)
    return opened


def test_a_reference_is_the_union_of_its_annotations_or_nothing(data: Path) -> None:
    source = open_task(data)
    right = pixels(RIGHT, FAR)
    expected = {
        "the dog": ("none", pixels()),
        "the cat": ("none", pixels()),
        "both": ("several", pixels(LEFT) | right),
        "the right ones": ("several", right | BLOB),
        "one and a crowd": ("one", pixels(LEFT)),
        "one": ("one", pixels(LEFT)),
        "one, not in a list": ("one", pixels(LEFT)),
        "the same twice": ("one", pixels(LEFT)),
        "in the other image": ("one", pixels(FAR)),
    }
    assert [sample.expression for sample in source.samples()] == list(expected)
    for sample in source.samples():
        targets, mask = expected[sample.expression]
        assert dict(sample.tags) == {"targets": targets}
        truth = source.truth(sample)
        np.testing.assert_array_equal(truth.mask, mask)
        assert truth.ignore is None
        assert source.has_no_object(sample) == (targets == "none")
    assert [sample.id for sample in source.samples()][:3] == ["own/0/0", "own/0/1", "own/1/0"]
    assert open_task(data, sentence="raw").samples()[0].expression == "THE DOG"


def test_a_pickle_and_json_are_the_same(data: Path) -> None:
    (data / "grefs(unc).p").write_bytes(pickle.dumps(REFS, 2))
    assert open_task(data, refs="grefs(unc).p").digest() == open_task(data).digest()


def test_the_digest_tells_which_annotations_are_united(data: Path) -> None:
    digests = {open_task(data).digest()}
    for named in ([10, 12], [11, 10], [10], [-1]):
        write_json(data / "grefs(unc).json", [REFS[0], ref(1, named, "both"), *REFS[2:]])
        digests.add(open_task(data).digest())
    assert len(digests) == 5


def test_references_without_a_sentence_are_no_samples_and_a_warning(data: Path) -> None:
    write_json(data / "grefs(unc).json", [*REFS, ref(20, [10])])
    report = check(load_task(write_task(data, SOURCE | {"split": "val"})))
    assert report.ok
    assert report.counts["expressions"] == 9
    found = report.warnings["references without a sentence"]
    assert (found.count, found.examples) == (1, ["The reference 20 of grefs(unc).json has none."])


def test_a_reference_to_crowds_alone_is_left_out_and_counted(data: Path) -> None:
    write_json(data / "grefs(unc).json", [*REFS, ref(20, [13], "the crowd")])
    report = check(load_task(write_task(data, SOURCE | {"split": "val"})))
    assert report.ok
    assert report.skipped == {"crowd": 1}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"ann_id": []}, r"reference 4 of .* should name annotations, or \[-1\]"),
        ({"ann_id": [10, -1]}, r"should name annotations, or \[-1\]"),
        ({"ann_id": [-1]}, "no_target should agree"),
        ({"no_target": True}, "no_target should agree"),
        ({"ann_id": [[10]]}, "should have an integer 'ann_id'"),
        ({"ann_id": None}, "should have an integer 'ann_id'"),
        ({"ann_id": [10, 99]}, "names the annotation 99, which the instances do not hold for its image"),
        ({"ann_id": [10, 14]}, "names the annotation 14, which the instances do not hold for its image"),
        ({"image_id": 7}, "names the image 7"),
        ({"sentences": "one"}, "should have a list 'sentences'"),
    ],
)
def test_a_damaged_reference_is_one_sentence(data: Path, changed: dict[str, Any], sentence: str) -> None:
    write_json(data / "grefs(unc).json", [ref(4, [10], "one") | changed])
    with pytest.raises(UsageError, match=sentence) as caught:
        open_task(data)
    assert "\n" not in str(caught.value)


def test_an_older_file_says_nothing_of_no_target(data: Path) -> None:
    write_json(data / "grefs(unc).json", [ref(0, [-1], "nothing", no_target=None), ref(1, [10], "one", no_target=None)])
    assert [sample.tags["targets"] for sample in open_task(data).samples()] == ["none", "one"]


def test_an_annotation_without_a_segmentation_can_be_left_out(data: Path) -> None:
    values = instances()
    values["annotations"][1]["segmentation"] = []
    write_json(data / "instances.json", values)
    with pytest.raises(UsageError, match="The annotation 11 has no segmentation"):
        open_task(data)
    assert len(open_task(data, skip="unannotated").samples()) == 7


def test_masks_that_are_empty_on_purpose_are_no_problem(data: Path) -> None:
    """Nine of ten references are to nothing; a mask that is empty by mistake is still found."""
    nothing = [ref(n, [-1], f"nothing {n}") for n in range(100, 190)]
    write_json(data / "grefs(unc).json", [*REFS, *nothing])
    task = load_task(write_task(data, SOURCE | {"split": "val"}))
    report = check(task)
    assert report.ok
    assert report.without_object == 92
    assert "  of these, expressions for no object: 92\n" in report.text() + "\n"
    assert "no_target: true" in report.warnings["expressions for no object"].examples[0]
    allowed = load_task(write_task(data, SOURCE | {"split": "val"}, protocol={"no_target": True}))
    assert not check(allowed).warnings
    source = open_task(data)
    look(source, source.samples())
    values = instances()
    for item in values["annotations"]:
        item["segmentation"] = {"size": list(SHAPE), "counts": [SHAPE[0] * SHAPE[1]]}
    write_json(data / "instances.json", values)
    assert check(task).problems["empty masks"].count == 3
    source = open_task(data)
    with pytest.raises(UsageError, match="masks of 3 of 3 samples are empty"):
        look(source, source.samples())


def test_polygons_that_are_no_pixels_are_found_in_unions_as_well(data: Path) -> None:
    values = instances()
    for item in values["annotations"]:
        item["segmentation"] = [[0.125, 0.25, 0.5, 0.25, 0.5, 0.75]]
    write_json(data / "instances.json", values)
    write_json(data / "grefs(unc).json", [ref(0, [-1], "nothing"), ref(1, [10, 11], "both")])
    report = check(load_task(write_task(data, SOURCE | {"split": "val"})))
    assert report.problems["polygons that are not in pixels"].count == 2
    source = open_task(data)
    with pytest.raises(UsageError, match="own/1/0 has a polygon whose coordinates are all in 0..1"):
        look(source, source.samples())


def test_only_references_to_nothing_can_be_played(data: Path) -> None:
    write_json(data / "grefs(unc).json", [ref(n, [-1], "nothing") for n in range(5)])
    source = open_task(data)
    look(source, source.samples())


def test_an_image_of_another_size_is_refused_where_there_is_no_object(data: Path) -> None:
    save(data / "images" / "1.png", noise(5, 40))
    write_json(data / "grefs(unc).json", [ref(0, [-1], "nothing")])
    source = open_task(data)
    with pytest.raises(UsageError, match="12 x 16 and an image of 5 x 40"):
        look(source, source.samples())
    report = check(load_task(write_task(data, SOURCE | {"split": "val"})))
    assert report.problems["size mismatches"].count == 1
