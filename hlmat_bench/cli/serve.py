"""The commands ``serve-segmenter`` and ``lmms tasks``."""

from __future__ import annotations

from typing import Annotated

import typer

from hlmat_bench.cli import options
from hlmat_bench.runs.stopping import handlers_of_others


def serve_segmenter(
    segmenter: options.Segmenter,
    host: Annotated[
        str, typer.Option(help="Interface to listen on; with others than 127.0.0.1, other machines can connect.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8765,
    threads: Annotated[int, typer.Option(min=1, help="Predictions at the same time.")] = 1,
    queue: Annotated[int, typer.Option(min=0, help="Most waiting requests; further ones get status 503.")] = 64,
    sessions: Annotated[int, typer.Option(min=1, help="Most open images; take at least one per episode.")] = 64,
    idle: Annotated[float, typer.Option(min=1, help="Seconds until an unused session expires.")] = 600.0,
    max_megapixels: Annotated[float, typer.Option(min=0.1, help="Larger images are refused.")] = 64.0,
) -> None:
    """Serve one segmenter to many runs over HTTP; they take --segmenter server,url=http://HOST:PORT."""
    from hlmat_bench.cli import console
    from hlmat_bench.core.networks import device
    from hlmat_bench.protocol import plugins

    device.require("starlette", "uvicorn", extra="serve")
    from hlmat_bench.segmenters.server.app import Limits, serve

    made = plugins.make("segmenter", segmenter)
    limits = Limits(threads, queue, sessions, idle, max_megapixels)
    with handlers_of_others():
        serve(made, host, port, limits, ready=lambda url: console.say(f"Serving {made.name} at {url} until Ctrl-C."))


def lmms_tasks() -> None:
    """Print the folder with the tasks for lmms-eval, for its option --include_path."""
    from hlmat_bench.core.content import folder

    typer.echo(folder("tasks") / "lmms")
