from __future__ import annotations

import pytest

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.tasks import load_task
from tests.support.data_files import blob, noise, save

TWO_LAYOUTS = """
name: two
source:
  - {kind: mask_folder, images: [first/im, second/im], masks: [first/gt, second/gt], expression: the cup}
  - {kind: table, images: im, masks: gt}
"""


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "task.yaml"
    path.write_text(TWO_LAYOUTS)
    return load_task(path)


def put(folder, masks="gt"):
    save(folder / "im" / "a.jpg", noise(8, 8))
    save(folder / masks / "a.png", blob(8, 8))


def test_the_first_place_that_exists_is_taken_and_the_source_says_which(task, tmp_path):
    root = tmp_path / "root"
    put(root / "second")
    assert task.source(root).describe()["images"] == "second/im"
    put(root / "first")
    assert task.source(root).describe()["images"] == "first/im"


def test_parts_may_lie_in_different_places(task, tmp_path):
    root = tmp_path / "root"
    put(root / "first", masks="other")
    put(root / "second")
    (root / "second" / "im" / "a.jpg").unlink()
    (root / "second" / "im").rmdir()
    about = task.source(root).describe()
    assert (about["images"], about["masks"]) == ("first/im", "second/gt")


def test_a_later_layout_is_taken_where_the_earlier_ones_are_not_there(task, tmp_path):
    root = tmp_path / "root"
    put(root)
    (root / "expressions.csv").write_text("image,mask,expression\na.jpg,a.png,a mug\n")
    source = task.source(root)
    assert source.describe()["kind"] == "table"
    assert [sample.expression for sample in source.samples()] == ["a mug"]


def test_where_nothing_is_complete_the_sentence_names_what_the_nearest_place_lacks(task, tmp_path):
    root = tmp_path / "root"
    put(root / "second")
    (root / "second" / "gt" / "a.png").unlink()
    (root / "second" / "gt").rmdir()
    with pytest.raises(UsageError, match="first/gt, which is not under"):
        task.source(root)
    assert task.missing(root) == f"needs first/gt under {root}"


def test_a_setting_is_replaced_in_all_places_and_only_in_layouts_that_have_it(task, tmp_path):
    root = tmp_path / "root"
    put(root / "second", masks="mine")
    assert task.source(root, overrides={"masks": "second/mine"}).describe()["masks"] == "second/mine"
    with pytest.raises(UsageError, match="expresion"):
        task.source(root, overrides={"expresion": "x"})


def test_a_task_that_extends_another_replaces_fields_of_all_its_layouts(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nextends: res_refcoco_val\nsource: {split: train, skip: crowd}\n")
    mine, base = load_task(path), load_task("res_refcoco_val")
    assert len(mine.sources) == len(base.sources) > 1
    assert {(one.split, one.skip) for one in mine.sources} == {("train", "crowd")}
    path.write_text("name: mine\nextends: res_refcoco_val\nsource: {splitt: train}\n")
    with pytest.raises(UsageError, match="splitt"):
        load_task(path)


@pytest.mark.parametrize("places", ["[]", str([str(n) for n in range(201)])])
def test_a_list_of_places_has_some_but_not_too_many(tmp_path, places):
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\nsource: {{kind: table, images: {places}}}\n")
    with pytest.raises(UsageError, match="source of .* names (0|201) places"):
        load_task(path)


def cache(tmp_path, commit="1" * 40):
    """Lay a data set out as the cache of the hub does it."""
    repository = tmp_path / "hub" / "datasets--me--cups"
    put(repository / "snapshots" / commit / "data")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)


@pytest.fixture
def cached_task(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    path = tmp_path / "task.yaml"
    path.write_text(
        "name: cups\nsource:\n  kind: mask_folder\n  expression: the cup\n"
        "  images: [cups/im, 'hub:me/cups/data/im']\n  masks: [cups/gt, 'hub:me/cups/data/gt']\n"
    )
    return load_task(path)


def test_data_in_the_cache_of_the_hub_are_found_and_named_with_their_revision(cached_task, tmp_path):
    cache(tmp_path)
    source = cached_task.source(tmp_path / "root")
    assert [sample.id for sample in source.samples()] == ["cups/a/0"]
    assert source.describe()["images"] == f"hub:me/cups@{'1' * 40}/data/im"


@pytest.mark.parametrize("name", ["hub:me", "hub:", "hub:me/cups/../..", "hub:a b/c", "hub:me/-cups--x"])
def test_a_place_in_the_cache_that_is_none_is_refused(tmp_path, name):
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\nsource: {{kind: table, images: '{name}'}}\n")
    with pytest.raises(UsageError, match=r"hub:OWNER/REPO|not a name of a data set"):
        load_task(path).source(tmp_path)
