"""What the page of a comparison shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hlmat_bench.reports.compare import settings, tables, words
from hlmat_bench.reports.compare.pairs import pairs
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.scores.slices import Slicing


def values(entrants: Sequence[Entrant], slicings: Sequence[Slicing]) -> dict[str, Any]:
    """Return the variables of the template of a comparison."""
    found = pairs(entrants)
    return {
        "title": words.title(entrants),
        "verdict": words.summary(entrants, found),
        "tables": tables.text_tables(entrants, found),
        "pairs": found,
        "model": settings.model_words(entrants),
        "differing": settings.differing(entrants),
    }
