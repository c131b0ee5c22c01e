"""Find and load plug-ins: models, segmenters, strategies and data-set layouts.

A plug-in is a Python file with a module-level dict ``MODELS``, ``SEGMENTERS``, ``STRATEGIES`` or ``LAYOUTS`` from
short names to factories, and, where it needs something, a function ``missing(name) -> str | None`` that says in a
sentence what that is. The factory of a layout is its class of settings (`hlmat_bench.data.layouts.layout_settings`).
``FACTS``, a dict from the names of segmenters to `hlmat_bench.protocol.interfaces.Facts`, says what to list of them.

Models and segmenters that are shipped are files in `adapters/`, layouts are files in ``hlmat_bench/data/layouts``. An
installed package names its factories in an entry-point group, e.g. ``hlmat_bench.models``; a user's file is named by
its path.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin

from hlmat_bench.core.content import folder
from hlmat_bench.core.digests import sha256_of
from hlmat_bench.core.errors import CORRECT_IT, HlmatError, PluginFailed, UsageError, failure_words, unknown
from hlmat_bench.protocol.interfaces import Facts

Kind: TypeAlias = Literal["model", "segmenter", "strategy", "layout"]
_LOADING = threading.RLock()
_PLURAL: dict[Kind, str] = {
    "model": "models", "segmenter": "segmenters", "strategy": "strategies", "layout": "layouts"
}  # fmt: skip
"""The command that lists them, the folder in `adapters/`, the entry-point group; in capitals, the dict in a file."""
_IN_PACKAGE: dict[Kind, str] = {"strategy": "hlmat_bench.protocol.strategies", "layout": "hlmat_bench.data.layouts"}
"""The module or package that has those that are no files in `adapters/`."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plug-in that was found, not yet made.

    Attributes:
        name: its short name, or the path it was given by.
        factory: makes it, from keyword options.
        origin: the file or package it comes from.
        missing: what it lacks to run here, as a sentence; None when it lacks nothing.
        facts: what its file says of a segmenter; None when it says nothing.
        path: the file that a user named; None when it was found by its name.
    """

    name: str
    factory: Callable[..., Any]
    origin: str
    missing: str | None = None
    facts: Facts | None = None
    path: Path | None = None

    @property
    def identity(self) -> str:
        """What a manifest calls it: its name, or its file's name with its own and the digest of the content."""
        return self.name if self.path is None else f"{self.origin}:{self.name} sha256:{sha256_of(self.path)[:16]}"


def parse_spec(text: str) -> tuple[str, dict[str, Any]]:
    """Split ``name,key=value,...``; values stay texts, which `build` reads as what the plug-in's options are.

    Raises:
        UsageError: when an option has no ``=``.
    """
    name, *parts = text.split(",")
    options: dict[str, Any] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"The option {part!r} of {name.strip()!r} must look like key=value.")
        options[key.strip()] = value.strip()
    return name.strip(), options


def scalar(text: str) -> Any:
    """Return a value as YAML reads it; text that is no YAML stays text."""
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a date or a number that is none
        return text


def make(kind: Kind, spec: str) -> Any:
    """Make the plug-in that ``name,key=value,...`` describes; see `build`."""
    return build(kind, *parse_spec(spec))


def build(kind: Kind, name: str, options: Mapping[str, Any], *, others: Iterable[str] = ()) -> Any:
    """Make the plug-in of a name or in a file with these options.

    Args:
        kind: what it should be.
        name: its name or file.
        options: keyword arguments of its factory. A text is read as what the factory's annotation says: it stays as it
            is where a text is taken (``model=2024-08-01``), and is a YAML scalar elsewhere (``8``, ``true``).
        others: names that lead elsewhere, for the answer to a misspelt one.

    Raises:
        UsageError: for an unknown name, an option it does not take or whose value it does not take, or something it
            lacks.
    """
    plugin, given = prepared(kind, name, options, others=others)
    try:
        return plugin.factory(**given)
    except HlmatError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginFailed(f"The {kind} {name!r} cannot be made: {failure_words(error)}.") from error


def prepared(
    kind: Kind, name: str, options: Mapping[str, Any], *, others: Iterable[str] = ()
) -> tuple[Plugin, dict[str, Any]]:
    """Return what `build` makes, and its options as the factory takes them, without making it.

    Raises:
        UsageError: as `build` does, but for what only the factory finds out.
    """
    plugin = find(kind, name, others)
    if plugin.missing:
        raise UsageError(plugin.missing)
    try:
        inspect.signature(plugin.factory).bind(**options)
    except TypeError as error:
        takes = ", ".join(_option_names(plugin.factory)) or "no options"
        raise UsageError(f"The {kind} {name!r}: {error}; it takes {takes}.") from error
    return plugin, _converted(kind, name, plugin.factory, options)


