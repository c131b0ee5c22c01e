"""hlmat-bench: does a multimodal LLM know which pixels belong to the object you name?

    >>> import hlmat_bench
    >>> run = hlmat_bench.run(model="oracle", task="hres_synth", limit=5)  # doctest: +SKIP
    >>> run.scores()["selection"]["final"]["miou"]  # doctest: +SKIP

Importing the package imports nothing heavy; each name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hlmat_bench import actions, clicks, overlay, points, scores
    from hlmat_bench.core.errors import RequestFailed, UsageError
    from hlmat_bench.points import PointFormat
    from hlmat_bench.points.resize import Resize
    from hlmat_bench.protocol.interfaces import Facts, Model, Reply, Request, Segmenter, Session
    from hlmat_bench.runs.run import run
    from hlmat_bench.runs.run_folder import Run

__all__ = [
    "Facts",
    "Model",
    "PointFormat",
    "Reply",
    "Request",
    "RequestFailed",
    "Resize",
    "Run",
    "Segmenter",
    "Session",
    "UsageError",
    "actions",
    "clicks",
    "overlay",
    "points",
    "run",
    "scores",
]

_MODULES = {"actions", "clicks", "overlay", "points", "scores"}
_PLACES = {
    "PointFormat": "hlmat_bench.points",
    "RequestFailed": "hlmat_bench.core.errors",
    "Resize": "hlmat_bench.points.resize",
    "Run": "hlmat_bench.runs.run_folder",
    "UsageError": "hlmat_bench.core.errors",
    "run": "hlmat_bench.runs.run",
    **dict.fromkeys(("Facts", "Model", "Reply", "Request", "Segmenter", "Session"), "hlmat_bench.protocol.interfaces"),
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"hlmat_bench.{name}")
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'hlmat_bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
