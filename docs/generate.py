"""Write docs/cli.md and docs/settings.md: the command line and its settings, as the code declares them.

    python docs/generate.py [FOLDER]

The folder is docs/ unless one is named. Nothing depends on the terminal or on the environment.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import typer

from hlmat_bench.cli import app
from hlmat_bench.cli.settings import data_settings, protocol_settings

PROGRAM = "hlmat-bench"
NOTE = "<!-- Written by docs/generate.py; `make docs-cli` writes it again. -->"
CLI = """\
Every command and its options. `hlmat-bench COMMAND --help` prints the same text. [Settings](settings.md) has the
keys of `--set`. What the exit codes of `run` mean: [the files of a run](files.md#exit-codes)."""
SETTINGS = """\
The keys of `--set key=value`, as `hlmat-bench settings` lists them. A value is read as YAML (`history=on`,
`overlay.color=[255, 0, 0]`), and `key=@FILE` takes the text of a file. Options of a model or a segmenter are not
settings: they follow its name, `--model NAME,option=value`.

## Settings of the protocol

Each of them is in the manifest of a run and in its fingerprint. A setting that only some strategies use is refused with
the others; the default below is the one that it has where it is used."""
DATA = """\
`--set data.NAME=VALUE` replaces a field of the section `source` of a task's file. Which of them there are depends on
the layout, `source.kind`; "the task's" means that the layout has no default of its own. A path that begins with a dot
is relative to the current folder, any other to the data root. [Tasks and their data](tasks.md) explains the layouts."""
TYPES: dict[Any, str] = {str: "text", int: "integer", float: "number", Path: "path"}


def cli_page() -> str:
    """Return the reference of all commands."""
    commands = list(_commands(typer.main.get_command(app), PROGRAM))
    overview = [(f"[`{name}`](#{_anchor(name)})", _first_sentence(command)) for name, command in commands]
    parts = [NOTE, "# The command line", CLI, _table(("command", "what it does"), overview)]
    return "\n\n".join([*parts, *(_section(name, command) for name, command in commands)]) + "\n"


def settings_page() -> str:
    """Return the reference of all settings."""
    header = ("setting", "takes", "default", "meaning")
    protocol = [(_code(one.name), one.takes, _code(one.default), one.meaning) for one in protocol_settings()]
    data = [
        (_code(one.name), ", ".join(map(_code, one.layouts)), one.takes, _code(one.default), one.meaning)
        for one in data_settings()
    ]
    tables = [
        _table(header, protocol),
        "## Settings of the data",
        DATA,
        _table((header[0], "layouts", *header[1:]), data),
    ]
    return "\n\n".join([NOTE, "# Settings", SETTINGS, *tables]) + "\n"


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Give every command that is no group, with its full name, in the order of the help."""
    if not hasattr(command, "commands"):
        yield name, command
        return
    for word, inner in command.commands.items():
        yield from _commands(inner, f"{name} {word}")


def _section(name: str, command: Any) -> str:
    declared = get_type_hints(command.callback, include_extras=True)
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    words = [_metavar(one) for one in arguments]
    needed = [_needed(one) for one in options if one.required]
    usage = " ".join([name, *needed, *(["[OPTIONS]"] if len(options) > len(needed) else []), *words])
    parts = [f"## {name}", inspect.cleandoc(command.help), f"```\n{usage}\n```"]
    rows = [
        (_names(one), _takes(declared[one.name], one), _default(one), one.help or "") for one in [*arguments, *options]
    ]
    return "\n\n".join([*parts, _table(("option", "takes", "default", "meaning"), rows)] if rows else parts)


def _needed(option: Any) -> str:
    if option.is_flag:
        return f"({' | '.join([*option.opts, *option.secondary_opts])})"
    return f"{option.opts[0]} {option.name.upper()}"


def _metavar(argument: Any) -> str:
    word = argument.name.upper() + (" ..." if argument.nargs == -1 else "")
    return word if argument.required else f"[{word}]"


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return _code(parameter.name.upper())
    return ", ".join(map(_code, [*parameter.opts, *parameter.secondary_opts]))


def _takes(declared: Any, parameter: Any) -> str:
    """Return in words what a parameter takes, from the annotation of its function."""
    info = next((one for one in get_args(declared)[1:] if hasattr(one, "min")), None)
    kinds = [one for one in _alternatives(declared) if one is not type(None)]
    several = get_origin(kinds[0]) is list
    kind = get_args(kinds[0])[0] if several else kinds[0]
    if kind is bool:
        return ""
    low = f", at least {info.min}" if info is not None and info.min is not None else ""
    return TYPES[kind] + low + (", several" if several else "")


def _alternatives(declared: Any) -> Sequence[Any]:
    plain = get_args(declared)[0] if hasattr(declared, "__metadata__") else declared
    return get_args(plain) if get_origin(plain) in (Union, types.UnionType) else (plain,)


def _default(parameter: Any) -> str:
    if parameter.required:
        return "must be given"
    if parameter.envvar:
        return _code(f"${parameter.envvar}")
    value = parameter.opts[0] if parameter.default is True else parameter.default
    return "" if value in (None, "") or value is False else _code(str(value))


def _first_sentence(command: Any) -> str:
    paragraph = " ".join(inspect.cleandoc(command.help).partition("\n\n")[0].split())
    return f"{paragraph.partition('. ')[0].removesuffix('.')}."


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _code(text: str) -> str:
    return f"`{text}`"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<")


def main(folder: Path) -> None:
    """Write both pages into a folder."""
    folder.joinpath("cli.md").write_text(cli_page(), encoding="utf-8")
    folder.joinpath("settings.md").write_text(settings_page(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
