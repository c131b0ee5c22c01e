"""What docs/cluster.md says and examples/cluster holds: scripts, a manifest, and a table of GPU hours."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from hlmat_bench.runs.run_folder import Run

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples" / "cluster"
PAGE = ROOT / "docs" / "cluster.md"
SCRIPTS = [*sorted(EXAMPLES.glob("*.sh")), ROOT / "benchmarks" / "gpu.sh"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_has_no_error_that_a_checker_finds(script: Path) -> None:
    """shellcheck is no package of Python; where it is installed, it looks as well."""
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", script], check=True)


def _faults(manifest: object) -> list[str]:
    schema = json.loads((ROOT / "tests" / "support" / "kuberay_rayjob.schema.json").read_text())
    return [error.json_path for error in jsonschema.Draft202012Validator(schema).iter_errors(manifest)]


def _manifest() -> Any:
    return yaml.safe_load((EXAMPLES / "rayjob.yaml").read_text())


def test_the_manifest_is_a_rayjob_of_kuberay() -> None:
    assert _faults(_manifest()) == []


def test_the_schema_finds_faults_in_a_manifest() -> None:
    manifest = _manifest()
    cluster = manifest["spec"]["rayClusterSpec"]
    cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["resource"] = {}
    cluster["authOptions"]["mode"] = "password"
    manifest["spec"]["entryPoint"] = "true"
    assert sorted(_faults(manifest)) == [
        "$.spec",
        "$.spec.rayClusterSpec.authOptions.mode",
        "$.spec.rayClusterSpec.workerGroupSpecs[0].template.spec.containers[0]",
    ]


def test_the_manifest_has_a_gpu_for_each_worker() -> None:
    spec = _manifest()["spec"]
    [group] = spec["rayClusterSpec"]["workerGroupSpecs"]
    [container] = group["template"]["spec"]["containers"]
    gpus = group["replicas"] * int(container["resources"]["limits"]["nvidia.com/gpu"])
    workers, each = (
        int(re.findall(rf"{option} (\d+)", spec["entrypoint"])[0]) for option in ("--workers", "--gpus-per-worker")
    )
    assert workers * each == gpus


@pytest.mark.parametrize("file", [PAGE, *sorted(EXAMPLES.iterdir())], ids=lambda file: file.name)
def test_the_options_of_a_run_exist(file: Path) -> None:
    section = (ROOT / "docs" / "cli.md").read_text().split("## hlmat-bench ")[1]
    text = re.sub(r"\\?\n +(?=--)", " ", file.read_text())
    commands = re.findall(r"hlmat-bench run (?!COMMAND)([^\n`]*)", text)
    assert commands
    used = {option for command in commands for option in re.findall(r"--[a-z-]+", command.partition(" #")[0])}
    assert used <= set(re.findall(r"`(--[a-z-]+)`", section)), file


@pytest.mark.slow
def test_the_tasks_of_a_slurm_array_play_the_parts_of_a_run(tmp_path: Path) -> None:
    given = ["--model", "center", "--task", "hres_synth", "--limit", "3", "--budget", "1"]
    names = {"SLURM_ARRAY_TASK_COUNT": "2", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for task in ("1", "2"):
        command = [EXAMPLES / "slurm_array.sh", tmp_path / "run", *given]
        subprocess.run(command, env=os.environ | names | {"SLURM_ARRAY_TASK_ID": task}, check=True)
    parts = [Run(tmp_path / "run" / f"part-{task}") for task in (1, 2)]
    assert [part.manifest["shard"] for part in parts] == ["1/2", "2/2"]
    assert [len(list(part.episodes())) for part in parts] == [3, 3]


def _published(pattern: str) -> tuple[int, int]:
    """Return the expressions and images that the files of tasks name, those of training splits left out."""
    files = [file for file in ROOT.glob(f"tasks/{pattern}.yaml") if not file.stem.endswith("_train")]
    counts = [yaml.safe_load(file.read_text())["expected"] for file in files]
    return sum(count["expressions"] for count in counts), sum(count["images"] for count in counts)


def test_the_gpu_hours_are_those_of_the_formula() -> None:
    """Counts of ReasonSeg (Lai et al., CVPR 2024): 200 images in val, 779 in test."""
    counted = {
        "refCOCO,": _published("res_refcoco_*"),
        "refCOCO+,": _published("res_refcocoplus_*"),
        "refCOCOg,": _published("res_refcocog_*"),
        "all of": _published("res_refcoco*"),
        "HRES": (970, 970),
        "ReasonSeg,": (200 + 779, 200 + 779),
    }
    assert counted["HRES"] == tuple(map(sum, zip(_published("hres_dis"), _published("hres_thinobject"), strict=True)))
    rows = re.findall(r"^\| (.+?) \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == 7
    for name, expressions, images, rate, hours in rows:
        [known] = [counts for start, counts in counted.items() if name.startswith(start)]
        assert (int(expressions), int(images)) == known, name
        seconds = known[0] * 7 / float(rate) + known[1] * 0.45 + known[0] * 7 * 0.007
        assert float(hours) == round(seconds / 3600, 1), name
