"""The catalogue: short names of models, with their adapters, options and point formats.

The project's catalogue is ``adapters/models/catalog.yaml``, schema ``hlmat-catalog/1``; a user's file of the same form
adds to it. An entry is one version of a model, because point formats change between the versions of a family.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from hlmat_bench.core import files as yaml_files
from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import UsageError, unknown
from hlmat_bench.core.validation import Strict, validated
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import Model
from hlmat_bench.protocol.reference import REFERENCES
from hlmat_bench.protocol.settings import ProtocolSettings


class CatalogEntry(Strict):
    """One version of a model.

    Attributes:
        title: full name of the model.
        adapter: the plug-in that runs the model.
        options: options of the plug-in, without `points` and `resize`.
        points: point format of the model, a name that `PointFormat.named` knows.
        resize: how the image is changed before it is sent, a name that `Resize.named` knows.
        settings: protocol settings that the model was trained with (``prompt``, ``jpeg``); settings that the user gives
            take precedence.
        predicts_iou: True if its replies predict the IoU of the mask in the image.
        source: address of the document that defines the point format.
        verified: True if the source is the model card, code or documentation by the model's authors, or a statement of
            its maintainers; False if it was written by others.
        checked: date at which the source was last read.
        needs: what is needed to run the model, in addition to its adapter's packages.
        note: other facts that a user must know.
    """

    title: str
    adapter: str
    options: dict[str, Any] = Field(default_factory=dict)
    points: str
    resize: str = "none"
    settings: dict[str, Any] = Field(default_factory=dict)
    predicts_iou: bool = False
    source: str = Field(pattern=r"^https?://")
    verified: bool
    checked: datetime.date
    needs: str | None = None
    note: str | None = None

    @field_validator("points", "resize", "settings")
    @classmethod
    def _is_known(cls, value: Any, info: Any) -> Any:
        check: Any = {"points": PointFormat.named, "resize": Resize.named, "settings": ProtocolSettings.build}
        try:
            check[info.field_name](value)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return value

    def weights(self) -> str:
        """Return the name of the checkpoint, or of the service's model; empty if the options have none."""
        return str(self.options.get("pretrained") or self.options.get("model") or "")

    def missing(self, adapters: Mapping[str, plugins.Plugin]) -> str | None:
        """Return what is missing to run the model on this machine, in words; None if nothing is known to be missing.

        Args:
            adapters: the installed plug-ins for models, by name.
        """
        variable = self.options.get("key_env")
        adapter = adapters.get(self.adapter)
        if adapter is None and not self.adapter.partition(":")[0].endswith(".py"):
            return f"there is no adapter {self.adapter}"
        if adapter is not None and adapter.missing is not None:
            return adapter.missing
        is_set = variable and dict(os.environ).get(str(variable))  # a text that can be no variable's name is not set
        return f"set {variable}" if variable and not is_set else self.needs


