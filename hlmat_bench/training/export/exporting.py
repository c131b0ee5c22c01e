"""Export of runs and trajectory sets as training data, in the formats of trainers."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from hlmat_bench.actions import Action
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.plain_files import exists, read_bytes
from hlmat_bench.data.overlap import coco_id
from hlmat_bench.protocol.manifest import now, write_json
from hlmat_bench.runs.episode_log import writing
from hlmat_bench.training.export.asking import AskingSettings
from hlmat_bench.training.export.formats import format_named
from hlmat_bench.training.export.guard import Guard, open_guard
from hlmat_bench.training.export.pictures import Pictures
from hlmat_bench.training.export.recorded import RecordedRun, open_runs, split_of
from hlmat_bench.training.export.selection import Selection, chain_of, states_of
from hlmat_bench.training.export.writing import Example, Format, Target, Trajectory, Writer

EXPORT_SCHEMA = "hlmat-export/1"
EXPORT = "export.json"
#: Threads that paint and encode, each trajectory in one.
_THREADS = min(os.cpu_count() or 1, 8)

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class ExportSettings:
    """What is exported, and how.

    Attributes:
        format: a name of `hlmat_bench.training.export.formats.FORMATS`.
        asking: how the model to train is asked and answers.
        selection: which states are taken.
        val: the share of images that goes to the split ``val``, 0 to 1.
        image_format: ``png`` or ``jpg``.
        quality: of a JPEG, 1 to 100.
        lazy: images are written without paint, once each; `TrajectoryDataset` paints them when it reads them.
        shard_size: the most examples of a shard.
        name: the name of the data set in files that name it.
        force_contaminated: keep the images of protected tasks.
        names_only: look for images of protected tasks by their names alone.
    """

    format: str
    asking: AskingSettings = field(default_factory=AskingSettings)
    selection: Selection = field(default_factory=Selection)
    val: float = 0.0
    image_format: str = "png"
    quality: int = 95
    lazy: bool = False
    shard_size: int = 1000
    name: str = "hlmat"
    force_contaminated: bool = False
    names_only: bool = False

    def check(self) -> Format:
        """Return the format, after a check of all settings.

        Raises:
            UsageError: says what does not fit.
        """
        found = format_named(self.format)
        for name, share in (("val", self.val), ("keep_iou", self.selection.keep_iou)):
            if not 0 <= share <= 1:
                raise UsageError(f"{name} is from 0 to 1, not {share}.")
        if self.lazy and found.pixels != "files":
            raise UsageError(
                f"The format {self.format} holds its images itself, so they cannot be painted when they are read; "
                "leave --lazy out, or take llamafactory, sharegpt or ms-swift."
            )
        if found.whole and (self.selection.stop_examples or self.asking.with_iou):
            raise UsageError(
                f"The format {self.format} holds clicks and no answers; leave --stop-examples and --iou out."
            )
        if self.shard_size < 1:
            raise UsageError(f"A shard has at least one example, not {self.shard_size}.")
        return found

    def splits(self) -> list[str]:
        """Return the names of the splits."""
        return ["train", *(["val"] if self.val else [])]


def export(
    runs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    settings: ExportSettings,
    *,
    tasks: Sequence[str] = (),
    data_root: str | os.PathLike[str] | None = None,
    segmenter: str | None = None,
    protected: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    guard_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write the states of runs and trajectory sets as training data.

    Run again with the same arguments, it keeps the images that are written.

    Args:
        runs: the run folders.
        out: the folder of the export.
        settings: what is exported, and how.
        tasks: names or YAML files of tasks that have moved.
        data_root: the folder that holds the data sets; None: HLMAT_DATA.
        segmenter: the runs' segmenter, where its name in a run leads nowhere here (format ``verl``).
        protected: the tasks whose images are left out; None: those of `hlmat_bench.training.export.guard.GROUPS`.
        progress: called with (episodes done, episodes in all).
        guard_progress: called with (images of protected tasks that were read, in all).

    Returns:
        What export.json holds.

    Raises:
        UsageError: when a part cannot be opened or written, or when nothing is left to export.
    """
    chosen, folder = settings.check(), Path(out)
    opened = open_runs(runs, settings.asking, tasks=tasks, data_root=data_root)
    pictures = Pictures(folder, settings.image_format, settings.quality)
    with writing(folder):
        document = _begun(folder, settings, opened)
    guard = open_guard(
        data_root,
        pixels=not settings.names_only,
        names=protected,
        among_coco=all(coco_id(sample.image) is not None for run in opened for sample in run.source.samples()),
        progress=guard_progress,
    )
    taker = _Taker(opened, settings, chosen, guard)
    with writing(folder), ExitStack() as stack:
        root = None if data_root is None else os.fspath(data_root)
        splits, size = settings.splits(), settings.shard_size
        writer = chosen.writer(Target(folder, splits, pictures, stack, size, settings.name, segmenter, root))
        _write(writer, taker, chosen, settings, pictures, progress)
        if not taker.counts["trajectories"]:
            raise UsageError(f"Nothing is left to export: {_left(taker.counts, guard)}.")
        writer.finish()
    counts = dict(sorted(taker.counts.items()))
    document |= {"guard": _about_guard(guard, settings), "counts": counts, "finished": now()}
    write_json(folder / EXPORT, document)
    return document


