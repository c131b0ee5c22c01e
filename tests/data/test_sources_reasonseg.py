"""ReasonSeg: labels, the order of painting, the outline, queries, and damaged files.

The masks drawn as text were made by hand, and those of rectangles are computed without OpenCV. The reader of LISA
(utils/data_processing.py at 3cb2d43) gave the same masks, and the digests at the end are of its masks.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.check import check, look
from hlmat_bench.data.layouts.file_source import FileSource
from hlmat_bench.data.layouts.reasonseg import Painting
from hlmat_bench.data.tasks import load_task
from tests.support.data_files import noise, save, write_task

SHAPE = (6, 8)
BOX = [[1, 1], [4, 1], [4, 3], [1, 3]]


def shape(label: str, *points: list[float]) -> dict[str, Any]:
    return {"label": label, "points": [*points]}


def rectangle(label: str, x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
    return shape(label, [x0, y0], [x1, y0], [x1, y1], [x0, y1])


def record(shapes: list[dict[str, Any]], *texts: str, sentence: bool = False) -> dict[str, Any]:
    return {"text": [*texts] or ["the thing"], "is_sentence": sentence, "shapes": shapes}


def put(folder: Path, stem: str, value: Any, encoding: str = "utf-8") -> None:
    save(folder / f"{stem}.jpg", noise(*SHAPE))
    (folder / f"{stem}.json").write_bytes(json.dumps(value, ensure_ascii=False).encode(encoding))


def opened(folder: Path, **source: Any) -> FileSource:
    found = load_task(write_task(folder, {"kind": "reasonseg", "folder": "val"} | source)).source()
    assert isinstance(found, FileSource)
    return found


def painted(shapes: list[dict[str, Any]], size: tuple[int, int] = SHAPE) -> np.ndarray:
    """Return the values that LISA's reader gives: 1 for the object, 255 for ignored pixels."""
    truth = Painting.pack(shapes, "x.json").truth(size, "The sample x")
    values = truth.mask.astype(np.uint8)
    if truth.ignore is not None:
        assert truth.ignore.any()
        assert not (truth.ignore & truth.mask).any()
        values[truth.ignore] = 255
    return values


def drawn(text: str) -> np.ndarray:
    """Read a mask that is drawn as text: # for the object, ~ for ignored pixels."""
    letters = {".": 0, "#": 1, "~": 255}
    return np.array([[letters[letter] for letter in line] for line in text.split()], dtype=np.uint8)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([rectangle("target", 1, 1, 4, 3)], "........ .####... .####... .####... ........ ........"),
        ([shape("target", [1, 1], [4, 4], [1, 4])], "........ .#...... .##..... .###.... .####... ........"),
        ([rectangle("x", 1.9, 0.9, 4.999, 2.1)], ".####... .####... .####... ........ ........ ........"),
        ([rectangle("x", -0.9, -0.9, 1, 1)], "##...... ##...... ........ ........ ........ ........"),
        ([rectangle("x", -5, -3, 2, 1)], "###..... ###..... ........ ........ ........ ........"),
        ([rectangle("x", 6, 4, 12, 9)], "........ ........ ........ ........ ......## ......##"),
        ([shape("x", [3, 2])], "........ ........ ...#.... ........ ........ ........"),
        ([shape("x", [2, 1], [5, 1])], "........ ..####.. ........ ........ ........ ........"),
        ([shape("x", [2, 1], [2, 4], [2, 2])], "........ ..#..... ..#..... ..#..... ..#..... ........"),
        ([], "........ ........ ........ ........ ........ ........"),
    ],
)
def test_a_polygon_covers_its_outline_and_fractions_are_cut_off(shapes: list[dict[str, Any]], expected: str) -> None:
    np.testing.assert_array_equal(painted(shapes), drawn(expected))