def _converted(kind: Kind, name: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a factory with texts read as its annotations say."""
    annotations = {key: parameter.annotation for key, parameter in _signature(factory).parameters.items()}
    return {
        key: _value(f"The {kind} {name!r}: {key}=", value, annotations.get(key)) if isinstance(value, str) else value
        for key, value in options.items()
    }


def check_made(kind: Kind, plugin: object, attributes: Mapping[str, type], *methods: str) -> None:
    """Refuse a plug-in that lacks a part of its contract.

    Args:
        kind: what it should be.
        plugin: what its factory made.
        attributes: the type of each attribute that it needs.
        methods: the methods that it needs.

    Raises:
        PluginFailed: names the first part that is missing.
    """
    wrong = [
        f"{name}, {wanted.__name__}" for name, wanted in attributes.items()
        if not isinstance(getattr(plugin, name, None), wanted)
    ] + [f"{name}(), a method" for name in methods if not callable(getattr(plugin, name, None))]  # fmt: skip
    if wrong:
        raise PluginFailed(
            f"The {kind} of the class {type(plugin).__name__} lacks {wrong[0]} (docs/plugins.md); {CORRECT_IT}."
        )


def spec_of(plugin: Any, kind: Kind) -> dict[str, Any]:
    """Return what a model or segmenter says of itself for the manifest; one that has no ``spec`` says nothing.

    Raises:
        PluginFailed: when ``spec()`` fails, or returns no dict.
    """
    try:
        value: Any = getattr(plugin, "spec", dict)()
    except HlmatError:
        raise
    except Exception as error:
        raise PluginFailed(f"The {kind} {plugin.name} failed in spec(): {failure_words(error)}.") from error
    if not isinstance(value, dict):
        raise PluginFailed(f"The {kind} {plugin.name} should return a dict from spec(); {CORRECT_IT}.")
    return value


def find(kind: Kind, name: str, others: Iterable[str] = ()) -> Plugin:
    """Return the plug-in of that name, or the one in the file of that path (``file.py`` or ``file.py:name``).

    Raises:
        UsageError: when there is none.
    """
    path, _, inner = name.partition(":")
    if path.endswith(".py"):
        return _in_file(kind, Path(path), inner)
    plugins = available(kind)
    if name not in plugins:
        if kind in _IN_PACKAGE:
            plural = _PLURAL[kind].capitalize()
            raise unknown(kind, name, plugins, f"{plural} are {', '.join(plugins)}, or a file such as ./my_{kind}.py.")
        raise unknown(kind, name, [*plugins, *others], f"`hlmat-bench {_PLURAL[kind]}` lists them.")
    return plugins[name]


def takes(kind: Kind, name: str, option: str) -> bool:
    """Return whether the plug-in of that name, or in that file, has an option of this name.

    Raises:
        UsageError: for an unknown name.
    """
    return option in _option_names(find(kind, name).factory)


def kind_of(name: str) -> Kind:
    """Return whether a name or file is a model's or a segmenter's; what is neither is taken for a model."""
    path, _, _ = name.partition(":")
    if path.endswith(".py"):
        return "segmenter" if Path(path).is_file() and not _plugins("model", Path(path)) else "model"
    return "segmenter" if name in available("segmenter") else "model"


def available(kind: Kind) -> dict[str, Plugin]:
    """Return every plug-in that a name leads to, by name: shipped ones first, then installed ones."""
    plugins: dict[str, Plugin] = {}
    for module, origin in _shipped(kind):
        plugins.update(_of_module(kind, module, origin))
    for entry in importlib.metadata.entry_points(group=f"hlmat_bench.{_PLURAL[kind]}"):
        try:
            factory, origin = entry.load(), entry.value.partition(":")[0]
        except (Exception, SystemExit) as error:
            raise PluginFailed(
                f"The installed {kind} {entry.name} cannot be loaded ({failure_words(error)}, or uninstall the package "
                f"of {entry.value})."
            ) from error
        facts = getattr(sys.modules.get(origin), "FACTS", {})
        plugins.setdefault(entry.name, Plugin(entry.name, factory, origin, facts=facts.get(entry.name)))
    return plugins


def _shipped(kind: Kind) -> Iterator[tuple[ModuleType, str]]:
    """Give the modules that may have shipped plug-ins, and what they are called."""
    if kind not in _IN_PACKAGE:
        for path in sorted((folder("adapters") / _PLURAL[kind]).glob("*.py")):
            yield _load(path), path.name
        return
    package = importlib.import_module(_IN_PACKAGE[kind])
    inner = [found.name for found in pkgutil.iter_modules(getattr(package, "__path__", []))]
    for name in [f"{package.__name__}.{each}" for each in inner] or [package.__name__]:
        yield importlib.import_module(name), name


def _in_file(kind: Kind, path: Path, inner: str) -> Plugin:
    if not path.is_file():
        raise UsageError(f"There is no plug-in file {path}.")
    plugins = _plugins(kind, path)
    if not plugins:
        table = _PLURAL[kind].upper()
        raise UsageError(f"{path} defines no {table}; end it with {table} = {{'my-name': MyClass}}.")
    if not inner and len(plugins) > 1:
        raise UsageError(f"{path} defines {', '.join(sorted(plugins))}; name one as {path}:NAME.")
    name = inner or next(iter(plugins))
    if name not in plugins:
        raise unknown(kind, name, plugins, f"{path} was searched.")
    return replace(plugins[name], path=path)


def _plugins(kind: Kind, path: Path) -> dict[str, Plugin]:
    return _of_module(kind, _load(path), path.name)


def _of_module(kind: Kind, module: ModuleType, origin: str) -> dict[str, Plugin]:
    missing: Callable[[str], str | None] = getattr(module, "missing", lambda name: None)
    table: dict[str, Callable[..., Any]] = getattr(module, _PLURAL[kind].upper(), {})
    facts: dict[str, Facts] = getattr(module, "FACTS", {})
    return {name: Plugin(name, factory, origin, missing(name), facts.get(name)) for name, factory in table.items()}


def _load(path: Path) -> ModuleType:
    """Return the module of a file, loaded once per process, whichever thread comes first.

    Its name is made from the path and the content, so that every process gives it the same one: what one process
    pickles, another that has loaded the file can read. A file that was changed is loaded again.
    """
    digest = hashlib.sha256(f"{path.resolve()}\n{sha256_of(path)}".encode("utf-8", "surrogateescape")).hexdigest()
    name = f"hlmat_bench_plugin_{path.stem}_{digest[:16]}"
    with _LOADING:
        return sys.modules.get(name) or _executed(name, path)


def _executed(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[name]
        raise UsageError(f"{path} is not valid Python: {error.msg} in line {error.lineno}.") from error
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginFailed(f"The file {path} cannot be loaded: {failure_words(error)}.") from error
    return module


def _signature(factory: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a factory, with its annotations as types where these can be found."""
    try:
        return inspect.signature(factory, eval_str=True)
    except (NameError, TypeError, AttributeError):  # an annotation names what only a type checker imports
        return inspect.signature(factory)


def _value(what: str, text: str, annotation: Any) -> Any:
    """Read the text of an option as its annotation says; without an annotation it is a YAML scalar.

    Raises:
        UsageError: when a number, or true or false, is wanted and the text is none.
    """
    kinds = _kinds(annotation)
    if "None" in kinds and text in ("", "~", "null"):
        return None
    if "str" in kinds:
        return text
    value = scalar(text)
    for wanted, word in ((float, "a number"), (int, "a whole number"), (bool, "true or false")):
        if wanted.__name__ in kinds:
            return _checked(what, text, value, wanted, word)
    return value


def _kinds(annotation: Any) -> set[str]:
    """Return the names of the types that an annotation allows."""
    if isinstance(annotation, str):
        return set(annotation.split(" | "))
    if get_origin(annotation) is Literal:
        return {type(value).__name__ for value in get_args(annotation)}
    if get_origin(annotation) in (Union, UnionType):
        return {kind for inner in get_args(annotation) for kind in _kinds(inner)}
    return {"None" if annotation is NoneType else getattr(annotation, "__name__", "")}


def _checked(what: str, text: str, value: Any, wanted: type, word: str) -> Any:
    """Return a YAML scalar that is a bool, int or float; YAML reads ``1e3`` as a text."""
    if wanted is float:
        with contextlib.suppress(ValueError):
            return value if isinstance(value, int) and not isinstance(value, bool) else float(text)
    elif isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool):
        return value
    raise UsageError(f"{what}{text} should be {word}.")


def _option_names(factory: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(factory).parameters if name != "self"]
