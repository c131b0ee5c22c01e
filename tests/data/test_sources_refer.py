from __future__ import annotations

import itertools
import json
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.tasks import load_task
from tests.support.data_files import blob, noise, save, write_json, write_task

SOURCE = {"kind": "refer", "refs": "refs.json", "instances": "instances.json", "images": "images", "split": "val"}
SHAPE = (12, 16)
SQUARE = np.zeros(SHAPE, bool)
SQUARE[2:6, 3:9] = True
CROWD, OBJECT = blob(*SHAPE, 1), blob(*SHAPE, 2)


def runs(mask: np.ndarray) -> list[int]:
    flat = np.concatenate(([False], mask.T.reshape(-1), [not mask[-1, -1]]))
    return np.diff(np.flatnonzero(np.diff(flat.astype(int))), prepend=0).tolist()


def instances() -> dict:
    compressed = coco.encode(np.asfortranarray(OBJECT.astype(np.uint8)))
    segmentations = {
        10: [[3, 2, 9, 2, 9, 6, 3, 6]],
        11: [[0, 0, 4, 0, 4, 4, 0, 4], [8, 8, 12, 8, 12, 12, 8, 12]],
        12: {"size": list(SHAPE), "counts": runs(CROWD)},
        13: {"size": list(SHAPE), "counts": compressed["counts"].decode()},
    }
    return {
        "images": [{"id": n, "file_name": f"COCO_{n}.png", "height": SHAPE[0], "width": SHAPE[1]} for n in (1, 2)],
        "annotations": [
            {"id": n, "image_id": 1 if n < 12 else 2, "iscrowd": int(n == 12), "segmentation": value}
            for n, value in segmentations.items()
        ],
        "categories": [],
    }


def ref(number: int, annotation: int, sentences: list[str], split: str = "val") -> dict:
    return {
        "ref_id": number,
        "ann_id": annotation,
        "image_id": 1 if annotation < 12 else 2,
        "split": split,
        "file_name": f"COCO_{number}_{annotation}.jpg",
        "sentences": [{"sent": text, "raw": text.upper(), "sent_id": 0, "tokens": []} for text in sentences],
    }


REFS = [
    ref(0, 12, ["the crowd", "the crowd"]),
    ref(1, 10, ["square"]),
    ref(2, 13, ["thing", "other thing", "third"]),
    ref(3, 11, ["two squares"]),
    ref(4, 11, ["hidden"], "train"),
]


@pytest.fixture
def data(tmp_path) -> Path:
    write_json(tmp_path / "instances.json", instances())
    write_json(tmp_path / "refs.json", REFS)
    for n in (1, 2):
        save(tmp_path / "images" / f"COCO_{n}.png", noise(*SHAPE, n))
    return tmp_path


def open_task(data: Path, **source):
    return load_task(write_task(data, SOURCE | source)).source()


def test_every_sentence_is_a_sample_in_the_order_of_images(data):
    source = open_task(data)
    assert [(s.id, s.image, s.image_id, s.expression, s.ref_id, dict(s.tags)) for s in source.samples()] == [
        ("own/0/0", "COCO_2.png", "2", "the crowd", "0", {}),
        ("own/0/1", "COCO_2.png", "2", "the crowd", "0", {}),
        ("own/2/0", "COCO_2.png", "2", "thing", "2", {}),
        ("own/2/1", "COCO_2.png", "2", "other thing", "2", {}),
        ("own/2/2", "COCO_2.png", "2", "third", "2", {}),
        ("own/1/0", "COCO_1.png", "1", "square", "1", {}),
        ("own/3/0", "COCO_1.png", "1", "two squares", "3", {}),
    ]
    both = np.zeros(SHAPE, bool)
    both[0:4, 0:4] = both[8:12, 8:12] = True
    expected = {"0": CROWD, "1": SQUARE, "2": OBJECT, "3": both}
    for sample in source.samples():
        truth = source.truth(sample)
        np.testing.assert_array_equal(truth.mask, expected[sample.ref_id])
        assert truth.ignore is None
        np.testing.assert_array_equal(source.image(sample), noise(*SHAPE, int(sample.image_id)))


def test_pickle_and_json_are_the_same(data):
    (data / "refs(unc).p").write_bytes(pickle.dumps(REFS, 2))
    first, second = open_task(data), open_task(data, refs="refs(unc).p")
    assert [s.id for s in first.samples()] == [s.id for s in second.samples()]
    assert first.digest() == second.digest()


