"""What is looked at before a run, what is said of it, and what a sample's digests follow."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import valid
from hlmat_bench.data.check import LOOKED_INTO, check, look
from hlmat_bench.data.layouts.problems import valid_name
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


def test_whole_data_raises_nothing(data):
    see(open_task(data))
    look(load_task("hres_synth").source(overrides={"count": 3}), ())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: (data / "im" / "d.png").unlink(), r"own/d/0 needs im/d\.png"),
        (lambda data: (data / "gt" / "d.png").unlink(), r"own/d/0 needs gt/d\.png"),
        (lambda data: (data / "gt" / "d.png").write_text("<html>"), r"own/d/0 .*gt/d\.png cannot be read"),
        (lambda data: damage(data / "gt" / "d.png"), r"own/d/0 .*gt/d\.png cannot be read"),
        (
            lambda data: save(data / "gt" / "d.png", blob(11, 12)),
            r"own/d/0 has a mask of 11 x 12 .*data\.resize=nearest",
        ),
        (lambda data: save(data / "gt" / "d.png", blob(12, 10)), r"own/d/0 has a mask of 12 x 10 .*orientation"),
    ],
    ids=["no image", "no mask", "html", "cut", "size", "turned"],
)
def test_what_cannot_be_played_is_found_before_a_run(data, spoil, message):
    spoil(data)
    source = open_task(data)
    with pytest.raises(UsageError, match=message):
        see(source)
    look(source, source.samples()[:3])  # The samples that are played, and no others.


def test_damage_beyond_a_header_is_found_in_so_many(tmp_path):
    """Of more than the stated number, some are decoded, spread over all; headers are read of all."""
    save(tmp_path / "im" / "a.png", noise(2, 3))
    masks = [[[0, 0, 1 + n % 2, 0, 1 + n % 2, 1, 0, 1]] for n in range(2 * LOOKED_INTO)]
    annotations = {
        "images": [{"id": 1, "file_name": "a.png", "height": 2, "width": 3}],
        "annotations": [
            {"id": n, "image_id": 1, "caption": "x", "area": 1 + n / 1e6, "segmentation": mask}
            for n, mask in enumerate(masks)
        ],
    }
    annotations["annotations"][2]["segmentation"] = "no mask"
    write_json(tmp_path / "a.json", annotations)
    coco = load_task(write_task(tmp_path, {"kind": "coco", "annotations": "a.json", "images": "im"})).source()
    with pytest.raises(UsageError, match="own/2/0"):
        see(coco)
    annotations["annotations"][2]["segmentation"] = masks[2]
    annotations["annotations"][3]["segmentation"] = "no mask"
    write_json(tmp_path / "a.json", annotations)
    see(load_task(write_task(tmp_path, {"kind": "coco", "annotations": "a.json", "images": "im"})).source())


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize(
    ("low", "high", "threshold", "what"),
    [(0, 1, 128, "empty"), (0, 128, 128, "empty"), (200, 255, 128, "full"), (3, 9, 20, "empty")],
)
def test_masks_that_a_threshold_does_not_divide(data, count, low, high, threshold, what):
    for n, name in enumerate(NAMES[:count]):
        save(data / "gt" / f"{name}.png", np.where(blob(10, 12, n), high, low).astype(np.uint8))
    source = open_task(data, threshold=threshold)
    with pytest.raises(UsageError, match=rf"are {what}, .*holds {low} and {high}; --set data\.threshold={low} "):
        look(source, source.samples()[:count])
    for settings in ({"threshold": low}, {"threshold": threshold, "allow_empty": True}):
        source = open_task(data, **settings)
        look(source, source.samples()[:count])


def test_blank_masks_are_refused_where_nearly_all_are_blank(data):
    for name in NAMES[:3]:
        save(data / "gt" / f"{name}.png", np.zeros((10, 12), bool))
    see(open_task(data))  # 3 of 4.
    save(data / "gt" / "d.png", np.zeros((10, 12), bool))
    with pytest.raises(UsageError, match="masks of 4 of 4 samples are empty.*correct the masks"):
        see(open_task(data))
    see(open_task(data, allow_empty=True))
    source = open_task(data)
    look(source, source.samples()[:2])  # So few may be blank by chance.


def test_float_masks_name_the_threshold(data):
    from PIL import Image

    for n, name in enumerate(NAMES):
        (data / "gt" / f"{name}.png").unlink()
        Image.fromarray(blob(10, 12, n).astype(np.float32)).save(data / "gt" / f"{name}.tif")
    with pytest.raises(UsageError, match=r"holds 0 and 1; --set data\.threshold=0 "):
        see(open_task(data, mask_suffix=".tif"))
    source = open_task(data, mask_suffix=".tif", threshold=0)
    see(source)
    np.testing.assert_array_equal(source.truth(source.samples()[1]).mask, blob(10, 12, 1))


def test_digests_follow_the_files(data):
    source = open_task(data)
    first, second = source.samples()[:2]
    digests = source.digests(first)
    assert digests["image"] == hashlib.sha256((data / "im" / "a.png").read_bytes()).hexdigest()
    assert digests == source.digests(first) == open_task(data).digests(first)
    assert source.digests(second) != digests
    for other in ({"threshold": 1}, {"resize": "crop"}, {"orientation": "stored"}):
        opened = open_task(data, **other)
        changed = opened.digests(opened.samples()[0])
        assert (changed["image"], changed["truth"] != digests["truth"]) == (digests["image"], True)
    save(data / "im" / "a.png", noise(10, 12, 9))
    changed = source.digests(first)
    assert (changed["image"] != digests["image"], changed["truth"]) == (True, digests["truth"])
    save(data / "gt" / "a.png", blob(10, 12, 9))
    assert source.digests(first)["truth"] != digests["truth"]
    (data / "gt" / "a.png").unlink()
    with pytest.raises(UsageError, match="own/a/0 needs gt/a.png"):
        source.digests(first)


def test_digests_of_drawn_samples():
    source = load_task("hres_synth").source(seed=2, overrides={"count": 12})
    first = next(s for s in source.samples() if s.image == source.samples()[0].image)
    digests = {s.id: source.digests(s) for s in source.samples()}
    assert len({d["truth"] for d in digests.values()}) == len(digests) == 12
    assert len({d["image"] for d in digests.values()}) == len({s.image for s in source.samples()})
    other = load_task("hres_synth").source(seed=3, overrides={"count": 1})
    assert other.digests(other.samples()[0]) != digests[first.id]


@given(st.text(st.characters(exclude_categories=()), max_size=20))
def test_any_text_becomes_valid_unicode(text):
    for change in (valid, valid_name):
        changed = change(text)
        changed.encode()
        assert change(changed) == changed
        if not any("\ud800" <= letter <= "\udfff" for letter in text):
            assert changed == text


def test_half_a_surrogate_pair_becomes_a_replacement(tmp_path):
    save(tmp_path / "images" / "a.png", noise(6, 7))
    images = [{"id": 1, "file_name": "a.png", "height": 6, "width": 7}]
    captions = ["cup", "\ud83d cup", ["\ude00", "\ud83d\ude00"]]
    annotations = [
        {"id": n, "image_id": 1, "segmentation": [[1, 1, 4, 1, 4, 4, 1, 4]], "caption": caption}
        for n, caption in enumerate(captions)
    ]
    write_json(tmp_path / "a.json", {"images": images, "annotations": annotations})
    source = load_task(write_task(tmp_path, {"kind": "coco", "annotations": "a.json", "images": "images"})).source()
    assert [s.expression for s in source.samples()] == ["cup", "\ufffd cup", "\ufffd", "\U0001f600"]


def test_names_that_are_no_utf_8(tmp_path):
    """Two names that differ in such a byte alone stay two samples, and both files are found."""
    try:
        for n, byte in enumerate((b"\xe9", b"\xe8")):
            for folder in ("im", "gt"):
                save(tmp_path / folder / "x.png", noise(10, 12, n) if folder == "im" else blob(10, 12, n))
                (tmp_path / folder / "x.png").rename(
                    tmp_path / folder / (b"caf" + byte + b".png").decode("utf-8", "surrogateescape")
                )
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    source = open_task(tmp_path)
    see(source)
    ids = [s.id for s in source.samples()]
    assert len(set(ids)) == 2
    for sample in source.samples():
        json.dumps([sample.id, sample.image, sample.ref_id], ensure_ascii=False).encode()
        assert source.truth(sample).mask.shape == (10, 12)
    path = next((tmp_path / "gt").iterdir())
    path.unlink()
    with pytest.raises(UsageError, match="needs gt/caf") as caught:
        see(open_task(tmp_path))
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("colour", "said"),
    [
        ((0, 255, 0), r"the other channels of its file hold 0 and 255; --set data\.channel=any takes"),
        ((0, 0, 90), r"hold 0 and 90; --set data\.channel=any --set data\.threshold=0 takes"),
        ((128, 0, 0), r"its file holds 0 and 128; --set data\.threshold=0 takes"),  # VOC's first class.
    ],
)
def test_masks_in_colour_name_the_settings(data, colour, said):
    for n, name in enumerate(NAMES):
        save(data / "gt" / f"{name}.png", blob(10, 12, n)[..., None] * np.array(colour, np.uint8))
    source = open_task(data)
    for played in (source.samples(), source.samples()[:1]):
        with pytest.raises(UsageError, match=said):
            look(source, played)
    report = check(load_task(write_task(data, FOLDERS)))
    assert report.problems["empty masks"].count == 4
    source = open_task(data, channel="any", threshold=0)
    see(source)
    np.testing.assert_array_equal(source.truth(source.samples()[0]).mask, blob(10, 12, 0))


def test_soft_masks_of_0_to_1_are_cut_in_the_middle(data):
    from PIL import Image

    soft = np.random.default_rng(0).random((10, 12)).astype(np.float32)
    for name in NAMES:
        (data / "gt" / f"{name}.png").unlink()
        Image.fromarray(soft).save(data / "gt" / f"{name}.tif")
    with pytest.raises(UsageError, match=r"--set data\.threshold=0\.5 takes"):
        see(open_task(data, mask_suffix=".tif"))
    source = open_task(data, mask_suffix=".tif", threshold=0.5)
    np.testing.assert_array_equal(source.truth(source.samples()[0]).mask, soft > 0.5)


@pytest.mark.parametrize("name", ["A.PNG", "a.jpg", "a.PNG"])
def test_a_missing_file_of_nearly_that_name_is_named(data, name):
    (data / "im" / "a.png").rename(data / "im" / name)
    (data / "expressions.csv").write_text("image,mask,expression\na.png,a.png,x\n")
    source = load_task(write_task(data, {"kind": "table", "images": "im", "masks": "gt"})).source()
    with pytest.raises(UsageError, match=rf"own/a/0 needs im/a\.png, .*there is {name}, so correct the name"):
        see(source)


def test_a_segmentation_nested_beyond_all_bounds(tmp_path):
    save(tmp_path / "images" / "a.png", noise(6, 7))
    text = '{"images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 7}], "annotations": [{"id": 1, '
    for depth in (50, 500, 900, 970, 990, 5000, 200_000):
        (tmp_path / "a.json").write_text(
            text + f'"image_id": 1, "caption": "x", "segmentation": {"[" * depth + "]" * depth}}}]}}'
        )
        with pytest.raises(UsageError):
            see(load_task(write_task(tmp_path, {"kind": "coco", "annotations": "a.json", "images": "images"})).source())


def test_images_a_folder_deeper_are_named(data):
    (data / "im" / "sub").mkdir()
    (data / "im" / "a.png").rename(data / "im" / "sub" / "a.png")
    with pytest.raises(UsageError, match=r"own/a/0 needs im/a\.png, .*there is sub/a\.png"):
        see(open_task(data))


def test_folders_are_found_however_their_letters_are_composed(data):
    (data / "im").rename(data / "caf\u00e9")
    see(open_task(data, images="cafe\u0301"))
