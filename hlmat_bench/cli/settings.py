"""Settings on the command line: the words of ``--set`` as values, and the list of all settings."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hlmat_bench.core import plain_files
from hlmat_bench.core.errors import UsageError

#: Settings under which each setting that only some strategies use has its default.
_STRATEGIES: tuple[dict[str, Any], ...] = (
    {},
    {"strategy": "tree", "prm": "noisy"},
    {"strategy": "tree", "prm": "ask"},
    {"strategy": "box-only"},
)
_LONGEST_DEFAULT = 60
_HEADERS = ("setting", "values, default, and what it does")


class Setting(NamedTuple):
    """A key of ``--set``, in words.

    Attributes:
        name: the key.
        takes: the values it takes.
        default: the value without ``--set``.
        meaning: sentences about what it does.
        layouts: the layouts of data sets that have it, for the keys ``data.NAME``; else empty.
    """

    name: str
    takes: str
    default: str
    meaning: str
    layouts: tuple[str, ...] = ()

    def words(self) -> str:
        """Return everything but the name and the layouts, in one text."""
        return f"{self.takes}; default: {self.default}. {self.meaning}"


_MAX_BYTES = 2**20


def settings(pairs: list[str]) -> dict[str, Any]:
    """Read ``key=value`` words into a dict; values are read as YAML, and ``@file`` is the text of a file.

    Raises:
        UsageError: for a word of another form, or a file that cannot be read.
    """
    from hlmat_bench.protocol.plugins import scalar

    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set takes key=value, not {pair!r}.")
        values[key] = _file_text(value[1:]) if value.startswith("@") else scalar(value)
    return values


def _file_text(name: str) -> str:
    try:
        return plain_files.read_text(Path(name), _MAX_BYTES)
    except UsageError as error:
        raise UsageError(f"The file of a setting cannot be read: {error}") from error


def list_settings() -> None:
    """List the settings of --set, their defaults and meanings."""
    from hlmat_bench.cli import console

    console.table(_HEADERS, [(setting.name, setting.words()) for setting in protocol_settings()])
    console.explain("\nSettings of the data of a task, by the layout that the task's file names as source.kind:\n")
    rows = [(each.name, f"{each.words()} Layouts: {', '.join(each.layouts)}.") for each in data_settings()]
    console.table(_HEADERS, rows)
    console.explain(
        "\nA value is read as YAML, and key=@FILE takes the text of a file. Options of a model or a segmenter are not "
        "settings: they follow its name, --model NAME,option=value."
    )


def protocol_settings() -> list[Setting]:
    """Return the settings of the protocol, as their declarations describe them, and ``points``."""
    from hlmat_bench.protocol.settings import ProtocolSettings

    filled = [ProtocolSettings.build(values).model_dump(exclude=set(values) - {"strategy"}) for values in _STRATEGIES]
    found = [
        Setting(name, _takes(field), _default(_first(filled, name)), field["description"])
        for name, field in _fields(ProtocolSettings.model_json_schema())
    ]
    points = "How the model writes coordinates, a point format, in the place of the one that it declares."
    return [*found, Setting("points", "text", "the model's", points)]


def data_settings() -> list[Setting]:
    """Return the settings ``data.NAME`` of all layouts; one that several layouts declare alike stands once."""
    from hlmat_bench.protocol import plugins

    found: dict[str, Setting] = {}
    for layout, plugin in sorted(plugins.available("layout").items()):
        for name, field in _fields(plugin.factory.model_json_schema()):  # type: ignore[attr-defined]
            if name != "kind":
                default = _default(field["default"]) if "default" in field else "the task's"
                one = Setting(f"data.{name}", _takes(field), default, field.get("description", ""))
                known = found.setdefault(repr(one), one)
                found[repr(one)] = known._replace(layouts=(*known.layouts, layout))
    return sorted(found.values(), key=lambda setting: (-len(setting.layouts), setting.layouts, setting.name))


def _fields(schema: Mapping[str, Any], section: str = "", parts: Mapping[str, Any] | None = None) -> Iterator[Any]:
    """Give the dotted name and the JSON schema of each field, those of a section in its place."""
    parts = schema.get("$defs", {}) if parts is None else parts
    for name, field in schema["properties"].items():
        inner = [one["$ref"].rpartition("/")[2] for one in (field, *field.get("anyOf", ())) if "$ref" in one]
        if inner:
            yield from _fields(parts[inner[0]], f"{section}{name}.", parts)
        else:
            yield section + name, field


def _takes(field: Mapping[str, Any]) -> str:
    """Return in words which values fit the JSON schema of a field; that it may be left out is not said."""
    kinds = {_kind({**field, **one}) for one in field.get("anyOf", (field,)) if one.get("type") != "null"}
    return " or ".join(sorted(kind for kind in kinds if kind.replace("integer", "number") not in kinds - {kind}))


def _kind(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return " | ".join(field["enum"])
    if "prefixItems" in field:
        return f"[{', '.join(_kind(part) for part in field['prefixItems'])}]"
    given = str(field.get("type", "any"))
    kind = {"string": "text", "boolean": "true | false", "array": "list"}.get(given, given)
    low, high = field.get("minimum", field.get("ge")), field.get("maximum", field.get("le"))
    if low is None:
        return kind
    return f"{kind}, {low} to {high}" if high is not None else f"{kind}, at least {low}"


def _first(filled: list[dict[str, Any]], name: str) -> Any:
    """Return the first value that any of these settings has under a dotted name; None where none has one."""
    section, _, inner = name.partition(".")
    values = ((settings[section] or {}).get(inner) if inner else settings.get(section) for settings in filled)
    return next((value for value in values if value is not None), None)


def _default(value: Any) -> str:
    if value is None or value == "":
        return "none"
    text = value if isinstance(value, str) else json.dumps(value)
    return textwrap.shorten(text, _LONGEST_DEFAULT, placeholder=" ...")
