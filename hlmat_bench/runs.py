"""A run: one model on one task with one segmenter, on disk in one folder, resumable and scored."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlmat_bench import kinds, manifest, plugins, regret
from hlmat_bench.catalog import Catalog, Choice
from hlmat_bench.engine import Contest, Progress, play_all
from hlmat_bench.episode_log import RunLock
from hlmat_bench.errors import UsageError
from hlmat_bench.interfaces import Model, Segmenter
from hlmat_bench.prompts import check_template
from hlmat_bench.records import EPISODES, Episode, read_episodes
from hlmat_bench.samples import Sample, Source
from hlmat_bench.scoring import score_episodes
from hlmat_bench.settings import PROTOCOL_ID, ProtocolSettings
from hlmat_bench.shards import select_samples
from hlmat_bench.spending import Meter, Spent
from hlmat_bench.tasks import Task, load_task

if TYPE_CHECKING:
    import pandas as pd

SCORES = "scores.json"


class Run:
    """A run folder.

    Args:
        folder: where run.json and episodes.jsonl are.

    Raises:
        UsageError: when it is no run folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.manifest = manifest.read(self.folder)

    def episodes(self) -> Iterator[Episode]:
        """The finished episodes, in the samples' order."""
        path = self.folder / EPISODES
        return read_episodes(path) if path.exists() else iter(())

    def scores(self) -> dict[str, Any]:
        """What scores.json holds; computed from the episodes where it is not there yet."""
        path = self.folder / SCORES
        if not path.exists():
            return self.score()
        value: dict[str, Any] = json.loads(path.read_bytes())
        return value

    def score(self) -> dict[str, Any]:
        """Compute the scores from the episodes alone and write scores.json; what a replay of them found is added."""
        protocol, found = self.manifest["protocol"], regret.load(self.folder)
        regrets = None if found is None else found.regrets
        scores = score_episodes(self.episodes(), budget=protocol["budget"], track=protocol["track"], regrets=regrets)
        if found is not None:
            scores["replay"] = found.summary()
        manifest.write_json(self.folder / SCORES, scores)
        return scores

    def to_dataframe(self) -> pd.DataFrame:
        """One row per step; masks are left out."""
        import pandas as pd

        return pd.DataFrame([row for episode in self.episodes() for row in _rows(episode)])


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
        settings: more settings of the protocol (``{"overlay.color": "blue"}``) and of the data
            (``{"data.missing": "skip"}``), and ``points``, a format that replaces the model's declared one.
        argv: the command line, for the manifest.
        progress: called with (episodes done, episodes in all).

    Raises:
        UsageError: for what the caller can mend; finished episodes are kept. Where a limit ended the run, they are
            scored.
    """
    protocol, data, points = split_settings(settings or {})
    definition = load_task(task)
    choice = Catalog.load(catalog).choose(model)
    rules = rules_of(choice, definition, protocol | {"strategy": strategy, "initial": initial}, budget)
    source = definition.source(data_root or os.environ.get("HLMAT_DATA"), seed=seed, overrides=data)
    samples = select_samples(source.samples(), shard, limit)
    manner = kinds.manner(definition, rules, source, source.samples(), samples)
    contest = Contest(choice, make_segmenter(segmenter, embedding_cache), rules, points, seed, manner)
    meter = Meter(max_requests=max_requests, max_cost=max_cost, per_episode=contest.requests)
    contest.ask_through(meter, Path(cache) if cache else None)
    document = describe(contest, task_spec(definition, source), argv=argv, limit=limit, shard=shard)
    who = model if isinstance(model, str) else model.name
    folder = Path(out) if out else Path("runs") / folder_name(who, definition.name, segmenter, strategy, initial, shard)
    planned = Planned(folder, contest, document)
    [finished] = play_planned(
        [planned], source, samples, concurrency=concurrency, batch_size=batch_size, progress=progress
    )
    return finished


@dataclass(frozen=True, slots=True)
class Planned:
    """A run that has not begun, or goes on.

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
    progress: Progress | None = None,
) -> list[Run]:
    """Play runs over the same samples side by side, image by image, each into its own folder, and score them.

    Raises:
        UsageError: as `run` does.
    """
    with ExitStack() as stack:
        documents = {}
        for one in planned:
            _make_folder(one.folder)
            stack.enter_context(RunLock(one.folder))
            documents[one.folder] = _open_manifest(one.folder, one.document)
        contests = {one.folder: one.contest for one in planned}
        try:
            play_all(contests, source, samples, concurrency=concurrency, batch_size=batch_size, progress=progress)
        except Spent:
            for folder in documents:
                Run(folder).score()
            raise
        for folder, document in documents.items():
            manifest.write_json(folder / manifest.MANIFEST, document | {"finished": manifest.now()})
        finished = [Run(folder) for folder in documents]
        for made in finished:
            made.score()
    return finished


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
    contest: Contest, task: Mapping[str, Any], *, argv: Sequence[str], limit: int | None, shard: str | None
) -> dict[str, Any]:
    """The manifest of a contest on a task, as `task_spec` describes it."""
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
    )


def split_settings(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """Settings of the protocol, of the data (``data.``), and the point format."""
    data = {key[5:]: value for key, value in settings.items() if key.startswith("data.")}
    protocol = {key: value for key, value in settings.items() if not key.startswith("data.")}
    return protocol, data, protocol.pop("points", None)


def rules_of(model: Choice, task: Task, given: Mapping[str, Any], budget: int | None) -> ProtocolSettings:
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
    parts = [manifest.redact(model), task, segmenter]
    parts += [part for part in (strategy, initial) if part not in (None, "greedy", "empty")]
    parts += [f"shard {shard}"] if shard else []
    return "__".join(re.sub(r"[^\w.=-]+", "-", part).strip("-.")[-80:] for part in parts)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".lock").touch()
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror}); choose another --out.") from error


def _open_manifest(folder: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Write the manifest of a new run, or check that the folder's run is the same one and keep its start."""
    if (folder / manifest.MANIFEST).exists():
        old = manifest.read(folder)
        manifest.check_same(folder, old, document)
        document = document | {"started": old["started"]}
    manifest.write_json(folder / manifest.MANIFEST, document)
    return document


def _rows(episode: Episode) -> Iterator[dict[str, Any]]:
    for step in episode.steps:
        action = step.action
        yield {
            "sample_id": episode.sample_id,
            "image_id": episode.image_id,
            "ref_id": episode.ref_id,
            "expression": episode.expression,
            "t": step.t,
            "kind": action.kind,
            "positive": action.positive,
            "x": action.x,
            "y": action.y,
            "reason": action.reason,
            "predicted_iou": action.predicted_iou,
            "iou": step.iou,
            "raw": step.raw,
            "finish": step.finish,
            "cost": step.cost,
            **{f"seconds_{part}": value for part, value in step.seconds.items()},
            **{f"tokens_{part}": value for part, value in step.tokens.items()},
            "stop": episode.stop,
        }