def _begun(folder: Path, settings: ExportSettings, runs: Sequence[RecordedRun]) -> dict[str, Any]:
    """Write and return the manifest of an export that begins, if the folder holds none of another kind."""
    options = json.loads(json.dumps(asdict(settings)))
    path = folder / EXPORT
    if exists(path):
        _check_same(path, options)
    elif exists(folder) and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty and holds no export; choose another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "schema": EXPORT_SCHEMA,
        "version": version("hlmat-bench"),
        "format": settings.format,
        "options": options,
        "runs": [run.describe() | {"asked": run.asking.describe()} for run in runs],
        "started": now(),
        "finished": None,
    }
    write_json(path, document)
    return document


def _check_same(path: Path, options: Mapping[str, Any]) -> None:
    """Make sure that an earlier export in this folder had these options."""
    try:
        before = json.loads(read_bytes(path))["options"]
        different = sorted(name for name in {*before, *options} if before.get(name) != options.get(name))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} is damaged; remove it, or choose another --out.") from error
    if different:
        raise UsageError(
            f"{path.parent} holds an export with other options ({', '.join(different)}); choose another --out."
        )


class _Taker:
    """Takes trajectories from runs, in their order.

    Args:
        runs: the runs.
        settings: what is exported.
        format: in which format.
        guard: refuses images.

    Attributes:
        counts: how much is taken, and how much is left out, by reason.
    """

    def __init__(self, runs: Sequence[RecordedRun], settings: ExportSettings, format: Format, guard: Guard) -> None:
        self._runs, self._settings, self._format, self._guard = runs, settings, format, guard
        self.counts = Counter[str]()
        # A sample stands once in a run, so that only several runs can hold a state twice.
        self._seen: set[int] | None = set() if len(runs) > 1 else None

    def total(self) -> int:
        """Return how many episodes the runs have at most."""
        return sum(run.manifest.get("samples") or 0 for run in self._runs)

    def trajectories(self) -> Iterator[Trajectory | None]:
        """Give each trajectory; None for an episode of which nothing is taken."""
        for run in self._runs:
            task = run.manifest["task"]["name"]
            for _, episode in run.episodes():
                self.counts["episodes"] += 1
                made = Trajectory(run, episode, (), split_of(episode, self._settings.val))
                states = self._states(made)
                if states and not self._guard.allows(task, run.sample(episode), partial(run.image, episode)):
                    self.counts["episodes on images of evaluation splits"] += 1
                    states = states if self._settings.force_contaminated else []
                if states:
                    self.counts["trajectories"] += 1
                    self.counts[f"examples {made.split}"] += 1 if self._format.whole else len(states)
                yield Trajectory(run, episode, states, made.split) if states else None

    def _states(self, made: Trajectory) -> list[Any]:
        states = states_of(made.episode, self._settings.selection, self.counts)
        if self._format.whole:
            chain = chain_of(made.episode, states)
            self.counts["clicks after a gap"] += len(states) - len(chain)
            states = chain
        if self._seen is None or not states:
            return states
        if self._format.whole:
            keys = [_key(made, [_deed(state.action) for state in states])]
        else:
            history = made.run.asking.settings.history
            keys = [_key(made, [s.mask, s.clicks if history else (), _deed(s.action)]) for s in states]
        new = [key not in self._seen for key in keys]
        self._seen.update(keys)
        self.counts["duplicates"] += new.count(False)
        if self._format.whole:
            return states if new[0] else []
        return [state for state, is_new in zip(states, new, strict=True) if is_new]


