"""How a task inside lmms-eval is to be played: its YAML file says, and the environment may say otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.validation import Strict, validated


class Options(Strict):
    """The section ``metadata: {hlmat: ...}`` of a task's YAML file for lmms-eval.

    A variable of the environment replaces a field: ``HLMAT_POINTS`` replaces ``points``, and so on, except for
    ``task``. The data root is ``HLMAT_DATA``, as everywhere.

    Attributes:
        task: a task's name, or the path of a task's YAML file.
        points: how the model writes coordinates, a name that `PointFormat.named` knows.
        resize: how the image is changed before the model gets it, a name that `Resize.named` knows.
        segmenter: a name with options, or a file.
        strategy, budget, initial, seed: as for `hlmat_bench.run`.
        settings: more settings, as for `hlmat_bench.run`; those in the environment, as YAML: ``{history: true}``, come
            on top.
        model: what to call the model; None: what lmms-eval's command line says.
        out: the folder that holds the run folders.
    """

    task: str
    points: str
    resize: str = "none"
    segmenter: str = "graphcut"
    strategy: str | None = None
    budget: int | None = None
    initial: str | None = None
    seed: int = 0
    settings: dict[str, Any] = Field(default_factory=dict)
    model: str | None = None
    out: Path = Path("runs")

    @classmethod
    def read(cls, section: Mapping[str, Any], environment: Mapping[str, str]) -> Options:
        """From a YAML file's section and the environment.

        Raises:
            UsageError: when a field is missing, unknown or does not fit.
        """
        given = {name: environment.get(f"HLMAT_{name.upper()}") for name in cls.model_fields if name != "task"}
        values = {**section, **{name: value for name, value in given.items() if value}}
        try:
            if isinstance(settings := values.get("settings"), str):
                values["settings"] = {**section.get("settings", {}), **yaml.safe_load(settings)}
        except (yaml.YAMLError, TypeError) as error:
            raise UsageError(
                "HLMAT_SETTINGS is not a YAML mapping; write it like {history: true, overlay.alpha: 0.3}."
            ) from error
        if values.get("points") is None:
            raise UsageError(
                "Say how the model writes coordinates, for example HLMAT_POINTS=xy1000; docs/points.md lists the "
                "formats."
            )
        return validated(cls, values, "metadata.hlmat (or of its variable, such as HLMAT_BUDGET for budget)")
