"""The commands ``hlmat-bench leaderboard ...``; heavy imports happen inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hlmat_bench.cli import options
from hlmat_bench.core.errors import UsageError

app = typer.Typer(help="Entries of a leaderboard, their verification, and its pages.", no_args_is_help=True)

_TaskFile = Annotated[str, typer.Option("--task", help="The task's YAML file, where it is none of ours.")]


@app.command()
def submit(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    submitter: Annotated[str, typer.Option(help="Who hands the entry in.")],
    training_data: Annotated[
        str, typer.Option(help="What the model was trained on, and whether images of the task are among it.")
    ],
    open_weights: Annotated[bool, typer.Option("--open-weights/--closed-weights", help="Can the weights be had?")],
    title: Annotated[str, typer.Option(help="The model as the table shows it; default: its name.")] = "",
    link: Annotated[list[str] | None, typer.Option(help="Address of a paper, of code, of the run; up to 5.")] = None,
    name: Annotated[str, typer.Option(help="The entry's id; default: from model, task, segmenter, budget.")] = "",
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path(),
) -> None:
    """Write the entry of a run, ID.json; everything in it is computed again from the run's masks."""
    from hlmat_bench.cli import console
    from hlmat_bench.protocol import manifest
    from hlmat_bench.reports.leaderboard.entry import read_entry
    from hlmat_bench.reports.leaderboard.submission import Declaration, make_entry
    from hlmat_bench.runs.run_folder import Run

    declared = Declaration(submitter, training_data, open_weights, title, link or [])
    entry = make_entry(Run(run), declared, name)
    path = out / f"{entry.id}.json"
    if not out.is_dir():
        raise UsageError(f"There is no folder {out}; make it, or choose another --out.")
    manifest.write_json(path, entry.model_dump())
    read_entry(path)  # what is written is taken
    console.say(f"Wrote {path}. `hlmat-bench leaderboard verify {path} --run {run}` checks it as others will.")


@app.command()
def verify(
    entry: Annotated[list[Path], typer.Argument(help="Entries, ID.json; with --run, one.")],
    run: Annotated[Path | None, typer.Option(help="The run's folder: scores and digests from its masks.")] = None,
    segmenter: Annotated[
        str | None, typer.Option(help="Name[,key=value...]: the masks again from the recorded clicks.")
    ] = None,
    rerun: Annotated[str | None, typer.Option(help="The model, name[,key=value...]: asks it again.")] = None,
    task: _TaskFile = "",
    data_root: options.DataRoot = None,
    record: Annotated[bool, typer.Option("--record", help="Write the level to verified/ID.json beside it.")] = False,
) -> None:
    """Check entries, from their form to the model itself; exit code 1 where one fails."""
    import tempfile

    from hlmat_bench.cli import console
    from hlmat_bench.reports.leaderboard import repository
    from hlmat_bench.reports.leaderboard.entry import read_entry
    from hlmat_bench.reports.leaderboard.verify.findings import LEVELS
    from hlmat_bench.reports.leaderboard.verify.verification import MAX_FINDINGS, Evidence
    from hlmat_bench.reports.leaderboard.verify.verification import verify as verify_one

    if run is not None and len(entry) > 1:
        raise UsageError("--run belongs to one entry; verify them one by one.")
    failed = False
    for path in entry:
        read = read_entry(path)
        with tempfile.TemporaryDirectory() as scratch, console.progress(f"verifying {read.id}") as progress:
            evidence = Evidence(run, segmenter, rerun, Path(scratch) / "run", task, data_root, progress)
            verdict = verify_one(read, evidence)
        for finding in verdict.findings:
            console.say(f"FAILED {path.name}: {finding}")
        if len(verdict.findings) == MAX_FINDINGS:
            console.say("There may be more; only the first are shown.")
        for note in verdict.notes:
            console.say(note)
        failed = failed or verdict.level is None
        if verdict.level is not None:
            console.say(f"{path.name}: {verdict.level} ({LEVELS[verdict.level]})")
            if record:
                console.say(f"Wrote {repository.record(path, verdict.level, verdict.notes)}.")
    if failed:
        raise typer.Exit(1)


@app.command()
def withdraw(
    entry: Annotated[Path, typer.Argument(help="DIR/entries/ID.json")],
    reason: Annotated[str, typer.Option(help="Why, in a sentence or two; the site shows it.")],
) -> None:
    """Take an entry back: its row stays with the reason, its numbers go."""
    from hlmat_bench.cli import console
    from hlmat_bench.reports.leaderboard import repository

    console.say(f"Wrote {repository.withdraw(entry, reason)} and removed {entry}.")


@app.command()
def build(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The leaderboard: entries/, verified/, withdrawn/.")],
    out: Annotated[Path | None, typer.Option(help="The site's folder; default: DIR/site.")] = None,
) -> None:
    """Make the site: static pages that need no network and no server."""
    from hlmat_bench.cli import console
    from hlmat_bench.reports.leaderboard import site

    made = site.build(folder, out or folder / "site")
    console.say(f"Wrote {made / 'index.html'}.")


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")]) -> None:
    """Make a leaderboard that GitHub Pages or a Hugging Face static Space can show."""
    from hlmat_bench.cli import console
    from hlmat_bench.reports.leaderboard import setup

    for path in setup.init(folder):
        console.say(f"Wrote {path}.")
    console.say(f"{folder / 'README.md'} says how to publish it.")
