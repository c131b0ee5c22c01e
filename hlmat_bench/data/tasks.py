"""Tasks: a set of samples plus the protocol's defaults, described by a YAML file.

Ours lie in the content folder `tasks/`; a user's own is named by its path. ``docs/tasks.md`` lists the data sets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from hlmat_bench.core import files as yaml_files
from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import UsageError, unknown
from hlmat_bench.core.plain_files import cut, exists
from hlmat_bench.core.samples import Source
from hlmat_bench.data.layouts.coco import CocoSettings
from hlmat_bench.data.layouts.data_root import Place
from hlmat_bench.data.layouts.layout_settings import SourceSettings
from hlmat_bench.data.layouts.mask_folder import MaskFolderSettings
from hlmat_bench.data.layouts.problems import MissingFile
from hlmat_bench.data.layouts.refer import ReferSettings
from hlmat_bench.data.layouts.segagent import SegAgentSettings
from hlmat_bench.data.layouts.synth import SynthSettings
from hlmat_bench.data.layouts.table import TableSettings
from hlmat_bench.protocol.mask_settings import FilteringSettings, RefinementSettings
from hlmat_bench.protocol.settings import ProtocolSettings

ENVIRONMENT = "HLMAT_DATA"
"""The environment's variable for the data root."""

AnySource: TypeAlias = Annotated[
    ReferSettings | MaskFolderSettings | SegAgentSettings | CocoSettings | TableSettings | SynthSettings,
    Field(discriminator="kind"),
]
_SOURCES: dict[str, type[SourceSettings]] = {
    "refer": ReferSettings,
    "mask_folder": MaskFolderSettings,
    "segagent": SegAgentSettings,
    "coco": CocoSettings,
    "table": TableSettings,
    "synth": SynthSettings,
}
_LIST_HINT = "`hlmat-bench tasks` lists them."


class Expected(BaseModel):
    """The published counts; None where none is known.

    Attributes:
        images: different images.
        refs: different objects.
        expressions: samples.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    images: int | None = None
    refs: int | None = None
    expressions: int | None = None


_SECTIONS: dict[str, type[BaseModel]] = {
    "expected": Expected,
    "refinement": RefinementSettings,
    "filtering": FilteringSettings,
}


class Task(BaseModel):
    """A task, as its YAML file describes it. A file may begin with ``extends``, the name of a task of ours whose fields
    it takes unless it has them itself.

    Attributes:
        name: letters, digits, ``_``, ``-``, ``.`` and ``+``; of our files, the file's name.
        version: raised when the samples or their order change.
        title: one line for lists.
        group: the tasks that ``expand`` gives for this name.
        kind: what is measured.
        refinement: of that kind: which imperfect masks episodes begin with.
        filtering: of that kind: what the masks are drawn from whose IoU is asked for.
        data: the file's section ``source``: which layout, and where its parts lie.
        protocol: settings of the protocol that differ from its defaults.
        revision: which version of the data set.
        licence: of the data.
        citation: of the data.
        homepage: of the data.
        expected: the published counts.
        how_to_get: how to get the data, as the end of a sentence.
        aliases: other names of the task.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=r"^\w[\w.+-]*$")
    version: int = Field(1, ge=1)
    title: str = ""
    group: str = "own"
    kind: Literal["segmentation", "refinement", "filtering"] = "segmentation"
    refinement: RefinementSettings = RefinementSettings()
    filtering: FilteringSettings = FilteringSettings()
    data: AnySource = Field(alias="source")
    protocol: dict[str, Any] = Field(default_factory=dict)
    revision: str = ""
    licence: str = ""
    citation: str = ""
    homepage: str = ""
    expected: Expected = Expected()
    how_to_get: str = ""
    aliases: tuple[str, ...] = ()
    _folder: Path | None = PrivateAttr(None)

    @field_validator("how_to_get")
    @classmethod
    def _end_of_a_sentence(cls, value: str) -> str:
        return " ".join(value.split()).rstrip(".")

    @model_validator(mode="after")
    def _with_sections_of_its_kind(self) -> Self:
        for kind in {"refinement", "filtering"} - {self.kind}:
            if kind in self.model_fields_set:
                raise ValueError(f"a task of the kind {self.kind} has no section {kind}")
        return self

    def masks_made(self) -> dict[str, Any]:
        """What a manifest says of the masks that a task of its kind makes."""
        if self.kind == "segmentation":
            return {}
        section = self.refinement if self.kind == "refinement" else self.filtering
        return {"masks": section.describe()}

    def source(
        self,
        data_root: str | os.PathLike[str] | None = None,
        seed: int = 0,
        overrides: Mapping[str, Any] | None = None,
    ) -> Source:
        """Open the task's data.

        Args:
            data_root: the folder under which the data sets lie; None: the environment's HLMAT_DATA. A task of a
                user's own file looks in that file's folder as well.
            seed: of the run; only synthetic tasks depend on it.
            overrides: settings of the source that replace the task's, e.g. ``{"missing": "skip"}``.

        Raises:
            UsageError: when the data is not there or damaged, or a setting does not fit.
        """
        settings = self._settings(overrides or {})
        root = self._root(data_root, settings)
        return settings.open(Place(self.name, root, self.how_to_get, seed))

    def missing(self, data_root: str | os.PathLike[str] | None = None) -> str | None:
        """What is not there, in a few words; None when everything that names the samples is."""
        try:
            root = self._root(data_root, self.data)
        except MissingFile:
            return f"needs a data root: --data-root or {ENVIRONMENT}"
        absent = [name for name in self.data.needed() if not exists(root / name)]
        return f"needs {absent[0]} under {root}" if absent else None

    def _settings(self, overrides: Mapping[str, Any]) -> SourceSettings:
        if not overrides:
            return self.data
        try:
            return type(self.data).model_validate(self.data.changed(overrides))
        except ValidationError as error:
            raise _usage_error(error, f"the data settings of {self.name}", ("data", self.data.kind)) from error

    def _root(self, data_root: str | os.PathLike[str] | None, settings: SourceSettings) -> Path:
        """The folder that relative paths start from: the first that holds what is needed."""
        given = data_root or os.environ.get(ENVIRONMENT)
        roots = ([Path(given)] if given else []) + ([self._folder] if self._folder else [])
        needed = settings.needed()
        if not needed:
            return Path()
        if not roots:
            raise MissingFile(
                f"The task {self.name} needs {needed[0]}: give the folder that holds it with --data-root or the "
                f"environment variable {ENVIRONMENT}{'; to get it, ' + self.how_to_get if self.how_to_get else ''}."
            )
        return next((root for root in roots if all(exists(root / name) for name in needed)), roots[0])


