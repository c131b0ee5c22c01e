"""Render templates of the content folders `reports` and `leaderboard`: values are escaped, and none may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hlmat_bench.core.content import folder
from hlmat_bench.core.text import clean, safe_link
from hlmat_bench.reports.pages import bibtex
from hlmat_bench.reports.pages.frame import defined_in, term_id, version
from hlmat_bench.reports.pages.plots import svg
from hlmat_bench.reports.pages.plots.figure import Figure
from hlmat_bench.reports.pages.plots.layout import has_areas

#: The content security policy of pages: only files of the page's own folder, no other addresses, no inline code.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"
)


def environment() -> Environment:
    """Return the Jinja2 environment with the ``templates/`` of both folders, those of `reports` first.

    Its filters are the functions below, ``clean``, and what the frame and the macros of all pages use; the global
    ``policy`` is the content security policy.
    """
    folders = [folder(name) / "templates" for name in ("reports", "leaderboard")]
    made = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.globals |= {"policy": POLICY, "version": version(), "cite_benchmark": bibtex.benchmark}
    made.filters |= {"number": number, "interval": interval, "percent": percent, "clean": clean, "link": link}
    made.filters |= {"drawing": svg.inline, "swatches": swatches, "term_id": term_id, "defined_in": defined_in}
    return made


def render(template: str, **values: Any) -> str:
    """Return the text of a page, given the name of its template and the template's variables."""
    return environment().get_template(template).render(**values)


def number(value: float | None, digits: int = 3) -> str:
    """Write a number as ``0.712``; None as a dash, which cannot be mistaken for 0.

    >>> number(2 / 3), number(None), number(1234567, 0)
    ('0.667', '–', '1,234,567')
    """
    return "–" if value is None else f"{value:,.{digits}f}".replace("-", "−")


def interval(ends: Sequence[float] | None, digits: int = 3) -> str:
    """Write an interval as ``0.684 to 0.741``; None as an empty text."""
    return "" if ends is None else f"{number(ends[0], digits)} to {number(ends[1], digits)}"


def in_percent(share: float | None, digits: int = 1) -> str:
    """Write a share or a score in [0, 1] in per cent without the sign, as ``68.8``; None as a dash."""
    return number(None if share is None else 100 * share, digits)


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share in [0, 1] as ``71.2 %``; None as a dash."""
    return in_percent(share, digits) if share is None else f"{in_percent(share, digits)} %"


def swatches(figure: Figure) -> list[tuple[Markup, str]]:
    """Return the legend of a figure for a page: a sample and a name of each thing."""
    areas = has_areas(figure)
    return [(svg.legend_swatch(hue, area=areas), name) for hue, name in figure.legend]


def link(text: str, url: str | None) -> Markup | str:
    """Return a text as a link to an address; without the link if the address is None or not safe."""
    address = safe_link(url) if url else None
    if address is None:
        return text
    return Markup('<a href="{}" rel="noopener nofollow">{}</a>').format(address, text)