def test_raw_sentences(data):
    assert open_task(data, sentence="raw").samples()[0].expression == "THE CROWD"


def test_digest_depends_on_what_defines_the_samples(data):
    def digest(change=None, *, refs=REFS):
        value = instances()
        if change:
            change(value)
        write_json(data / "instances.json", value)
        write_json(data / "refs.json", refs)
        return open_task(data).digest()

    def other_polygon(value):
        value["annotations"][0]["segmentation"][0][0] = 4

    def other_annotation_of_no_reference(value):
        value["annotations"].append({"id": 99, "image_id": 1, "segmentation": [[0, 0, 1, 0, 1, 1]]})

    base = digest()
    assert digest(other_annotation_of_no_reference) == base
    changed = [
        digest(other_polygon),
        digest(refs=[ref(0, 12, ["a crowd", "the crowd"]), *REFS[1:]]),
        digest(refs=[ref(9, 12, ["the crowd", "the crowd"]), *REFS[1:]]),
        digest(refs=REFS[1:]),
    ]
    assert len({base, *changed}) == 5
    assert len(base) == 64


def test_describe_names_no_path_of_this_machine(data):
    about = open_task(data).describe()
    assert about == {
        "kind": "refer",
        "refs": "refs.json",
        "instances": "instances.json",
        "images": "images",
        "split": "val",
        "sentence": "sent",
        "expression_from": "sent",
        "missing": "error",
        "skip": "",
        "resize": "refuse",
        "orientation": "applied",
        "max_pixels": 25_000_000,
        "allow_empty": False,
        "skipped": {},
    }


def test_missing_image(data):
    (data / "images" / "COCO_2.png").unlink()
    source = open_task(data)
    assert len(source.samples()) == 7
    for read in (source.image, source.truth):
        with pytest.raises(UsageError, match=r"The sample own/0/0 needs images/COCO_2.png"):
            read(source.samples()[0])
    skipping = open_task(data, missing="skip")
    assert [s.id for s in skipping.samples()] == ["own/1/0", "own/3/0"]
    assert skipping.describe()["skipped"] == {"missing": 5}
    assert skipping.digest() != source.digest()
    (data / "images" / "COCO_1.png").unlink()
    with pytest.raises(UsageError, match="has no samples .* all are left out .7 missing"):
        open_task(data, missing="skip")


def test_unknown_split_lists_those_there_are(data):
    with pytest.raises(UsageError, match=r"no references of the split 'testA'; its splits are: train, val"):
        open_task(data, split="testA")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda refs, inst: refs[0].pop("ann_id"), "ann_id"),
        (lambda refs, inst: refs[0].update(ann_id=77), "names the annotation 77"),
        (lambda refs, inst: refs[0].update(ann_id=10), "names the annotation 10"),
        (lambda refs, inst: refs[0].update(image_id=5), "names the image 5"),
        (lambda refs, inst: refs[0].update(sentences="x"), "sentences"),
        (lambda refs, inst: refs[0]["sentences"][0].pop("sent"), "sent"),
        (lambda refs, inst: refs.append(3), "split"),
        (lambda refs, inst: inst.pop("images"), "images"),
        (lambda refs, inst: inst["images"][0].update(height="12"), "height"),
        (lambda refs, inst: inst["images"][0].update(file_name="../secret.png"), "not inside the image folder"),
        (lambda refs, inst: inst["images"][0].update(file_name="/etc/secret.png"), "not inside the image folder"),
        (lambda refs, inst: inst["annotations"][2].pop("segmentation"), "no segmentation"),
        (lambda refs, inst: inst["annotations"].append("text"), "annotation"),
    ],
    ids=range(13),
)
def test_damaged_annotations_are_one_sentence(data, change, message):
    refs, inst = json.loads(json.dumps(REFS)), instances()
    change(refs, inst)
    write_json(data / "refs.json", refs)
    write_json(data / "instances.json", inst)
    with pytest.raises(UsageError, match=message):
        open_task(data)


@pytest.mark.parametrize(("name", "content"), [("refs.json", "[{"), ("refs.json", "{}"), ("refs.p", "\x80\x02]q")])
def test_damaged_files_are_one_sentence(data, name, content):
    (data / name).write_text(content, encoding="latin1")
    with pytest.raises(UsageError, match=name):
        open_task(data, refs=name)


