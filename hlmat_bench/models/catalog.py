"""The catalogue: short names of models, each with its adapter, its options and how it writes coordinates.

Ours is ``adapters/models/catalog.yaml``, schema ``hlmat-catalog/1``; a user's own file of the same form adds to it.
An entry belongs to one version of a model, since conventions change between versions of one family.
"""

from __future__ import annotations

import datetime
import os
import textwrap
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


class Entry(Strict):
    """One version of a model.

    Attributes:
        title: its full name.
        adapter: the plug-in that runs it.
        options: what the plug-in is given, besides `points` and `resize`.
        points: its point format, a name that `PointFormat.named` knows.
        resize: how the image is changed before it is sent, a name that `Resize.named` knows.
        settings: protocol settings that it was trained with (``prompt``, ``jpeg``); a user's own take precedence.
        predicts_iou: its replies say what the mask it is shown is worth.
        source: the address of what says how it writes coordinates.
        verified: that is the model card, the maker's code or documentation, or its maintainers' word; False: others'.
        checked: when the source was last read.
        needs: what it takes to run it, besides its adapter's packages.
        note: what else a user must know.
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
        """The checkpoint or the service's model that it is."""
        return str(self.options.get("pretrained") or self.options.get("model") or "")

    def missing(self, adapters: Mapping[str, plugins.Plugin]) -> str | None:
        """What it lacks to run here, as a sentence; None when it lacks nothing that can be seen."""
        variable = self.options.get("key_env")
        adapter = adapters.get(self.adapter)
        if adapter is None and not self.adapter.partition(":")[0].endswith(".py"):
            return f"there is no adapter {self.adapter}"
        if adapter is not None and adapter.missing is not None:
            return adapter.missing
        return f"set {variable}" if variable and not os.environ.get(variable) else self.needs


class _File(Strict):
    schema_: Literal["hlmat-catalog/1"] = Field(alias="schema")
    aliases: dict[str, str] = Field(default_factory=dict)
    families: dict[str, Any] = Field(default_factory=dict)
    models: dict[str, Entry] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a user's ``--model`` means.

    Attributes:
        plugin: name or file of the plug-in.
        options: what it is given.
        entry: the catalogue entry, or None.
        settings: the entry's protocol settings.
        predicts_iou: as in the entry.
        described: the entry as the manifest records it.
        others: names of no plug-in that might have been meant.
        made: the model itself, where a caller brought one.
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
        """The model; raises what `plugins.build` raises."""
        return self.made or plugins.build("model", self.plugin, self.options, others=self.others)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All entries by short name, and the aliases."""

    models: Mapping[str, Entry]
    aliases: Mapping[str, str]

    @staticmethod
    def load(extra: str | os.PathLike[str] | None = None) -> Catalog:
        """Ours, and a user's own file, whose entries replace ours of the same name.

        Raises:
            UsageError: when a file is missing or not of the schema.
        """
        files = [_ours()]
        if extra is not None:
            files.append(_read(Path(extra)))
        models = {name: entry for file in files for name, entry in file.models.items()}
        aliases = {name: target for file in files for name, target in file.aliases.items()}
        if lost := sorted(name for name, target in aliases.items() if target not in models):
            raise UsageError(f"The catalogue's alias {lost[0]} names {aliases[lost[0]]!r}, which has no entry.")
        return Catalog(models, aliases)

    def choose(self, spec: str | Model) -> Choice:
        """What ``name,key=value,...`` means: an entry with its options replaced or added to, or a plug-in.

        ``adapter=`` runs an entry through another plug-in, for example through a server: its point format, its resize
        rule and its settings stay.
        """
        if not isinstance(spec, str):
            return Choice("", {}, made=spec)
        name, given = plugins.parse_spec(spec)
        name = self.aliases.get(name, name)
        entry = self.models.get(name)
        if entry is None:
            return Choice(name, given, others=(*REFERENCES, *self.models, *self.aliases))
        adapter = str(given.pop("adapter", entry.adapter))
        declared = {"points": entry.points, "resize": entry.resize, "name": name}
        options = entry.options if adapter == entry.adapter else _carried_over(entry, adapter)
        described = {"entry": name, **entry.model_dump(mode="json", include={"title", "points", "source", "verified"})}
        return Choice(adapter, {**declared, **options, **given}, name, entry.settings, entry.predicts_iou, described)

    def resize_rules(self) -> list[str]:
        """The names of the resize rules of all models."""
        return sorted({entry.resize for entry in self.models.values()})

    HEADERS: ClassVar = ("model", "adapter", "weights or service", "points", "verified", "runs here", "documented in")

    def rows(self) -> list[tuple[str, ...]]:
        """A table of everything that ``--model`` takes, under `HEADERS`."""
        adapters = plugins.available("model")
        references = [(name, "reference", "", "", "", "yes", "") for name in REFERENCES]
        generic = [(name, name, "", "points=...", "", found.missing or "yes", "") for name, found in adapters.items()]
        entries = [
            (name, e.adapter, e.weights(), e.points, _yes(e.verified), _short(e.missing(adapters) or "yes"), e.source)
            for name, e in self.models.items()
        ]
        aliases = [(name, f"is {target}", "", "", "", "", "") for name, target in self.aliases.items()]
        return [*references, *generic, *aliases, *entries]

    def page(self, name: str) -> str:
        """All that is known of one model, as lines.

        Raises:
            UsageError: when there is no such entry.
        """
        target = self.aliases.get(name, name)
        if target not in self.models:
            raise unknown("catalogue entry", name, [*self.models, *self.aliases], "`hlmat-bench models` lists them.")
        entry = self.models[target].model_dump(mode="json", exclude_none=True)
        lines = [f"{key}: {value}" for key, value in entry.items() if value not in ({}, "none")]
        return "\n".join([target if target == name else f"{name} is {target}", *lines])


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _short(text: str) -> str:
    return textwrap.shorten(text, 48, placeholder=" ...")


def _carried_over(entry: Entry, adapter: str) -> dict[str, Any]:
    """The options that mean something to another plug-in: a server knows a checkpoint by its name."""
    return {"model": entry.weights()} if adapter == "openai" else {}


@cache
def _ours() -> _File:
    return _read(folder("adapters") / "models" / "catalog.yaml")


def _read(path: Path) -> _File:
    return validated(_File, yaml_files.read(path, "catalogue"), f"the catalogue {path}")
