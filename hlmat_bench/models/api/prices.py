"""Prices of models in US dollars per million tokens, from a YAML file that users can edit or replace."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlmat_bench.core import files
from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import UsageError

_TOO_HIGH = 1e9


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens: ``input`` for the prompt with its images, ``output`` for the replies."""

    input: float
    output: float

    def of(self, tokens_in: int | None, tokens_out: int | None) -> float | None:
        """Return the cost of a request in US dollars; None if a number of tokens is unknown."""
        if tokens_in is None or tokens_out is None:
            return None
        return (self.input * tokens_in + self.output * tokens_out) / 1e6


def find(model: str, file: str | Path | None = None) -> Price | None:
    """Return the price of a model; None if the file has none.

    Args:
        model: name of the model on the server.
        file: a YAML list of entries with ``model``, a name or a pattern such as ``gpt-4o-2024-*``, ``input`` and
            ``output`` in US dollars per million tokens, and, for the reader, ``source`` and ``date``. A name takes
            precedence over a pattern, an earlier pattern over a later one. None: ``adapters/models/prices.yaml``.

    Raises:
        UsageError: when the file cannot be read or an entry is not of this form.
    """
    path = Path(file) if file is not None else folder("adapters") / "models" / "prices.yaml"
    entries = _entries(path)
    patterns = [(name, price) for name, price in entries if fnmatch.fnmatchcase(model, name)]
    return dict(entries).get(model) or (patterns[0][1] if patterns else None)


def _entries(path: Path) -> Sequence[tuple[str, Price]]:
    values = files.read(path, "prices= file")
    if not isinstance(values, list):
        raise UsageError(f"{path} must be a list of entries with model, input and output.")
    return [_entry(path, value) for value in values]


def _entry(path: Path, value: Any) -> tuple[str, Price]:
    fields = value if isinstance(value, dict) else {}
    if not isinstance(fields.get("model"), str) or not all(_is_price(fields.get(name)) for name in ("input", "output")):
        raise UsageError(f"{path}: {value!r} must have a model, and input and output in dollars per million tokens.")
    return fields["model"], Price(float(fields["input"]), float(fields["output"]))


def _is_price(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _TOO_HIGH