SMALL, LARGE = (2, 2, 3, 2), (1, 1, 4, 3)
IN_IGNORED = "........ .~~~~... .~##~... .~~~~... ........ ........"
IN_OBJECT = "........ .####... .#~~#... .####... ........ ........"
ONLY_LARGE = "........ .####... .####... .####... ........ ........"
ONLY_IGNORED = "........ .~~~~... .~~~~... .~~~~... ........ ........"


@pytest.mark.parametrize(
    ("large", "small", "expected"),
    [
        ("target", "ignore", IN_OBJECT),
        ("ignore", "target", IN_IGNORED),
        ("target", "Do not IGNORE me", IN_OBJECT),
        ("Ignored", "flags", IN_IGNORED),
        ("ignore", " flag", IN_IGNORED),
        ("target", "flag", ONLY_LARGE),
        ("target", "FlAg", ONLY_LARGE),
        ("ignore", "flag", ONLY_IGNORED),
        ("target", "", ONLY_LARGE),
    ],
)
def test_labels_and_small_shapes_on_top(large: str, small: str, expected: str) -> None:
    shapes = [rectangle(large, *LARGE), rectangle(small, *SMALL)]
    for order in (shapes, shapes[::-1]):
        np.testing.assert_array_equal(painted(order), drawn(expected))


def test_of_two_shapes_of_one_area_the_first_is_on_top() -> None:
    """So it is where LISA's sort is stable; with numpy's SIMD sorts, it depends on the processor."""
    one, other = rectangle("target", *LARGE), rectangle("ignore", *LARGE)
    np.testing.assert_array_equal(painted([one, other]), drawn(ONLY_LARGE))
    np.testing.assert_array_equal(painted([other, one]), drawn(ONLY_IGNORED))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["target", "ignore", "flag", "Ignore this", "thing"]),
            st.integers(-4, 11),
            st.integers(-4, 8),
            st.integers(0, 4),
            st.integers(0, 4),
        ),
        max_size=6,
    )
)
def test_rectangles_are_painted_as_slices(boxes: list[tuple[str, int, int, int, int]]) -> None:
    """A second implementation, without OpenCV: rectangles with both ends included, from the largest visible area on."""
    cut = []
    for label, x, y, width, height in boxes:
        rows = slice(max(y, 0), max(min(y + height, SHAPE[0] - 1) + 1, 0))
        columns = slice(max(x, 0), max(min(x + width, SHAPE[1] - 1) + 1, 0))
        if label != "flag":
            one = np.zeros(SHAPE, np.uint8)
            one[rows, columns] = 255 if "ignore" in label.lower() else 1
            cut.append(one)
    expected = np.zeros(SHAPE, np.uint8)
    for number in sorted(range(len(cut)), key=lambda number: (-np.count_nonzero(cut[number]), -number)):
        expected = np.where(cut[number], cut[number], expected)
    found = painted([rectangle(label, x, y, x + width, y + height) for label, x, y, width, height in boxes])
    np.testing.assert_array_equal(found, expected)


def test_texts_and_queries(tmp_path: Path) -> None:
    folder = tmp_path / "val"
    put(folder, "b", record([rectangle("target", 1, 1, 4, 3)], " the car ", "the vehicle"))
    put(folder, "a", record([rectangle("ignore", 0, 0, 1, 1)], "Which one drives?", sentence=True))
    source = opened(tmp_path)
    assert [(s.id, s.image, s.image_id, s.expression, s.ref_id, dict(s.tags)) for s in source.samples()] == [
        ("own/a/0", "a.jpg", "a.jpg", "Which one drives?", "a", {"query": "long"}),
        ("own/b/0", "b.jpg", "b.jpg", "the car", "b", {"query": "short"}),
        ("own/b/1", "b.jpg", "b.jpg", "the vehicle", "b", {"query": "short"}),
    ]
    first = opened(tmp_path, texts="first")
    assert [sample.id for sample in first.samples()] == ["own/a/0", "own/b/0"]
    truth = source.truth(source.samples()[1])
    np.testing.assert_array_equal(truth.mask, drawn(ONLY_LARGE) == 1)
    assert truth.ignore is None
    hidden = source.truth(source.samples()[0])
    assert not hidden.mask.any()
    assert hidden.ignore is not None
    assert hidden.ignore.sum() == 4


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_both_encodings(tmp_path: Path, encoding: str) -> None:
    put(tmp_path / "val", "a", record([rectangle("target", 1, 1, 4, 3)], "the café’s “door”"), encoding)
    assert opened(tmp_path).samples()[0].expression == "the café’s “door”"


