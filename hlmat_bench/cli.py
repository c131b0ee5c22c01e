"""The command line. Each command is a few lines over the Python interface; heavy imports happen inside."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hlmat_bench.board.commands import app as leaderboard_app
from hlmat_bench.errors import UsageError
from hlmat_bench.suites import commands as suite_commands
from hlmat_bench.words import settings as _settings

app = typer.Typer(
    name="hlmat-bench",
    help="Measures whether a multimodal LLM understands pixels, by letting it annotate objects with clicks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="The data sets of the tasks.", no_args_is_help=True)
app.add_typer(data_app, name="data")
lmms_app = typer.Typer(help="Our tasks inside lmms-eval.", no_args_is_help=True)
app.add_typer(lmms_app, name="lmms")
app.add_typer(leaderboard_app, name="leaderboard")

app.command()(suite_commands.suite)
app.command()(suite_commands.suites)

DataRoot = Annotated[
    Path | None,
    typer.Option(help="The folder under which the data sets lie.", envvar="HLMAT_DATA", show_envvar=True),
]
Ceilings = Annotated[
    Path | None, typer.Option(help="The folder of all ceilings; default: runs/ceilings, or `ceilings` beside the run.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting, key=value: overlay.color=blue, history=on, data.missing=skip, ..."),
]
CatalogFile = Annotated[
    Path | None, typer.Option("--catalog", help="A file with more models, of the form of adapters/models/catalog.yaml.")
]
EmbeddingCache = Annotated[
    Path | None,
    typer.Option(help="Folder that keeps what the segmenter's encoder makes of images, for later runs."),
]
Initial = Annotated[
    str | None,
    typer.Option(
        help="State before the first click: empty, gt-box, model-box, box-from=RUN, mask-from=RUN, masks=FOLDER; "
        "default: empty, and of refine_ tasks the mask that is made."
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of everything random; of a synthetic task, also of its scenes.")]


def main() -> None:
    """Run the command line; what a user can mend is one sentence and exit code 2."""
    try:
        app()
    except UsageError as error:
        from hlmat_bench import console

        console.error(str(error))
        sys.exit(2)


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        import importlib.metadata

        typer.echo(importlib.metadata.version("hlmat-bench"))
        raise typer.Exit


@app.command()
def run(
    model: Annotated[list[str], typer.Option(help="Name[,key=value...] or ./file.py; may be given several times.")],
    task: Annotated[list[str], typer.Option(help="Name, group (res, hres) or ./file.yaml; several are allowed.")],
    segmenter: Annotated[str, typer.Option(help="Name[,key=value...] or ./file.py.")] = "graphcut",
    strategy: Annotated[
        str | None,
        typer.Option(help="Who chooses the next action: greedy (the default), prm, tree, box-only, or ./file.py."),
    ] = None,
    budget: Annotated[int | None, typer.Option(help="Clicks per episode; default: the task's.")] = None,
    initial: Initial = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; of several runs, the folder that holds them.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many samples.")] = None,
    seed: Seed = 0,
    data_root: DataRoot = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Episodes under way at once; default: what suits the model.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Requests per batch of a local model.")] = None,
    shard: Annotated[str | None, typer.Option(help="Only part I of N, split by image: I/N.")] = None,
    catalog: CatalogFile = None,
    max_requests: Annotated[int | None, typer.Option(min=1, help="Most requests of each run to an API.")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Most US dollars of each run for an API.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps an API's replies.")] = None,
    embedding_cache: EmbeddingCache = None,
    set_: Settings = None,
) -> None:
    """Play a task with a model and score it; the same command again continues where it stopped."""
    from hlmat_bench import console
    from hlmat_bench.catalog import Catalog
    from hlmat_bench.manifest import redact
    from hlmat_bench.runs import Run
    from hlmat_bench.runs import run as run_one
    from hlmat_bench.tasks import expand

    aliases = Catalog.load(catalog).aliases
    for short in {who.partition(",")[0] for who in model} & set(aliases):
        console.note(f"{short} is {aliases[short]}.")

    settings = _settings(set_ or [])
    tasks = [name for given in task for name in expand(given)]
    several = len(tasks) * len(model) > 1
    finished: dict[str, list[tuple[str, Run]]] = {name: [] for name in tasks}
    for name in tasks:
        for who in model:
            with console.resumable(), console.progress(f"{redact(who)} on {name}") as progress:
                result = run_one(
                    who,
                    name,
                    segmenter,
                    strategy=strategy,
                    budget=budget,
                    initial=initial,
                    out=_out(out, who, name, segmenter, shard) if several else out,
                    limit=limit,
                    seed=seed,
                    data_root=data_root,
                    concurrency=concurrency,
                    batch_size=batch_size,
                    shard=shard,
                    catalog=catalog,
                    max_requests=max_requests,
                    max_cost=max_cost,
                    cache=cache,
                    embedding_cache=embedding_cache,
                    settings=settings,
                    argv=["hlmat-bench", *sys.argv[1:]],
                    progress=progress,
                )
            finished[name].append((redact(who), result))
    for runs in finished.values():
        _show(segmenter, runs)


@app.command()
def ceilings(
    task: Annotated[str, typer.Option(help="Name or ./file.yaml.")],
    segmenter: Annotated[str, typer.Option(help="Name[,key=value...] or ./file.py.")] = "graphcut",
    budget: Annotated[int | None, typer.Option(help="Clicks per episode; default: the task's.")] = None,
    initial: Initial = None,
    out: Annotated[Path, typer.Option(help="The folder that holds all ceilings.")] = Path("runs") / "ceilings",
    limit: Annotated[int | None, typer.Option(help="Only the first so many samples.")] = None,
    seed: Seed = 0,
    data_root: DataRoot = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Episodes under way at once; default: one per core.")
    ] = None,
    embedding_cache: EmbeddingCache = None,
    set_: Settings = None,
) -> None:
    """Play a task with all reference players in one pass; the same command again continues where it stopped."""
    from hlmat_bench import ceilings, console

    with console.resumable(), console.progress(f"reference players on {task}") as progress:
        runs = ceilings.play(
            task,
            segmenter,
            budget=budget,
            initial=initial,
            out=out,
            limit=limit,
            seed=seed,
            data_root=data_root,
            concurrency=concurrency,
            embedding_cache=embedding_cache,
            settings=_settings(set_ or []),
            argv=["hlmat-bench", *sys.argv[1:]],
            progress=progress,
        )
    _show(segmenter, list(runs.items()))


@app.command()
def score(
    run: Annotated[list[Path], typer.Argument(help="Run folders.")],
    replay: Annotated[bool, typer.Option("--replay", help="Replay the clicks: compare masks, find regret.")] = False,
    segmenter: Annotated[str | None, typer.Option(help="Of a replay, as the run had it; default: its name.")] = None,
    task: Annotated[str | None, typer.Option(help="Of a replay, as the run had it; default: its name.")] = None,
    data_root: DataRoot = None,
    set_: Settings = None,
) -> None:
    """Compute the scores again, from the episodes alone; with --replay, exit code 1 when a mask is another."""
    from hlmat_bench import console
    from hlmat_bench.replay import replay_folder
    from hlmat_bench.runs import Run
    from hlmat_bench.score_tables import print_scores

    found = {}
    for folder in run if replay else []:
        with console.progress(f"replaying {folder}") as progress:
            found[folder] = replay_folder(folder, segmenter, task, data_root, _settings(set_ or []), progress)
    scored = [(str(folder), Run(folder)) for folder in run]
    for _, one in scored:
        one.score()
    print_scores("run", scored)
    for folder, again in found.items():
        console.say(f"{folder}: {again.sentences()}")
    if any(again.differing for again in found.values()):
        raise typer.Exit(1)


@app.command()
def report(
    run: Annotated[list[Path], typer.Argument(help="Run folders; several on the same samples are compared.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the pages; default: RUN/report, of several runs `comparison` beside.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the pages in a browser.")] = False,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="With the images, or without, for licences that want it.")
    ] = True,
    data_root: DataRoot = None,
    task: Annotated[str | None, typer.Option(help="The task's YAML file, where it has moved.")] = None,
    ceilings: Ceilings = None,
) -> None:
    """Write pages about a run, or the comparison of several: curves, slices, and every sample step by step."""
    from hlmat_bench.reporting import commands

    commands.report(run, out, open_, images=images, data_root=data_root, task=task, ceilings=ceilings)


@app.command()
def compare(
    run: Annotated[list[Path], typer.Argument(help="Two or more run folders on the same samples.")],
    out: Annotated[Path | None, typer.Option(help="Also write pages into this folder.")] = None,
    images: Annotated[bool, typer.Option("--images/--no-images", help="The pages with the images, or without.")] = True,
    data_root: DataRoot = None,
    task: Annotated[str | None, typer.Option(help="The task's YAML file, where it has moved.")] = None,
    ceilings: Ceilings = None,
) -> None:
    """Compare runs on the same samples: paired differences with 95 % intervals, and who is better how often."""
    from hlmat_bench.reporting import commands

    commands.compare(run, out, images=images, data_root=data_root, task=task, ceilings=ceilings)


@app.command()
def probe(
    model: Annotated[str, typer.Option(help="Name[,key=value...] or ./file.py.")],
    samples: Annotated[int, typer.Option(help="Markers to ask for; four are on one image.")] = 32,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of images, picture and replies.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests under way at once.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Requests per batch of a local model.")] = None,
    catalog: CatalogFile = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting, key=value: points=yx1000, ...")] = None,
) -> None:
    """Ask a model for markers at known places: is its point format right? Exit code 1 when it is not."""
    from hlmat_bench import console
    from hlmat_bench.manifest import redact
    from hlmat_bench.probe import probe as probe_one

    with console.progress(f"probing {redact(model)}") as progress:
        report = probe_one(
            model,
            samples=samples,
            seed=seed,
            out=out,
            concurrency=concurrency,
            batch_size=batch_size,
            catalog=catalog,
            settings=_settings(set_ or []),
            progress=progress,
        )
    console.say(report.heading())
    console.table(report.HEADERS, report.rows(), right=range(1, 6))
    console.say("\n".join(["", *report.sentences(), "", f"picture: {report.picture}", f"replies: {report.replies}"]))
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def merge(
    run: Annotated[list[Path], typer.Argument(help="The run folders of all shards.")],
    out: Annotated[Path, typer.Option(help="The folder of the merged run.")],
) -> None:
    """Put the shards of a run together."""
    from hlmat_bench import shards
    from hlmat_bench.runs import Run

    shards.merge(run, out)
    Run(out).score()
    typer.echo(f"Merged {len(run)} shards into {out}.")


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="All that the catalogue knows of one model.")] = None,
    catalog: CatalogFile = None,
) -> None:
    """The models there are: what they are, how they write coordinates, and whether they can run here."""
    from hlmat_bench import console
    from hlmat_bench.catalog import Catalog

    known = Catalog.load(catalog)
    if name is not None:
        console.say(known.page(name))
        return
    console.table(known.HEADERS, known.rows())
    console.say("\n`hlmat-bench models NAME` says what else there is to know of one.")


@app.command()
def segmenters() -> None:
    """The segmenters there are, what they take, and whether they can run here."""
    from hlmat_bench import console
    from hlmat_bench.plugins import available

    found = sorted(available("segmenter").values(), key=lambda plugin: plugin.name)
    console.table(console.SEGMENTER_HEADERS, [console.segmenter_row(plugin) for plugin in found])


@app.command("serve-segmenter")
def serve_segmenter(
    segmenter: Annotated[str, typer.Option(help="Name[,key=value...] or ./file.py.")],
    host: Annotated[
        str, typer.Option(help="Interface to listen on; others than 127.0.0.1 let others in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8765,
    threads: Annotated[int, typer.Option(min=1, help="Predictions at once.")] = 1,
    queue: Annotated[int, typer.Option(min=0, help="Requests that may wait; more are answered with 503.")] = 64,
    sessions: Annotated[int, typer.Option(min=1, help="Open images; best one for each episode under way.")] = 64,
    idle: Annotated[float, typer.Option(min=1, help="Seconds until an unused session expires.")] = 600.0,
    max_megapixels: Annotated[float, typer.Option(min=0.1, help="Larger images are refused.")] = 64.0,
) -> None:
    """Share one segmenter among many runs, over HTTP: --segmenter server,url=http://HOST:PORT."""
    from hlmat_bench import console, local, plugins

    local.require("starlette", "uvicorn", extra="serve")
    from hlmat_bench.segmenter_server import Limits, serve

    made = plugins.make("segmenter", segmenter)
    limits = Limits(threads, queue, sessions, idle, max_megapixels)
    serve(made, host, port, limits, ready=lambda url: console.say(f"Serving {made.name} at {url} until Ctrl-C."))


