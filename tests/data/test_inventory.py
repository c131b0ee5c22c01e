from __future__ import annotations

import pytest
from typer.testing import CliRunner

from hlmat_bench.cli import app
from hlmat_bench.data.inventory import holding
from hlmat_bench.data.tasks import load_task, task_names
from tests.support.data_files import blob, noise, save, write_task

SOURCE = {
    "kind": "mask_folder",
    "images": ["im", "old/im"],
    "masks": ["gt", "old/gt"],
    "pattern": "(?P<expression>[a-z])",
}


@pytest.fixture
def task(tmp_path):
    return load_task(write_task(tmp_path, SOURCE, expected={"expressions": 2}))


def put(folder, *names):
    for name in names:
        save(folder / "im" / f"{name}.jpg", noise(8, 8))
        save(folder / "gt" / f"{name}.png", blob(8, 8))


def test_a_task_is_absent_until_its_folders_are_there_and_complete_when_its_files_are(task, tmp_path):
    root = tmp_path / "root"
    assert (holding(task, root).state, holding(task, None).state) == ("absent", "absent")
    put(root / "old", "a")
    assert (holding(task, root).state, holding(task, root).words) == ("incomplete", "1 of 2 samples")
    put(root / "old", "b")
    assert (holding(task, root).state, holding(task, root).words) == ("complete", "2 samples")
    (root / "old" / "gt" / "a.png").unlink()
    assert (holding(task, root).state, holding(task, root).words) == ("incomplete", "2 samples, 1 file missing")


def test_data_that_cannot_be_read_are_told_from_missing_ones(task, tmp_path):
    put(tmp_path / "root", "1")
    found = holding(task, tmp_path / "root")
    assert found.state == "unreadable"
    assert "does not fit the pattern" in found.words


def data(*words):
    result = CliRunner().invoke(app, ["data", *map(str, words)])
    return result.exit_code, result.stdout


def test_the_list_names_every_task_once(tmp_path):
    code, said = data("list", "--data-root", tmp_path)
    listed = [line.split()[0] for line in said.splitlines()[1:] if " " in line and not line.startswith("Not here")]
    absent = said.split("Not here: ")[1].split(". ")[0].split(", ")
    assert code == 0
    assert sorted([*listed, *absent]) == sorted(task_names())


def test_the_list_names_copies_that_are_tasks_of_their_own(tmp_path):
    folder = tmp_path / "lmms-lab" / "RefCOCO" / "data"
    folder.mkdir(parents=True)
    (folder / "val-00000-of-00004.parquet").write_bytes(b"PAR1")
    said = " ".join(data("list", "--data-root", tmp_path)[1].split())
    assert "hf:lmms-lab/RefCOCO,split=val" in said
    assert "unite the UNC split" in said
    assert "hf:lmms-lab/RefCOCO,split=testA" not in said


def test_where_shows_the_parts_that_are_taken(tmp_path):
    path = write_task(tmp_path, SOURCE)
    put(tmp_path / "old", "a")
    code, said = data("where", path)
    assert code == 0
    assert f"layout mask_folder, under {tmp_path}" in said
    assert f"{tmp_path}/old/im" in said.replace("\n", "")


def test_where_ends_as_a_run_would_where_something_is_missing(tmp_path):
    put(tmp_path / "old", "a")
    (tmp_path / "old" / "gt" / "a.png").unlink()
    (tmp_path / "old" / "gt").rmdir()
    result = CliRunner().invoke(app, ["data", "where", str(write_task(tmp_path, SOURCE))])
    assert "needs gt, which is not under" in str(result.exception)


def test_drawn_samples_lie_nowhere():
    assert data("where", "hres_synth") == (0, "hres_synth needs no files: its samples are drawn from the seed.\n")
