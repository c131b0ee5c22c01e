"""The command line: its commands and its entry point."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperGroup
from typer.models import OptionInfo

from hlmat_bench.cli import (
    checks,
    data,
    doctor,
    fetch,
    leaderboard,
    listing,
    redo,
    results,
    run,
    serve,
    settings,
    status,
    suites,
    trajectories,
)
from hlmat_bench.core.errors import UsageError
from hlmat_bench.runs import stopping

#: What is expected of the value of an option, instead of the words of the library that reads it.
_EXPECTED = (
    (r"Input should be a valid integer.*", "it should be a whole number"),
    (r"Input should be a valid number.*", "it should be a number"),
    (r"Input should be greater than or equal to (\S+)", r"it should be at least \1"),
    (r"Input should be less than or equal to (\S+)", r"it should be at most \1"),
    (r"Input should be", "it should be"),
)


class _Commands(TyperGroup):
    """The commands, whose errors about values are plain sentences."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            for pattern, words in _EXPECTED:
                error.message = re.sub(pattern, words, error.message)
            raise


app = typer.Typer(
    name="hlmat-bench",
    cls=_Commands,
    help="Measure whether a multimodal LLM understands pixels, by letting it annotate objects with clicks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
lmms_app = typer.Typer(help="Use the tasks of hlmat-bench in lmms-eval.", no_args_is_help=True)
#: What the help calls the values of options, instead of their types in Python.
_VALUES: dict[Any, str] = {str: "TEXT", int: "N", float: "NUMBER", Path: "PATH"}


def _name_values(command: Callable[..., object]) -> None:
    """Give the options of a command names for their values that a user understands."""
    for hint in get_type_hints(command, include_extras=True).values():
        for info in getattr(hint, "__metadata__", ()):
            if isinstance(info, OptionInfo) and info.metavar is None:
                info.metavar = _VALUES.get(_kind(get_args(hint)[0]))


def _kind(annotation: Any) -> Any:
    """Return the type of a single value: `str` for ``list[str] | None``."""
    if get_origin(annotation) in (Union, UnionType, list):
        return _kind(get_args(annotation)[0])
    return annotation


for command in (
    run.run,
    run.ceilings,
    run.merge,
    status.status,
    redo.redo,
    suites.suite,
    results.score,
    results.report,
    results.compare,
    listing.models,
    listing.segmenters,
    listing.tasks,
    suites.suites,
    checks.probe,
    checks.check,
    doctor.doctor,
    serve.serve_segmenter,
    serve.serve_env,
):
    app.command()(command)
app.command("settings")(settings.list_settings)
lmms_app.command("tasks")(serve.lmms_tasks)
data.app.command("fetch")(fetch.fetch)
app.add_typer(data.app, name="data")
app.add_typer(leaderboard.app, name="leaderboard")
app.add_typer(lmms_app, name="lmms")
app.add_typer(trajectories.app, name="trajectories")
for group in (app, data.app, leaderboard.app, lmms_app, trajectories.app):
    for registered in group.registered_commands:
        if registered.callback is not None:
            _name_values(registered.callback)


def main() -> None:
    """Run the command line; a `UsageError` is printed as one sentence and ends it with exit code 2."""
    logging.getLogger("hlmat_bench").addHandler(_Notes())
    with stopping.program():
        try:
            app()
        except UsageError as error:
            from hlmat_bench.cli import console

            console.error(str(error))
            sys.exit(2)


class _Notes(logging.Handler):
    """A log handler that prints the library's messages as notes on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message, see `logging.Handler.emit`."""
        from hlmat_bench.cli import console

        console.note(record.getMessage())


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        import importlib.metadata

        typer.echo(importlib.metadata.version("hlmat-bench"))
        raise typer.Exit