class _File(Strict):
    schema_: Literal["hlmat-catalog/1"] = Field(alias="schema")
    aliases: dict[str, str] = Field(default_factory=dict)
    families: dict[str, Any] = Field(default_factory=dict)
    models: dict[str, CatalogEntry] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The model that a user has named with ``--model``.

    Attributes:
        plugin: name or file of the plug-in.
        options: options of the plug-in.
        entry: name of the catalogue entry, or None.
        settings: protocol settings of the entry.
        predicts_iou: see `CatalogEntry`.
        described: the entry as the manifest records it.
        others: names that are no plug-ins, for suggestions when the name is misspelt.
        made: the model itself, if the caller has passed an object.
    """

    plugin: str
    options: dict[str, Any]
    entry: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    predicts_iou: bool = False
    described: Mapping[str, Any] | None = None
    others: tuple[str, ...] = ()
    made: Model | None = None

    def make(self) -> Any:
        """Load the model; raises the errors of `plugins.build`."""
        return self.made or plugins.build("model", self.plugin, self.options, others=self.others)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All entries by short name, and the entry's name for each alias."""

    models: Mapping[str, CatalogEntry]
    aliases: Mapping[str, str]

    @staticmethod
    def load(extra: str | os.PathLike[str] | None = None) -> Catalog:
        """Read the project's catalogue and a user's file, whose entries replace those of the same name.

        Raises:
            UsageError: when a file is missing or does not follow the schema.
        """
        files = [_built_in()]
        if extra is not None:
            files.append(_read(Path(extra)))
        models = {name: entry for file in files for name, entry in file.models.items()}
        aliases = {name: target for file in files for name, target in file.aliases.items()}
        if lost := sorted(name for name, target in aliases.items() if target not in models):
            raise UsageError(f"The catalogue's alias {lost[0]} names {aliases[lost[0]]!r}, which has no entry.")
        return Catalog(models, aliases)

    def choose(self, spec: str | Model) -> ModelChoice:
        """Find the entry or the plug-in for ``name,key=value,...``; the given options replace those of the entry.

        ``adapter=`` runs an entry with another plug-in, for example on a server: its point format, its resize rule and
        its settings stay.
        """
        if not isinstance(spec, str):
            return ModelChoice("", {}, made=spec)
        name, given = plugins.parse_spec(spec)
        name = self.aliases.get(name, name)
        entry = self.models.get(name)
        if entry is None:
            return ModelChoice(name, given, others=(*REFERENCES, *self.models, *self.aliases))
        adapter = str(given.pop("adapter", entry.adapter))
        declared = {"points": entry.points, "resize": entry.resize, "name": name}
        options = entry.options if adapter == entry.adapter else _carried_over(entry, adapter)
        described = {"entry": name, **entry.model_dump(mode="json", include={"title", "points", "source", "verified"})}
        return ModelChoice(
            adapter, {**declared, **options, **given}, name, entry.settings, entry.predicts_iou, described
        )

    def resize_rules(self) -> list[str]:
        """Return the names of the resize rules of all models, sorted."""
        return sorted({entry.resize for entry in self.models.values()})

    HEADERS: ClassVar = ("model", "points", "missing here")

    def rows(self, word: str = "") -> list[tuple[str, str, str]]:
        """Return the rows of a table of everything that ``--model`` accepts, with the columns `HEADERS`.

        Args:
            word: choose those that have it in their name, title, adapter, checkpoint or point format, in any case.
        """
        adapters = plugins.available("model")
        chosen = [(name, "", "nothing") for name in REFERENCES]
        chosen += [(name, "points=...", found.missing or "nothing") for name, found in adapters.items()]
        chosen += [(name, "", f"short for {target}") for name, target in self.aliases.items()]
        chosen = [row for row in chosen if word.lower() in f"{row[0]} {row[2]}".lower()]
        for name, entry in self.models.items():
            if word.lower() in " ".join((name, entry.title, entry.adapter, entry.weights(), entry.points)).lower():
                chosen.append((name, entry.points, entry.missing(adapters) or "nothing"))
        return chosen

    def names(self) -> list[str]:
        """Return the names of all entries and aliases."""
        return [*self.models, *self.aliases]

    def page(self, name: str) -> str:
        """Write an entry, one line per field.

        Raises:
            UsageError: when there is no such entry.
        """
        target = self.aliases.get(name, name)
        if target not in self.models:
            raise unknown("catalogue entry", name, self.names(), "`hlmat-bench models` lists them.")
        entry = self.models[target].model_dump(mode="json", exclude_none=True)
        lines = [f"{key}: {value}" for key, value in entry.items() if value not in ({}, "none")]
        return "\n".join([target if target == name else f"{name} is {target}", *lines])


def _carried_over(entry: CatalogEntry, adapter: str) -> dict[str, Any]:
    """Return the entry's options for another plug-in: the name of the checkpoint, where it takes one."""
    if adapter == "openai":
        return {"model": entry.weights()}
    named = "pretrained" in entry.options and plugins.takes("model", adapter, "pretrained")
    return {"pretrained": entry.weights()} if named else {}


@cache
def _built_in() -> _File:
    return _read(folder("adapters") / "models" / "catalog.yaml")


def _read(path: Path) -> _File:
    return validated(_File, yaml_files.read(path, "catalogue"), f"the catalogue {path}")
