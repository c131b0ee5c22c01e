"""A run: one model on one task with one segmenter, on disk in one folder, resumable and scored."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Sample, Source
from hlmat_bench.core.text import redact
from hlmat_bench.data import check as data_check
from hlmat_bench.data.tasks import Task, load_task
from hlmat_bench.models.api.limits import LimitReached, UsageMeter
from hlmat_bench.models.catalog import Catalog, ModelChoice
from hlmat_bench.protocol import manifest, plugins
from hlmat_bench.protocol.interfaces import Model, Segmenter
from hlmat_bench.protocol.prompts import check_template
from hlmat_bench.protocol.records import EPISODES
from hlmat_bench.protocol.settings import PROTOCOL_ID, ProtocolSettings
from hlmat_bench.runs import kinds
from hlmat_bench.runs.engine import Contest, Progress, digests_of, play_all
from hlmat_bench.runs.episode_log import Recorded, RunLock, recorded
from hlmat_bench.runs.failures import IN_A_ROW
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.shards import select_samples

if TYPE_CHECKING:
    pass


def run(
    model: str | Model,
    task: str,
    segmenter: str = "graphcut",
    *,
    strategy: str | None = None,
    budget: int | None = None,
    initial: str | None = None,
    out: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    data_root: str | os.PathLike[str] | None = None,
    concurrency: int | None = None,
    batch_size: int | None = None,
    shard: str | None = None,
    catalog: str | os.PathLike[str] | None = None,
    max_requests: int | None = None,
    max_cost: float | None = None,
    cache: str | os.PathLike[str] | None = None,
    embedding_cache: str | os.PathLike[str] | None = None,
    max_failures: int = IN_A_ROW,
    lock: bool = True,
    settings: Mapping[str, Any] | None = None,
    argv: Sequence[str] = (),
    progress: Progress | None = None,
) -> Run:
    """Play a task and score it; called again with the same arguments it continues where it stopped.

    Args:
        model: a name with options, e.g. ``"hf,pretrained=/models/X,points=xy1000"``, a file ``"./my_model.py"``, or a
            model itself.
        task: a task's name, or the path of a task's YAML file.
        segmenter: a name with options, or a file.
        strategy: who chooses the next action; None: greedy, or what the task's kind has.
        budget: clicks per episode; None: the task's.
        initial: the state before the first click, one of `settings.INITIAL_STATES`; None: empty, or what the task's
            kind has.
        out: the run folder; None: ``runs/MODEL__TASK__SEGMENTER``, and strategy and initial state where they are given.
        limit: only the first so many samples; a later call may raise it.
        seed: of everything random.
        data_root: the folder under which the data sets lie; None: the environment's HLMAT_DATA.
        concurrency: episodes under way at once; None: what suits the model.
        batch_size: requests per batch of a local model; None: its own.
        shard: ``"I/N"``: the I-th of N parts, split by image.
        catalog: a file with more models, of the form of ours.
        max_requests: most requests to a model behind an API in this call; what is left is for another call.
        max_cost: most US dollars in this call; the requests under way when it is reached may exceed it.
        cache: a folder for the replies of a model behind an API, which are then not asked for again, in this run or
            another.
        embedding_cache: a folder for what the segmenter's encoder makes of images, which are then not encoded again.
        max_failures: failed requests in a row that end the run. It ends, too, when its first
            `hlmat_bench.runs.failures.FIRST` requests fail alike. In both cases the failures are not recorded.
        lock: keep other processes out of the run folder; False where its file system has no locks.
        settings: more settings of the protocol (``{"overlay.color": "blue"}``) and of the data
            (``{"data.missing": "skip"}``), and ``points``, a format that replaces the model's declared one.
        argv: the command line, for the manifest.
        progress: called with (episodes done, episodes in all).

    Returns:
        The run. Episodes whose model could not be asked have ``stop`` ``error``; ``scores()["failures"]`` counts them,
        and the same call asks them again.

    Raises:
        UsageError: for what the caller can correct; finished episodes are kept. Where a limit ended the run, they are
            scored.
    """
    protocol, data, points = split_settings(settings or {})
    definition = load_task(task)
    choice = Catalog.load(catalog).choose(model)
    rules = rules_of(choice, definition, protocol | {"strategy": strategy, "initial": initial}, budget)
    source = definition.source(data_root or os.environ.get("HLMAT_DATA"), seed=seed, overrides=data)
    samples = select_samples(source.samples(), shard, limit)
    data_check.look(source, samples)
    manner = kinds.manner(definition, rules, source, source.samples(), samples)
    contest = Contest(choice, make_segmenter(segmenter, embedding_cache), rules, points, seed, manner)
    meter = UsageMeter(max_requests=max_requests, max_cost=max_cost, per_episode=contest.requests)
    contest.ask_through(meter, Path(cache) if cache else None)
    document = describe(
        contest, task_spec(definition, source), argv=argv, limit=limit, shard=shard, samples=len(samples)
    )
    who = model if isinstance(model, str) else model.name
    folder = Path(out) if out else Path("runs") / folder_name(who, definition.name, segmenter, strategy, initial, shard)
    planned = Planned(folder, contest, document)
    [finished] = play_planned(
        [planned],
        source,
        samples,
        concurrency=concurrency,
        batch_size=batch_size,
        max_failures=max_failures,
        lock=lock,
        progress=progress,
    )
    return finished


@dataclass(frozen=True, slots=True)
class Planned:
    """A run that has not begun, or continues.

    Attributes:
        folder: its run folder.
        contest: who plays and with what.
        document: its manifest.
    """

    folder: Path
    contest: Contest
    document: dict[str, Any]


def play_planned(
    planned: Sequence[Planned],
    source: Source,
    samples: Sequence[Sample],
    *,
    concurrency: int | None = None,
    batch_size: int | None = None,
    max_failures: int = IN_A_ROW,
    lock: bool = True,
    progress: Progress | None = None,
) -> list[Run]:
    """Play runs over the same samples side by side, image by image, each into its own folder, and score them.

    Raises:
        UsageError: as `run` does.
    """
    with ExitStack() as stack:
        documents, done = {}, {}
        known = {sample.id: sample for sample in source.samples()}
        for one in planned:
            _make_folder(one.folder)
            stack.enter_context(RunLock(one.folder, used=lock))
            done[one.folder] = recorded(one.folder)
            documents[one.folder] = _open_manifest(one.folder, one.document, done[one.folder])
            check_data(one.folder, done[one.folder], known, source)
        contests = {one.folder: one.contest for one in planned}
        try:
            play_all(
                contests,
                done,
                source,
                samples,
                concurrency=concurrency,
                batch_size=batch_size,
                max_failures=max_failures,
                progress=progress,
            )
        except LimitReached:
            for folder in documents:
                Run(folder).score()
            raise
        return [_finished(folder, document, done[folder], known, source) for folder, document in documents.items()]


def _finished(
    folder: Path,
    document: Mapping[str, Any],
    done: Mapping[str, Recorded],
    known: Mapping[str, Sample],
    source: Source,
) -> Run:
    """Score a run whose samples are all played, and mark it as finished where everything is on disk.

    Raises:
        UsageError: when files of the data or of the run changed while it was played.
    """
    check_data(folder, done, known, source)
    written = Run(folder).score()["n"]
    if written != len(done):
        raise UsageError(
            f"{folder / EPISODES} holds {written} of {len(done)} episodes that were played: another program changed "
            "the file. Run the same command again; it plays what is missing."
        )
    manifest.write_json(folder / manifest.MANIFEST, {**document, "finished": manifest.now()})
    return Run(folder)


def check_data(folder: Path, done: Mapping[str, Recorded], known: Mapping[str, Sample], source: Source) -> None:
    """Make sure that the recorded episodes were played on the data as it is now.

    Raises:
        UsageError: names the sample whose image or ground truth is another, or that the task does not have any more.
    """
    for ident, what in done.items():
        if ident not in known:
            raise UsageError(
                f"{folder} holds an episode of the sample {ident}, which the task does not have now; choose another "
                "--out, or the same data and settings as before."
            )
        now = digests_of(source, known[ident]) if what.data else {}
        for part, digest in what.data.items():
            if now.get(part, digest) != digest:
                name = "image" if part == "image" else "ground truth"
                raise UsageError(
                    f"The {name} of the sample {ident} is not the one that its episode in {folder} was played on; "
                    "restore the file, or choose another --out to play with the new data."
                )


def make_segmenter(spec: str, embedding_cache: str | os.PathLike[str] | None = None) -> Segmenter:
    """The segmenter of ``name,key=value,...``, with a folder for what its encoder makes of images.

    Raises:
        UsageError: when it cannot be made, or takes no such folder.
    """
    name, options = plugins.parse_spec(spec)
    if embedding_cache is not None:
        if not plugins.takes("segmenter", name, "embedding_cache"):
            raise UsageError(
                f"--embedding-cache is for segmenters that encode an image once, such as sam_b; {name} does not, so "
                "leave it out."
            )
        options["embedding_cache"] = os.fspath(embedding_cache)
    segmenter: Segmenter = plugins.build("segmenter", name, options)
    return segmenter


def describe(
    contest: Contest,
    task: Mapping[str, Any],
    *,
    argv: Sequence[str],
    limit: int | None,
    shard: str | None,
    samples: int,
) -> dict[str, Any]:
    """Return the manifest of a contest on ``samples`` samples of a task, which `task_spec` describes."""
    return manifest.build(
        argv=argv,
        model=contest.model_spec,
        task=task,
        segmenter={"name": contest.segmenter.name, **contest.segmenter.spec()},
        protocol={"id": PROTOCOL_ID, **contest.rules.model_dump(mode="json"), **contest.manner.names()},
        points=dataclasses.asdict(contest.points),
        resize=contest.resize,
        seed=contest.seed,
        limit=limit,
        shard=shard,
        samples=samples,
    )


def split_settings(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """Settings of the protocol, of the data (``data.``), and the point format."""
    data = {key[5:]: value for key, value in settings.items() if key.startswith("data.")}
    protocol = {key: value for key, value in settings.items() if not key.startswith("data.")}
    return protocol, data, protocol.pop("points", None)


def rules_of(model: ModelChoice, task: Task, given: Mapping[str, Any], budget: int | None) -> ProtocolSettings:
    """The settings: the task's defaults, under what the model was trained with, under what the user gave."""
    boxes: dict[str, Any] = {"track": "box+point"} if model.plugin == "gt-box" else {}
    defaults = {**boxes, **kinds.DEFAULTS[task.kind], **task.protocol, **model.settings}
    chosen = {name: value for name, value in {**given, "budget": budget}.items() if value is not None}
    rules = ProtocolSettings.build(defaults | chosen)
    kinds.check(task, rules)
    for template in rules.templates().values():
        check_template(template)
    return rules


