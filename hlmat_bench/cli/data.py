"""The commands of the group ``data``: which data sets are here, where they lie, and whether they are whole."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hlmat_bench.cli import options
from hlmat_bench.cli.settings import settings as settings_of

app = typer.Typer(help="Find and check the data sets of tasks.", no_args_is_help=True)


@app.command("list")
def list_data(data_root: options.DataRoot = None) -> None:
    """List the tasks whose data are here. Tells the layout of the data, and whether they are complete."""
    from hlmat_bench.cli import console
    from hlmat_bench.data.inventory import holding
    from hlmat_bench.data.layouts.copies import copies_here
    from hlmat_bench.data.tasks import load_task, task_names

    names, rows, absent = task_names(), [], []
    with console.progress("looking for data") as progress:
        for number, name in enumerate(names, start=1):
            found = holding(load_task(name), data_root)
            if found.state == "absent":
                absent.append(name)
            else:
                rows.append((name, found.state, found.layout, found.words))
            progress(number, len(names))
    console.table(("task", "data", "layout", "what is there"), rows)
    if copies := list(copies_here([] if data_root is None else [data_root])):
        console.say("\nKnown data sets of the Hugging Face hub, which are tasks by their own names:\n")
        console.table(("task", "what it is"), [(copy.spec, copy.about) for copy in copies])
    if absent:
        console.explain(f"\nNot here: {', '.join(absent)}. `hlmat-bench data where TASK` says what is missing.")


@app.command()
def where(
    task: Annotated[str, typer.Argument(help="A task's name or YAML file, or hf:OWNER/REPO,split=NAME.")],
    data_root: options.DataRoot = None,
    set_: options.Settings = None,
) -> None:
    """Show where the data of a task are, and their layout. Exit code 2 if something is missing."""
    from hlmat_bench.cli import console
    from hlmat_bench.data.inventory import parts
    from hlmat_bench.data.tasks import load_task

    chosen = load_task(task)
    place = chosen.place(data_root, _overrides(set_))
    if place.lacking:
        chosen.source(data_root, overrides=_overrides(set_))
    if not chosen.reads_files:
        console.say(f"{chosen.name} needs no files: its samples are drawn from the seed.")
        return
    console.say(f"{chosen.name}: layout {place.settings.kind}, under {place.root}")
    console.table(("part", "path"), [(name, str(path)) for name, path, there in parts(place) if there])


@app.command()
def check(
    task: Annotated[str, typer.Argument(help="A task's name or YAML file, or hf:OWNER/REPO,split=NAME.")],
    data_root: options.DataRoot = None,
    seed: options.Seed = 0,
    set_: options.Settings = None,
) -> None:
    """Count the samples of a task and check every file. Exit code 1 if something is wrong."""
    from hlmat_bench.cli import console
    from hlmat_bench.data.check import check as check_all
    from hlmat_bench.data.tasks import load_task

    with console.progress(f"checking {task}") as progress:
        report = check_all(load_task(task), data_root, seed, overrides=_overrides(set_), progress=progress)
    console.say(report.text())
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def overlap(
    task: Annotated[str, typer.Argument(help="A task's name or YAML file, or hf:OWNER/REPO,split=NAME.")],
    other: Annotated[str, typer.Argument(help="Another task.")],
    data_root: options.DataRoot = None,
    names_only: Annotated[
        bool, typer.Option("--names-only", help="Compare only COCO's numbers and file names, without reading images.")
    ] = False,
) -> None:
    """Show which images two tasks share. Compares COCO's number, name and pixels; exit code 1 if they share any."""
    from hlmat_bench.cli import console
    from hlmat_bench.data.overlap import images_of, shared_images
    from hlmat_bench.data.tasks import load_task

    one, two = (load_task(name).source(data_root) for name in (task, other))
    with console.progress(f"comparing {task} with {other}") as progress:
        found = shared_images(one, two, pixels=not names_only, progress=progress)
    console.say(f"{len(found):,} of {len(images_of(one)):,} images of {task} are also in {other}.")
    if found:
        console.table((task, other, "found by"), [(each.one, each.other, each.why) for each in found])
        raise typer.Exit(1)


def _overrides(set_: list[str] | None) -> dict[str, Any]:
    return {key.removeprefix("data."): value for key, value in settings_of(set_ or []).items()}
