from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.check import check
from hlmat_bench.data.tasks import load_task
from tests.support.data_files import blob, noise, save, write_task

VAL = {
    "DIS5K-VD": ("DIS5K/DIS-VD/im", "DIS5K/DIS-VD/gt"),
    "ThinObject5k-TE": (
        "thin_object_detection/ThinObject5K/images_test",
        "thin_object_detection/ThinObject5K/masks_test",
    ),
    "COIFT": ("thin_object_detection/COIFT/images", "thin_object_detection/COIFT/masks"),
    "HRSOD": ("thin_object_detection/HRSOD/images", "thin_object_detection/HRSOD/masks_max255"),
}


def soft(seed: int) -> np.ndarray:
    """Draw a coloured mask with values of 0, 1, 100 and 255 in its channels."""
    return np.random.default_rng(seed).choice(np.array([0, 0, 0, 1, 100, 255], np.uint8), (20, 30, 3))


@pytest.fixture
def hqseg(tmp_path: Path) -> Path:
    """Write two images into each folder of the validation set; their names are the same in all of them."""
    for part, (images, masks) in enumerate(VAL.values()):
        for n, name in enumerate(("b#x", "a")):
            save(tmp_path / images / f"{name}.jpg", noise(20, 30, n + part))
            save(tmp_path / masks / f"{name}.png", soft(10 * part + n))
    return tmp_path


def test_hqseg44k_is_read_as_segnext_reads_it(hqseg: Path) -> None:
    source = load_task("hqseg44k_val").source(hqseg)
    samples = source.samples()
    assert [(sample.id, dict(sample.tags)) for sample in samples] == [
        (f"hqseg44k_val/{part}/{name}/0", {"set": part}) for part in VAL for name in ("a", "b#x")
    ]
    assert len({sample.image_id for sample in samples}) == len({sample.ref_id for sample in samples}) == 8
    for sample in samples:
        _, part, name, _ = sample.id.split("/")
        images, masks = VAL[part]
        # What hqseg44k.py does: the largest channel of what OpenCV reads, and whatever is above 0.
        mask = np.max(cv2.imread(str(hqseg / masks / f"{name}.png")).astype(np.int32), axis=2) > 0
        np.testing.assert_array_equal(source.truth(sample).mask, mask)
        image = cv2.cvtColor(cv2.imread(str(hqseg / images / f"{name}.jpg")), cv2.COLOR_BGR2RGB)
        assert source.image(sample).shape == image.shape
    assert source.describe()["sets"]["HRSOD"] == {"images": VAL["HRSOD"][0], "masks": VAL["HRSOD"][1]}


def test_scores_are_sliced_by_part(hqseg: Path, tmp_path: Path) -> None:
    import hlmat_bench

    run = hlmat_bench.run(
        model="oracle", task="hqseg44k_val", segmenter="graphcut", budget=1, data_root=hqseg, out=tmp_path / "run"
    )
    assert set(run.scores()["slices"]["set"]) == set(VAL)


def test_images_and_masks_side_by_side_and_files_too_many(tmp_path: Path) -> None:
    sets = load_task("hqseg44k_train").sources[0].needed()
    assert len(sets) == 9  # five parts have one folder
    for folder in sets:
        image = not folder.endswith(("gt", "masks_train"))
        for n, name in enumerate(("a", "b")):
            if image:
                save(tmp_path / folder / f"{name}.jpg", noise(8, 9, n))
            if not image or folder.startswith("cascade_psp"):
                save(tmp_path / folder / f"{name}.png", blob(8, 9, n))
    save(tmp_path / "cascade_psp" / "fss_all" / "more.png", blob(8, 9))
    (tmp_path / "cascade_psp" / "fss_all" / "notes.txt").write_text("")
    source = load_task("hqseg44k_train").source(tmp_path)
    assert len(source.samples()) == 14
    assert source.describe()["skipped"] == {"missing": 1}
    assert check(load_task("hqseg44k_train"), tmp_path).counts["expressions"] == 14


def test_what_is_missing_of_a_part_is_named(hqseg: Path) -> None:
    for path in (hqseg / VAL["COIFT"][1]).iterdir():
        path.unlink()
    with pytest.raises(UsageError, match=r"COIFT/masks holds no mask that ends in .png; put the masks there\.$"):
        load_task("hqseg44k_val").source(hqseg)
    (hqseg / VAL["COIFT"][1]).rmdir()
    assert load_task("hqseg44k_val").missing(hqseg) == f"needs {VAL['COIFT'][1]} under {hqseg}"


@pytest.mark.parametrize(
    ("sets", "message"),
    [({}, "sets"), ({"a": {"images": "im"}}, "masks"), ({"a": "im"}, "sets"), (["im"], "sets")],
)
def test_wrong_sets_are_one_sentence(tmp_path: Path, sets: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_task(write_task(tmp_path, {"kind": "mask_folders", "sets": sets, "expression": "it"}))
    assert "\n" not in str(caught.value)


def test_a_tag_of_the_name_and_the_part(tmp_path: Path) -> None:
    for part in ("one", "two"):
        save(tmp_path / part / "dog_1.jpg", noise(6, 7))
        Image.fromarray(blob(6, 7)).save(tmp_path / part / "dog_1.png")
    pairs = {part: {"images": part, "masks": part} for part in ("one", "two")}
    pattern = r"^(?P<expression>(?P<category>[a-z]+))_"
    task = write_task(
        tmp_path,
        {"kind": "mask_folders", "sets": pairs, "pattern": pattern, "image_suffix": ".jpg", "threshold": 0},
    )
    found = [(sample.expression, dict(sample.tags)) for sample in load_task(task).source().samples()]
    assert found == [("dog", {"category": "dog", "set": "one"}), ("dog", {"category": "dog", "set": "two"})]
