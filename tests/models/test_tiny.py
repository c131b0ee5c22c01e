"""The checkpoints that hlmat-bench contains: their files, their answers, and that they see what they are asked for."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import hlmat_bench
from hlmat_bench.core.content import folder
from hlmat_bench.models.catalog import Catalog
from hlmat_bench.runs.probe import probe
from hlmat_bench.runs.probe.hypotheses import Convention
from tests.support.tiny_models import SHIPPED, Plain, graph_logits, programs, scenes

MODELS = folder("adapters") / "models"
pytestmark = pytest.mark.usefixtures("one_thread")


def made(spec: str) -> Any:
    return Catalog.load().choose(spec).make()


@pytest.mark.parametrize("name", SHIPPED)
def test_the_files_are_those_of_the_list_and_of_the_exporter(name: str, tmp_path: Path) -> None:
    place = MODELS / name
    listed = dict(reversed(line.split("  ")) for line in (place / "SHA256SUMS").read_text().splitlines())
    assert listed.keys() | {"SHA256SUMS"} == {file.name for file in place.iterdir()}
    assert all(hashlib.sha256((place / file).read_bytes()).hexdigest() == digest for file, digest in listed.items())
    assert "license: apache-2.0" in (place / "README.md").read_text()
    assert json.loads((place / "training.json").read_text())
    assert {tensor.dtype for tensor in load_file(place / "model.safetensors").values()} == {np.dtype(np.float16)}
    copy = tmp_path / name
    shutil.copytree(place, copy)
    _, graph, _ = programs()
    graph.write(copy)
    for file in ("tower.onnx", "decoder.onnx"):
        assert (copy / file).read_bytes() == (place / file).read_bytes()


def test_all_checkpoints_together_are_small() -> None:
    assert sum(file.stat().st_size for name in SHIPPED for file in (MODELS / name).iterdir()) < 10e6


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [(name, 40 if number else 200) for number, name in enumerate(SHIPPED)])
def test_both_adapters_answer_alike(name: str, count: int) -> None:
    requests, plain = scenes(count), Plain(MODELS / name)
    onnx, hf = ([reply.text for [reply] in made(spec).reply_batch(requests)] for spec in (name, f"{name},adapter=hf"))
    assert onnx == hf
    assert len(set(onnx)) > count / 2
    for request in requests[:20]:
        np.testing.assert_allclose(graph_logits(MODELS / name, request), plain.logits(request), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_run_finds_objects(name: str, tmp_path: Path) -> None:
    """Random clicks find one in ten. The manifest names the weights."""
    run = hlmat_bench.run(name, "synth_easy", "graphcut", limit=60, budget=1, out=tmp_path / "run")
    inside = run.scores()["clicks"]["first_click_inside"]
    assert inside > 0.6
    assert run.scores()["clicks"]["valid"] == 60
    manifest = json.loads((run.folder / "run.json").read_text())
    assert len(manifest["model"]["sha256"]) == 64


@pytest.mark.slow
def test_a_probe_names_its_convention_and_planted_wrong_ones(tmp_path: Path) -> None:
    assert probe("hlmat-tiny", out=tmp_path / "right").ok
    for wrong, mistakes in (("yx1000", {"order"}), ("xy1", {"unit"}), ("xypixel", {"unit"})):
        diagnosis = probe("hlmat-tiny", settings={"points": wrong}, out=tmp_path / wrong).diagnosis
        assert diagnosis.status == "mistaken", wrong
        assert set(diagnosis.mistakes) == mistakes
        # It points to steps of ten of 1000, and not so exactly that 999 would be excluded.
        assert diagnosis.found is not None
        assert Convention("xy", 1000.0) in (diagnosis.found.convention, *diagnosis.alike)
