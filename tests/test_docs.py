"""What the documentation tells a user to run, runs."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from hlmat_bench import testing
from hlmat_bench.core import images, masks
from hlmat_bench.models.catalog import Catalog
from hlmat_bench.protocol import plugins
from hlmat_bench.runs.run import run

ROOT = Path(__file__).resolve().parents[1]


def _blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


@pytest.mark.slow
def test_the_python_example_of_the_readme(tmp_path: Path) -> None:
    [code] = _blocks("README.md", "python")
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.search(r"mIoU 0\.\d{3}, NoC@85 \d", ran.stdout)
    assert "->" in ran.stdout


def test_the_example_plugins_of_the_docs_play_a_run(tmp_path: Path) -> None:
    model, segmenter = _blocks("docs/plugins.md", "python")
    (tmp_path / "my_model.py").write_text(model)
    (tmp_path / "my_tool.py").write_text(segmenter)
    made = run(
        f"{tmp_path}/my_model.py,x=250", "hres_synth", f"{tmp_path}/my_tool.py,side=9", limit=2, budget=2,
        out=tmp_path / "run",
    )  # fmt: skip
    for episode in made.episodes():
        height, width = episode.size
        first = episode.steps[0].action
        assert (first.x, first.y) == (round(0.25 * width), round(0.5 * height))
        assert episode.steps[1].action.reason == "repeat"
    assert made.manifest["segmenter"] == {"name": "squares", "side": 9}


def test_the_example_strategy_of_the_docs_plays_a_run(tmp_path: Path) -> None:
    [code] = _blocks("docs/strategies.md", "python")
    (tmp_path / "mine.py").write_text(code)
    made = run(
        "oracle,misplaced=0.5", "hres_synth", strategy=f"{tmp_path}/mine.py", limit=3, budget=3, out=tmp_path / "run",
    )  # fmt: skip
    assert {episode.stop for episode in made.episodes()} <= {"stop", "budget"}
    assert all(episode.steps for episode in made.episodes())


class _Endpoint(BaseHTTPRequestHandler):
    """Answers as the endpoint of the docs would: with a point that depends on the picture."""

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = len(question["image"]) % 1000
        body = json.dumps({"texts": [f"Positive point: ({number}, {number})"] * question["n"]}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.slow
def test_the_commands_of_adding_a_model(tmp_path: Path) -> None:
    """Word for word, but for the port; the checkpoint is one with random weights."""
    page = "docs/adding-a-model.md"
    [entry], [code] = _blocks(page, "yaml"), _blocks(page, "python")
    assert code == (ROOT / "adapters" / "models" / "http.py").read_text()
    assert len(code.splitlines()) < 60
    (tmp_path / "my-models.yaml").write_text(entry)
    (tmp_path / "my_model.py").write_text(code)
    testing.tiny_vlm(tmp_path / "my-checkpoint")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    commands = [line for block in _blocks(page, "sh") for line in block.splitlines()]
    assert len(commands) == 5
    for command in commands:
        words = shlex.split(command.replace("localhost:8000", f"127.0.0.1:{server.server_address[1]}"))
        assert words[0] == "hlmat-bench"
        ran = subprocess.run(
            [sys.executable, "-m", "hlmat_bench", *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_the_layout_of_adding_a_layout_plays_a_run(tmp_path: Path) -> None:
    page = "docs/adding-a-layout.md"
    [code], [task], [commands] = (_blocks(page, language) for language in ("python", "yaml", "sh"))
    assert len(code.splitlines()) < 60
    (tmp_path / "my_layout.py").write_text(code)
    (tmp_path / "my_task.yaml").write_text(task)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(images.encode(pixels, "png"))
    shapes = [
        {"label": "cup", "points": [[10, 5], [30, 5], [30, 25], [10, 25]]},
        {"label": "pen", "points": [[40, 10], [50, 10], [50, 30], [40, 30]]},
    ]
    record = {"imagePath": "a.png", "imageHeight": 40, "imageWidth": 60, "shapes": shapes}
    (tmp_path / "photos" / "a.json").write_text(json.dumps(record))
    for command in commands.splitlines():
        words = shlex.split(command)[1:]
        ran = subprocess.run(
            [sys.executable, "-m", "hlmat_bench", *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    [folder] = (tmp_path / "runs").iterdir()
    episodes = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    assert [episode["expression"] for episode in episodes] == ["a cup", "a pen"]
    assert [masks.decode(episode["gt"]).sum() for episode in episodes] == [20 * 20, 10 * 20]
    manifest = json.loads((folder / "run.json").read_text())
    content = hashlib.sha256(code.encode()).hexdigest()
    assert manifest["task"]["source"]["kind"] == f"my_layout.py:labelme sha256:{content[:16]}"
    assert str(tmp_path) not in json.dumps(manifest["task"])


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_links_between_pages_lead_somewhere(page: str) -> None:
    path = ROOT / "docs" / page
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
        assert (path.parent / link).exists(), link


@pytest.mark.parametrize(("adapter", "page"), [("openai", "api-models.md"), ("hf", "local-models.md")])
def test_the_options_of_an_adapter_are_in_its_table(adapter: str, page: str) -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    options = inspect.signature(plugins.find("model", adapter).factory).parameters
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(options) - {"api_key"}


def test_the_names_in_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    from hlmat_bench.data.tasks import expand, task_names
    from hlmat_bench.protocol.reference import REFERENCES

    for name in re.findall(r"--task (\w+)(?![\w:])", text):  # those of the hub are not ours
        assert set(expand(name)) <= set(task_names())
    catalog = Catalog.load()
    known = {*plugins.available("model"), *REFERENCES, *catalog.models, *catalog.aliases}
    for name in re.findall(r"--model (\w[\w-]*)", text):
        assert name in known