@pytest.mark.parametrize("place", ["reason_seg/ReasonSeg", "ReasonSeg"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_the_tasks_find_their_folders_and_take_the_first_text(tmp_path: Path, place: str, split: str) -> None:
    put(tmp_path / place / split, "a", record([rectangle("target", 1, 1, 4, 3)], "one", "two"))
    source = load_task(f"res_reasonseg_{split}").source(tmp_path)
    assert [sample.expression for sample in source.samples()] == ["one"]
    look(source, source.samples())


def test_shapes_are_on_the_image_as_its_orientation_tag_shows_it(tmp_path: Path) -> None:
    """LISA reads images with cv2.imread, which turns them."""
    put(tmp_path / "val", "a", record([rectangle("target", 1, 1, 3, 6)]))
    save(tmp_path / "val" / "a.jpg", noise(*SHAPE), orientation=6)
    source = opened(tmp_path)
    sample = source.samples()[0]
    assert source.image(sample).shape[:2] == SHAPE[::-1]
    expected = np.zeros(SHAPE[::-1], bool)
    expected[1:7, 1:4] = True
    np.testing.assert_array_equal(source.truth(sample).mask, expected)


def test_a_change_of_any_shape_changes_the_digest(tmp_path: Path) -> None:
    digests = set()
    for shapes in ([["target", *LARGE]], [["ignore", *LARGE]], [["target", *LARGE], ["target", *SMALL]]):
        put(tmp_path / "val", "a", record([rectangle(*values) for values in shapes]))
        digests.add(opened(tmp_path).digest())
    assert len(digests) == 3


def test_an_image_without_an_object_is_a_problem(tmp_path: Path) -> None:
    put(tmp_path / "val", "a", record([rectangle("flag", *LARGE)]))
    assert check(load_task(write_task(tmp_path, {"kind": "reasonseg", "folder": "val"}))).problems["empty masks"]


GOOD = record([rectangle("target", *LARGE)])
TARGET = {"label": "target"}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([], "should have a string or a list of strings 'text'"),
        (GOOD | {"text": []}, "should have a string or a list of strings 'text'"),
        (GOOD | {"text": [3]}, "should have a string or a list of strings 'text'"),
        (GOOD | {"is_sentence": "no"}, "should have true or false 'is_sentence'"),
        (GOOD | {"shapes": None}, "should have a list 'shapes'"),
        (GOOD | {"shapes": [{"points": BOX}]}, "Shape 0 of .* should have a string 'label'"),
        (GOOD | {"shapes": [TARGET]}, "Shape 0 of .* should have a list 'points'"),
        (GOOD | {"shapes": [TARGET | {"points": []}]}, r"Shape 0 of .* should have a list of points \[x, y\]"),
        (GOOD | {"shapes": [TARGET | {"points": [1, 2, 3, 4]}]}, r"should have a list of points \[x, y\]"),
        (GOOD | {"shapes": [TARGET | {"points": [[1, 2, 3]]}]}, r"should have a list of points \[x, y\]"),
        (GOOD | {"shapes": [TARGET | {"points": [["1", 2]]}]}, r"should have a list of points \[x, y\]"),
        (GOOD | {"shapes": [TARGET | {"points": [[True, 2]]}]}, r"should have a list of points \[x, y\]"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, value: Any, sentence: str) -> None:
    put(tmp_path / "val", "a", value)
    with pytest.raises(UsageError, match=sentence) as caught:
        opened(tmp_path)
    assert "a.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "points",
    [
        [[1, 2], [10**12, 3]],
        [[1, 2], [float("nan"), 3]],
        [[1, float("-inf")]],
    ],
)
def test_points_far_outside_the_image_are_found_before_a_run(tmp_path: Path, points: list[Any]) -> None:
    put(tmp_path / "val", "a", record([shape("target", *points)]))
    put(tmp_path / "val", "b", GOOD)
    source = opened(tmp_path)
    with pytest.raises(UsageError, match="own/a/0 has a polygon far outside its image"):
        look(source, source.samples())
    assert [sample.id for sample in opened(tmp_path, skip="unreadable").samples()] == ["own/b/0"]


def test_files_without_their_partner_are_named(tmp_path: Path) -> None:
    put(tmp_path / "val", "a", GOOD)
    put(tmp_path / "val", "b", GOOD)
    (tmp_path / "val" / "._a.json").write_bytes(b"\0")
    (tmp_path / "val" / "a.jpg").unlink()
    source = opened(tmp_path)
    with pytest.raises(UsageError, match=r"The sample own/a/0 needs val/a.jpg"):
        look(source, source.samples())
    (tmp_path / "val" / "b.json").unlink()
    with pytest.raises(UsageError, match=r"b.jpg has no annotation file b.json; get it, or remove the image"):
        opened(tmp_path)
    put(tmp_path / "val", "a", GOOD)
    assert [sample.id for sample in opened(tmp_path, skip="unannotated").samples()] == ["own/a/0"]


def test_text_in_neither_encoding_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "val", "a", GOOD)
    (tmp_path / "val" / "a.json").write_bytes(b'{"text": ["\x81\xff"]}')
    with pytest.raises(UsageError, match="a.json is text neither in UTF-8 nor in cp1252"):
        opened(tmp_path)


