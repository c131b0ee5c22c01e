"""How a run is played, in this process or with workers: nothing of it changes an episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.interfaces import Model
from hlmat_bench.runs.executors import Executor, LocalExecutor, Progress, play_runs
from hlmat_bench.runs.failures import IN_A_ROW
from hlmat_bench.runs.heartbeat import OnBeat
from hlmat_bench.runs.plan import RunSpec
from hlmat_bench.runs.redo_log import Again
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.stopping import CALL_SECONDS
from hlmat_bench.runs.writer import RunWriter


@dataclass(frozen=True, slots=True)
class Execution:
    """How a run is played.

    Attributes:
        concurrency, batch_size, max_requests, max_cost, max_failures, call_timeout, lock, executor, workers,
            gpus_per_worker, ray_address, progress, on_beat: see `hlmat_bench.runs.run.run`.
    """

    concurrency: int | None = None
    batch_size: int | None = None
    max_requests: int | None = None
    max_cost: float | None = None
    max_failures: int = IN_A_ROW
    call_timeout: float = CALL_SECONDS
    lock: bool = True
    executor: str | None = None
    workers: int | str | None = None
    gpus_per_worker: float | None = None
    ray_address: str | None = None
    progress: Progress | None = None
    on_beat: OnBeat | None = None

    def play(
        self,
        spec: RunSpec,
        folder: Path,
        *,
        model: Model | None = None,
        argv: Sequence[str] = (),
        again: Again | None = None,
    ) -> Run:
        """Play a run into its folder and score it.

        Args:
            spec: the run.
            folder: of the run.
            model: the model itself, where the spec names none that can be made.
            argv: the command line, for the manifest.
            again: see `RunWriter`.

        Raises:
            UsageError: as `hlmat_bench.runs.run.run` does.
        """
        more: dict[str, Any] = {
            "max_failures": self.max_failures, "lock": self.lock, "on_beat": self.on_beat, "again": again
        }  # fmt: skip
        if not self._on_ray():
            # To look at the files of a large task takes longer than all else that a finished run needs. Where there is
            # something to play after all, the writer looks at them.
            setup = spec.open(model, look=not manifest.is_finished(folder))
            meter = setup.meter(self.max_requests, self.max_cost)
            writer = RunWriter.of(folder, setup, setup.manifest(argv), meter, **more)
            return self._finish(writer, LocalExecutor([setup], self.concurrency, self.batch_size, self.call_timeout))
        if model is not None:
            raise UsageError("Workers make the model themselves, so give its name or its file, not the model.")
        from hlmat_bench.runs.ray.executor import RayExecutor
        from hlmat_bench.runs.ray.worker import WorkerOptions

        options = WorkerOptions.here(
            argv=tuple(argv),
            concurrency=self.concurrency,
            batch_size=self.batch_size,
            max_requests=self.max_requests,
            max_cost=self.max_cost,
            call_timeout=self.call_timeout,
        )
        count, gpus, address = self._worker_count(), self.gpus_per_worker, self.ray_address
        with RayExecutor([spec], options, count=count, gpus=gpus, address=address) as cluster:
            [opened] = cluster.open()
            writer = RunWriter(folder, opened.data, opened.document, opened.meter, **more)
            return self._finish(writer, cluster)

    def _finish(self, writer: RunWriter, executor: Executor) -> Run:
        [finished] = play_runs([writer], executor, self.progress)
        return finished

    def _on_ray(self) -> bool:
        """Tell whether workers play.

        Raises:
            UsageError: when the options contradict each other.
        """
        given = any(each is not None for each in (self.workers, self.gpus_per_worker, self.ray_address))
        if self.executor not in (None, "local", "ray"):
            raise UsageError(f"--executor must be local or ray, not {self.executor!r}.")
        if self.executor == "local" and given:
            raise UsageError(
                "--workers, --gpus-per-worker and --ray-address are for workers; leave --executor local out to use "
                "them."
            )
        return given or self.executor == "ray"

    def _worker_count(self) -> int | None:
        """Return the number of workers; None where it is to be found out."""
        if self.workers in (None, "auto"):
            return None
        if not str(self.workers).isdecimal() or int(self.workers or 0) < 1:
            raise UsageError(f"--workers must be a number from 1, or auto, not {self.workers!r}.")
        return int(self.workers or 0)
