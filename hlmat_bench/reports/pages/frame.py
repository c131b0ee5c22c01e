"""What the frame of every page says besides its content: version, date, BibTeX, definitions of terms."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata

from hlmat_bench.core.errors import UsageError


def version() -> str:
    """Return the version of hlmat-bench, as installed."""
    return metadata.version("hlmat-bench")


def build_date(moments: Iterable[str | None]) -> str:
    """Return the date that pages carry, as ``2026-11-26``: that of the newest input.

    So equal inputs make equal pages. The variable SOURCE_DATE_EPOCH overrides it (https://reproducible-builds.org/specs/source-date-epoch/).

    Args:
        moments: dates or times of ISO 8601, such as ``started`` of a manifest; None and empty ones are passed over.

    Returns:
        The date; empty where nothing has one.

    Raises:
        UsageError: when SOURCE_DATE_EPOCH is not a number of seconds.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch:
        try:
            return datetime.fromtimestamp(int(epoch), UTC).date().isoformat()
        except (ValueError, OverflowError, OSError) as error:
            raise UsageError(f"SOURCE_DATE_EPOCH is {epoch!r}; it must be a number of seconds since 1970.") from error
    dates = [moment[:10] for moment in moments if moment and re.match(r"\d{4}-\d\d-\d\d", moment)]
    return max(dates, default="")


def term_id(name: str) -> str:
    """Return the id of the definition of a term on a page.

    >>> term_id("NoC@85 %")
    'def-noc-85'
    """
    return "def-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def defined_in(name: str, definitions: Mapping[str, str]) -> str | None:
    """Return the term that defines a header: the header itself, or without its unit in parentheses; None if none does.

    >>> defined_in("mIoU (%)", {"mIoU": "mean IoU"})
    'mIoU'
    """
    plain = re.sub(r"\s*\([^()]*\)$", "", name)
    return next((term for term in (name, plain) if term in definitions), None)
