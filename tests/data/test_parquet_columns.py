"""A user's own parquet files: columns by name, forms of images and ground truths, and what is wrong with them."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.check import check
from hlmat_bench.data.layouts.parquet_table import ParquetTable
from hlmat_bench.data.tasks import load_task
from tests.support.data_files import blob, noise, save, see, write_task
from tests.support.parquet_files import IMAGE, LMMS, decoded, write

SIZE = (20, 24)
POLYGON = [2.25, 3.1, 15.5, 3.1, 15.5, 12.75, 2.25, 12.75]


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def picture(number: int) -> dict:
    return {"bytes": png(noise(*SIZE, number)), "path": f"{number}.png"}


def source_of(folder: Path, rows, schema=None, name="data/test.parquet", options=None, **settings):
    write(folder / name, rows, schema, **(options or {}))
    return load_task(write_task(folder, {"kind": "parquet", **settings})).source()


def only_truth(source) -> np.ndarray:
    see(source)
    return source.truth(source.samples()[0]).mask


RLE = {"size": list(SIZE), "counts": [30, 50, 400]}
TRUTHS = {
    "bytes": ("mask", pa.binary(), png(blob(*SIZE)), blob(*SIZE)),
    "large bytes": ("mask", pa.large_binary(), png(blob(*SIZE)), blob(*SIZE)),
    "image": ("mask", IMAGE, {"bytes": png(blob(*SIZE)), "path": None}, blob(*SIZE)),
    "true and false": ("mask", pa.list_(pa.list_(pa.bool_())), blob(*SIZE).tolist(), blob(*SIZE)),
    "large lists": ("mask", pa.large_list(pa.large_list(pa.bool_())), blob(*SIZE).tolist(), blob(*SIZE)),
    "0 and 255": ("mask", pa.list_(pa.list_(pa.uint8())), (blob(*SIZE) * np.uint8(255)).tolist(), blob(*SIZE)),
    "flat polygon": ("segmentation", pa.list_(pa.float32()), POLYGON, decoded([POLYGON], SIZE)),
    "polygons": ("segmentation", pa.list_(pa.list_(pa.float64())), [POLYGON], decoded([POLYGON], SIZE)),
    "run lengths": (
        "segmentation",
        pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.list_(pa.int64()))]),
        RLE,
        decoded(RLE, SIZE),
    ),
    "JSON": ("segmentation", pa.string(), json.dumps(RLE), decoded(RLE, SIZE)),
    "an annotation": ("segmentation", pa.string(), json.dumps({"segmentation": [POLYGON]}), decoded([POLYGON], SIZE)),
}


@pytest.mark.parametrize("form", TRUTHS)
def test_forms_of_ground_truths(tmp_path, form):
    column, kind, value, expected = TRUTHS[form]
    schema = pa.schema([("image", IMAGE), (column, kind), ("text", pa.string())])
    source = source_of(tmp_path, [{"image": picture(0), column: value, "text": "it"}], schema)
    assert np.array_equal(only_truth(source), expected)
    assert np.array_equal(source.image(source.samples()[0]), noise(*SIZE, 0))


def test_compressed_run_lengths_with_bytes(tmp_path):
    from pycocotools import mask as coco

    counts = coco.encode(np.asfortranarray(blob(*SIZE).astype(np.uint8)))["counts"]
    schema = pa.schema(
        [
            ("image", IMAGE),
            ("rle", pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.binary())])),
            ("text", pa.string()),
        ]
    )
    source = source_of(tmp_path, [{"image": picture(0), "rle": {"size": SIZE, "counts": counts}, "text": "it"}], schema)
    assert np.array_equal(only_truth(source), blob(*SIZE))


@pytest.mark.parametrize(
    "options", [{"compression": "zstd"}, {"compression": "none"}, {"row_group_size": 2}, {"version": "1.0"}]
)
@pytest.mark.parametrize("kind", [pa.dictionary(pa.int32(), pa.string()), pa.large_string(), pa.list_(pa.string())])
def test_encodings_and_types_of_text(tmp_path, options, kind):
    texts = ["one", "two", "one", "three", "two"]
    table = pa.table(
        {
            "image": pa.array([picture(n) for n in range(5)], IMAGE),
            "mask": pa.array([png(blob(*SIZE, n)) for n in range(5)]),
            "text": pa.array([[t] for t in texts], kind) if pa.types.is_list(kind) else pa.array(texts).cast(kind),
        }
    )
    (tmp_path / "data").mkdir()
    parquet.write_table(table, tmp_path / "data" / "x.parquet", **options)
    source = load_task(write_task(tmp_path, {"kind": "parquet"})).source()
    assert [sample.expression for sample in source.samples()] == texts
    for number, sample in enumerate(source.samples()):
        assert np.array_equal(source.truth(sample).mask, blob(*SIZE, number))


def test_images_and_masks_beside(tmp_path):
    save(tmp_path / "pictures" / "a" / "1.png", noise(*SIZE, 1))
    save(tmp_path / "outlines" / "1_cup.png", blob(*SIZE, 1))
    rows = [{"image_path": "a/1.png", "mask": "1_cup.png", "caption": "the cup"}]
    source = source_of(tmp_path, rows, images="pictures", masks="outlines")
    assert np.array_equal(only_truth(source), blob(*SIZE, 1))
    assert source.samples()[0].image == "a/1.png"
    with pytest.raises(UsageError, match="not inside the image folder"):
        source_of(tmp_path, [rows[0] | {"image_path": "../1.png"}], images="pictures", masks="outlines")


def test_ids_objects_and_tags(tmp_path):
    rows = [
        {"image": picture(n), "mask": png(blob(*SIZE)), "text": f"t{n}", "key": f"k{n}", "thing": n // 2, "size": "s"}
        for n in range(3)
    ]
    by_object = source_of(tmp_path, rows, ref_id="thing", tags="size")
    assert [s.id for s in by_object.samples()] == ["own/0/0", "own/0/1", "own/1/0"]
    assert by_object.samples()[0].tags == {"size": "s"}
    by_id = source_of(tmp_path, rows, id="key")
    assert [s.id for s in by_id.samples()] == ["own/k0", "own/k1", "own/k2"]
    with pytest.raises(UsageError, match="Two samples have the id own/s"):
        source_of(tmp_path, rows, id="size")


def test_an_embedded_image_is_read_from_the_first_row_of_its_image_id(tmp_path):
    rows = [{"image": picture(n), "mask": png(blob(*SIZE, n)), "text": "t", "photo": n % 2} for n in range(4)]
    source = source_of(tmp_path, rows, image_id="photo")
    assert [s.image_id for s in source.samples()] == ["0", "0", "1", "1"]
    assert [source.digests(s)["image"] for s in source.samples()][1] == source.digests(source.samples()[0])["image"]
    assert np.array_equal(source.truth(source.samples()[1]).mask, blob(*SIZE, 2))


def row(**changes) -> dict:
    return {"image": picture(0), "mask": png(blob(*SIZE)), "text": "it"} | changes


@pytest.mark.parametrize(
    ("changes", "schema", "said"),
    [
        ({"text": None}, None, "Row 1 of test.parquet should have a string"),
        ({"image": None}, IMAGE, "Row 1 of test.parquet has nothing in the column image"),
        ({"image": {"bytes": None, "path": "x"}}, IMAGE, "Row 1 of test.parquet has nothing in the column image"),
        (
            {"image": {"bytes": b"no", "path": "x"}},
            IMAGE,
            "image x .Row 1 of test.parquet, column image. cannot be read",
        ),
        ({"mask": None}, pa.binary(), "Row 1 of test.parquet has nothing in the column mask"),
        ({"mask": None}, pa.list_(pa.list_(pa.bool_())), "Row 1 of test.parquet has in the column mask no mask"),
        ({"mask": [[True], [True, False]]}, pa.list_(pa.list_(pa.bool_())), "rows of pixels differ in length"),
        ({"mask": [[True, None]]}, pa.list_(pa.list_(pa.bool_())), "rows of pixels differ in length"),
        ({"mask": [[True]]}, pa.list_(pa.list_(pa.bool_())), "mask of 1 x 1 and an image of 20 x 24"),
        ({"mask": 3}, pa.int64(), "column mask holds int64, which is no mask"),
        ({"text": 3}, pa.int64(), "string or a list of strings 'text'"),
        ({"text": []}, pa.list_(pa.string()), "string or a list of strings 'text'"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path, changes, schema, said):
    kinds = {"image": IMAGE, "mask": pa.binary(), "text": pa.string()}
    kinds |= {name: schema for name in changes if schema is not None}
    with pytest.raises(UsageError, match=said):
        see(source_of(tmp_path, [row(**changes)], pa.schema(list(kinds.items()))))


def test_rows_may_be_left_out(tmp_path):
    schema = pa.schema([("image", IMAGE), ("mask", pa.binary()), ("text", pa.string())])
    rows = [row(), row(text=None), row(image=None), row(mask=png(blob(5, 5))), row(mask=b"none")]
    source = source_of(tmp_path, rows, schema, skip="missing+missized+unannotated+unreadable")
    assert len(source.samples()) == 1
    assert source.describe()["skipped"] == {"missing": 1, "missized": 1, "unannotated": 1, "unreadable": 1}


@pytest.mark.parametrize(
    ("files", "settings", "said"),
    [
        ({"x.parquet": b""}, {}, "x.parquet cannot be read as parquet"),
        ({"x.parquet": b"PAR1 and no more"}, {}, "x.parquet cannot be read as parquet"),
        ({"x.parquet": b"version https://git-lfs.github.com/spec/v1\n"}, {}, "pointer of Git LFS"),
        ({"x.csv": b"a,b"}, {}, "holds no file that ends in .parquet"),
        ({}, {"files": "data/y.parquet"}, "needs data/y.parquet"),
    ],
)
def test_files_that_are_none(tmp_path, files, settings, said):
    (tmp_path / "data").mkdir()
    for name, content in files.items():
        (tmp_path / "data" / name).write_bytes(content)
    with pytest.raises(UsageError, match=said):
        load_task(write_task(tmp_path, {"kind": "parquet", **settings})).source()


def test_a_damaged_file_is_said_wherever_it_is_damaged(tmp_path):
    path = write(tmp_path / "data" / "x.parquet", [row(image=picture(n)) for n in range(3)])
    whole = path.read_bytes()
    for at in range(0, len(whole), 331):
        path.write_bytes(whole[:at] + bytes(255 - byte for byte in whole[at : at + 8]) + whole[at + 8 :])
        with contextlib.suppress(UsageError):
            source = load_task(write_task(tmp_path, {"kind": "parquet"})).source()
            see(source)
            source.digest()


def test_splits_are_files_or_folders(tmp_path):
    for name in ("data/val-00000-of-00002", "data/val-00001-of-00002", "data/test-00000-of-00001", "more/train/0000"):
        write(tmp_path / f"{name}.parquet", [row(text=name)])

    def texts(**settings):
        source = load_task(write_task(tmp_path, {"kind": "parquet", **settings})).source()
        return [sample.expression for sample in source.samples()]

    assert texts(split="val") == ["data/val-00000-of-00002", "data/val-00001-of-00002"]
    assert texts(split="test") == ["data/test-00000-of-00001"]
    assert texts(split="train", files="more") == texts(files="more") == ["more/train/0000"]
    with pytest.raises(UsageError, match="choose one with data.split=NAME: test, val"):
        texts()
    with pytest.raises(UsageError, match="no split 'dev'.*its splits are test, val"):
        texts(split="dev")
    (tmp_path / "data" / "val-00001-of-00002.parquet").unlink()
    with pytest.raises(UsageError, match="val-00001-of-00002.parquet is not there"):
        texts(split="val")
    assert texts(files="data/val-00000-of-00002.parquet") == ["data/val-00000-of-00002"]


def test_what_another_split_is_like_does_no_harm(tmp_path):
    write(tmp_path / "data" / "val-00000-of-00001.parquet", [row()])
    write(tmp_path / "data" / "test-00000-of-00002.parquet", [{"other": "columns"}])
    source = load_task(write_task(tmp_path, {"kind": "parquet", "split": "val"})).source()
    assert len(source.samples()) == 1


def test_equal_names_of_columns_are_refused(tmp_path):
    (tmp_path / "data").mkdir()
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    parquet.write_table(table, tmp_path / "data" / "x.parquet")
    with pytest.raises(UsageError, match="has the column 'text' twice"):
        load_task(write_task(tmp_path, {"kind": "parquet"})).source()


def test_boxes_of_fixed_length_are_read(tmp_path):
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"a": pa.array([[0.1, 2.35]], pa.list_(pa.float32(), 2))}), path)
    ((_, cells),) = ParquetTable([path]).listed(["a"])
    assert cells["a"] == [0.1, 2.35]


def test_files_with_other_columns_are_refused(tmp_path):
    write(tmp_path / "data" / "val-00000-of-00002.parquet", [row()])
    write(tmp_path / "data" / "val-00001-of-00002.parquet", [row(more=1)])
    with pytest.raises(UsageError, match="have different columns"):
        load_task(write_task(tmp_path, {"kind": "parquet"})).source()


def test_an_object_of_several_polygons_is_found_by_its_box(tmp_path):
    base = {"image": picture(0), "answer": ["it"], "segmentation": POLYGON, "iscrowd": 0}
    rows = [
        base | {"question_id": str(n), "file_name": f"COCO_train2014_{n:012d}_1.jpg", "bbox": [2.25, 3.1, width, 9.65]}
        for n, width in enumerate([13.25, 20])
    ]
    write(tmp_path / "data" / "val.parquet", rows + rows[:1], LMMS)
    text = check(load_task(write_task(tmp_path, {"kind": "parquet"}))).text()
    assert "Row 2 of val.parquet and 0 others have a polygon of another size than their own box" in text
    assert "the same object in the column file_name, of 1 objects" in text


@settings(max_examples=30)
@given(st.lists(st.integers(-10_000, 99_999).map(lambda n: n / 100), min_size=1))
def test_two_decimals_survive_32_bits(numbers):
    sink = io.BytesIO()
    parquet.write_table(pa.table({"a": pa.array([numbers], pa.list_(pa.float32()))}), sink)
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        file.write(sink.getvalue())
        file.flush()
        ((_, cells),) = ParquetTable([Path(file.name)]).listed(["a"])
    assert cells["a"] == numbers == [float(str(np.float32(number))) for number in numbers]


def test_threads_read_the_same_cells(tmp_path):
    rows = [row(image=picture(n), mask=png(blob(*SIZE, n))) for n in range(60)]
    path = write(tmp_path / "x.parquet", rows, row_group_size=7)
    table = ParquetTable([path])
    order = np.random.default_rng(0).integers(0, 60, 400).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: table.cell("mask", n).as_py(), order))
    assert found == [rows[n]["mask"] for n in order]


def test_a_column_that_would_fill_the_memory_is_refused(tmp_path):
    write(tmp_path / "data" / "x.parquet", [row(image=bytes(70_000_000))], compression="zstd", use_dictionary=False)
    with pytest.raises(UsageError, match="more than is read at once"):
        see(load_task(write_task(tmp_path, {"kind": "parquet"})).source())


READ_ALL = """
import sys
import pyarrow as pa
from hlmat_bench.data.tasks import load_task

source = load_task(sys.argv[1]).source()
for sample in source.samples():
    source.digests(sample)
print(pa.default_memory_pool().max_memory())
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path):
    random = np.random.default_rng(0)
    most = []
    for count in (200, 600):
        kinds = {
            "image": IMAGE,
            "segmentation": pa.list_(pa.float32()),
            "text": pa.string(),
            "h": pa.int64(),
            "w": pa.int64(),
        }
        with parquet.ParquetWriter(tmp_path / "x.parquet", pa.schema(list(kinds.items()))) as writer:
            for _ in range(0, count, 100):
                image = [{"bytes": random.bytes(100_000), "path": "x"} for _ in range(100)]
                rows = [{"image": one, "segmentation": POLYGON, "text": "it", "h": 20, "w": 24} for one in image]
                writer.write_table(pa.Table.from_pylist(rows, writer.schema))
        settings = {"kind": "parquet", "files": "x.parquet", "height": "h", "width": "w"}
        task = write_task(tmp_path, settings)
        answer = subprocess.run([sys.executable, "-c", READ_ALL, str(task)], check=True, capture_output=True, text=True)
        most.append(int(answer.stdout))
    assert most[1] < most[0] + 20_000_000 < 120_000_000
