from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.check import check
from hlmat_bench.data.tasks import Task, load_task
from tests.support.data_files import blob, noise, save, write_task

NAMES = [f"n{n}" for n in range(6)]


@pytest.fixture
def data(tmp_path) -> Path:
    for n, name in enumerate(NAMES):
        save(tmp_path / "images" / f"{name}.png", noise(5, 6, n))
        save(tmp_path / "masks" / f"{name}.png", blob(5, 6, n))
    rows = [f"{name},{name}.png,{name}.png,the {name} {k}\n" for name in NAMES for k in range(2)]
    (tmp_path / "expressions.csv").write_text("ref_id,image,mask,expression\n" + "".join(rows))
    return tmp_path


def own(data: Path, **expected: int) -> Task:
    return load_task(write_task(data, {"kind": "table"}, expected=expected))


def test_all_is_well(data):
    seen = []
    report = check(own(data, images=6, refs=6, expressions=12), progress=lambda done, total: seen.append((done, total)))
    assert report.ok
    assert report.counts == {"images": 6, "refs": 6, "expressions": 12}
    assert not report.problems
    assert "all is well" in report.text()
    assert seen == [(n, 12) for n in range(1, 13)]


@pytest.mark.parametrize("expected", [{"images": 7}, {"refs": 5}, {"expressions": 13, "images": 6}])
def test_other_counts_than_published(data, expected):
    report = check(own(data, **expected))
    assert not report.ok
    assert f"but {next(iter(expected.values()))} are published" in report.text()
    assert check(own(data)).ok


def test_each_kind_of_problem_is_counted_once_per_object(data):
    (data / "images" / "n0.png").unlink()
    (data / "images" / "n1.png").write_text("no image")
    save(data / "masks" / "n2.png", blob(6, 5))
    save(data / "masks" / "n3.png", np.zeros((5, 6), bool))
    (data / "masks" / "n4.png").unlink()
    report = check(own(data), examples=9)
    assert not report.ok
    counts = {kind: problem.count for kind, problem in report.problems.items()}
    assert counts == {
        "missing files": 2,
        "unreadable images": 1,
        "size mismatches": 1,
        "empty masks": 1,
    }
    text = report.text()
    for part in ("images/n0.png", "n1.png", "6 x 5", "own/n3/0 has no object", "masks/n4.png"):
        assert part in text
    assert "data.threshold" in text


def test_only_a_few_examples_are_kept(data):
    for name in NAMES:
        save(data / "masks" / f"{name}.png", np.zeros((5, 6), bool))
    report = check(own(data), examples=2)
    problem = report.problems["empty masks"]
    assert (problem.count, len(problem.examples)) == (6, 2)
    assert "... and 4 more" in report.text()


def test_skipped_samples_are_something_off(data):
    (data / "images" / "n0.png").unlink()
    report = check(own(data), overrides={"missing": "skip"})
    assert not report.ok
    assert report.skipped == {"missing": 2}
    assert report.counts == {"images": 5, "refs": 5, "expressions": 10}
    assert "2 expressions" in report.text()


def test_a_damaged_segmentation_is_a_bad_annotation(tmp_path):
    from tests.data.test_sources_coco import SOURCE, value
    from tests.data.test_sources_coco import open_task as open_coco

    damaged = value()
    damaged["annotations"][0]["segmentation"] = {"size": [6, 7], "counts": [5]}
    open_coco(tmp_path, damaged)
    report = check(load_task(write_task(tmp_path, SOURCE)))
    assert {kind: problem.count for kind, problem in report.problems.items()} == {"bad annotations": 1}


def test_every_image_file_is_opened_once(data, monkeypatch):
    opened: list[Path] = []
    real = Image.open

    def counting(path, *arguments, **options):
        opened.append(Path(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Image, "open", counting)
    check(own(data))
    assert sorted(path.name for path in opened if path.parent.name == "images") == [f"{name}.png" for name in NAMES]


def test_missing_annotations_are_an_error(tmp_path):
    with pytest.raises(UsageError, match=r"needs expressions\.csv"):
        check(own(tmp_path))


def test_synthetic_counts_hold_for_the_seed_0():
    task = load_task("hres_synth")
    small = task.model_copy(update={"expected": task.expected.model_copy(update={"expressions": 4, "images": 99})})
    assert not check(small, overrides={"count": 4}).ok
    assert check(small, seed=1, overrides={"count": 4}).ok


@pytest.mark.shared
@pytest.mark.parametrize(("name", "count"), [("grabcut", 10), ("davis", 8), ("coco_mval", 14), ("res_refcocog_val", 4)])
def test_real_files_are_whole_but_few(shared, name, count):
    report = check(load_task(name), shared / "realdata")
    assert not report.problems
    assert not report.ok
    assert report.counts["expressions"] == count
    assert "are published" in report.text()
