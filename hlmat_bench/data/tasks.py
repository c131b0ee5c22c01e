"""Tasks: a set of samples plus the protocol's defaults, described by a YAML file.

Built-in tasks are in the content folder `tasks/`; a user's own is named by its path.
``docs/tasks.md`` lists the built-in ones.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from hlmat_bench.core import files as yaml_files
from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import HlmatError, PluginFailed, UsageError, failure_words, unknown
from hlmat_bench.core.samples import Source
from hlmat_bench.core.text import cut
from hlmat_bench.core.validation import Strict, validated
from hlmat_bench.data.fetch.entries import FetchEntry
from hlmat_bench.data.hub_tasks import hub_fields, is_hub_task
from hlmat_bench.data.layouts import hub_cache
from hlmat_bench.data.layouts.copies import other_copies
from hlmat_bench.data.layouts.data_root import DataRoot
from hlmat_bench.data.layouts.layout_settings import SourceSettings
from hlmat_bench.data.layouts.problems import MissingFile
from hlmat_bench.data.places import Place, alternatives, find
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.mask_settings import FilteringSettings, RefinementSettings
from hlmat_bench.protocol.settings import ProtocolSettings

ENVIRONMENT = "HLMAT_DATA"
"""The environment's variable for the data root."""

_LIST_HINT = "`hlmat-bench tasks` lists them."


class Expected(Strict):
    """The published counts; None where none is known.

    Attributes:
        images: different images.
        refs: different objects.
        expressions: samples.
    """

    images: int | None = None
    refs: int | None = None
    expressions: int | None = None


