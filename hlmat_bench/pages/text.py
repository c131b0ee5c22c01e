"""Names and links from strangers, made harmless before they are on a page or in a table."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

NAME_LENGTH = 200
LINK_LENGTH = 500

# Controls, soft hyphens, directional marks and overrides, invisible operators, surrogates, interlinear annotations and
# tags (https://www.unicode.org/reports/tr36/, 3). The zero-width joiners stay: scripts and emoji need them.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def clean(text: str, limit: int = NAME_LENGTH) -> str:
    """The text on one line, without hidden and direction-changing characters, of at most so many characters.

    >>> clean("a\u202eb\\n c")
    'ab c'
    """
    # A cut first, so that a text of any length costs little.
    shown = _HIDDEN.sub("", " ".join(text[: 4 * limit].split()))
    return shown if len(shown) <= limit and len(text) <= 4 * limit else shown[: limit - 1] + "…"


def safe_link(url: str) -> str | None:
    """The address, where it is one of http or https that a page may link to; else None.

    Refused are also those with a user's name, with blanks or hidden characters, or longer than `LINK_LENGTH`.

    >>> safe_link("javascript:alert(1)") is None
    True
    """
    if len(url) > LINK_LENGTH or not url.isascii() or re.search(r"[\x00-\x20\x7f\"'<>\\^`{|}]", url):
        return None
    try:
        parts = urlsplit(url)
        allowed = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return None
    return url if allowed else None


def neutral(cell: str) -> str:
    """A text as a CSV cell that no spreadsheet takes for a formula: a quote goes before what looks like one.

    See https://owasp.org/www-community/attacks/CSV_Injection.

    >>> neutral("=1+1")
    "'=1+1"
    """
    return "'" + cell if cell.startswith(_FORMULA) else cell
