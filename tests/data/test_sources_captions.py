from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.layouts.captions import read_captions, stem
from hlmat_bench.data.layouts.mask_folder import words


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"x": "red cup", "y.jpg": ["one", "two"]}'),
        ("a.json", '[{"image": "im/x.png", "caption": "red cup"}, {"image": "y", "caption": ["one", "two"]}]'),
        ("a.jsonl", '{"img": "x.jpg", "prompt": "red cup"}\n\n{"img": "a\\\\y.jpg", "prompt": ["one", "two"]}\n'),
        ("a.json", '{"img": "x.jpg", "prompt": "red cup"}\n{"img": "y.jpg", "prompt": ["one", "two"]}'),
        ("a.csv", "stem,expression\nx,red cup\ny,one\ny,two\n"),
        ("a.csv", "\ufefftext,file_name,more\nred cup,x.JPG,1\none,y.bmp,2\ntwo,y.bmp,3\n"),
    ],
    ids=range(6),
)
def test_layouts(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_captions(tmp_path / name) == {"x": ["red cup"], "y": ["one", "two"]}


def test_one_record_is_no_mapping(tmp_path):
    (tmp_path / "a.json").write_text('{"img": "x.jpg", "prompt": "cup"}')
    assert read_captions(tmp_path / "a.json") == {"x": ["cup"]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "{"),
        ("a.json", '[{"image": "x"}]'),
        ("a.json", '{"x": 5}'),
        ("a.json", '{"x": " "}'),
        ("a.json", '["x"]'),
        ("a.jsonl", '{"img": "x", "prompt": "y"}\n{"img": '),
        ("a.csv", "stem,words\nx,y\n"),
        ("a.csv", "stem,text\nx,y,z\n"),
        ("a.csv", "stem,text\nx\n"),
        ("a.csv", 'stem,text\nx,"y\n'),
        ("a.csv", ""),
    ],
    ids=range(11),
)
def test_damaged_files_are_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=re.escape(name)):
        read_captions(tmp_path / name)


def test_other_encodings_are_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes("stem,text\nx,caf\xe9\n".encode("latin1"))
    with pytest.raises(UsageError, match="UTF-8"):
        read_captions(tmp_path / "a.csv")


@given(st.dictionaries(st.text("abc #.", min_size=1).filter(lambda t: stem(t) == t), st.text("xyz", min_size=1)))
def test_a_mapping_comes_back(tmp_path_factory, captions):
    path = tmp_path_factory.mktemp("captions") / "a.json"
    path.write_text(json.dumps(captions))
    assert read_captions(path) == {name: [text] for name, text in captions.items()}


def test_stem_takes_off_only_image_suffixes():
    assert [stem(n) for n in ("a/b.c.jpg", "v1.2", "x.PNG", "plain")] == ["b.c", "v1.2", "x", "plain"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("StreetLamp", "street lamp"),
        ("dining table", "dining table"),
        ("UAV", "UAV"),
        ("TVStand", "TV stand"),
        ("OutdoorFitnessEquipment", "outdoor fitness equipment"),
        ("fire_truck", "fire truck"),
        ("Bag", "bag"),
        ("A", "a"),
        ("Type2Plug", "type2 plug"),
        ("", ""),
    ],
)
def test_words(name, expected):
    assert words(name) == expected


@given(st.text("aBcD_ 3é", max_size=12))
def test_words_keep_every_letter_and_are_stable(name):
    text = words(name)
    assert text.replace(" ", "").lower() == re.sub(r"[_ ]", "", name).lower()
    assert "  " not in text
    assert text == text.strip()
    assert words(text) == text


@given(st.lists(st.from_regex(r"[A-Z][a-z]+", fullmatch=True), min_size=1, max_size=4))
def test_camel_case_is_split_at_every_capital(parts):
    assert words("".join(parts)) == " ".join(part.lower() for part in parts)


def test_names_are_compared_without_blanks_and_in_one_form(tmp_path):
    (tmp_path / "a.csv").write_text("Image;Caption\n im/cafe\u0301.jpg ;red cup\n", encoding="utf-8")
    assert read_captions(tmp_path / "a.csv") == {"caf\u00e9": ["red cup"]}


def test_two_images_of_one_name_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("image,caption\nx/1.jpg,cup\ny/1.jpg,plate\n")
    with pytest.raises(UsageError, match="for x/1 and for y/1"):
        read_captions(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("image,caption\nx/1.jpg,cup\nx/1.jpg,plate\n")
    assert read_captions(tmp_path / "a.csv") == {"1": ["cup", "plate"]}