@app.command()
def tasks(data_root: DataRoot = None) -> None:
    """The tasks there are, and whether their data is here."""
    from hlmat_bench import console
    from hlmat_bench.tasks import load_task, task_names

    rows = []
    for name in task_names():
        task = load_task(name)
        expressions = task.expected.expressions
        here = task.missing(data_root)
        rows.append((name, task.title, str(expressions or ""), here or "yes"))
    console.table(("task", "title", "expressions", "can run here"), rows, right=[2])


@app.command()
def check(
    plugin: Annotated[str, typer.Argument(help="A file, or a name with options, as --model and --segmenter take it.")],
    catalog: CatalogFile = None,
) -> None:
    """Hold a model or a segmenter against the public contract; exit code 1 when it breaks a rule."""
    from hlmat_bench import console, contract
    from hlmat_bench.catalog import Catalog
    from hlmat_bench.plugins import kind_of, make

    choice = Catalog.load(catalog).choose(plugin)
    kind = kind_of(choice.plugin)
    findings = contract.check(kind, choice.make() if kind == "model" else make(kind, plugin))
    for finding in findings:
        console.say(
            f"ok     {finding.rule}" if finding.broken is None else f"BROKEN {finding.rule}\n       {finding.broken}"
        )
    broken = sum(finding.broken is not None for finding in findings)
    console.say(f"{plugin} keeps {len(findings) - broken} of {len(findings)} rules of a {kind}.")
    if broken:
        raise typer.Exit(1)


