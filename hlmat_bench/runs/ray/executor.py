"""An executor on Ray: on this machine, or on a cluster that runs already."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

try:
    import ray
    from ray.exceptions import RayActorError
except ImportError as missing:
    from hlmat_bench.core.errors import UsageError

    raise UsageError(
        "Several workers need the package ray, which is not installed; install it with "
        "`pip install 'hlmat-bench[ray]'`, or leave the options of workers out."
    ) from missing

from hlmat_bench.core.errors import UsageError
from hlmat_bench.models.api.limits import UsageMeter
from hlmat_bench.runs.loops import run_in_own_loop
from hlmat_bench.runs.plan import RunData, RunSpec
from hlmat_bench.runs.ray.driver import Driver, died_at_start
from hlmat_bench.runs.ray.events import RunBroken
from hlmat_bench.runs.ray.worker import OpenedRuns, Worker, WorkerOptions
from hlmat_bench.runs.stopping import handlers_kept
from hlmat_bench.runs.writer import RunWriter


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """How many workers there are, and what each of them takes.

    Attributes:
        count: workers.
        cpus, gpus: of each worker; a fraction shares a GPU.
    """

    count: int
    cpus: float
    gpus: float

    @classmethod
    def of(cls, there: Mapping[str, float], count: int | None, gpus: float | None, *, local: bool) -> WorkerPlan:
        """Return the plan for what the user asked for.

        Args:
            there: the resources of all machines together, as Ray counts them (``CPU``, ``GPU``).
            count: workers; None: one per GPU, else one per pair of cores.
            gpus: GPUs per worker; None: one, or an equal share where there are fewer GPUs than workers.
            local: there is this machine alone, so what is not there will not come.

        Raises:
            UsageError: when it cannot be.
        """
        all_gpus, all_cpus = int(there.get("GPU", 0)), int(there.get("CPU", 1))
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise UsageError("--gpus-per-worker must be a whole number, or less than 1.")
        if count is None and gpus is None:
            gpus = 1.0 if all_gpus else 0.0
        if count is None:
            count = _most_workers(all_gpus, gpus) if gpus else max(all_cpus // 2, 1)
        if gpus is None:
            gpus = _share(1 / math.ceil(count / all_gpus)) if all_gpus else 0.0
        if count < 1 or (local and gpus and count > _most_workers(all_gpus, gpus)):
            raise UsageError(
                f"{max(count, 1)} workers with {gpus:g} GPUs each do not fit on this machine, which has {all_gpus} "
                "GPUs; lower --workers or --gpus-per-worker."
            )
        cpus = all_cpus // count if local else 1
        return cls(count, cpus if count <= all_cpus else 0, gpus)


def _most_workers(all_gpus: int, gpus: float) -> int:
    """Return how many workers fit: several in one GPU, or one in several."""
    return all_gpus * int(1 / gpus + 1e-9) if gpus < 1 else all_gpus // int(gpus)


def _share(part: float) -> float:
    """Return a part of a GPU in Ray's precision, rounded down."""
    return math.floor(part * 10_000) / 10_000


@dataclass(frozen=True, slots=True)
class RemoteRun:
    """A run that workers have opened.

    Attributes:
        data: its task and samples, as this process reads them.
        document: its manifest.
        meter: counts the requests of all workers.
    """

    data: RunData
    document: dict[str, Any]
    meter: UsageMeter


class RayExecutor:
    """Plays runs with workers on Ray; enter it as a context manager, open the runs, and play them.

    Args:
        specs: the runs, over the same samples.
        options: how each worker opens and plays them.
        count: how many workers; None: one per GPU, else one per pair of cores.
        gpus: GPUs of each worker; see `WorkerPlan.of`.
        address: of a running cluster, or ``auto``; None starts Ray on this machine.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec],
        options: WorkerOptions,
        *,
        count: int | None = None,
        gpus: float | None = None,
        address: str | None = None,
    ) -> None:
        self._specs, self._options = specs, options
        self._count, self._gpus, self._address = count, gpus, address
        self._open = ExitStack()
        self._started: list[tuple[Any, Any]] = []

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def open(self) -> list[RemoteRun]:
        """Read the data, start Ray and the workers, and return what the first one that is ready says of the runs.

        Raises:
            UsageError: when a part cannot be made, or workers cannot start.
        """
        data = self._specs[0].open_data()
        if not ray.is_initialized():
            self._connect()
        plan = WorkerPlan.of(
            ray.cluster_resources(),  # type: ignore[no-untyped-call]
            self._count,
            self._gpus,
            local=self._address is None,
        )
        self._open.callback(lambda: [ray.kill(actor) for actor, _ in self._started])
        self._start = _starter(plan, self._specs, self._options)
        self._started = [self._start() for _ in range(plan.count)]
        opened, limits = self._first_opened(), self._options
        for document in opened.manifests:
            if document["task"]["digest"] != data.source.digest():
                raise UsageError(
                    "The workers read other data than this machine; let --data-root be the same files on all machines."
                )
        return [
            RemoteRun(
                data,
                document,
                UsageMeter(max_requests=limits.max_requests, max_cost=limits.max_cost, per_episode=per_episode),
            )
            for document, per_episode in zip(opened.manifests, opened.per_episode, strict=True)
        ]

    def play(self, writers: Sequence[RunWriter], report: Callable[[], None]) -> None:
        """See `hlmat_bench.runs.executors.Executor.play`."""

        async def play() -> None:
            await Driver(writers, self._start_another, self._started, report).play()

        run_in_own_loop(play(), self._options.call_timeout)

    def _start_another(self) -> tuple[Any, Any]:
        self._started.append(self._start())
        return self._started[-1]

    def _connect(self) -> None:
        """Connect to a cluster, or start Ray on this machine until the end."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # sends no usage statistics
        logging.getLogger("ray").setLevel(logging.ERROR)
        own: dict[str, Any] = {"include_dashboard": False} if self._address is None else {}
        try:
            with handlers_kept():
                ray.init(self._address or "local", configure_logging=False, log_to_driver=False, **own)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
            what = "Ray cannot be started on this machine"
            if self._address is not None:
                what = f"There is no usable Ray cluster at --ray-address {self._address}"
            raise UsageError(f"{what} ({said}); docs/cluster.md says how to start one.") from error
        self._open.callback(ray.shutdown)

    def _first_opened(self) -> OpenedRuns:
        deaths = 0
        while True:
            [done], _ = ray.wait([opening for _, opening in self._started], num_returns=1)
            try:
                opened = ray.get(done)
            except RayActorError as error:
                deaths += 1
                died_at_start(deaths, error)
                self._started = [(actor, opening) for actor, opening in self._started if opening != done]
                self._start_another()
                continue
            if isinstance(opened, RunBroken):
                raise opened.error
            assert isinstance(opened, OpenedRuns)
            return opened


def _starter(plan: WorkerPlan, specs: Sequence[RunSpec], options: WorkerOptions) -> Callable[[], tuple[Any, Any]]:
    """Return the function that makes a worker and asks it to open the runs."""
    made: Any = ray.remote(Worker)
    made = made.options(num_cpus=plan.cpus, num_gpus=plan.gpus, scheduling_strategy="SPREAD")
    given = [spec.to_json() for spec in specs]

    def start() -> tuple[Any, Any]:
        actor = made.remote(given, options)
        return actor, actor.open.remote()

    return start
