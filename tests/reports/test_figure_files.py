"""Files of figures outside the pages: SVG and PDF look the same, and LaTeX takes the source of pgfplots and tables."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from hlmat_bench.core.tables import TextTable
from hlmat_bench.reports.pages import bibtex
from hlmat_bench.reports.pages.plots import Figure, layout, pdf, pgfplots, svg
from tests.reports.test_plots import HOSTILE, figures

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NO_POPPLER = "needs pdftoppm of poppler, which shows PDF"
_NO_LATEX = "needs pdflatex with pgfplots and booktabs"
LETTERS = r"50% a_b & c$ {#} ~^ \x <b> [f] – − ≥ ≤ ± …"


def _grey(data: bytes) -> np.ndarray:
    """Return the mean grey of blocks of 6 x 6 pixels: places and colours stay, shapes of letters do not."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L"), dtype=float)
    rows, columns = pixels.shape[0] // 6 * 6, pixels.shape[1] // 6 * 6
    return pixels[:rows, :columns].reshape(rows // 6, 6, columns // 6, 6).mean(axis=(1, 3))


@pytest.mark.skipif(shutil.which("pdftoppm") is None, reason=_NO_POPPLER)
def test_svg_and_pdf_look_the_same(browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page(color_scheme="dark")  # a file has its own colours
    for n, figure in enumerate(figures()):
        path = tmp_path / f"{n}.svg"
        path.write_text(svg.file(figure))
        drawn = layout.layout(figure, figure.widths[0], legend=True)
        page.set_viewport_size({"width": drawn.width, "height": drawn.height})
        page.goto(path.as_uri())
        first = _grey(page.screenshot())
        (tmp_path / f"{n}.pdf").write_bytes(pdf.file(figure))
        subprocess.run(["pdftoppm", "-r", "96", "-png", "-singlefile", f"{n}.pdf", str(n)], cwd=tmp_path, check=True)
        second = _grey((tmp_path / f"{n}.png").read_bytes())
        assert first.shape == second.shape
        difference = np.abs(first - second)
        assert difference.mean() < 4, figure.title
        assert np.percentile(difference, 98) < 60, figure.title
        assert first.min() < 200  # something is drawn
    page.close()


def _compile(folder: Path, body: str) -> None:
    head = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs}\usepackage{pgfplots}"
    head += r"\pgfplotsset{compat=1.18}\usetikzlibrary{patterns}"
    (folder / "paper.tex").write_text(head + "\n\\begin{document}\n" + body + "\n\\end{document}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.servers
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason=_NO_LATEX)
def test_latex_takes_figures_and_tables(tmp_path: Path) -> None:
    table = TextTable(
        ["model", "mIoU (%)", LETTERS], [[LETTERS, "−1.5", "[1, 2]"], [HOSTILE.replace("\u202e", ""), "", ""]]
    )
    (tmp_path / "table.tex").write_text(table.latex())
    for n, figure in enumerate(figures()):
        (tmp_path / f"figure{n}.tex").write_text(pgfplots.file(figure).replace("\u202e", ""))
    names = ["table", *(f"figure{n}" for n in range(len(figures())))]
    _compile(tmp_path, "\n\n".join(rf"\input{{{name}.tex}}" for name in names))


@pytest.mark.parametrize("figure", figures())
def test_source_of_pgfplots_is_balanced(figure: Figure) -> None:
    """What can be said without LaTeX: braces and environments close, and no letter is left that means something."""
    text = pgfplots.file(figure)
    depth = 0
    for n, letter in enumerate(text):
        if letter in "{}" and text[n - 1] != "\\":
            depth += 1 if letter == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    lines = text.splitlines()[2:]
    assert all(line.rstrip().endswith((";", ",", "[", "]", "}")) for line in lines)


def test_bibtex_is_made_of_what_is_known() -> None:
    entry = bibtex.leaderboard_entry(
        "a-1", title="50% {x} \\end", submitter="Ann & Bo", submitted="2026-11-26", task="RES", url="javascript:1"
    )
    assert entry.count("{") - entry.count(r"\{") == entry.count("}") - entry.count(r"\}")
    assert r"50\% \{x\} \textbackslash{}end on RES" in entry
    assert "author = {{Ann \\& Bo}}" in entry
    assert "url" not in entry
    assert bibtex.data("synth", "none needed; the scenes are part of hlmat-bench") == ""
    assert bibtex.data("x", "@article{y}\n") == "@article{y}\n"
    assert "note = {Somebody's web page}" in bibtex.data("x", "Somebody's web page")
    assert "author = {Qin and {Van Gool}}" in bibtex.data("x", "Qin, Van Gool. Dichotomous. ECCV 2022")
    assert "year = {2026}" in bibtex.benchmark("2026-11-26")
