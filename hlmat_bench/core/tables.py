"""A table of texts as LaTeX, Markdown and CSV: the one place that says how a table leaves the terminal or a page."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hlmat_bench.core.text import neutral

#: Formats of tables, by the ending of their files.
FORMATS = ("tex", "md", "csv")

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "–": "--", "−": "$-$", "≥": r"$\geq$", "≤": r"$\leq$", "±": r"$\pm$", "·": r"$\cdot$", "…": r"\ldots{}", "\n": " ",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table as it is shown.

    Attributes:
        headers: names of the columns, with their units.
        rows: cells, one for each header.
        texts: how many of the first columns are texts, set to the left; the others are numbers, set to the right.
        caption: what the table shows, in one sentence; empty: none.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    caption: str = ""

    def latex(self) -> str:
        r"""Return a ``tabular`` for a document with ``\usepackage{booktabs}``, with the caption as a comment.

        >>> print(TextTable(["model", "mIoU (%)"], [["a_b", "68.8"]]).latex(), end="")
        % In the document's head: \usepackage{booktabs}
        \begin{tabular}{lr}
        \toprule
        model & mIoU (\%) \\
        \midrule
        a\_b & 68.8 \\
        \bottomrule
        \end{tabular}
        """
        columns = "".join("l" if n < self.texts else "r" for n in range(len(self.headers)))
        lines = [f"% {' '.join(self.caption.split())}"] if self.caption else []
        return "\n".join([*lines, BOOKTABS, *tabular(columns, self.headers, self.rows)]) + "\n"

    def markdown(self) -> str:
        r"""Return a table of Markdown, as GitHub reads it.

        >>> print(TextTable(["model", "mIoU"], [["a|b", "68.8"]]).markdown(), end="")
        | model | mIoU |
        | --- | ---: |
        | a\|b | 68.8 |
        """
        marks = ["---" if n < self.texts else "---:" for n in range(len(self.headers))]
        rows = [[escape_markdown(cell) for cell in row] for row in (self.headers, *self.rows)]
        return "".join(f"{markdown_line(row)}\n" for row in (rows[0], marks, *rows[1:]))

    def csv(self) -> str:
        """Return the table as CSV (RFC 4180); typographic signs of numbers become ASCII, which programs read.

        >>> TextTable(["model", "gain"], [["a", "−1.5"]]).csv()
        'model,gain\\r\\na,-1.5\\r\\n'
        """
        rows = [[_plain(cell) for cell in row] for row in (self.headers, *self.rows)]
        return _csv([cell if _NUMBER.fullmatch(cell) else neutral(cell) for cell in row] for row in rows)

    def text(self, ending: str) -> str:
        """Return the table in one of `FORMATS`."""
        return {"tex": self.latex, "md": self.markdown, "csv": self.csv}[ending]()


BOOKTABS = r"% In the document's head: \usepackage{booktabs}"


def tabular(columns: str, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    r"""Return the lines of a LaTeX ``tabular`` with rules of booktabs.

    Args:
        columns: its columns, such as ``lrr``.
        headers, rows: texts, which are escaped here.
    """
    return [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        latex_line(headers),
        r"\midrule",
        *map(latex_line, rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def latex_line(cells: Sequence[str]) -> str:
    """Return a row of a ``tabular``; a first cell that begins like an argument of the line break before is shielded."""
    shield = "{}" if cells[0].startswith(("[", "*")) else ""
    return shield + " & ".join(map(_latex_cell, cells)) + r" \\"


def _latex_cell(text: str) -> str:
    """Return a cell, where the signs of numbers are those of formulas."""
    return re.sub(r"(?<!\w)([+-])(?=\d)", r"$\1$", escape_latex(text))


def markdown_line(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table, of cells that are escaped already."""
    return f"| {' | '.join(cells)} |"


def csv_text(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return the text of a CSV file.

    Texts are made harmless for spreadsheets (see `core.text.neutral`), numbers keep their exact value, and None becomes
    an empty cell.
    """
    cells = ([neutral(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return _csv([headers, *cells])


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerows(rows)  # with this, the writer quotes cells that contain \r or \n
    return file.getvalue()


_NUMBER = re.compile(r"[+-]?\d[\d,.]*")


def _plain(cell: str) -> str:
    return re.sub(r"−(?=[\d.])", "-", cell)


def escape_markdown(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line.

    >>> escape_markdown("a|b_c [d](e)")
    'a\\\\|b\\\\_c \\\\[d\\\\](e)'
    """
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def escape_latex(text: str) -> str:
    r"""Return a text that LaTeX shows as it is.

    >>> escape_latex("80 % of a_b & c")
    '80 \\% of a\\_b \\& c'
    """
    return "".join(_LATEX.get(letter, letter) for letter in text)
