"""What others connect to: ``serve-segmenter`` and ``lmms tasks``."""

from __future__ import annotations

from typing import Annotated

import typer


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
    from hlmat_bench.cli import console
    from hlmat_bench.core.networks import device
    from hlmat_bench.protocol import plugins

    device.require("starlette", "uvicorn", extra="serve")
    from hlmat_bench.segmenters.server.app import Limits, serve

    made = plugins.make("segmenter", segmenter)
    limits = Limits(threads, queue, sessions, idle, max_megapixels)
    serve(made, host, port, limits, ready=lambda url: console.say(f"Serving {made.name} at {url} until Ctrl-C."))


def lmms_tasks() -> None:
    """Print the folder with our tasks for lmms-eval, which takes it as --include_path."""
    from hlmat_bench.core.content import folder

    typer.echo(folder("tasks") / "lmms")
