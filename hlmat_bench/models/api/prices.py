"""What a reply costs: dollars per million tokens, from a file that anybody can edit."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlmat_bench.core import files
from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens: ``input`` of the prompt, images included, ``output`` of the replies."""

    input: float
    output: float

    def of(self, tokens_in: int | None, tokens_out: int | None) -> float | None:
        """US dollars for so many tokens; None where a number of tokens is unknown."""
        if tokens_in is None or tokens_out is None:
            return None
        return (self.input * tokens_in + self.output * tokens_out) / 1e6


def find(model: str, file: str | Path | None = None) -> Price | None:
    """The price of a model; None where the file names none.

    Args:
        model: its name on the server.
        file: a YAML list of entries with ``model``, a name or a pattern such as ``gpt-4o-2024-*``, ``input`` and
            ``output`` in US dollars per million tokens, and, for the reader, ``source`` and ``date``. A name goes
            before a pattern, an earlier pattern before a later one. None: our own, ``adapters/models/prices.yaml``.

    Raises:
        UsageError: when the file cannot be read or an entry is no price.
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
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
