"""Templates of the content folders `reports` and `leaderboard`: everything is escaped, a missing value is an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hlmat_bench.core.content import folder
from hlmat_bench.core.text import clean, safe_link

#: What a page may load: files of its own folder, and nothing from elsewhere or from its own text.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"
)


def environment() -> Environment:
    """Jinja2 with both folders' ``templates/``, the reports' first.

    Filters: ``number`` (digits), ``interval``, ``percent``, ``clean``, and ``link``, a text as a link where the address
    is a safe one. The global ``policy`` is the content security policy.
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
    made.globals["policy"] = POLICY
    made.filters |= {"number": number, "interval": interval, "percent": percent, "clean": clean, "link": link}
    return made


def render(template: str, **values: Any) -> str:
    """A page from a template of that name."""
    return environment().get_template(template).render(**values)


def number(value: float | None, digits: int = 3) -> str:
    """``0.712``; a dash for None, which no reader takes for 0.

    >>> number(2 / 3), number(None), number(1234567, 0)
    ('0.667', '–', '1,234,567')
    """
    return "–" if value is None else f"{value:,.{digits}f}".replace("-", "−")


def interval(ends: Sequence[float] | None, digits: int = 3) -> str:
    """``0.684 to 0.741``; nothing for None."""
    return "" if ends is None else f"{number(ends[0], digits)} to {number(ends[1], digits)}"


def percent(share: float | None, digits: int = 1) -> str:
    """``71.2 %``; a dash for None."""
    return "–" if share is None else f"{number(100 * share, digits)} %"


def link(text: str, url: str | None) -> Markup | str:
    """The text as a link to the address; the text alone where the address is None or none that is safe."""
    address = safe_link(url) if url else None
    if address is None:
        return text
    return Markup('<a href="{}" rel="noopener nofollow">{}</a>').format(address, text)