def _deed(action: Action) -> tuple[Any, ...]:
    """Return what an answer says of an action."""
    return action.kind, action.positive, action.x, action.y


def _key(made: Trajectory, what: Sequence[Any]) -> int:
    """Return 8 bytes, as a number, that stand for a state of a sample."""
    text = json.dumps([made.run.manifest["task"]["digest"], made.episode.sample_id, repr(what)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _write(
    writer: Writer,
    taker: _Taker,
    chosen: Format,
    settings: ExportSettings,
    pictures: Pictures,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Paint in several threads, and write in order."""
    show = partial(_shown, chosen=chosen, lazy=settings.lazy, pictures=pictures)
    total, done = taker.total(), 0
    with ThreadPoolExecutor(_THREADS, "export") as pool:
        for trajectory, examples, rounded in _in_order(pool, show, taker.trajectories()):
            if trajectory is not None:
                writer.add(trajectory, examples)
                taker.counts["clicks moved by rounding"] += rounded
            done += 1
            if progress is not None:
                progress(done, max(total, done))


def _in_order(pool: ThreadPoolExecutor, work: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """Give the results of a function in the order of the items, with a few in parallel."""
    waiting = deque[Any]()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * _THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _shown(
    trajectory: Trajectory | None, *, chosen: Format, lazy: bool, pictures: Pictures
) -> tuple[Trajectory | None, list[Example], int]:
    """Return a trajectory's examples, painted, and how many clicks the point format moves."""
    if trajectory is None:
        return None, [], 0
    run, episode = trajectory.run, trajectory.episode
    if chosen.whole:
        return trajectory, [], 0
    image = run.image(episode)
    viewer = run.asking.viewer(episode, image)
    original = pictures.store(image) if lazy else None
    examples, rounded = [], 0
    for state in trajectory.states:
        shown, prompt = viewer.show(state)
        answer = run.asking.answer(state, episode.size)
        if state.action.kind == "click":
            rounded += run.asking.moves(state.action.click, answer, episode.size)
        painted: str | bytes | None = None
        if not lazy:
            painted = pictures.store(shown) if chosen.pixels == "files" else pictures.encode(shown)
        examples.append(Example(state, prompt, answer, painted, original))
    return trajectory, examples, rounded


def _about_guard(guard: Guard, settings: ExportSettings) -> dict[str, Any]:
    """Return what export.json says of the images of evaluation splits."""
    about = {"forced": settings.force_contaminated, **guard.describe()}
    if settings.force_contaminated:
        about["note"] = (
            "--force-contaminated was given, so the images of evaluation splits are in this export: do not compare "
            "numbers on these splits of a model that is trained on it."
        )
    return about


def _left(counts: Counter[str], guard: Guard) -> str:
    """Return in words why nothing is left."""
    said = [f"{number:,} {name}" for name, number in sorted(counts.items()) if number]
    tasks = sorted({task for task, _ in guard.found.values()})
    return ", ".join(said) + (f"; the images are those of {', '.join(tasks)}" if tasks else "")