@data_app.command("check")
def data_check(
    task: Annotated[str, typer.Argument(help="A task's name or YAML file.")],
    data_root: DataRoot = None,
    seed: Seed = 0,
    set_: Settings = None,
) -> None:
    """Count a task's images, refs and expressions and look at every file; exit code 1 when something is off."""
    from hlmat_bench import console
    from hlmat_bench.data_check import check
    from hlmat_bench.tasks import load_task

    overrides = {key.removeprefix("data."): value for key, value in _settings(set_ or []).items()}
    with console.progress(f"checking {task}") as progress:
        report = check(load_task(task), data_root, seed, overrides=overrides, progress=progress)
    console.say(report.text())
    if not report.ok:
        raise typer.Exit(1)


@lmms_app.command("tasks")
def lmms_tasks() -> None:
    """Print the folder with our tasks for lmms-eval, which takes it as --include_path."""
    from hlmat_bench.content import folder

    typer.echo(folder("tasks") / "lmms")


def _out(out: Path | None, model: str, task: str, segmenter: str, shard: str | None) -> Path:
    from hlmat_bench.runs import folder_name
    from hlmat_bench.tasks import load_task

    return (out or Path("runs")) / folder_name(model, load_task(task).name, segmenter, shard)


def _show(segmenter: str, runs: list[tuple[str, Any]]) -> None:
    from hlmat_bench import console
    from hlmat_bench.score_tables import print_scores

    first = runs[0][1].manifest
    budget = first["protocol"]["budget"]
    console.say(f"\n{first['task']['name']} with {segmenter}, {budget} clicks, 95 % intervals by image")
    print_scores("model", runs)
    for _, result in runs:
        console.say(f"  {result.folder}")
