"""The event loop of a run: it ends when its work does, or within the grace after a signal, and says what blocks it."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.runs import stopping
from hlmat_bench.runs.calls import LOOKS, UnjoinedThreads

log = logging.getLogger("hlmat_bench")


def run_in_own_loop(coroutine: Coroutine[Any, Any, None], limit: float = stopping.CALL_SECONDS) -> None:
    """Run a coroutine to its end, from a script or from inside a notebook's running loop.

    Args:
        coroutine: the work. After a signal (`hlmat_bench.runs.stopping`) it should begin nothing new; what is left of
            it after the grace is cancelled.
        limit: seconds for which nothing may block the loop.

    Raises:
        Stopped: when a signal came, after the work has ended.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(_until_stopped(coroutine, limit))
    else:
        _run_in_thread(_until_stopped(coroutine, limit))
    stopping.current().check()


async def all_or_none(coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all coroutines; when one fails, stop the others and raise its error."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_stopped(coroutine: Coroutine[Any, Any, None], limit: float) -> None:
    loop, stop, asked = asyncio.get_running_loop(), stopping.current(), asyncio.Event()
    loop.set_default_executor(UnjoinedThreads(thread_name_prefix="asyncio"))

    async def grace() -> None:
        await asked.wait()
        await asyncio.sleep(stop.grace)

    work, over = asyncio.create_task(coroutine), asyncio.create_task(grace())
    with stop.finishing(lambda: loop.call_soon_threadsafe(asked.set)), _told_when_blocked(limit):
        try:
            await asyncio.wait({work, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            work.cancel()
            await asyncio.wait({work})
    if not work.cancelled():
        work.result()
    elif not stop.requested:
        raise UsageError(f"A plug-in cancelled a task of the run; correct the plug-in: {stopping.KEPT}.")


def _run_in_thread(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in a loop in another thread; an interrupt of this one cancels it."""
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None] | None]] = []

    async def run() -> None:
        running.append((asyncio.get_running_loop(), asyncio.current_task()))
        await coroutine

    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(asyncio.run, run())
        try:
            future.result()
        except KeyboardInterrupt:
            for loop, task in running:
                if task is not None:
                    loop.call_soon_threadsafe(task.cancel)
            raise


@contextmanager
def _told_when_blocked(limit: float) -> Iterator[None]:
    """Say what blocks the loop for ``limit`` seconds: it ends the program, because nothing else can continue.

    It counts the moments at which the loop should have turned, not seconds: a process that was suspended has not
    blocked.
    """
    loop, blocked, done = asyncio.get_running_loop(), threading.get_ident(), threading.Event()
    missed = [0]

    def turn() -> None:
        missed[0] = 0
        if not done.is_set():
            loop.call_later(limit / LOOKS, turn)

    def watch() -> None:
        while not done.wait(limit / LOOKS):
            missed[0] += 1
            if missed[0] == LOOKS + 1:
                stopping.give_up(
                    f"{_place(blocked)} has blocked the run for {limit:g} seconds (--call-timeout allows more)"
                )

    turn()
    thread = threading.Thread(target=watch, name="blocked-loop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()


def _place(thread: int) -> str:
    """Return the innermost place of a plug-in's file in a thread, or the innermost of all."""
    frame = sys._current_frames().get(thread)
    places = []
    while frame is not None:
        places.append((frame.f_globals.get("__name__", ""), f"{frame.f_code.co_filename}, line {frame.f_lineno},"))
        frame = frame.f_back
    in_plugins = [place for name, place in places if name.startswith("hlmat_bench_plugin_")]
    return (in_plugins or [place for _, place in places] or ["Something"])[0]
