from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.tasks import load_task
from tests.support.data_files import blob, noise, save, write_task


@pytest.fixture
def data(tmp_path) -> Path:
    for n, name in enumerate(("a", "b")):
        save(tmp_path / "images" / f"{name}.png", noise(5, 6, n))
        save(tmp_path / "masks" / f"{name}1.png", blob(5, 6, n))
    save(tmp_path / "masks" / "hidden.png", blob(5, 6, 9))
    return tmp_path


def open_task(data: Path, table: str, **source):
    (data / "expressions.csv").write_text(table, encoding="utf-8")
    return load_task(write_task(data, {"kind": "table"} | source)).source()


def test_three_columns_are_enough(data):
    source = open_task(data, 'image,mask,expression\nb.png,b1.png,"the cup, red"\na.png,a1.png,é\nb.png,b1.png,cup\n')
    assert [(s.id, s.image, s.image_id, s.expression, s.ref_id, dict(s.tags)) for s in source.samples()] == [
        ("own/b1/0", "b.png", "b.png", "the cup, red", "b1", {}),
        ("own/b1/1", "b.png", "b.png", "cup", "b1", {}),
        ("own/a1/0", "a.png", "a.png", "é", "a1", {}),
    ]
    np.testing.assert_array_equal(source.image(source.samples()[0]), noise(5, 6, 1))
    truth = source.truth(source.samples()[0])
    np.testing.assert_array_equal(truth.mask, blob(5, 6, 1))
    assert truth.ignore is None


def test_all_columns(data):
    source = open_task(
        data,
        "id,ref_id,image,mask,expression,ignore,tag:size,tag:hard\n"
        "one,r,a.png,a1.png,x,hidden.png,big,\ntwo,r,a.png,a1.png,y,,,yes\n",
    )
    assert [(s.id, s.ref_id, dict(s.tags)) for s in source.samples()] == [
        ("own/one", "r", {"size": "big"}),
        ("own/two", "r", {"hard": "yes"}),
    ]
    first, second = (source.truth(s) for s in source.samples())
    np.testing.assert_array_equal(first.ignore, blob(5, 6, 9))
    assert second.ignore is None


def test_zero_and_one_masks_take_a_threshold(data):
    save(data / "masks" / "a1.png", blob(5, 6).astype(np.uint8))
    table = "image,mask,expression\na.png,a1.png,x\n"
    source = open_task(data, table, threshold=0)
    np.testing.assert_array_equal(source.truth(source.samples()[0]).mask, blob(5, 6))
    source = open_task(data, table)
    assert not source.truth(source.samples()[0]).mask.any()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,mask\na.png,a1.png\n", "lacks expression"),
        ("image,mask,expression,tags:size\na.png,a1.png,x,y\n", "tags:size.*Tags are columns named tag:NAME"),
        ("image,mask,expression,refid\na.png,a1.png,x,y\n", "the column 'refid', .*Did you mean ref_id"),
        ("image,mask,expression\na.png,a1.png, \n", "Row 1 .* has no expression"),
        ("image,mask,expression\na.png,a1.png,x,y\n", "Line 2 .* another number of cells"),
        ("image,mask,expression\na.png,a1.png\n", "Line 2 .* another number of cells"),
        ("image,mask,expression\n../a.png,a1.png,x\n", "not inside"),
        ("image,mask,expression\na.png,/a1.png,x\n", "not inside"),
        ("image,mask,expression\n", "no samples"),
        ("", "empty"),
    ],
    ids=range(10),
)
def test_wrong_tables_are_one_sentence(data, table, message):
    with pytest.raises(UsageError, match=message):
        open_task(data, table)


def test_missing_files(data):
    source = open_task(data, "image,mask,expression,ignore\nno.png,a1.png,x,\na.png,no.png,x,\nb.png,b1.png,x,no.png\n")
    for sample, missing in zip(source.samples(), ("images/no.png", "masks/no.png", "masks/no.png"), strict=True):
        with pytest.raises(UsageError, match=f"{re.escape(sample.id)} needs {missing}"):
            source.truth(sample)
    (data / "images" / "a.png").unlink()
    source = open_task(data, "image,mask,expression\na.png,a1.png,x\nb.png,b1.png,x\n", missing="skip")
    assert [s.image for s in source.samples()] == ["b.png"]


