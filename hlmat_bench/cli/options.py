"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataRoot = Annotated[
    Path | None,
    typer.Option(help="The folder under which the data sets lie.", envvar="HLMAT_DATA", show_envvar=True),
]
Ceilings = Annotated[
    Path | None, typer.Option(help="The folder of all ceilings; default: runs/ceilings, or `ceilings` beside the run.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="A setting, key=value: overlay.color=blue, history=on, ...; `hlmat-bench settings` lists all."
    ),
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