def task_spec(task: Task, source: Source) -> dict[str, Any]:
    """What the manifest says of a task and its data."""
    describe = getattr(source, "describe", dict)
    return {
        "name": task.name,
        "version": task.version,
        "group": task.group,
        "kind": task.kind,
        "revision": task.revision,
        "digest": source.digest(),
        "source": describe(),
        **task.masks_made(),
    }


def folder_name(
    model: str,
    task: str,
    segmenter: str,
    strategy: str | None = None,
    initial: str | None = None,
    shard: str | None = None,
) -> str:
    """The name of a run's folder where none is given; keys and tokens are blotted out."""
    parts = [redact(model), task, segmenter]
    parts += [part for part in (strategy, initial) if part not in (None, "greedy", "empty")]
    parts += [f"shard {shard}"] if shard else []
    return "__".join(re.sub(r"[^\w.=-]+", "-", part).strip("-.")[-80:] for part in parts)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".lock").touch()
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror}); choose another --out.") from error


def _open_manifest(folder: Path, document: dict[str, Any], done: Mapping[str, Recorded]) -> dict[str, Any]:
    """Write the manifest of a new run, or check that the folder's run is the same one and keep its start.

    A smaller limit than before keeps what is there: the manifest says what the folder holds. Data whose source tells no
    digests of single samples must be the same as a whole.
    """
    if (folder / manifest.MANIFEST).exists():
        old = manifest.read(folder)
        manifest.check_same(folder, old, document, corrected=all(what.data for what in done.values()))
        document = document | {"started": old["started"]}
        if old.get("samples", 0) > document["samples"]:
            document |= {"limit": old["limit"], "samples": old["samples"]}
    elif done:
        raise UsageError(
            f"{folder} holds episodes but no {manifest.MANIFEST}, so it is unknown of which run they are; put that "
            "file back, or choose another --out."
        )
    manifest.write_json(folder / manifest.MANIFEST, document)
    return document
