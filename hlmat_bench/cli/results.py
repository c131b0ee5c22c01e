"""Commands on finished runs: ``score``, ``report`` and ``compare``."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from hlmat_bench.cli import options
from hlmat_bench.cli.settings import settings as settings_of
from hlmat_bench.core.errors import UsageError


def score(
    run: Annotated[list[Path], typer.Argument(help="Run folders.")],
    replay: Annotated[
        bool, typer.Option("--replay", help="Repeat the clicks, compare the masks, and compute the regret.")
    ] = False,
    segmenter: Annotated[
        str | None, typer.Option(help="For --replay: the run's segmenter; default: the name in its manifest.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="For --replay: the run's task; default: the name in its manifest.")
    ] = None,
    data_root: options.DataRoot = None,
    set_: options.Settings = None,
    format_: options.TableFormat = None,
) -> None:
    """Recompute the scores of runs from their episodes. With --replay, exit code 1 if a mask is different."""
    from hlmat_bench.cli import console
    from hlmat_bench.cli.score_tables import exported, print_scores
    from hlmat_bench.runs.replay import replay_folder
    from hlmat_bench.runs.run_folder import Run

    found = {}
    for folder in run if replay else []:
        with console.progress(f"replaying {folder}") as progress:
            found[folder] = replay_folder(folder, segmenter, task, data_root, settings_of(set_ or []), progress)
    scored = [(str(folder), Run(folder)) for folder in run]
    for _, one in scored:
        one.score()
    for ending in (endings := options.formats(format_)):
        typer.echo(exported(scored, ending), nl=False)
    if not endings:
        print_scores("run", scored)
    for folder, again in found.items():
        console.say(f"{folder}: {again.sentences()}")
    if any(again.differing for again in found.values()):
        raise typer.Exit(1)


def report(
    run: Annotated[list[Path], typer.Argument(help="Run folders; several on the same samples are compared.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the pages; default: RUN/report; for several runs: comparison, next to the first."
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the pages in a browser.")] = False,
    images: Annotated[
        bool,
        typer.Option(
            "--images/--no-images", help="Include the images; --no-images where their licence forbids passing them on."
        ),
    ] = True,
    data_root: options.DataRoot = None,
    task: options.MovedTask = None,
    ceilings: options.Ceilings = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Renew the pages of a run while it plays, until it ends.")
    ] = False,
) -> None:
    """Write pages about a run, or compare several. They show curves, slices, and every step of every sample."""
    from hlmat_bench.cli import console

    given = {"images": images, "data_root": data_root, "task": task, "ceilings": ceilings}
    if watch:
        _follow(run, out, open_, given)
        return
    page = _pages(run, out, **given)
    if open_ and not webbrowser.open(page.resolve().as_uri()):
        console.note(f"No browser was found; open {page} in a browser.")


def _follow(runs: list[Path], out: Path | None, open_: bool, given: dict[str, Any]) -> None:
    """Write the pages of a run until it ends, and say so if it died."""
    from hlmat_bench.cli import console
    from hlmat_bench.reports import build
    from hlmat_bench.reports.run import live
    from hlmat_bench.runs.stopping import Stopped

    if len(runs) != 1:
        raise UsageError("--watch follows a single run; leave it out to compare several runs.")
    shown = False
    try:
        for page, found in live.follow(runs[0], lambda plays: build.report(runs, out, live=plays, **given)):
            total = "" if found["total"] is None else f" of {found['total']:,}"
            console.say(f"{page or 'no page yet'}: {found['done']:,}{total} samples")
            if open_ and page is not None and not shown:
                shown = webbrowser.open(page.resolve().as_uri())
    except Stopped:
        raise typer.Exit from None
    if found["state"] != "finished":
        console.note(f"{runs[0]} is not finished. {live.state_words(found)}")


def compare(
    run: Annotated[list[Path], typer.Argument(help="Two or more run folders on the same samples.")],
    out: Annotated[Path | None, typer.Option(help="Also write pages into this folder.")] = None,
    format_: options.TableFormat = None,
    common: Annotated[
        bool, typer.Option("--common", help="Compare on the samples that all runs have, and leave out the others.")
    ] = False,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Include the images in the pages, or not.")
    ] = True,
    data_root: options.DataRoot = None,
    task: options.MovedTask = None,
    ceilings: options.Ceilings = None,
) -> None:
    """Compare runs on the same samples. Says which is better and by how much, with paired 95 % intervals."""
    from hlmat_bench.cli import console
    from hlmat_bench.cli.comparison import print_comparison
    from hlmat_bench.cli.names import report_command
    from hlmat_bench.runs.run_folder import Run

    if len(run) < 2:
        raise UsageError("A comparison needs two runs or more; `hlmat-bench report` shows a single run.")
    formats = options.formats(format_)
    print_comparison(run, formats, common=common)
    if out is None and not formats and not common:
        console.say(f"\nnext: {report_command([Run(folder) for folder in run])}")
    if out is not None:
        _pages(run, out, images=images, data_root=data_root, task=task, ceilings=ceilings, common=common)


def _pages(runs: list[Path], out: Path | None, **options: Any) -> Path:
    from hlmat_bench.cli import console
    from hlmat_bench.reports import build

    with console.progress("images") as progress:
        page = build.report(runs, out, progress=progress, **options)
    console.say(f"{page}")
    return page
