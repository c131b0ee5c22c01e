"""Build tiny checkpoints of real architectures, without a network."""

from __future__ import annotations

import importlib
from typing import Any


def transformers() -> Any:
    """Import transformers as an untyped module, because parts of it have no types."""
    return importlib.import_module("transformers")