def test_an_empty_folder_has_no_samples(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    with pytest.raises(UsageError, match="has no samples"):
        opened(tmp_path)


LABELS = ("target", "Target", "ignore", "IGNORE", "ignored", "flag", "FLAG", "flags", "")
SIZES = ((30, 40), (64, 64), (77, 123), (5, 7), (9, 1))


def random_shapes(seed: int) -> tuple[tuple[int, int], list[dict[str, Any]]]:
    """Draw shapes with whole and broken coordinates, a third of them partly outside of the image."""
    random = Random(seed)
    height, width = SIZES[seed % len(SIZES)]
    shapes = []
    for _ in range(seed % 7 + 1):
        margin = random.choice((0, 0, 0.4))
        points = [
            [random.uniform(-margin, 1 + margin) * width, random.uniform(-margin, 1 + margin) * height]
            for _ in range(random.choice((1, 2, 3, 4, 8, 30)))
        ]
        if random.random() < 0.5:
            points = [[int(x), int(y)] for x, y in points]
        shapes.append(shape(random.choice(LABELS), *points))
    return (height, width), shapes


REFERENCE = [
    "eb6b466c8460e75a",
    "ad7facb2586fc6e9",
    "f3c34fa8feaa71fb",
    "fb9e6063c98f51ac",
    "040a5a009f9b9d5e",
    "cbb7b4a962f9f2ba",
    "857f76e26def273e",
    "b0552f14f3753877",
    "25cde4578ac1fb3c",
    "17afa0dfda67f807",
    "b559f5d4a8e1929f",
    "d8fbab5ba3368543",
    "9039d74752f07b61",
    "70de8d1bbdc84305",
    "6c98868342cbd19a",
    "39574d0959aae0e4",
    "c152672172dcd794",
    "3988555a84e57995",
    "bb7e954a679abee4",
    "50199c24ec1d0363",
]
"""The beginnings of the SHA-256 of the masks (uint8) that LISA's reader gave for the seeds 0 to 19, with OpenCV 5.0."""


@pytest.mark.parametrize("seed", range(len(REFERENCE)))
def test_masks_are_those_of_the_reference(seed: int) -> None:
    size, shapes = random_shapes(seed)
    assert hashlib.sha256(painted(shapes, size).tobytes()).hexdigest()[:16] == REFERENCE[seed]