class Task(Strict):
    """A task, as its YAML file describes it. A file may begin with ``extends``, the name of a built-in task: it
    takes the fields of that task that it does not have itself.

    Attributes:
        name: letters, digits, ``_``, ``-``, ``.`` and ``+``; of our files, the file's name.
        version: raised when the samples or their order change.
        title: one line for lists.
        group: the tasks that ``expand`` gives for this name, and the page of its rankings.
        groups: further groups that ``expand`` gives it for.
        kind: what is measured.
        refinement: for a refinement task, the imperfect masks that episodes begin with.
        filtering: for a filtering task, how the masks are drawn whose IoU is asked for.
        sources: the file's section ``source``, or a list of sections: which layout, and where its parts lie. The first
            that lies there is taken.
        protocol: settings of the protocol that differ from its defaults.
        revision: which version of the data set.
        licence: the licence of the data.
        citation: the citation of the data.
        homepage: the homepage of the data.
        expected: the published counts.
        fetch: the files that make up the data, and where `hlmat-bench data fetch` downloads them.
        how_to_get: how to get the data, or what of it cannot be fetched, as the end of a sentence.
        aliases: other names of the task.
    """

    name: str = Field(pattern=r"^\w[\w.+-]*$")
    version: int = Field(1, ge=1)
    title: str = ""
    group: str = "own"
    groups: tuple[str, ...] = ()
    kind: Literal["segmentation", "refinement", "filtering"] = "segmentation"
    refinement: RefinementSettings = RefinementSettings()
    filtering: FilteringSettings = FilteringSettings()
    sources: tuple[SourceSettings, ...] = Field(alias="source")
    protocol: dict[str, Any] = Field(default_factory=dict)
    revision: str = ""
    licence: str = ""
    citation: str = ""
    homepage: str = ""
    expected: Expected = Expected()
    fetch: tuple[FetchEntry, ...] = ()
    how_to_get: str = ""
    aliases: tuple[str, ...] = ()
    _folder: Path | None = PrivateAttr(None)
    _given: str = PrivateAttr("")

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
        """Return what a manifest says of the masks that a task of its kind makes."""
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
        place = self.place(data_root, overrides)
        settings = place.settings
        advice = self._advice([place.root]) if place.lacking else self.advice
        try:
            return settings.open(DataRoot(self.name, place.root, advice, seed))
        except HlmatError:
            raise
        except Exception as error:
            if type(settings).__module__.startswith("hlmat_bench."):
                raise
            raise PluginFailed(f"The layout {settings.kind} cannot read the data: {failure_words(error)}.") from error

    @property
    def reads_files(self) -> bool:
        """Whether its samples are read from files; else they are drawn."""
        return all(settings.needed() for settings in self.sources)

    def place(
        self, data_root: str | os.PathLike[str] | None = None, overrides: Mapping[str, Any] | None = None
    ) -> Place:
        """Return which of the task's layouts lies where; that of which most is there where none lies there whole.

        Args:
            data_root: see `source`.
            overrides: see `source`.

        Raises:
            UsageError: when no folder is given, or a setting does not fit.
        """
        sources = self._settings(overrides or {})
        given = data_root or os.environ.get(ENVIRONMENT)
        roots = ([Path(given)] if given else []) + ([self._folder] if self._folder else [])
        if not roots:  # What the cache of the hub holds needs no data root.
            cached = [one for one in sources if all(name.startswith(hub_cache.PREFIX) for name in one.needed())]
            if cached and not (place := find(cached, [Path()])).lacking:
                return place
            advice = self._advice([])
            raise MissingFile(
                f"The task {self.name} needs {sources[0].needed()[0]}: give the folder that holds it with --data-root "
                f"or the environment variable {ENVIRONMENT}{'; to get it, ' + advice if advice else ''}."
            )
        return find(sources, roots)

    def _advice(self, roots: Sequence[Path]) -> str:
        """Return how to get the data, as the end of a sentence; name a copy that lies here and is not this task's."""
        other = next(iter(other_copies(self.name, roots)), None)
        if other is None:
            return self.advice
        return (
            f"there is {other.name}, which is not this task: {other.about}; play it under its own name with --task "
            f"{other.spec}, or {self.advice}"
        )

    @property
    def advice(self) -> str:
        """How to get the data, as the end of a sentence; empty where nothing is known."""
        if not self.fetch:
            return self.how_to_get
        return f"run `hlmat-bench data fetch {self._given or self.name}`" + (
            f"; {self.how_to_get}" if self.how_to_get else ""
        )

    def missing(self, data_root: str | os.PathLike[str] | None = None) -> str | None:
        """Return a few words about what is missing; None when all files and folders that the samples need exist."""
        try:
            place = self.place(data_root)
        except MissingFile:
            return f"needs a data root: --data-root or {ENVIRONMENT}"
        return f"needs {place.lacking[0]} under {place.root}" if place.lacking else None

    def _settings(self, overrides: Mapping[str, Any]) -> tuple[SourceSettings, ...]:
        """Return the layouts and places with some settings replaced."""
        if not overrides:
            return self.sources
        if "kind" in overrides:
            raise UsageError(f"The layout of the task {self.name} is fixed; name another in a task file of your own.")
        where = f"the data settings of {self.name}"
        taken = [one for one in self.sources if overrides.keys() <= type(one).model_fields.keys()] or self.sources[:1]
        return tuple(validated(type(one), one.changed(overrides), where, section="data") for one in taken)


def load_task(name: str | os.PathLike[str], *, code: bool = True) -> Task:
    """Return the task of that name, or the one of the YAML file of that path.

    Args:
        name: the name or the path.
        code: whether the file may name a layout in a Python file, which runs. False where another file named the path.

    Raises:
        UsageError: when there is none, or the file does not describe one.
    """
    text = os.fspath(name)
    if is_hub_task(text):
        task = _validated(hub_fields(text), f"the task {text}", Path(), code=False)
        task._given = text
        return task
    if is_path(text):
        task = _read(Path(text), code=code)
        task._folder, task._given = Path(text).resolve().parent, text
        return task
    for task in _shipped().values():
        if text == task.name or text in task.aliases:
            return task
    raise unknown("task", text, [*_shipped(), *groups()], _LIST_HINT)


def task_names() -> list[str]:
    """Return the names of all shipped tasks."""
    return list(_shipped())


def groups() -> dict[str, list[str]]:
    """Return the tasks of each group."""
    found: dict[str, list[str]] = {}
    for task in _shipped().values():
        for name in dict.fromkeys((task.group, *task.groups)):
            found.setdefault(name, []).append(task.name)
    return found


