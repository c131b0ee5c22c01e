"""Write what readers take away: figures as SVG, PDF and pgfplots source, tables as LaTeX, Markdown and CSV."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hlmat_bench.core.tables import FORMATS, TextTable
from hlmat_bench.reports.pages.data import json_text, script
from hlmat_bench.reports.pages.plots import pdf, pgfplots, svg
from hlmat_bench.reports.pages.plots.figure import Figure
from hlmat_bench.reports.pages.site import Site

FIGURES, TABLES = "figures", "tables"


def write_figures(site: Site, figures: Iterable[Figure | None]) -> None:
    """Write ``figures/NAME.svg``, ``.pdf``, ``.tex`` and ``.csv`` of each figure that has a name; None is passed over.

    The macro ``plot`` links to these files; its button for PNG reads ``NAME.js``, as a page opened from a file cannot
    read the SVG file. Equal figures give equal bytes.

    Raises:
        ValueError: when a name has other than lower-case letters, digits and hyphens, or is there twice.
        UsageError: when a file cannot be written.
    """
    for figure in figures:
        if figure is None or not figure.name:
            continue
        path = f"{FIGURES}/{_checked(figure.name)}"
        picture = svg.file(figure)
        site.write(f"{path}.svg", picture)
        site.write(f"{path}.js", script(f"figure {figure.name}", json_text(picture)))
        site.write(f"{path}.pdf", pdf.file(figure))
        site.write(f"{path}.tex", pgfplots.file(figure))
        site.write(f"{path}.csv", TextTable(figure.headers, figure.rows).csv())


def write_table(site: Site, name: str, table: TextTable) -> None:
    """Write ``tables/NAME.tex``, ``.md`` and ``.csv``, and ``.js`` for the buttons that copy them.

    The macros ``take_table`` and ``table`` link to them. For errors see `write_figures`.
    """
    texts = {ending: table.text(ending) for ending in FORMATS}
    for ending, text in texts.items():
        site.write(f"{TABLES}/{_checked(name)}.{ending}", text)
    site.write(f"{TABLES}/{name}.js", script(f"table {name}", json_text(texts)))


def _checked(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"{name!r} is not a name of lower-case letters, digits and hyphens")
    return name
