"""The formats of exports, by name; each has a file of its own."""

from __future__ import annotations

from hlmat_bench.core.errors import unknown
from hlmat_bench.training.export.formats import ibis, llamafactory, ms_swift, segagent, trl, verl, webdataset
from hlmat_bench.training.export.writing import Format

FORMATS: dict[str, Format] = {
    **segagent.FORMATS,
    **llamafactory.FORMATS,
    **ms_swift.FORMATS,
    **trl.FORMATS,
    **ibis.FORMATS,
    **verl.FORMATS,
    **webdataset.FORMATS,
}


def format_named(name: str) -> Format:
    """Return the format of a name.

    Raises:
        UsageError: when there is none.
    """
    if name not in FORMATS:
        raise unknown("export format", name, FORMATS, f"There are {', '.join(FORMATS)}.")
    return FORMATS[name]
