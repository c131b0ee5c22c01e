"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataRoot = Annotated[
    Path | None,
    typer.Option(help="Folder that contains the data sets.", envvar="HLMAT_DATA", show_envvar=True),
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
    typer.Option(help="Folder for the segmenter's image embeddings, which later runs use again."),
]
Initial = Annotated[
    str | None,
    typer.Option(
        help="State before the first click: empty, gt-box, model-box, box-from=RUN, mask-from=RUN, masks=FOLDER; "
        "default: empty, and for refine_ tasks the generated mask."
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers; for a synthetic task, also of its scenes.")]
