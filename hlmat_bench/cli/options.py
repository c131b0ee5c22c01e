"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hlmat_bench.core.errors import UsageError

DataRoot = Annotated[
    Path | None,
    typer.Option(help="Folder that contains the data sets.", envvar="HLMAT_DATA", show_envvar=True),
]
Fetch = Annotated[
    bool,
    typer.Option("--fetch", help="First download missing data, as `hlmat-bench data fetch --yes` does."),
]
Ceilings = Annotated[
    Path | None,
    typer.Option(help="Folder of all ceilings; default: runs/ceilings, or `ceilings` next to the run."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="A setting, key=value: overlay.color=blue, history=on, ...; `hlmat-bench settings` lists all."
    ),
]
CatalogFile = Annotated[
    Path | None, typer.Option("--catalog", help="File with more models, in the form of adapters/models/catalog.yaml.")
]
EmbeddingCache = Annotated[
    Path | None,
    typer.Option(help="Folder that keeps the segmenter's image embeddings for later runs."),
]
Initial = Annotated[
    str | None,
    typer.Option(
        help="Mask at the start: empty, gt-box, model-box, box-from=RUN, mask-from=RUN, masks=FOLDER; default: empty "
        "(refine_ tasks: the generated mask)."
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed; for synthetic tasks it also determines the scenes.")]
Model = Annotated[list[str], typer.Option(help="Name[,key=value...] or ./file.py; repeatable.")]
Tasks = Annotated[
    list[str],
    typer.Option(help="Name, group (res, hres), ./file.yaml or hf:OWNER/REPO,split=NAME; repeatable."),
]
MovedTask = Annotated[str | None, typer.Option(help="The task's YAML file, if it has moved.")]
Task = Annotated[str, typer.Option(help="Name, ./file.yaml or hf:OWNER/REPO,split=NAME.")]
Segmenter = Annotated[str, typer.Option(help="Name[,key=value...] or ./file.py.")]
Strategy = Annotated[
    str | None,
    typer.Option(
        help="How the next click is chosen: greedy (default), prm (stops when the predicted IoU no longer rises), tree "
        "(tries several), box-only, or ./file.py."
    ),
]
Budget = Annotated[int | None, typer.Option(help="Clicks per episode; default: the task's.")]
Out = Annotated[Path | None, typer.Option(help="Run folder; for several runs, the folder that holds them.")]
Limit = Annotated[int | None, typer.Option(help="Use only the first N samples.")]
Concurrency = Annotated[
    int | None, typer.Option(min=1, help="Episodes played in parallel; default: what suits the model.")
]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Requests per batch of a local model.")]
Shard = Annotated[str | None, typer.Option(help="Play only part I of N, split by image: I/N.")]
MaxRequests = Annotated[int | None, typer.Option(min=1, help="Limit of the requests of each run to an API.")]
MaxCost = Annotated[float | None, typer.Option(min=0, help="Limit of the US dollars of each run for an API.")]
Cache = Annotated[Path | None, typer.Option(help="Folder that keeps an API's replies, so that none is paid twice.")]
MaxFailures = Annotated[
    int,
    typer.Option(
        min=1, help="Failures in a row, of requests or of the segmenter, that end a run; they are not recorded."
    ),
]
CallTimeout = Annotated[
    float,
    typer.Option(min=0.001, help="Seconds that one call of a segmenter, or of a model that runs here, may take."),
]
Grace = Annotated[
    float, typer.Option(min=0, help="Seconds that running episodes have to finish after Ctrl-C or SIGTERM.")
]
NoLock = Annotated[bool, typer.Option("--no-lock", help="Do not lock the run folder, on a file system without locks.")]
Executor = Annotated[
    str | None,
    typer.Option(
        help="local: play in this process; ray: with workers; default: ray with one of the next three options."
    ),
]
Workers = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto",
        help="Processes with a model and a segmenter each; auto: one per GPU, else one per pair of cores.",
    ),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(min=0, help="GPUs of each worker; a fraction shares one; default: one, or an equal share."),
]
RayAddress = Annotated[
    str | None, typer.Option(help="Address of a Ray cluster, or auto; default: Ray is started on this machine.")
]
TableFormat = Annotated[
    str | None,
    typer.Option("--format", help="Print the tables as tex, md or csv; several with commas, one after the other."),
]


def formats(given: str | None) -> list[str]:
    """Return the formats of tables that a user asks for, in that order; none where ``--format`` is not given.

    Raises:
        UsageError: when there is no such format.
    """
    from hlmat_bench.core.tables import FORMATS

    found = [word.strip() for word in given.split(",")] if given is not None else []
    for word in found:
        if word not in FORMATS:
            raise UsageError(f"There is no table format {word!r}; --format takes {', '.join(FORMATS)}.")
    return found
