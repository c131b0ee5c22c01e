"""The commands that list and check; `run`, `score` and `merge` are in test_runs.py."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def _cli(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hlmat_bench", *words], capture_output=True, text=True, check=False)


def test_a_whole_data_set_passes_the_check(task: str) -> None:
    ran = _cli("data", "check", task)
    assert (ran.returncode, "all is well" in ran.stdout) == (0, True)
    assert "expressions: 40" in ran.stdout


def test_a_damaged_data_set_fails_the_check_with_exit_code_1(boxes: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(boxes, data)
    (data / "images" / "3.png").unlink()
    (data / "images" / "4.png").write_bytes(b"no image")
    ran = _cli("data", "check", str(data / "boxes.yaml"))
    assert ran.returncode == 1
    assert "there are problems" in ran.stdout
    assert "3.png" in ran.stdout
    assert "4.png" in ran.stdout
    assert "Traceback" not in ran.stderr


def test_left_out_samples_are_counted_and_no_pass(boxes: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(boxes, data)
    (data / "images" / "3.png").unlink()
    ran = _cli("data", "check", str(data / "boxes.yaml"), "--set", "data.missing=skip")
    assert ran.returncode == 1
    assert "expressions: 38" in ran.stdout
    assert "left out, as a file is missing: 2" in ran.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "names"),
    [
        (
            "tasks",
            ["res_refcoco_val", "res_refcocoplus_testB", "res_refcocog_test", "hres_dis", "hres_synth", "grabcut"],
        ),
        ("models", ["oracle", "gt-box", "center", "random", "empty", "hf", "openai", "replay", "scripted"]),
        ("segmenters", ["graphcut", "sam_b", "samhq_h", "sam2_t", "sam2.1_l", "sam3", "edgetam", "efficientsam_t"]),
    ],
)
def test_lists_name_everything_and_say_whether_it_runs_here(command: str, names: list[str]) -> None:
    ran = _cli(command)
    assert ran.returncode == 0
    title, *lines = ran.stdout.splitlines()
    columns = {match[0].strip(): slice(*match.span()) for match in re.finditer(r"\S+( \S+)*( {2,}|$)", title)}
    listed = {
        line.split()[0]: {name: line[place].strip() for name, place in columns.items()}
        for line in lines
        if line.strip()
    }
    assert set(names) <= set(listed)
    abilities = ("box", "negative", "logits", "mask")
    if command == "segmenters":
        assert [listed["sam3"][name] for name in abilities] == ["yes", "yes", "yes", "yes"]
        assert [listed["graphcut"][name] for name in abilities] == ["no", "yes", "no", "yes"]
        assert [listed["efficientsam_t"][name] for name in abilities] == ["yes", "no", "no", "no"]
        assert listed["sam2.1_l"]["needs"] == "sam2.1_hiera_large.pt"
        page = _cli(command, "sam2.1_l").stdout
        assert "weights: facebook/sam2.1-hiera-large or sam2.1_hiera_large.pt" in page
    if command == "tasks":
        assert listed["hres_dis"]["missing here"] == "data"
        assert listed["hres_synth"]["missing here"] == "nothing"


def test_the_version_is_the_packages() -> None:
    import importlib.metadata

    assert _cli("--version").stdout.strip() == importlib.metadata.version("hlmat-bench")


@pytest.mark.slow
def test_several_models_and_tasks_make_one_table_per_task(task: str, tool: str, tmp_path: Path) -> None:
    ran = _cli(
        "run", "--model", "oracle", "--model", "empty", "--task", task, "--task", "hres_synth", "--segmenter", tool,
        "--limit", "3", "--budget", "2", "--out", str(tmp_path),
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("NoC@80") == 2
    assert len(list(tmp_path.iterdir())) == 4
    empty = [line for line in ran.stdout.splitlines() if line.startswith("empty")]
    assert len(empty) == 2
    assert all("0.0 [0.0, 0.0]" in line for line in empty)
