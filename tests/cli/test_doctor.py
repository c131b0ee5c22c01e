"""What `doctor` says of machines that are in order, bare or broken: each is an environment made for the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import hlmat_bench
from hlmat_bench.runs.doctor import examine

ROOT = Path(hlmat_bench.__file__).parents[1]
PLAIN = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "PYTHONPATH": str(ROOT)}


def _doctor(
    *words: str, env: Mapping[str, str] | None = None, python: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *python, "-m", "hlmat_bench", "doctor", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**PLAIN, **(env or {})})


def _by_area(findings: Iterable[tuple[str, str, str]]) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for area, level, text in findings:
        found.setdefault(area, []).append((level, text))
    return found


def _printed(*words: str, code: int = 0, **more: Any) -> dict[str, list[tuple[str, str]]]:
    """Return what the command prints with --json, by area."""
    ran = _doctor(*words, "--json", **more)
    assert (ran.returncode, ran.stderr) == (code, "")
    value = json.loads(ran.stdout)
    assert (value["schema"], value["ok"]) == ("hlmat-doctor/1", code == 0)
    return _by_area((each["area"], each["level"], each["text"]) for each in value["findings"])


def _found(**named: Any) -> dict[str, list[tuple[str, str]]]:
    """Return what is found in this process, by area."""
    return _by_area((each.area, each.level, each.text) for each in examine(**named))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Examine an empty folder, without what the machine's own variables name."""
    monkeypatch.chdir(tmp_path)
    for name in ("HLMAT_DATA", "OPENAI_BASE_URL", "OPENAI_API_KEY", "RAY_ADDRESS", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.slow
def test_one_screen_names_everything(tmp_path: Path) -> None:
    ran = _doctor()
    assert (ran.returncode, ran.stderr) == (0, "")
    for word in ("Python", "packages", "devices", "Ray", "data", "weights", "server", "disk", "locks"):
        assert f" {word} " in ran.stdout
    assert len(ran.stdout.splitlines()) < 30
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Make a base installation: Python with all installed packages but those of the extras `local` and `ray`."""
    folder = tmp_path_factory.mktemp("site")
    without = ("torch", "transformers", "accelerate", "peft", "timm", "segment_anything", "num2words", "ray", "hlmat")
    for site in [Path(path) for path in sys.path if path.endswith("site-packages")]:
        for entry in site.iterdir():
            kept = not entry.name.lower().startswith(without) and entry.suffix != ".pth"
            if (kept or entry.name.startswith("hlmat_bench-")) and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    return {"env": {"PYTHONPATH": f"{ROOT}:{folder}"}, "python": ("-S",)}


@pytest.mark.slow
def test_a_base_installation_is_examined_without_torch_and_ray(base: dict[str, Any]) -> None:
    found = _printed("--segmenter", "sam_b", "--model", "hf,pretrained=a/b,points=xy1", code=1, **base)
    assert "torch is not installed" in found["devices"][0][1]
    assert "not installed" in found["Ray"][0][1]
    [packages] = [text for level, text in found["packages"] if "extras" in text]
    assert "ray (lacks ray)" in packages
    assert "local (lacks accelerate, num2words, peft, segment-anything, timm, torch, torchvision, tr" in packages
    assert any(level == "note" and "sam_b" in text for level, text in found["weights"])
    for area in ("model", "segmenter"):
        [(level, text)] = found[area]
        assert level == "missing"
        assert "pip install 'hlmat-bench[local]'" in text


@pytest.mark.slow
def test_gpus_are_named_by_the_drivers_own_program(base: dict[str, Any], tmp_path: Path) -> None:
    card = "NVIDIA X100, 81559"
    _program(tmp_path / "nvidia-smi", f"echo '0, {card}, 81000, 600.1'; echo '1, {card}, 512, 600.1'")
    env = {**base["env"], "PATH": f"{tmp_path}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": "0"}
    found = _printed(env=env, python=base["python"])
    assert found["devices"][:3] == [
        ("ok", "GPU 0: NVIDIA X100, 79 of 80 GiB memory free, driver 600.1"),
        ("ok", "GPU 1: NVIDIA X100, 0 of 80 GiB memory free, driver 600.1"),
        ("note", "CUDA_VISIBLE_DEVICES='0' limits which GPUs are used"),
    ]


def _program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.slow
def test_a_check_that_breaks_is_a_line_and_the_others_go_on(tmp_path: Path) -> None:
    """The driver's program answers with no text, the data root is a file, and the current folder is gone."""
    _program(tmp_path / "nvidia-smi", r"printf '\377\376'")
    (tmp_path / "file").touch()
    (tmp_path / "gone").mkdir()
    env = {**PLAIN, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HLMAT_DATA": str(tmp_path / "file")}
    code = "import os; os.rmdir(os.getcwd()); from hlmat_bench.cli import main; main()"
    command = [sys.executable, "-c", code, "doctor"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path / "gone", env=env)
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = {line.split()[1]: line for line in ran.stdout.splitlines() if line.startswith(("ok", "note"))}
    assert "this check failed (UnicodeDecodeError" in lines["devices"]
    assert "this check failed (FileNotFoundError" in lines["disk"]
    assert "is not a folder" in lines["data"]
    assert "Python" in lines


def test_what_is_named_and_runs_here_is_ok(task: str, tool: str) -> None:
    found = _found(task=task, model="oracle", segmenter=tool)
    assert found["task"] == [("ok", f"{task} has 40 samples here")]
    assert found["model"] == [("ok", "oracle needs nothing")]
    assert found["segmenter"] == [("ok", "discs is loaded and ready")]


@pytest.mark.parametrize(
    ("area", "name", "sentence"),
    [
        ("task", "hres_dis", "needs DIS5K/DIS-VD/im: give the folder"),
        ("task", "hres_dsi", "Did you mean hres_dis"),
        ("model", "oracel", "Did you mean oracle"),
        ("model", "hf,pretrained=/nowhere/x,points=xy1000", "There is no folder /nowhere/x"),
        ("model", "command,run=no-such-program,points=xy1000", "there is no program 'no-such-program'"),
        ("model", "openai,model=x,points=xy1000", "OPENAI_API_KEY"),
        ("segmenter", "sam_b", "sam_b needs its weights"),
        ("segmenter", "graphcut,radius=3", "it takes no options"),
    ],
)
def test_what_is_named_and_cannot_run_is_missing_with_advice(area: str, name: str, sentence: str) -> None:
    [(level, text)] = _found(**{area: name})[area]
    assert level == "missing"
    assert sentence in text


@pytest.mark.slow
def test_what_is_missing_has_exit_code_1() -> None:
    ran = _doctor("--segmenter", "sam_b", "--model", "oracle")
    assert (ran.returncode, ran.stderr) == (1, "")
    assert ran.stdout.splitlines()[-1].startswith("MISSING  segmenter")


def test_each_task_of_a_group_is_examined() -> None:
    levels = [level for level, _ in _found(task="hres")["task"]]
    assert set(levels) == {"missing"}
    assert len(levels) > 1


def test_a_plug_in_that_breaks_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("def make():\n    raise RuntimeError('no such card')\n\nSEGMENTERS = {'broken': make}\n")
    [(level, text)] = _found(segmenter=str(file))["segmenter"]
    assert level == "missing"
    assert "no such card" in text


def test_weights_in_the_cache_of_hugging_face_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "hub" / "models--Qwen--Qwen3-VL-8B-Instruct" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    with (snapshot / "model.safetensors").open("wb") as file:
        file.truncate(3 * 2**30)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    found = _found(model="qwen-vl")
    assert found["model"] == [("ok", "Qwen/Qwen3-VL-8B-Instruct is here, 3.0 GiB")]
    assert "holds Qwen/Qwen3-VL-8B-Instruct" in found["weights"][0][1]
    monkeypatch.setenv("HF_HOME", "/nowhere")
    [(level, text)] = _found(model="qwen-vl")["model"]
    assert level == "note"
    assert "a run will download it" in text


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append((self.path, self.headers.get("Authorization")))
        server.go_on.wait()
        status, headers, body = server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def _server(status: int, body: bytes = b"", *, silent: bool = False, **headers: str) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.answer, server.asked, server.go_on = (status, headers, body), [], threading.Event()
    if not silent:
        server.go_on.set()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield server
    finally:
        server.go_on.set()
        server.shutdown()
        server.server_close()


def _name(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")


def test_a_server_is_asked_for_its_models_and_the_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with _server(200, json.dumps({"data": [{"id": "my-model"}, {"id": "x\x1b[31m"}]}).encode()) as server:
        _name(monkeypatch, server.url)
        found = _found(model="openai,model=my-model,points=xy1000")
    assert server.asked == [("/v1/models", "Bearer sk-secret")]
    assert found["server"] == [("ok", f"{server.url} answers: 2 models (my-model, x[31m)")]
    assert found["model"][0][0] == "ok"
    assert "sk-secret" not in str(found)


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (401, b"", "refuses the key (status 401): set OPENAI_API_KEY"),
        (500, b"x", "with status 500"),
        (302, b"", "with status 302"),
        (200, b"<html>", "cannot be read"),
        (200, b"[" * 100_000, "cannot be read"),
    ],
)
def test_a_server_that_answers_otherwise(
    status: int, body: bytes, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not followed elsewhere, where the key must not go."""
    with _server(200) as other, _server(status, body, Location=other.url) as server:
        _name(monkeypatch, server.url)
        [(_, text)] = _found()["server"]
    assert sentence in text
    assert other.asked == []


@pytest.mark.slow
def test_a_server_that_is_silent_or_gone_is_a_line_and_its_models_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with _server(200, silent=True) as server:
        _name(monkeypatch, server.url)
        found = _found(model="openai,model=x,points=xy1000")
    assert "does not answer (ReadTimeout)" in found["server"][0][1]
    assert found["model"] == [("missing", found["server"][0][1])]
    _name(monkeypatch, f"http://me:sk-pass@127.0.0.1:{server.server_port}/v1?key=sk-query")
    found = _found()
    assert "does not answer (ConnectError)" in found["server"][0][1]
    assert "sk-" not in str(found)
    _name(monkeypatch, "nonsense")
    assert "OPENAI_BASE_URL= must look like http" in _found()["server"][0][1]


def test_a_cluster_is_found_by_rays_own_file_and_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.7:6379")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert "at 10.0.0.7:6379" in _found()["Ray"][0][1]
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert "the cluster at ray://head:10001" in _found()["Ray"][0][1]


def test_other_versions_than_the_tested_ones_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of a higher version stands before the installed one on the path."""
    other = tmp_path / "numpy-99.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 99.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert any(level == "note" and "numpy 99.0 (tested: " in text for level, text in _found()["packages"])
