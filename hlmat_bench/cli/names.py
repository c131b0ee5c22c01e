"""How the terminal calls models and runs, and the command that comes after a run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlmat_bench.core.text import clean, redact
from hlmat_bench.data.tasks import ENVIRONMENT

if TYPE_CHECKING:
    from hlmat_bench.runs.run_folder import Run

#: The most characters of a model's name.
_LONGEST = 40
#: Options that say which model an adapter runs.
_MODEL = ("model", "pretrained", "peft")


def short_names(models: Sequence[str]) -> list[str]:
    """Return a short name for each ``--model``; where two are equal, with the options that differ.

    >>> short_names(["oracle", "hf,pretrained=/models/Qwen3-VL-8B,points=xy1000", "./a/mine.py,noise=1", "b/mine.py"])
    ['oracle', 'Qwen3-VL-8B', 'mine,noise=1', 'mine']
    """
    from hlmat_bench.protocol.plugins import parse_spec

    parsed = [parse_spec(redact(model)) for model in models]
    names = [_short(name, options) for name, options in parsed]
    shown = []
    for own, (_, options) in zip(names, parsed, strict=True):
        others = [given for name, (_, given) in zip(names, parsed, strict=True) if name == own]
        differing = [f"{key}={value}" for key, value in options.items() if any(value != it.get(key) for it in others)]
        shown.append(clean(",".join([own, *differing]), _LONGEST))
    return shown


def _short(name: str, options: Mapping[str, Any]) -> str:
    parts = [Path(options[key]).name for key in _MODEL if options.get(key)]
    path, _, inner = name.partition(":")
    plugin = (inner or Path(path).stem) if path.endswith(".py") else name
    if name == "lmms":  # its name= is that of the model's class
        return parts[0] if parts else str(options.get("name", name))
    return str(options.get("name") or "+".join(parts) or plugin)


def model_names(runs: Sequence[Run]) -> list[str]:
    """Return the names of the runs' models as the runs' manifests have them; where two are equal, see `short_names`."""
    names = [clean(redact(run.manifest["model"]["name"]), _LONGEST) for run in runs]
    specs = [(run.manifest.get("spec") or {}).get("model") or name for run, name in zip(runs, names, strict=True)]
    return [short if names.count(name) > 1 else name for name, short in zip(names, short_names(specs), strict=True)]


def report_command(runs: Sequence[Run]) -> str:
    """Return the command that makes the report of a run, or the comparison of several, for a shell."""
    spec = runs[0].manifest.get("spec") or {}
    root = spec.get("data_root")
    there = ["--data-root", root] if root and root != os.environ.get(ENVIRONMENT) else []
    folders = [_argument(run.folder) for run in runs]
    return shlex.join(["hlmat-bench", "report", *folders, *there])


def _argument(folder: Path) -> str:
    """Return a folder so that it is not taken for an option."""
    text = str(folder)
    return f"./{text}" if text.startswith("-") else text
