"""The driver: feeds workers with images, takes what they tell, and replaces those that die."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError

from hlmat_bench.core.errors import UsageError
from hlmat_bench.runs import stopping
from hlmat_bench.runs.ray.events import (
    Answered,
    Closed,
    Ended,
    Event,
    Kept,
    NotAnswered,
    Paid,
    Played,
    RunBroken,
    Sent,
)
from hlmat_bench.runs.ray.image_queue import MOST_DEATHS, Image, ImageQueue
from hlmat_bench.runs.ray.worker import OpenedRuns
from hlmat_bench.runs.reply_journal import GRACE_SECONDS
from hlmat_bench.runs.writer import RunWriter

#: How many workers in a row may die while they open the run, before it ends.
_MOST_BAD_STARTS = 10
_SECONDS_UNTIL_NOTE = 30.0
_SECONDS_BETWEEN_LOOKS = 0.5

log = logging.getLogger("hlmat_bench")


def died_at_start(count: int, error: RayActorError) -> None:
    """Note that workers died while they opened the runs.

    Raises:
        UsageError: when there were too many of them.
    """
    if count >= _MOST_BAD_STARTS:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(
            f"{count} workers died while they opened the run, for example for lack of memory "
            f"({said[-1].strip()[:200].rstrip('.')}); use fewer --workers, or a larger --gpus-per-worker."
        ) from error


@dataclass(eq=False)
class _WorkerHandle:
    """A worker as the driver sees it.

    Attributes:
        actor: Ray's handle of it.
        opening: the result of `Worker.open`, which was asked for.
        holding: the images that it plays, by ticket.
        closing: it was told to close.
    """

    actor: Any
    opening: Any
    holding: dict[int, Image] = field(default_factory=dict)
    closing: bool = False

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.actor.close.remote()


class Driver:
    """Plays runs with workers.

    Args:
        writers: of the runs.
        start: makes a worker and asks it to open the runs; returns its handle and the result of `Worker.open`.
        started: workers that were made before.
        report: is called after each episode.
    """

    def __init__(
        self,
        writers: Sequence[RunWriter],
        start: Callable[[], tuple[Any, Any]],
        started: Sequence[tuple[Any, Any]],
        report: Callable[[], None],
    ) -> None:
        self._writers, self._start, self._report = writers, start, report
        self._queue = ImageQueue(writers)
        self._handles = [_WorkerHandle(*each) for each in started]
        self._ready: set[_WorkerHandle] = set()
        self._bad_starts = 0
        self._changed = asyncio.Condition()
        self._over = asyncio.Event()
        self._error: Exception | None = None
        self._stop = stopping.current()

    async def play(self) -> None:
        """Play until nothing is left, or an error or a limit ends the runs."""
        if self._queue.finished:
            return
        served = [asyncio.create_task(self._serve(handle)) for handle in self._handles]
        note = asyncio.create_task(self._note_waiting())
        try:
            await self._until_over()
            for handle in self._ready:
                handle.close()
            closing = [task for task, handle in zip(served, self._handles, strict=True) if handle in self._ready]
            if closing:
                await asyncio.wait(closing, timeout=GRACE_SECONDS + 5)
        finally:
            for task in (note, *served):
                task.cancel()
            await asyncio.gather(note, *served, return_exceptions=True)
        if self._error is not None:
            raise self._error

    async def _until_over(self) -> None:
        """Wait for the end; where the process is to end, until nothing is under way."""
        while not self._over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), _SECONDS_BETWEEN_LOOKS)
            if self._stop.requested and not any(handle.holding for handle in self._handles):
                self._over.set()

    async def _serve(self, handle: _WorkerHandle) -> None:
        """Keep one worker at work, and another one in its place where it dies, until the runs are over."""
        while not self._over.is_set():
            try:
                opened = await handle.opening
                if isinstance(opened, RunBroken):
                    return self._end(opened.error)
                self._show(handle, alive=True)
                self._bad_starts = 0
                return await self._feed(handle, opened)
            except RayActorError as error:
                if self._over.is_set():
                    return None
                self._lost(handle, error)
                await self._tell()
                handle.actor, handle.opening = self._start()
                handle.holding = {}
            except Exception as error:  # noqa: BLE001  (raised when the other workers are closed)
                return self._end(error)
        return None

    async def _feed(self, handle: _WorkerHandle, opened: OpenedRuns) -> None:
        """Give a worker images, as many as it plays at once, and take in what it tells, until it is closed."""
        while True:
            await self._send_images(handle, opened.concurrency)
            if not handle.holding and not handle.closing:
                if not (self._queue.finished or self._over.is_set()):
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._wait_for_change(), _SECONDS_BETWEEN_LOOKS)
                    continue
                self._over.set()
                handle.close()
            for event in await handle.actor.events.remote():
                if isinstance(event, Closed):
                    return
                try:
                    self._take(handle, event)
                except Exception as error:  # noqa: BLE001  (raised when what is under way has been taken in)
                    self._end(error)
            await self._tell()

    async def _send_images(self, handle: _WorkerHandle, concurrency: int) -> None:
        while not self._halted() and sum(len(image.left) for image in handle.holding.values()) < concurrency:
            image = self._queue.take(handle.holding.values())
            if image is None:
                return
            handle.holding[image.ticket] = image
            wanted, journal = list(image.left), self._writers[image.run].journal
            if image.deaths < MOST_DEATHS:
                kept = {sample_id: journal.kept(sample_id) for sample_id in wanted}
                handle.actor.play.remote(image.ticket, image.run, wanted, kept)
            else:
                why = f"The worker process died {image.deaths} times while it played this image."
                handle.actor.fail.remote(image.ticket, image.run, wanted, why)

    def _take(self, handle: _WorkerHandle, event: Event) -> None:
        """Take in what a worker tells.

        Raises:
            UsageError: when it ends the run.
        """
        match event:
            case Sent():
                self._writers[event.run].meter.sent(event.sample_id)
            case Paid():
                meter = self._writers[event.run].meter
                meter.after(event.replies)
                if meter.exhausted:
                    self._halt()
            case Kept():
                self._writers[event.run].journal.add(event.sample_id, event.key, event.replies)
            case Answered():
                self._writers[event.run].watch.succeeded()
            case NotAnswered():
                self._writers[event.run].watch.failed(event.failure)
            case Played():
                image = handle.holding[event.ticket]
                self._queue.played(image, event.episode.sample_id)
                with self._writers[image.run].explained():
                    self._writers[image.run].append(event.episode, image.began)
                self._report()
            case Ended():
                self._queue.ended(handle.holding.pop(event.ticket))
            case RunBroken():
                with self._writers[0].explained():
                    raise event.error

    def _lost(self, handle: _WorkerHandle, error: RayActorError) -> None:
        """Take back what a dead worker held; end the runs where workers cannot even open them."""
        opened = handle in self._ready
        ray.kill(handle.actor)  # where it lives on beyond a broken network, it must not hold its GPU
        self._show(handle, alive=False)
        gone = error.preempted or "because its node has died" in str(error)
        self._queue.lost(handle.holding.values(), suspected=not gone)
        if lost := [image for image in handle.holding.values() if image.deaths > MOST_DEATHS]:
            image = next(iter(lost[0].left.values())).image
            self._end(UsageError(f"Workers die even when the image {image} is only recorded; look at that file."))
        if not opened and not gone:
            self._bad_starts += 1
        try:
            died_at_start(0 if self._ready else self._bad_starts, error)
        except UsageError as failure:
            self._end(failure)

    def _halt(self) -> None:
        """Let no worker send a further request: a limit is reached."""
        self._queue.limited = True
        for handle in self._ready:
            handle.actor.halt.remote()

    def _end(self, error: Exception) -> None:
        """End the runs with an error; the first one counts."""
        self._error = self._error or error
        self._over.set()

    def _show(self, handle: _WorkerHandle, *, alive: bool) -> None:
        (self._ready.add if alive else self._ready.discard)(handle)
        for writer in self._writers:
            writer.workers = len(self._ready)

    def _halted(self) -> bool:
        return self._over.is_set() or self._stop.requested

    async def _wait_for_change(self) -> None:
        async with self._changed:
            await self._changed.wait()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _note_waiting(self) -> None:
        await asyncio.sleep(_SECONDS_UNTIL_NOTE)
        while not self._ready:
            log.warning("No worker has started yet: the cluster has no room, or they are still opening the run.")
            await asyncio.sleep(10 * _SECONDS_UNTIL_NOTE)
