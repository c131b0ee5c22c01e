from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from hlmat_bench.core import files, plain_files
from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.layouts.data_root import DataRoot, inside
from hlmat_bench.data.layouts.json_csv import read_csv, read_json, read_text
from hlmat_bench.data.tasks import load_task
from tests.support.data_files import write_task

LONG = "x" * 5000
READERS = [
    plain_files.read_bytes,
    plain_files.read_text,
    read_text,
    read_json,
    read_csv,
    lambda p: files.read(p, "file"),
]


@pytest.mark.parametrize("read", READERS, ids=range(len(READERS)))
def test_only_plain_files_are_read(tmp_path, read):
    """A pipe would be waited for, a device would never end, and a hole of a terabyte would fill the memory."""
    pipe, hole = tmp_path / "pipe", tmp_path / "hole"
    os.mkfifo(pipe)
    with hole.open("wb") as file:
        file.truncate(2**40)
    for path in (pipe, Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(UsageError, match="is a pipe or a device"):
            read(path)
    with pytest.raises(UsageError, match="is larger than"):
        read(hole)
    with pytest.raises(UsageError, match="is a folder"):
        read(tmp_path)
    for path in (tmp_path / "none", tmp_path / LONG, tmp_path / "a\0b"):
        with pytest.raises(UsageError) as caught:
            read(path)
        assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("Größe\nCafé".encode("cp1252"), "cp1252"),
        ("naïve façade, déjà vu".encode("latin1"), "cp1252"),
        ("Größe".encode("utf-16"), "UTF-16"),
        ("size".encode("utf-16-le"), "UTF-16"),
        ("size".encode("utf-16-be"), "UTF-16"),
        ("красная чашка".encode("cp1251"), "another encoding"),
        ("赤いカップ".encode("shift-jis"), "another encoding"),
        (b"\x01\x02\0\0\0\0", "a binary file"),
    ],
    ids=range(8),
)
def test_other_encodings_are_guessed(tmp_path, data, said):
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=rf"a\.csv is not UTF-8 text: it looks like {said}.*; save it as UTF-8"):
        plain_files.read_text(path)


def test_utf_8_with_and_without_a_mark(tmp_path):
    path = tmp_path / "a.txt"
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text("Größe 赤", encoding=encoding)
        assert plain_files.read_text(path) == "Größe 赤"


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"PAR1\x15", r"a parquet file; convert it to JSON with pandas\.read_parquet"),
        (b"PK\x03\x04\x14", "a ZIP or Excel file"),
        (b"\x1f\x8b\x08", "a gzip file"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_other_formats_are_named(tmp_path, start, said):
    for name in ("refs.json", "refs.p", "val.parquet"):
        (tmp_path / name).write_bytes(start + b"\0rest")
        (tmp_path / "i.json").write_text("{}")
        (tmp_path / "images").mkdir(exist_ok=True)
        source = {"kind": "refer", "refs": name, "instances": "i.json", "images": "images", "split": "val"}
        with pytest.raises(UsageError, match=rf"{re.escape(name)} is {said}|{said}"):
            load_task(write_task(tmp_path, source)).source()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("when: 2024-13-45", {"when": "2024-13-45"}),
        ("when: 2024-01-02", {"when": "2024-01-02"}),
        ("at: 2024-01-02 10:00:00", {"at": "2024-01-02 10:00:00"}),
        ("a: [1, yes, ~, 1.5]", {"a": [1, True, None, 1.5]}),
    ],
)
def test_dates_stay_text(tmp_path, text, value):
    (tmp_path / "a.yaml").write_text(text)
    assert files.read(tmp_path / "a.yaml", "file") == value


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        f"a: {'9' * 5000}",
        "[" * 5000 + "]" * 5000,
        "{a: " * 5000,
        "a: !!python/name:os.system",
        "a: b: c",
        "\x01",
        "- " * 5000,
    ],
    ids=range(7),
)
def test_what_is_no_yaml_is_one_short_sentence(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UsageError, match="a.yaml is not readable YAML") as caught:
        files.read(tmp_path / "a.yaml", "file")
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "extends: [hres_dis]",
        "extends: {a: 1}",
        "extends: 3",
        "source: {kind: synth, count: 1000000000000}",
        "source: {kind: table, threshold: 1000000000000000000000}",
        "source: {kind: mask_folder, images: i, masks: m, pattern: '" + "(" * 5000 + "'}",
        "source: {kind: mask_folder, images: i, masks: m, pattern: '" + "(" * 900 + ")" * 900 + "'}",
        "source: {kind: mask_folder, images: i, masks: m, pattern: '(?P<expression>a{99999999999})'}",
        "source: {kind: segagent, annotations: a, images: i, coco_name: '{id:>9999999999}'}",
        "source: {kind: segagent, annotations: a, images: i, coco_name: '{id:{id}}'}",
        "source: {kind: segagent, annotations: a, images: i, coco_name: '{id!r:>9999999999}'}",
        f"source: {{kind: table, table: {LONG}}}",
        f"source: {{kind: table, images: {LONG}}}",
        f"title: {[LONG]}",
        "source: {kind: table, table: ..}",
        "source: {kind: table, images: mine.yaml}",
    ],
    ids=range(16),
)
def test_task_files_that_ask_for_too_much(tmp_path, text):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / "expressions.csv").write_text("image,mask,expression\na,a,x\n")
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\n{text}\n" + ("" if "source" in text else "source: {kind: table}\n"))
    with pytest.raises(UsageError) as caught:
        load_task(path).source()
    assert len(str(caught.value)) < 900
    assert "\n" not in str(caught.value)


def test_long_paths_are_one_sentence(tmp_path):
    for act in (lambda: load_task(f"./{LONG}.yaml"), lambda: load_task("hres_dis").source(tmp_path / LONG)):
        with pytest.raises(UsageError) as caught:
            act()
        assert len(str(caught.value)) < 900
    assert load_task("hres_dis").missing(tmp_path / LONG)


def test_names_are_found_however_their_letters_are_composed(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    (tmp_path / decomposed).mkdir()
    (tmp_path / decomposed / f"{decomposed}.jpg").touch()
    assert inside(tmp_path, f"{composed}/{composed}.jpg", "it") == tmp_path / decomposed / f"{decomposed}.jpg"
    assert inside(tmp_path, f"{composed}/{composed}.png", "it").name == f"{composed}.png"
    (tmp_path / f"{composed}.png").touch()
    assert inside(tmp_path, f"{decomposed}.png", "it") == tmp_path / f"{composed}.png"


def test_blanks_around_a_name_are_left_out_where_no_file_has_them(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.jpg ").touch()
    assert inside(tmp_path, " a.jpg ", "it") == tmp_path / "a.jpg"
    assert inside(tmp_path, "b.jpg ", "it") == tmp_path / "b.jpg "


def test_missing_names_are_shown_shortened(tmp_path):
    message = str(DataRoot("own", tmp_path).missing(tmp_path / LONG, "own/1"))
    assert len(message) < 700
    assert "own/1 needs xxx" in message
