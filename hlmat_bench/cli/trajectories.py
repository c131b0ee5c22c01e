"""The commands of the group ``trajectories``: what an annotator would do, from ground truths or from a model's run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hlmat_bench.cli import options
from hlmat_bench.cli.settings import settings as settings_of
from hlmat_bench.core.errors import UsageError
from hlmat_bench.runs.stopping import CALL_SECONDS, GRACE_SECONDS

if TYPE_CHECKING:
    from hlmat_bench.runs.plan import RunSpec
    from hlmat_bench.runs.run_folder import Run

#: The formats of exports; a test compares them with those that there are, which take long to import.
FORMATS = ("segagent", "llamafactory", "sharegpt", "ms-swift", "trl", "ibis", "verl", "webdataset")

app = typer.Typer(help="Make trajectories of an annotator, to train models on.", no_args_is_help=True)

StopIou = Annotated[float | None, typer.Option(help="IoU at which a trajectory is finished; default: 0.98.")]
MinGain = Annotated[
    float | None, typer.Option(help="A click that raises the IoU by no more than this is discarded; default: 0.")
]
Spread = Annotated[
    float | None, typer.Option(help="Place of a click in an error: from 0, its middle (the default), to 1, anywhere.")
]


@app.command()
def generate(
    task: options.Tasks,
    segmenter: options.Segmenter = "graphcut",
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Largest number of clicks; default: the task's budget.")
    ] = None,
    stop_iou: StopIou = None,
    min_gain: MinGain = None,
    spread: Spread = None,
    initial: Annotated[
        str | None,
        typer.Option(help="Mask at the start, or several kinds with shares: empty:2,points:1,generated:1."),
    ] = None,
    out: options.Out = None,
    limit: options.Limit = None,
    seed: options.Seed = 0,
    data_root: options.DataRoot = None,
    concurrency: options.Concurrency = None,
    shard: options.Shard = None,
    embedding_cache: options.EmbeddingCache = None,
    call_timeout: options.CallTimeout = CALL_SECONDS,
    grace: options.Grace = GRACE_SECONDS,
    no_lock: options.NoLock = False,
    executor: options.Executor = None,
    workers: options.Workers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    ray_address: options.RayAddress = None,
    set_: options.Settings = None,
) -> None:
    """Let the rule-based annotator click through tasks. The same command continues where it stopped.

    A set of trajectories is a run folder, and all commands for runs read it.
    """
    from hlmat_bench.data.tasks import expand
    from hlmat_bench.runs.opening import path_text
    from hlmat_bench.runs.plan import RunSpec

    how = _how(concurrency, call_timeout, no_lock, executor, workers, gpus_per_worker, ray_address)
    names = [name for each in task for name in expand(each)]
    several = initial is not None and "=" not in initial and ("," in initial or ":" in initial)
    for name in names:
        spec = RunSpec(
            model="oracle",
            task=name,
            segmenter=segmenter,
            strategy="annotate",
            budget=max_steps,
            initial=f"varied={initial}" if several else initial,
            limit=limit,
            seed=seed,
            data_root=path_text(data_root),
            shard=shard,
            embedding_cache=path_text(embedding_cache),
            settings=_rules(stop_iou=stop_iou, min_gain=min_gain, spread=spread) | settings_of(set_ or []),
        )
        _play(spec, out / name if out is not None and len(names) > 1 else out, how, grace)


@app.command()
def improve(
    run: Annotated[list[Path], typer.Argument(help="Folders of a model's runs.")],
    out: Annotated[
        Path,
        typer.Option(help="Run folder of the improved trajectories; for several runs, the folder that holds them."),
    ],
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Largest number of clicks; default: twice the budget of the model's run.")
    ] = None,
    stop_iou: StopIou = None,
    min_gain: MinGain = None,
    spread: Spread = None,
    round_: Annotated[int, typer.Option("--round", min=1, help="Round of improvement, for the manifest.")] = 1,
    segmenter: Annotated[str | None, typer.Option(help="The run's segmenter, if it has moved.")] = None,
    task: options.MovedTask = None,
    data_root: options.DataRoot = None,
    concurrency: options.Concurrency = None,
    call_timeout: options.CallTimeout = CALL_SECONDS,
    grace: options.Grace = GRACE_SECONDS,
    no_lock: options.NoLock = False,
    executor: options.Executor = None,
    workers: options.Workers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    ray_address: options.RayAddress = None,
) -> None:
    """Improve the clicks of a model's run (StaR+). Keeps the clicks that raise the IoU and replaces the others.

    The annotator's click replaces one that raises the IoU too little; after the model's clicks the annotator continues.
    """
    from hlmat_bench.cli import console
    from hlmat_bench.runs.improving import compare, spec_for
    from hlmat_bench.runs.opening import path_text

    how = _how(concurrency, call_timeout, no_lock, executor, workers, gpus_per_worker, ray_address)
    rules = _rules(stop_iou=stop_iou, min_gain=min_gain, spread=spread)
    for each, folder in _folders(run, out).items():
        spec = spec_for(each, round_, task=task, segmenter=segmenter, data_root=path_text(data_root))
        spec = replace(spec, budget=max_steps or spec.budget, settings={**spec.settings, **rules})
        counts = compare(each, _play(spec, folder, how, grace).folder)
        console.say(
            f"Clicks of the model: {counts.model:,}, of which {counts.kept:,} are kept and "
            f"{counts.model - counts.kept:,} are not; clicks of the annotator: {counts.added:,}."
        )


@app.command()
def export(
    run: Annotated[list[Path], typer.Argument(help="Run folders; what several have in common is exported once.")],
    format_: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help=f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the export.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Catalogue entry of the model to train: gives the point format, the prompt and the resizing."
        ),
    ] = None,
    points: Annotated[
        str | None, typer.Option(help="Point format of answers; default: from --model, else xy1000.")
    ] = None,
    resize: Annotated[
        str | None, typer.Option(help="Rule that resizes images; default: from --model, else none.")
    ] = None,
    iou: Annotated[
        bool, typer.Option("--iou", help="Begin answers with the IoU of the mask that is shown: Current IOU: 74, ...")
    ] = False,
    stop_examples: Annotated[
        bool,
        typer.Option("--stop-examples", help="Add the last mask of a finished trajectory, with a stop as the answer."),
    ] = False,
    stop_word: Annotated[str, typer.Option(help="The answer of stop examples.")] = "Finish",
    stop_iou: Annotated[float, typer.Option(help="Lowest IoU of the mask of a stop example.")] = 0.0,
    min_gain: Annotated[float, typer.Option(help="Leave out clicks that raise the IoU by no more than this.")] = 0.0,
    keep_iou: Annotated[
        float, typer.Option(help="Leave out episodes whose last mask has a lower IoU (plain StaR).")
    ] = 0.0,
    val: Annotated[float, typer.Option(help="Share of the images for validation.")] = 0.0,
    image_format: Annotated[str, typer.Option(help="png or jpg.")] = "png",
    quality: Annotated[int, typer.Option(help="Quality of a JPEG, 1 to 100.")] = 95,
    lazy: Annotated[
        bool, typer.Option("--lazy", help="Write images without paint; hlmat_bench.training.LazyExport paints them.")
    ] = False,
    shard_size: Annotated[int, typer.Option(help="Largest number of examples in a shard (webdataset).")] = 1000,
    name: Annotated[str, typer.Option(help="Name of the data set in the files that name it.")] = "hlmat",
    force_contaminated: Annotated[
        bool, typer.Option("--force-contaminated", help="Keep the images of evaluation splits.")
    ] = False,
    names_only: Annotated[
        bool,
        typer.Option(
            "--names-only", help="Find images of evaluation splits by COCO's number and file name, not by pixels."
        ),
    ] = False,
    segmenter: Annotated[str | None, typer.Option(help="The runs' segmenter, if it has moved (verl).")] = None,
    task: Annotated[list[str] | None, typer.Option(help="YAML files of the tasks, if they have moved.")] = None,
    data_root: options.DataRoot = None,
    catalog: options.CatalogFile = None,
    set_: options.Settings = None,
) -> None:
    """Write the good clicks of runs as training data. For each: the painted image, the prompt and the answer.

    Images of evaluation splits are left out: res, hres, hres_extra, reason and gres tasks under the data root.
    """
    from hlmat_bench.cli import console
    from hlmat_bench.runs.opening import path_text
    from hlmat_bench.training.export.asking import AskingSettings
    from hlmat_bench.training.export.exporting import ExportSettings
    from hlmat_bench.training.export.exporting import export as export_runs
    from hlmat_bench.training.export.selection import Selection

    chosen = ExportSettings(
        format=format_,
        asking=AskingSettings(
            model=model,
            catalog=path_text(catalog),
            points=points,
            resize=resize,
            settings=settings_of(set_ or []),
            with_iou=iou,
            stop_word=stop_word,
        ),
        selection=Selection(min_gain, keep_iou, stop_examples, stop_iou),
        val=val,
        image_format=image_format,
        quality=quality,
        lazy=lazy,
        shard_size=shard_size,
        name=name,
        force_contaminated=force_contaminated,
        names_only=names_only,
    )
    with console.progress("exporting") as progress:
        document = export_runs(
            run,
            out,
            chosen,
            tasks=task or (),
            data_root=data_root,
            segmenter=segmenter,
            progress=progress,
            guard_progress=progress,
        )
    _say_export(document, out)


def _say_export(document: dict[str, Any], out: Path) -> None:
    """Print what was exported, what was left out, and what no image was compared with."""
    from hlmat_bench.cli import console

    counts, guard = dict(document["counts"]), document["guard"]
    made = {name: counts.pop(name, 0) for name in ("examples train", "examples val", "trajectories", "episodes")}
    console.say(
        f"{made['examples train']:,} examples for training and {made['examples val']:,} for validation, of "
        f"{made['trajectories']:,} trajectories; {made['episodes']:,} episodes were read."
    )
    if left := ", ".join(f"{number:,} {name}" for name, number in counts.items() if number):
        console.say(f"Also counted: {left}.")
    for image in guard["images"]:
        done = "kept" if guard["forced"] else "left out"
        console.say(f"  {done}: {image['image']} is {image['other']} of {image['task']} ({image['found_by']})")
    if guard["not_compared"]:
        console.say(f"Not compared, because their data are not here: {', '.join(guard['not_compared'])}.")
    if partly := ", ".join(f"{name} ({there})" for name, there in guard["compared_in_part"].items()):
        console.say(f"Compared with the part that is here: {partly}.")
    console.say(f"  {out}")


def _folders(runs: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Return the folder of the improved trajectories of each run: of several, one with the run's name."""
    folders = {run: out / run.resolve().name if len(runs) > 1 else out for run in runs}
    if len(set(folders.values())) < len(runs):
        raise UsageError("Two of the runs have folders of one name; improve them one by one, each with its own --out.")
    return folders


