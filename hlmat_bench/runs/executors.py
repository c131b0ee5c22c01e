"""Executors play the samples of runs and give finished episodes to the runs' writers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, TypeAlias

from hlmat_bench.core.samples import Sample
from hlmat_bench.models.api.limits import LimitReached
from hlmat_bench.runs import stopping
from hlmat_bench.runs.batching import suitable_concurrency
from hlmat_bench.runs.loops import all_or_none, run_in_own_loop
from hlmat_bench.runs.plan import RunSetup
from hlmat_bench.runs.player import EpisodePlayer
from hlmat_bench.runs.reply_journal import journaled
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.writer import RunWriter

#: Is called with (episodes done, episodes in all).
Progress: TypeAlias = Callable[[int, int], None]


class Executor(Protocol):
    """Plays runs that it has opened, in this process or in others that open the `RunSpec` themselves."""

    def play(self, writers: Sequence[RunWriter], report: Callable[[], None]) -> None:
        """Play what is still to be played in each run, as long as its limits allow, and append the episodes.

        Args:
            writers: of the executor's runs, in their order.
            report: is called after each episode.

        Raises:
            UsageError: for what the user can correct; episodes finished before it are kept.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Plays many episodes at once in this process.

    Several runs are played side by side: all play an image before one plays the next, so that a segmenter that they
    share encodes it once.

    Attributes:
        runs: over the same samples.
        concurrency: episodes played in parallel; None: what suits the first run's model.
        batch_size: requests per batch of a local model; None: the model's own.
        call_timeout: seconds that one call of a plug-in may take.
    """

    runs: Sequence[RunSetup]
    concurrency: int | None = None
    batch_size: int | None = None
    call_timeout: float = stopping.CALL_SECONDS

    def play(self, writers: Sequence[RunWriter], report: Callable[[], None]) -> None:
        """See `Executor.play`."""
        run_in_own_loop(self._play(writers, report), self.call_timeout)

    async def _play(self, writers: Sequence[RunWriter], report: Callable[[], None]) -> None:
        waiting, stop = _by_image(writers), stopping.current()
        workers = self.concurrency or suitable_concurrency(self.runs[0].model, self.batch_size)
        async with EpisodePlayer(workers, self.batch_size, self.call_timeout) as player:
            plays = {
                writer: player.opened(run, journaled(run.asked_model(writer.meter), writer.journal), writer.watch)
                for run, writer in zip(self.runs, writers, strict=True)
            }

            async def worker() -> None:
                """Play waiting samples until there is none, a limit is reached, or the process is to end."""
                while waiting and not stop.requested and waiting[0][0].meter.begin(waiting[0][1].id):
                    writer, sample = waiting.popleft()
                    began = writer.begin()
                    try:
                        with writer.explained():
                            writer.append(await plays[writer](sample), began)
                    except LimitReached:
                        return
                    finally:
                        writer.meter.end(sample.id)
                    report()

            await all_or_none([worker() for _ in range(min(workers, len(waiting)))])


def _by_image(writers: Sequence[RunWriter]) -> deque[tuple[RunWriter, Sample]]:
    """Return what is still to be played, in order: each image in every run."""
    todo = [{sample.id for sample in writer.todo()} for writer in writers]
    images = groupby(writers[0].data.samples, key=lambda sample: sample.image_id)
    return deque(
        (writer, sample)
        for image in [list(group) for _, group in images]
        for writer, wanted in zip(writers, todo, strict=True)
        for sample in image
        if sample.id in wanted
    )


def play_runs(writers: Sequence[RunWriter], executor: Executor, progress: Progress | None = None) -> list[Run]:
    """Play runs over the same samples, each into its own folder, and score them.

    Args:
        writers: of the runs, not entered yet.
        executor: plays them.
        progress: called with (episodes done, episodes in all).

    Raises:
        UsageError: as `run` does.
    """

    def report() -> None:
        if progress:
            progress(sum(writer.count for writer in writers), len(writers) * len(writers[0].data.samples))

    with ExitStack() as stack:
        for writer in writers:
            stack.enter_context(writer)
        report()
        executor.play(writers, report)
        for writer in writers:
            writer.end()
            writer.close_files()
        if cut_short := [error for writer in writers if (error := writer.limit_reached())]:
            for writer in writers:
                Run(writer.folder).score()
            raise cut_short[0]
        return [writer.finish() for writer in writers]
