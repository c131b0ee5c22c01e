"""The command ``data fetch``, and what ``--fetch`` does before a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hlmat_bench.cli import options

if TYPE_CHECKING:
    from hlmat_bench.data.tasks import Task

_MEGABYTE = 10**6


def fetch(
    task: Annotated[list[str], typer.Argument(help="Names, groups (res, hres) or YAML files of tasks.")],
    data_root: options.DataRoot = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Begin without asking.")] = False,
    no_lock: options.NoLock = False,
) -> None:
    """Download the data of tasks and check them. First says what, from where, how much and under which licence.

    The same command continues where it stopped. Exit code 1: the check found something wrong, or the data of one of
    several tasks can only be downloaded by hand.
    """
    from hlmat_bench.cli import console

    tasks = _tasks(task)
    root = _root(task, data_root)
    if not fetched(tasks, root, agreed=lambda: _asked(yes), lock=not no_lock):
        console.say("Nothing was downloaded.")
        return
    reports = [_checked(one, root) for one in tasks if one.fetch or not one.missing(root)]
    if len(reports) < len(tasks) or not all(reports):
        raise typer.Exit(1)


def fetch_first(names: Sequence[str], data_root: Path | None, *, lock: bool = True) -> Path | None:
    """Download what is missing of tasks before they are played, and return the data root; it says what it downloads."""
    tasks = [task for task in _tasks(names) if task.reads_files]
    if not tasks:
        return data_root
    root = _root(names, data_root)
    fetched(tasks, root, agreed=lambda: True, lock=lock)
    return root


def fetched(tasks: Sequence[Task], root: Path, *, agreed: Callable[[], bool], lock: bool = True) -> bool:
    """Download what is missing of tasks; return False where the user does not want it.

    Args:
        tasks: the tasks.
        root: the data root.
        agreed: asks the user, once it was said what is downloaded.
        lock: whether another process that fetches to the same root is waited for.
    """
    from hlmat_bench.cli import console
    from hlmat_bench.data.fetch import fetching
    from hlmat_bench.data.fetch.download import client
    from hlmat_bench.data.fetch.plan import plan
    from hlmat_bench.data.fetch.remotes import Remotes

    with console.resumable(), client() as http:
        remotes = Remotes(http)
        planned = plan([task for task in tasks if task.reads_files], root, remotes)
        console.note(planned.text())
        if planned.downloads:
            if not agreed():
                return False
            fetching.fetch(planned, remotes, bytes_shown=_megabytes, images_shown=console.progress, lock=lock)
    return True


def _tasks(names: Sequence[str]) -> list[Task]:
    from hlmat_bench.data.tasks import expand, load_task

    return [load_task(name) for name in dict.fromkeys(name for given in names for name in expand(given))]


def _root(names: Sequence[str], data_root: Path | None) -> Path:
    """Return the data root; without one, the folder of the task files where all tasks are files of one folder."""
    from hlmat_bench.core.errors import UsageError
    from hlmat_bench.data.tasks import ENVIRONMENT

    given = data_root or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    folders = {Path(name).parent if name.endswith((".yaml", ".yml")) else None for name in names}
    root = given or (folders.pop() if len(folders) == 1 else None)
    if root is None:
        raise UsageError(f"Name the folder to download to with --data-root or the environment variable {ENVIRONMENT}.")
    return root


def _asked(yes: bool) -> bool:
    from hlmat_bench.core.errors import UsageError

    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("Nothing was downloaded, as there is no terminal to ask on; --yes begins without asking.")
    return typer.confirm("Download it?", err=True)


def _checked(task: Task, root: Path) -> bool:
    from hlmat_bench.cli import console
    from hlmat_bench.data.check import check

    with console.progress(f"checking {task.name}") as progress:
        report = check(task, root, progress=progress)
    console.say(report.text())
    return report.ok


@contextmanager
def _megabytes(title: str) -> Iterator[Callable[[int, int], object]]:
    """Show the bytes of a download in megabytes; nothing of one that is smaller, or of unknown size."""
    from hlmat_bench.cli import console

    with console.counting(title, "MB") as shown:
        yield lambda done, total: shown.counts(done // _MEGABYTE, total // _MEGABYTE) if total >= _MEGABYTE else None
