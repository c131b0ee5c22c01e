"""What a user's machine gets: imports that cost nothing, names that stay, a wheel that works anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import hlmat_bench

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "transformers", "openai", "pandas", "cv2", "PIL", "pycocotools", "scipy", "jinja2"}


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = _python("import sys, hlmat_bench; print(*{name.partition('.')[0] for name in sys.modules})")
    assert not HEAVY & set(loaded.split())


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['hlmat-bench', '--help']\n"
        "from hlmat_bench import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = _python(code).splitlines()[-1].split()
    assert "typer" in loaded
    assert not (HEAVY | {"numpy", "pydantic", "yaml"}) & set(loaded)


def test_the_public_names_are_these() -> None:
    plug_ins = {"Facts", "Model", "PointFormat", "Reply", "Request", "RequestFailed", "Resize", "Segmenter", "Session"}
    others = {"Run", "UsageError", "actions", "clicks", "overlay", "points", "run", "scores"}
    assert set(hlmat_bench.__all__) == plug_ins | others
    assert all(getattr(hlmat_bench, name).__name__.endswith(name) for name in hlmat_bench.__all__)
    code = (
        "import hlmat_bench as h\n"
        "print(h.clicks.next_click, h.scores.iou, h.scores.boundary_iou, h.scores.noc, h.scores.miou, h.scores.ciou,"
        " h.overlay.paint, h.points.PointFormat.named('segagent-qwen'), h.actions.parse, h.run, h.Run)"
    )
    assert "segagent-qwen" in _python(code)
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        hlmat_bench.runn  # noqa: B018


def test_what_plug_ins_import_stays_where_it_was() -> None:
    code = (
        "from hlmat_bench.interfaces import Box, Facts, Image, Mask, Model, Reply, Request, Segmenter, Session, Size\n"
        "from hlmat_bench.errors import RequestFailed, UsageError\n"
        "import hlmat_bench.protocol.loop\n"
        "from hlmat_bench.protocol import Play, Strategy, play, run_episode\n"
        "print(Reply('x').text, play is run_episode)"
    )
    assert _python(code).split() == ["x", "True"]


@pytest.mark.slow
def test_the_wheel_works_in_a_clean_environment_from_an_empty_folder(tmp_path: Path) -> None:
    """Built, installed without the checkout, and run; the dependencies are the ones already installed here."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for shipped in (
        "tasks/hres_synth.yaml",
        "tasks/lmms/hlmat_hres_synth.yaml",
        "tasks/suites/smoke.yaml",
        "leaderboard/published/segagent.yaml",
        "adapters/models/hf.py",
        "adapters/models/onnx.py",
        *(str(path.relative_to(ROOT)) for path in ROOT.glob("adapters/models/hlmat-*/*")),
        "reports/assets/hl.js",
        "requirements-lock.txt",
    ):
        assert f"hlmat_bench/_content/{shipped}" in names
    assert not [name for name in names if name.startswith(("tests/", "adapters/", "tasks/")) or "shared" in name]

    home = tmp_path / "env"
    venv.create(home, with_pip=True, symlinks=True)
    site = next(home.glob("lib/python*/site-packages"))
    subprocess.run(
        [home / "bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True
    )
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(ours) + "\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "HLMAT"))}
    where = subprocess.run(
        [home / "bin/python", "-c", "import hlmat_bench; print(hlmat_bench.__file__)"],
        cwd=empty, env=clean, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert where.startswith(str(home))
    ran = subprocess.run(
        [home / "bin/hlmat-bench", "run", "--model", "oracle", "--task", "hres_synth", "--limit", "2", "--budget", "2"],
        cwd=empty, env=clean, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "oracle" in ran.stdout
    assert [path.name for path in (empty / "runs").iterdir()] == ["oracle__hres_synth__graphcut"]