@pytest.mark.parametrize("name", ["refs.json", "instances.json"])
def test_missing_files_are_one_sentence(data, name):
    path = write_task(data, SOURCE, how_to_get="get it\n  from the shop.")
    (data / name).unlink()
    with pytest.raises(UsageError, match=f"The task own needs {name}, .*: get it from the shop.$"):
        load_task(path).source()


def test_turned_image_with_an_unturned_mask(data):
    save(data / "images" / "COCO_1.png", noise(*SHAPE), orientation=6)
    source = open_task(data)
    sample = source.samples()[-1]
    assert source.image(sample).shape == (16, 12, 3)
    with pytest.raises(UsageError, match=r"own/3/0 has a mask of 12 x 16 and an image of 16 x 12"):
        source.truth(sample)


def independent(folder: Path, split: str) -> list[tuple[int, int, str, np.ndarray]]:
    """Read reference, image, sentence and mask with json, pickle and pycocotools alone."""
    (refs_file,) = folder.glob("refs*.p")
    values = json.loads((folder / "instances.json").read_text())
    annotations = {item["id"]: item for item in values["annotations"]}
    sizes = {item["id"]: (item["height"], item["width"]) for item in values["images"]}
    found = []
    for item in pickle.loads(refs_file.read_bytes(), encoding="latin1"):
        if item["split"] == split:
            rles = coco.frPyObjects(annotations[item["ann_id"]]["segmentation"], *sizes[item["image_id"]])
            mask = coco.decode(coco.merge(rles)).astype(bool)
            found += [(item["ref_id"], item["image_id"], s["sent"], mask) for s in item["sentences"]]
    return found


@pytest.mark.shared
@pytest.mark.parametrize(
    ("task", "folder", "split", "count"),
    [
        ("res_refcoco_testB", "refcoco", "testB", 8),
        ("res_refcocoplus_testB", "refcoco+", "testB", 6),
        ("res_refcocog_val", "refcocog", "val", 4),
    ],
)
def test_real_layout(shared, task, folder, split, count):
    root = shared / "realdata"
    source = load_task(task).source(root)
    expected = independent(root / "refer_seg" / folder, split)
    assert len(source.samples()) == len(expected) == count
    for sample, (ref_id, image_id, sentence, mask) in zip(source.samples(), expected, strict=True):
        assert (sample.ref_id, sample.image_id, sample.expression) == (str(ref_id), str(image_id), sentence)
        assert sample.id.startswith(f"{task}/{ref_id}/")
        assert sample.image == f"COCO_train2014_{image_id:012d}.jpg"
        np.testing.assert_array_equal(source.truth(sample).mask, mask)
        assert source.image(sample).shape[:2] == mask.shape


@pytest.mark.shared
@pytest.mark.parametrize(("scene", "images"), [("DiningRoom", 5), ("Kitchen", 1), ("LivingRoom", 1)])
def test_refcoco_3ds_with_most_images_missing(shared, tmp_path, scene, images):
    folder = f"RefCOCO-3DS/{scene}_Examples"
    refs = json.loads((shared / "realdata" / folder / "refs.json").read_text())
    split = Counter(item["split"] for item in refs).most_common(1)[0][0]
    source = {
        name: f"{folder}/{file}"
        for name, file in [("refs", "refs.json"), ("instances", "instances.json"), ("images", "images")]
    }
    task = load_task(write_task(tmp_path, {"kind": "refer", "split": split, **source}))
    full = task.source(shared / "realdata")
    there = {path.name for path in (shared / "realdata" / folder / "images").iterdir()}
    some = task.source(shared / "realdata", overrides={"missing": "skip"})
    assert len(there) == images
    sentences = sum(len(item["sentences"]) for item in refs if item["split"] == split)
    assert len(full.samples()) == sentences
    assert [s.id for s in some.samples()] == [s.id for s in full.samples() if s.image in there]
    assert sum(some.describe()["skipped"].values()) == sentences - len(some.samples())
    areas = {
        str(item["id"]): item["area"]
        for item in json.loads((shared / "realdata" / folder / "instances.json").read_text())["annotations"]
    }
    sample = some.samples()[0]
    assert some.image(sample).shape == (480, 640, 3)
    ann = next(str(item["ann_id"]) for item in refs if str(item["ref_id"]) == sample.ref_id)
    assert some.truth(sample).mask.sum() == pytest.approx(areas[ann], rel=0.1)