def expand(name: str) -> list[str]:
    """Return the tasks that a name stands for: those of a group, or the one of a name or path.

    Raises:
        UsageError: when there is no such task or group.
    """
    if is_path(name) or is_hub_task(name):
        return [name]
    return groups().get(name) or [load_task(name).name]


def is_path(name: str) -> bool:
    """Tell whether what a user named as a task is the path of a file; a task of the hub has a slash, too."""
    return name.endswith((".yaml", ".yml")) or os.sep in name or "/" in name


@cache
def _shipped() -> dict[str, Task]:
    tasks = [_read(path) for path in sorted(folder("tasks").glob("*.yaml"))]
    return {task.name: task for task in tasks}


def _read(path: Path, *, code: bool = True) -> Task:
    return _validated(_extended(_values(path)), str(path), path, code=code)


def _validated(values: dict[str, Any], where: str, path: Path, *, code: bool) -> Task:
    """Return the task of a file's fields.

    Args:
        values: the fields.
        where: their origin in messages.
        path: the file, which the path of a layout is relative to.
        code: see `load_task`.
    """
    if "source" in values:
        values["source"] = tuple(
            settings for section in _sections(values) for settings in _source_settings(section, path, where, code=code)
        )
    task = validated(Task, values, where)
    try:
        ProtocolSettings.build(task.protocol)
    except UsageError as error:
        raise UsageError(f"The field protocol of {where} does not fit: {error}") from error
    return task


def _sections(values: Mapping[str, Any]) -> list[Any]:
    """Return the sections ``source`` of a task file's fields: one, or a list of them."""
    given = values["source"]
    return given if isinstance(given, list) and given else [given]


def _source_settings(section: Any, path: Path, where: str, *, code: bool) -> Iterator[SourceSettings]:
    """Yield a section ``source`` of a task file as settings of the layout that it names, for each of its places.

    A layout's file that is named by a relative path lies relative to the folder of the task file.
    """
    given = section.get("kind") if isinstance(section, dict) else None
    if not isinstance(given, str):
        known = ", ".join(layouts())
        raise UsageError(
            f"The field source.kind of {where} should be one of {known}, or a file such as ./my_layout.py."
        )
    file, _, name = given.partition(":")
    if file.endswith(".py"):
        if not code:
            raise UsageError(
                f"The task file {where} names the layout {file}, a Python file, which would run; if you trust it, name "
                "the task file yourself with --task."
            )
        given = f"{path.parent / file}{':' + name if name else ''}"
    try:
        found = plugins.find("layout", given)
    except UsageError as error:
        raise UsageError(f"The field source.kind of {where} does not fit: {error}") from error
    made: Any = found.factory
    if not (isinstance(made, type) and issubclass(made, SourceSettings)) or inspect.isabstract(made):
        raise PluginFailed(
            f"The layout {found.identity} must be a class derived from SourceSettings with needed() and open(); "
            "docs/adding-a-layout.md shows one."
        )
    for one in alternatives(section | {"kind": found.identity}, made, where):
        yield validated(made, one, where, section="source")


def layouts() -> list[str]:
    """Return the names of the layouts that there are, shipped and installed ones."""
    return list(plugins.available("layout"))


def _values(path: Path) -> dict[str, Any]:
    """Return the fields of a task file, not yet checked."""
    values = yaml_files.read(path, "task file")
    if not isinstance(values, dict):
        raise UsageError(f"The task file {path} should hold fields such as name: and source:.")
    return values


def _extended(values: dict[str, Any]) -> dict[str, Any]:
    """Add the fields of the shipped task that it extends, if any; its own take precedence.

    A section ``source`` without a layout of its own replaces only the fields that it has.
    """
    base = values.pop("extends", None)
    if base is None:
        return values
    files = {path.stem: path for path in folder("tasks").glob("*.yaml")}
    if not isinstance(base, str) or base not in files:
        raise unknown("task to extend", cut(str(base)), files, _LIST_HINT)
    inherited = _extended(_values(files[base]))
    for own in ("aliases", "groups"):
        inherited.pop(own, None)
    section = values.get("source")
    if isinstance(section, dict) and "kind" not in section:
        values["source"] = [one | section for one in _sections(inherited)]
    return {**inherited, **values}
