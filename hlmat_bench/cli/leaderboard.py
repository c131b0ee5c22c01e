"""The commands ``hlmat-bench leaderboard ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hlmat_bench.cli import options
from hlmat_bench.core.errors import UsageError

app = typer.Typer(help="Write and verify leaderboard entries, and build the site.", no_args_is_help=True)

_TaskFile = Annotated[str, typer.Option("--task", help="The task's YAML file, if it is not a task of hlmat-bench.")]


@app.command()
def submit(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    submitter: Annotated[str, typer.Option(help="Name of the person or group that submits the entry.")],
    training_data: Annotated[
        str, typer.Option(help="The model's training data, and whether they include images of the task.")
    ],
    open_weights: Annotated[
        bool, typer.Option("--open-weights/--closed-weights", help="Whether the weights are available to everybody.")
    ],
    title: Annotated[str, typer.Option(help="Name of the model in the table; default: its name in the run.")] = "",
    link: Annotated[list[str] | None, typer.Option(help="Address of a paper, of code, of the run; up to 5.")] = None,
    report: Annotated[
        str, typer.Option(help="Address of the run's published report (`hlmat-bench report`), to link its samples.")
    ] = "",
    trained_on_task: Annotated[
        bool | None,
        typer.Option(
            "--trained-on-task/--not-trained-on-task",
            help="Whether images of the task's data set were in the training data; default: not declared.",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Id of the entry; default: from model, task, segmenter, budget.")] = "",
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
) -> None:
    """Write the entry of a run, ID.json. All its scores are recomputed from the run's masks."""
    from hlmat_bench.cli import console
    from hlmat_bench.protocol import manifest
    from hlmat_bench.reports.leaderboard.entry import read_entry
    from hlmat_bench.reports.leaderboard.submission import Declaration, make_entry
    from hlmat_bench.runs.run_folder import Run

    declared = Declaration(
        submitter, training_data, open_weights, title, link or [], report=report, trained_on_task=trained_on_task
    )
    entry = make_entry(Run(run), declared, name)
    path = out / f"{entry.id}.json"
    if not out.is_dir():
        raise UsageError(f"There is no folder {out}; create it, or choose another --out.")
    manifest.write_json(path, entry.model_dump())
    read_entry(path)  # makes sure that the leaderboard will accept the file
    console.say(f"Wrote {path}. `hlmat-bench leaderboard verify {path} --run {run}` checks it.")


@app.command()
def verify(
    entry: Annotated[list[Path], typer.Argument(help="Entries, ID.json; with --run, one.")],
    run: Annotated[
        Path | None, typer.Option(help="The run's folder: compute scores and digests from its masks.")
    ] = None,
    segmenter: Annotated[
        str | None, typer.Option(help="Name[,key=value...]: re-predict the masks from the recorded clicks.")
    ] = None,
    rerun: Annotated[str | None, typer.Option(help="Name[,key=value...] of the model: repeat its replies.")] = None,
    task: _TaskFile = "",
    data_root: options.DataRoot = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write the level to verified/ID.json in the leaderboard's folder.")
    ] = False,
) -> None:
    """Check entries, from their form to the model's replies. Exit code 1 if a check fails."""
    import tempfile

    from hlmat_bench.cli import console
    from hlmat_bench.core.text import clean
    from hlmat_bench.reports.leaderboard import repository
    from hlmat_bench.reports.leaderboard.entry import read_entry
    from hlmat_bench.reports.leaderboard.verify.findings import LEVELS
    from hlmat_bench.reports.leaderboard.verify.verification import MAX_FINDINGS, Evidence
    from hlmat_bench.reports.leaderboard.verify.verification import verify as verify_one

    if run is not None and len(entry) > 1:
        raise UsageError("--run is the run of a single entry; verify the entries one by one.")
    failed = False
    for path in entry:
        read = read_entry(path)
        with tempfile.TemporaryDirectory() as scratch, console.progress(f"verifying {read.id}") as progress:
            evidence = Evidence(run, segmenter, rerun, Path(scratch) / "run", task, data_root, progress)
            verdict = verify_one(read, evidence)
        for finding in verdict.findings:
            console.say(f"FAILED {path.name}: {finding}")
        if len(verdict.findings) == MAX_FINDINGS:
            console.say("Only the first findings are shown; there may be more.")
        for note in verdict.notes:
            console.say(note)
        for other in repository.same_run(path, read):
            who = f"{clean(other.title)}, submitted by {clean(other.submitter)} on {other.submitted}"
            console.say(f"{path.name}: the same run as {other.id} ({who}). Only the one submitted first has a rank.")
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
    reason: Annotated[str, typer.Option(help="The reason in one or two sentences; the site shows it.")],
) -> None:
    """Withdraw an entry. Its row stays, with the reason; its numbers are removed."""
    from hlmat_bench.cli import console
    from hlmat_bench.reports.leaderboard import repository

    console.say(f"Wrote {repository.withdraw(entry, reason)} and removed {entry}.")


@app.command()
def build(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The leaderboard: entries/, verified/, withdrawn/.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the site; default: DIR/site.")] = None,
) -> None:
    """Write the site: static pages that need no network and no server."""
    from hlmat_bench.cli import console
    from hlmat_bench.reports.leaderboard import site

    board = site.read(folder)
    for sentence in board.repeated():
        console.say(sentence)
    made = site.write(board, out or folder / "site")
    console.say(f"Wrote {made / 'index.html'}.")


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")]) -> None:
    """Create the folder of a leaderboard. It is for GitHub Pages or a static Space of Hugging Face."""
    from hlmat_bench.cli import console
    from hlmat_bench.reports.leaderboard import setup

    for path in setup.init(folder):
        console.say(f"Wrote {path}.")
    console.say(f"{folder / 'README.md'} says how to publish it.")
