"""What the documentation tells a user to run, runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hlmat_bench import plugins
from hlmat_bench.runs import run

ROOT = Path(__file__).resolve().parents[1]


def _blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


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


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_links_between_pages_lead_somewhere(page: str) -> None:
    path = ROOT / "docs" / page
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
        assert (path.parent / link).exists(), link


def test_the_names_in_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    from hlmat_bench.reference import POLICIES
    from hlmat_bench.tasks import expand, task_names

    for name in re.findall(r"--task (\w+)", text):
        assert set(expand(name)) <= set(task_names())
    known = {**plugins.available("model"), **POLICIES}
    for name in re.findall(r"--model (\w[\w-]*)", text):
        assert name in known
