"""The commands ``serve-segmenter``, ``serve-env`` and ``lmms tasks``."""

from __future__ import annotations

from typing import Annotated

import typer

from hlmat_bench.cli import options
from hlmat_bench.runs.stopping import handlers_of_others


def serve_segmenter(
    segmenter: options.Segmenter,
    host: Annotated[
        str, typer.Option(help="Address to listen on; with any but 127.0.0.1, other machines can connect.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8765,
    threads: Annotated[int, typer.Option(min=1, help="Predictions in parallel.")] = 1,
    queue: Annotated[
        int, typer.Option(min=0, help="Largest number of waiting requests; further ones get status 503.")
    ] = 64,
    sessions: Annotated[
        int, typer.Option(min=1, help="Largest number of open images; give at least one per episode.")
    ] = 64,
    idle: Annotated[float, typer.Option(min=1, help="Seconds until an unused session expires.")] = 600.0,
    max_megapixels: Annotated[float, typer.Option(min=0.1, help="Larger images are refused.")] = 64.0,
) -> None:
    """Serve one segmenter to many runs over HTTP. They take --segmenter server,url=http://HOST:PORT."""
    from hlmat_bench.cli import console
    from hlmat_bench.core.networks import device
    from hlmat_bench.protocol import plugins

    device.require("starlette", "uvicorn", extra="serve")
    from hlmat_bench.segmenters.server.app import Limits, serve

    made = plugins.make("segmenter", segmenter)
    limits = Limits(threads, queue, sessions, idle, max_megapixels)
    with handlers_of_others():
        serve(made, host, port, limits, ready=lambda url: console.say(f"Serving {made.name} at {url} until Ctrl-C."))


def serve_env(
    task: options.Task,
    segmenter: options.Segmenter = "graphcut",
    model: Annotated[
        str | None, typer.Option(help="Catalogue entry whose point format, resize rule and settings are taken.")
    ] = None,
    points: Annotated[
        str | None, typer.Option(help="Point format of replies; default: the model's, else xy1000.")
    ] = None,
    resize: Annotated[
        str | None, typer.Option(help="Rule that resizes images; default: the model's, else none.")
    ] = None,
    budget: options.Budget = None,
    initial: options.Initial = None,
    limit: options.Limit = None,
    seed: options.Seed = 0,
    data_root: options.DataRoot = None,
    embedding_cache: options.EmbeddingCache = None,
    rewards: Annotated[
        list[str],
        typer.Option(help="gain, ibis-agent, medsam-agent, or the weight of a part, such as gain=1; repeatable."),
    ] = ["gain"],  # noqa: B006  (typer copies it)
    host: Annotated[
        str, typer.Option(help="Address to listen on; with any but 127.0.0.1, other machines can connect.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8766,
    sessions: Annotated[int, typer.Option(min=1, help="Largest number of episodes in parallel.")] = 64,
    set_: options.Settings = None,
) -> None:
    """Serve a task to trainers as an OpenEnv environment. Trainers may run on this or other machines."""
    import importlib.util

    from hlmat_bench.cli import console
    from hlmat_bench.cli.settings import settings as settings_of
    from hlmat_bench.core.errors import UsageError
    from hlmat_bench.training.pool import SessionSettings
    from hlmat_bench.training.rewards import RewardSettings

    given = {
        "task": task,
        "segmenter": segmenter,
        "model": model,
        "points": points,
        "resize": resize,
        "budget": budget,
        "initial": initial,
        "limit": limit,
        "seed": seed,
        "data_root": None if data_root is None else str(data_root),
        "embedding_cache": None if embedding_cache is None else str(embedding_cache),
        "rewards": RewardSettings.parse(rewards),
        "settings": settings_of(set_ or []),
    }
    if importlib.util.find_spec("openenv") is None:
        raise UsageError("serve-env needs the package openenv, which is not installed: pip install 'openenv>=0.10'.")
    from hlmat_bench.training.openenv import serve

    with handlers_of_others():
        serve(
            SessionSettings.of(given), host, port, sessions,
            ready=lambda url: console.say(f"Serving {task} at {url} until Ctrl-C."),
        )  # fmt: skip


def lmms_tasks() -> None:
    """Print the folder of tasks for lmms-eval. It is for lmms-eval's option --include_path."""
    from hlmat_bench.core.content import folder

    typer.echo(folder("tasks") / "lmms")
