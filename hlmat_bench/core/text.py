"""Makes names and links from untrusted sources harmless before they are written to a page or a table."""

from __future__ import annotations

import re
from typing import Any
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
    """Return a text on one line, without hidden or direction-changing characters, cut to at most ``limit`` characters.

    >>> clean("a\u202eb\\n c")
    'ab c'
    """
    # Cut first: the substitution is then fast for a text of any length.
    shown = _HIDDEN.sub("", " ".join(text[: 4 * limit].split()))
    return shown if len(shown) <= limit and len(text) <= 4 * limit else shown[: limit - 1] + "…"


def cut(text: str, limit: int = NAME_LENGTH) -> str:
    """Return a text for a message, with its middle left out where it is longer than ``limit`` characters."""
    half = limit // 2
    return text if len(text) <= limit else f"{text[: half - 5]} ... {text[-half:]}"


def valid(text: str) -> str:
    """Return a text as valid Unicode: halves of surrogate pairs, which UTF-8 cannot encode, become U+FFFD.

    >>> valid("\\ud83d cup") == "\\ufffd cup"
    True
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def safe_link(url: str) -> str | None:
    """Return the address if it is an http or https link that a page may contain; else None.

    Addresses with a user's name, with blanks or hidden characters, or longer than `LINK_LENGTH` are refused.

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
    """Return a text as a CSV cell that no spreadsheet runs as a formula: a quote is added before what looks like one.

    See https://owasp.org/www-community/attacks/CSV_Injection.

    >>> neutral("=1+1")
    "'=1+1"
    """
    return "'" + cell if cell.startswith(_FORMULA) else cell


# A path of at least two parts from the root or a drive, or a path from a home folder; an address (http://...) is none.
_PATH = re.compile(
    r"(?<![\w:/.\\~-])(?:~[\w.-]*[/\\]|(?:[A-Za-z]:)?[/\\][^\s/\\,;'\"=:]+[/\\])(?:[^\s/\\,;'\"=:]+[/\\]+)*"
    r"([^\s/\\,;'\"=:)\]]*)"
)
_HOME = re.compile(r"(?:[A-Za-z]:)?[/\\](?:home|users)[/\\][^/\\]+", re.IGNORECASE)
#: Options that name or count keys and tokens, but contain none.
_NO_SECRETS = r"key_env|key_header|max_tokens\w*|max_completion_tokens"
_SECRET_NAME = r"[\w-]*(?:key|token|secret|password|signature|\bsig\b)[\w-]*"
_SECRET = re.compile(r"(?i)(?:key|token|secret|password)$")


def without_paths(text: str) -> str:
    """Return a text with file paths cut to their last part, so that no name of a folder or a user is published.

    >>> without_paths("--out /home/ann/runs/x --data-root /home/ann")
    '--out …/x --data-root ~'
    """
    return _PATH.sub(lambda found: "~" if _HOME.fullmatch(found[0]) else f"…/{found[1]}", text)


def redact(word: str) -> str:
    """Replace keys, tokens, passwords and headers in a word of a command line by ``***``, also in addresses.

    >>> redact("command,run=worker.py --token t1 --max-tokens 8")
    'command,run=worker.py --token *** --max-tokens 8'
    >>> redact("openai,api_key=k1,key_env=MY_KEY,headers=X-Key:a b,base_url=http://me:pw@host/v1?key=k2")
    'openai,api_key=***,key_env=MY_KEY,headers=***,base_url=http://***@host/v1?key=***'
    """
    word = re.sub(r"://[^/@,\s]*@", "://***@", word)
    word = re.sub(r"\b(headers=)[^,]+", r"\1***", word)
    word = re.sub(rf"(?i)(--(?!(?:{_NO_SECRETS.replace('_', '[_-]')})\b){_SECRET_NAME}\s+)[^,\s]+", r"\1***", word)
    return re.sub(
        rf"(?i)(\b(?!(?:{_NO_SECRETS})=){_SECRET_NAME}=)(?!env\b)[^,\s&]+",
        r"\1***",
        word,
    )


def public(value: Any) -> Any:
    """Return a JSON value with file paths cut and secrets replaced in all its texts, keys of objects included."""
    if isinstance(value, str):
        return redact(without_paths(value))
    if isinstance(value, list):
        return [public(item) for item in value]
    if isinstance(value, dict):
        return {
            public(key): "***" if isinstance(item, str) and _SECRET.search(key) else public(item)
            for key, item in value.items()
        }
    return value