def _play(spec: RunSpec, out: Path | None, how: dict[str, Any], grace: float) -> Run:
    """Make trajectories, and show how good they are."""
    from hlmat_bench.cli import console, progress
    from hlmat_bench.cli.score_tables import failed, print_scores
    from hlmat_bench.runs.execution import Execution

    argv = ["hlmat-bench", *sys.argv[1:]]
    with console.resumable(grace), progress.runs("run") as shown:
        row = shown.begins("trajectories", spec.task)
        execution = Execution(**how, progress=row.counts, on_beat=row.beats)
        made = execution.play(spec, out or spec.folder(), argv=argv)
    print_scores("trajectories", [(made.manifest["task"]["name"], made)])
    console.say(f"  {made.folder}")
    if failed(made):
        raise typer.Exit(3)
    return made


def _how(
    concurrency: int | None,
    call_timeout: float,
    no_lock: bool,
    executor: str | None,
    workers: str | None,
    gpus_per_worker: float | None,
    ray_address: str | None,
) -> dict[str, Any]:
    """Return how the trajectories are made, as arguments of `hlmat_bench.runs.execution.Execution`."""
    how = {**locals(), "lock": not no_lock}
    del how["no_lock"]
    return how


def _rules(**given: float | None) -> dict[str, Any]:
    return {f"annotator.{name}": value for name, value in given.items() if value is not None}