def load_task(name: str | os.PathLike[str]) -> Task:
    """The task of that name, or of the YAML file of that path.

    Raises:
        UsageError: when there is none, or the file does not describe one.
    """
    text = os.fspath(name)
    if _is_path(text):
        task = _read(Path(text))
        task._folder = Path(text).resolve().parent
        return task
    for task in _shipped().values():
        if text == task.name or text in task.aliases:
            return task
    raise unknown("task", text, [*_shipped(), *groups()], _LIST_HINT)


def task_names() -> list[str]:
    """The names of all tasks of ours."""
    return list(_shipped())


def groups() -> dict[str, list[str]]:
    """The tasks of each group."""
    found: dict[str, list[str]] = {}
    for task in _shipped().values():
        found.setdefault(task.group, []).append(task.name)
    return found


def expand(name: str) -> list[str]:
    """The tasks that a name stands for: those of a group, or the one of a name or path.

    Raises:
        UsageError: when there is no such task or group.
    """
    if name in groups():
        return groups()[name]
    return [name] if _is_path(name) else [load_task(name).name]


def _is_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or os.sep in name or "/" in name


@cache
def _shipped() -> dict[str, Task]:
    tasks = [_read(path) for path in sorted(folder("tasks").glob("*.yaml"))]
    return {task.name: task for task in tasks}


def _read(path: Path) -> Task:
    values = _extended(_values(path))
    try:
        task = Task.model_validate(values)
    except ValidationError as error:
        raise _usage_error(error, str(path)) from error
    try:
        ProtocolSettings.build(task.protocol)
    except UsageError as error:
        raise UsageError(f"The field protocol of {path} does not fit: {error}") from error
    return task


def _values(path: Path) -> dict[str, Any]:
    """The fields of a task file, not yet checked."""
    values = yaml_files.read(path, "task file")
    if not isinstance(values, dict):
        raise UsageError(f"The task file {path} should hold fields such as name: and source:.")
    return values


def _extended(values: dict[str, Any]) -> dict[str, Any]:
    """With the fields of the task of ours that it extends, if any; its own take precedence."""
    base = values.pop("extends", None)
    if base is None:
        return values
    files = {path.stem: path for path in folder("tasks").glob("*.yaml")}
    if not isinstance(base, str) or base not in files:
        raise unknown("task to extend", cut(str(base)), files, _LIST_HINT)
    inherited = _extended(_values(files[base]))
    inherited.pop("aliases", None)
    return {**inherited, **values}


def _usage_error(error: ValidationError, where: str, section: tuple[str, ...] = ()) -> UsageError:
    """One sentence for the first thing that is wrong: which file, which field, what is expected."""
    first = error.errors()[0]
    place = (*section, *(str(part) for part in first["loc"]))
    if not place:
        return UsageError(f"The fields of {where} do not fit: {_message(first['msg'])}.")
    in_source = place[0] in ("source", "data") and len(place) > 1
    shown = ".".join((place[0], *place[2:]) if in_source else place)
    if first["type"] == "extra_forbidden":
        model: type[BaseModel] = _SOURCES[place[1]] if in_source else _SECTIONS.get(place[0], Task)
        known = [info.alias or name for name, info in model.model_fields.items()]
        return unknown(f"field of {where}", place[-1], known, f"Fields are {', '.join(known)}.")
    if first["type"] == "missing":
        return UsageError(f"The field {shown} of {where} is missing; add it.")
    if first["type"].startswith("union_tag"):
        return UsageError(f"The field {shown}.kind of {where} should be one of {', '.join(_SOURCES)}.")
    given = cut(repr(first["input"]))
    return UsageError(f"The field {shown} of {where} is {given}, which does not fit: {_message(first['msg'])}.")


def _message(text: str) -> str:
    return text.removeprefix("Value error, ").rstrip(".")