SPLITS = {
    "res_refcoco_val": "refcoco_val",
    "res_refcoco_testA": "refcoco_testA",
    "res_refcoco_testB": "refcoco_testB",
    "res_refcocoplus_val": "refcoco+_val",
    "res_refcocoplus_testA": "refcoco+_testA",
    "res_refcocoplus_testB": "refcoco+_testB",
    "res_refcocog_val": "refcocog_val",
    "res_refcocog_test": "refcocog_test",
}


@pytest.mark.slow
@pytest.mark.shared
def test_published_counts(shared):
    """The counts in our files are those of the per-sentence evaluation files."""
    total = 0
    for task, file in SPLITS.items():
        rows = json.loads((shared / "realdata" / "refcoco_eval_json" / f"{file}.json").read_text())
        expected = load_task(task).expected
        assert expected.expressions == len(rows)
        assert expected.refs == len({row["img_id"] for row in rows})
        assert expected.images == len({row["img_id"].rpartition("_")[0] for row in rows})
        total += len(rows)
    assert total == 57_457


@pytest.mark.shared
def test_a_whole_real_split(shared, tmp_path):
    """refCOCOg val in the original layout, made from its real sentences; boxes stand in for the polygons."""
    rows = json.loads((shared / "realdata" / "refcoco_eval_json" / "refcocog_val.json").read_text())
    refs: dict[str, dict] = {}
    images: dict[int, dict] = {}
    annotations = {}
    for row in rows:
        name, _, suffix = row["img_id"].rpartition("_")
        image, annotation = int(name.rpartition("_")[2]), int(suffix)
        images[image] = {"id": image, "file_name": f"{name}.jpg", "height": row["height"], "width": row["width"]}
        x, y, w, h = row["bbox"]
        polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
        annotations[annotation] = {"id": annotation, "image_id": image, "segmentation": [polygon]}
        item = refs.setdefault(row["img_id"], ref(len(refs), annotation, []) | {"image_id": image})
        item["sentences"].append({"sent": row["sents"]})
    folder = tmp_path / "refer_seg" / "refcocog"
    write_json(folder / "instances.json", {"images": [*images.values()], "annotations": [*annotations.values()]})
    (folder / "refs(umd).p").write_bytes(pickle.dumps([*refs.values()], 2))
    (tmp_path / "refer_seg" / "images" / "mscoco" / "images" / "train2014").mkdir(parents=True)
    task = load_task("res_refcocog_val")
    samples = task.source(tmp_path).samples()
    assert len(samples) == task.expected.expressions
    assert len({s.image_id for s in samples}) == task.expected.images
    assert len({s.ref_id for s in samples}) == task.expected.refs
    assert len({s.id for s in samples}) == len(samples)
    assert Counter(s.expression for s in samples) == Counter(row["sents"] for row in rows)
    changes = sum(a.image_id != b.image_id for a, b in itertools.pairwise(samples))
    assert changes == task.expected.images - 1


def test_references_of_one_id(data):
    write_json(data / "refs.json", [*REFS, ref(1, 11, ["other"])])
    with pytest.raises(
        UsageError, match="references of refs.json in the split val have the id 1: number 2 and number 5"
    ):
        open_task(data)
    write_json(data / "refs.json", [*REFS, ref(1, 11, ["other"], "test")])
    assert len(open_task(data).samples()) == 7


@pytest.mark.parametrize(
    "change", [{"ann_id": -1, "no_target": True}, {"ann_id": -1}, {"ann_id": [10, 11]}, {"ann_id": [-1]}]
)
def test_grefcoco_is_named(data, change):
    write_json(data / "refs.json", [*REFS, ref(9, 10, ["nothing"]) | change])
    with pytest.raises(UsageError, match=r"refs.json is in the format of gRefCOCO.*kind: grefcoco"):
        open_task(data)


def test_pickles_that_other_tools_wrote(data):
    """numpy arrays in a reference, and a text pickle whose lines end with CR LF."""
    arrays = [item | {"box": np.arange(4.0), "tokens": np.array(["a", "b"])} for item in REFS]
    for content in (pickle.dumps(arrays), pickle.dumps(REFS, 0).replace(b"\n", b"\r\n")):
        (data / "refs.p").write_bytes(content)
        assert open_task(data, refs="refs.p").digest() == open_task(data).digest()
