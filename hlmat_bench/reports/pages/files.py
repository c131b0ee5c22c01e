"""Write what readers take away: figures as SVG, PDF and pgfplots source, tables as LaTeX, Markdown and CSV."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hlmat_bench.core.tables import FORMATS, TextTable
from hlmat_bench.reports.pages.plots import pdf, pgfplots, svg
from hlmat_bench.reports.pages.plots.figure import Figure
from hlmat_bench.reports.pages.site import Site

FIGURES, TABLES = "figures", "tables"


def write_figures(site: Site, figures: Iterable[Figure | None]) -> None:
    """Write ``figures/NAME.svg``, ``.pdf`` and ``.tex`` of each figure that has a name; None is passed over.

    The macro ``plot`` links to these files. Equal figures give equal bytes.

    Raises:
        ValueError: when a name has other than lower-case letters, digits and hyphens, or is there twice.
        UsageError: when a file cannot be written.
    """
    for figure in figures:
        if figure is None or not figure.name:
            continue
        path = f"{FIGURES}/{_checked(figure.name)}"
        site.write(f"{path}.svg", svg.file(figure))
        site.write(f"{path}.pdf", pdf.file(figure))
        site.write(f"{path}.tex", pgfplots.file(figure))


def write_table(site: Site, name: str, table: TextTable) -> None:
    """Write ``tables/NAME.tex``, ``.md`` and ``.csv``; the macro ``take_table`` links to them. For errors see above."""
    for ending in FORMATS:
        site.write(f"{TABLES}/{_checked(name)}.{ending}", table.text(ending))


def _checked(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"{name!r} is not a name of lower-case letters, digits and hyphens")
    return name