@pytest.mark.shared
def test_an_alpha_matte_is_cut_at_the_threshold(shared, tmp_path):
    from PIL import Image

    folder = shared / "realdata" / "pymatting_lemur"
    (tmp_path / "expressions.csv").write_text("image,mask,expression\nlemur.png,lemur_alpha.png,the lemur\n")
    source = {"kind": "table", "table": str(tmp_path / "expressions.csv"), "images": str(folder), "masks": str(folder)}
    opened = load_task(write_task(tmp_path, source)).source()
    alpha = np.asarray(Image.open(folder / "lemur_alpha.png"))
    assert len(np.unique(alpha)) > 200
    np.testing.assert_array_equal(
        opened.truth(opened.samples()[0]).mask, (alpha if alpha.ndim == 2 else alpha[..., 0]) > 128
    )
    assert opened.describe()["images"] == "pymatting_lemur"


ROWS = "a.png{s}a1.png{s}the cup\n"


@pytest.mark.parametrize(
    "table",
    [
        "image;mask;expression\n" + ROWS.format(s=";"),
        "image\tmask\texpression\r\n" + ROWS.format(s="\t"),
        "image|mask|expression\n" + ROWS.format(s="|"),
        "sep=;\r\nimage;mask;expression\r\n" + ROWS.format(s=";"),
        "Image, MASK ,Expression\n" + ROWS.format(s=","),
        "\ufeffimage,mask,expression\n" + ROWS.format(s=","),
        "image,mask,expression\n a.png ,a1.png ,the cup\n",
        "image,mask,expression\n./a.png,.\\\\a1.png,the cup\n".replace("\\\\", "\\"),
        ",image,mask,expression\n0,a.png,a1.png,the cup\n",
        "image,mask,expression,caption,Photographer,image_id\na.png,a1.png,the cup,b,c,7\n",
    ],
    ids=range(10),
)
def test_tables_as_other_programs_write_them(data, table):
    (sample,) = open_task(data, table).samples()
    assert (sample.id, sample.image, sample.image_id, sample.expression) == ("own/a1/0", "a.png", "a.png", "the cup")


def test_columns_that_are_not_read_are_reported(data):
    from hlmat_bench.data.check import check

    (data / "expressions.csv").write_text("image,mask,expression,caption,tag:x\na.png,a1.png,cup,more,y\n")
    report = check(load_task(write_task(data, {"kind": "table"})))
    assert report.ok
    assert report.warnings["columns that are not read"].examples == ["expressions.csv has the column 'caption'."]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,mask,expression,expression\na.png,a1.png,x,y\n", "the column 'expression' twice"),
        ("image,mask,expression, Expression\na.png,a1.png,x,y\n", "the column 'expression' twice"),
        ("image,mask,expression,tag:a,tag:a\na.png,a1.png,x,y,z\n", "the column 'tag:a' twice"),
        (
            "image;mask;text\na.png;a1.png;x\n",
            "lacks expression: its columns, separated by semicolons, are image, mask, text",
        ),
        ("image;mask;expression\na.png;a1.png;one; two\n", "quote cells with semicolons"),
        ("image,mask,expression,ignor\na.png,a1.png,x,\n", "the column 'ignor', .*Did you mean ignore"),
        (
            "id,image,mask,expression\n1,a.png,a1.png,x\n2,b.png,b1.png,y\n1,b.png,b1.png,z\n",
            "rows 1 and 3 .* the id '1'",
        ),
        ("id,image,mask,expression\na1/0,a.png,a1.png,x\n,a.png,a1.png,y\na1/0,b.png,b1.png,z\n", "id 'a1/0'"),
    ],
    ids=range(8),
)
def test_tables_that_say_two_things(data, table, message):
    with pytest.raises(UsageError, match=message):
        open_task(data, table)


def test_masks_of_one_stem_are_different_objects(data):
    for n, name in enumerate(("x/0.png", "y/0.png", "0.png", "z/1.png", "z/1.bmp")):
        save(data / "masks" / name, blob(5, 6, n))
    rows = ["x/0.png", "y/0.png", "0.png", "z/1.png", "z/1.bmp", "a1.png", "./x/0.png"]
    source = open_task(data, "image,mask,expression\n" + "".join(f"a.png,{row},it\n" for row in rows))
    assert [s.ref_id for s in source.samples()] == ["x/0", "y/0", "0", "z/1.png", "z/1.bmp", "a1", "x/0"]
    assert len({s.id for s in source.samples()}) == len(rows)


def test_every_different_mask_is_checked(data):
    """Also two rows with one ref_id."""
    from hlmat_bench.data.check import check

    (data / "masks" / "b1.png").write_text("xx")
    (data / "expressions.csv").write_text("ref_id,image,mask,expression\nr,a.png,a1.png,x\nr,a.png,b1.png,y\n")
    report = check(load_task(write_task(data, {"kind": "table"})))
    assert {kind: problem.count for kind, problem in report.problems.items()} == {"unreadable images": 1}
