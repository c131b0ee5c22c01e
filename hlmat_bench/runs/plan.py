"""What names a run, as values that any process can open: `RunSpec`, and what it opens to, `RunSetup`."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hlmat_bench.actions import Action, box_form
from hlmat_bench.core.errors import CallTimedOut, UsageError
from hlmat_bench.core.samples import Sample, Source
from hlmat_bench.core.types import Image
from hlmat_bench.data import check as data_check
from hlmat_bench.data.tasks import Task, load_task
from hlmat_bench.models.api.limits import MeteredModel, RequestMeter, UsageMeter
from hlmat_bench.models.api.reply_cache import CachedModel
from hlmat_bench.models.catalog import Catalog, ModelChoice
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol import manifest, plugins
from hlmat_bench.protocol.interfaces import BatchModel, Model, Segmenter, Session, traits
from hlmat_bench.protocol.loop import Play, run_episode
from hlmat_bench.protocol.observation import RequestBuilder
from hlmat_bench.protocol.policies import DeclaredFormat, ModelPolicy, Policy
from hlmat_bench.protocol.reference import PIXELS, ReferencePolicy, ReferenceSpec, find_reference
from hlmat_bench.protocol.reward_models import with_reward_model
from hlmat_bench.protocol.settings import PROTOCOL_ID, ProtocolSettings, answer_rule
from hlmat_bench.protocol.state import EpisodeState
from hlmat_bench.runs import task_kinds
from hlmat_bench.runs.batching import CheckedModel, RequestBatcher
from hlmat_bench.runs.episode_log import Finished
from hlmat_bench.runs.measuring import Measuring
from hlmat_bench.runs.opening import (
    check_segmenter,
    digests_of,
    folder_name,
    make_segmenter,
    settings_for,
    split_settings,
    task_spec,
)
from hlmat_bench.runs.shards import select_samples


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything that names a run. It holds JSON values alone, so another process or machine can open the same run.

    Attributes:
        model, task, segmenter, strategy, budget, initial, limit, seed, data_root, shard, catalog, cache,
            embedding_cache, settings: see `hlmat_bench.runs.run.run`.
    """

    model: str
    task: str
    segmenter: str = "graphcut"
    strategy: str | None = None
    budget: int | None = None
    initial: str | None = None
    limit: int | None = None
    seed: int = 0
    data_root: str | None = None
    shard: str | None = None
    catalog: str | None = None
    cache: str | None = None
    embedding_cache: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as a JSON object, for `from_json`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RunSpec:
        """Return the spec of a JSON object that `to_json` made."""
        return cls(**value)

    def folder(self) -> Path:
        """Return the run folder that the run has where none is given."""
        name = load_task(self.task).name
        return Path("runs") / folder_name(self.model, name, self.segmenter, self.strategy, self.initial, self.shard)

    def open_data(self, *, look: bool = True) -> RunData:
        """Read the task and its samples.

        Args:
            look: look at a part of their files, too.

        Raises:
            UsageError: when they are not there or damaged.
        """
        task = load_task(self.task)
        _, data, _ = split_settings(self.settings)
        source = task.source(self.data_root or os.environ.get("HLMAT_DATA"), seed=self.seed, overrides=data)
        samples = select_samples(source.samples(), self.shard, self.limit)
        if look:
            data_check.look(source, samples)
        return RunData(task, source, samples, looked=look)

    def open(
        self,
        model: Model | None = None,
        *,
        data: RunData | None = None,
        segmenter: Segmenter | None = None,
        look: bool = True,
    ) -> RunSetup:
        """Open the run: read its data and make its model and its segmenter.

        Args:
            model: the model itself, where ``model`` names none that can be made.
            data: of the same task, where several runs share it.
            segmenter: the same segmenter, where several runs share it.
            look: see `open_data`.

        Raises:
            UsageError: when a part cannot be made, or the parts do not fit together.
        """
        protocol, _, points = split_settings(self.settings)
        choice = Catalog.load(self.catalog).choose(model or self.model)
        task = load_task(self.task) if data is None else data.task
        given = protocol | {"strategy": self.strategy, "initial": self.initial}
        settings = settings_for(choice, task, given, self.budget)
        data = data or self.open_data(look=look)
        plan = task_kinds.plan_for(data.task, settings, data.source, data.source.samples(), data.samples)
        reference = find_reference(choice.plugin, choice.options)
        if settings.annotator is not None and reference is None:
            raise UsageError(
                f"The strategy {settings.strategy} clicks by the ground truth and asks no model; take --model oracle."
            )
        tool = segmenter or make_segmenter(self.segmenter, self.embedding_cache)
        check_segmenter(tool, settings, needs_box=plan.needs_box)
        made = None if reference else choice.make()
        if made is not None:
            plugins.check_made("model", made, {"name": str, "points": PointFormat}, "reply")
        predicts = choice.predicts_iou or traits(made).predicts_iou
        settings = with_reward_model(settings, plan.strategy.needs, predicts=predicts)
        declared = PIXELS if made is None else PointFormat.named(points) if points else made.points
        if made is not None and settings.box_prompt is not None:
            box_form(declared)
        return RunSetup(self, data, settings, plan, tool, choice, reference, made, declared)


@dataclass(frozen=True, slots=True)
class RunData:
    """A task, read.

    Attributes:
        task: its definition.
        source: its samples with their images and ground truths.
        samples: the samples of the run, those of one image together.
        looked: their files were looked at; see `hlmat_bench.data.check.look`.
    """

    task: Task
    source: Source
    samples: Sequence[Sample]
    looked: bool = True


@dataclass(frozen=True)
class RunSetup:
    """A run that was opened: its data, its settings, its segmenter, and the model or the reference that plays.

    Attributes:
        spec: what it was opened from.
        data: task and samples.
        settings: the protocol's settings.
        plan: how episodes begin and which strategy plays them.
        segmenter: turns clicks into masks; several runs may share it.
        choice: what ``spec.model`` means.
        reference: what a reference policy answers; None where a model plays.
        model: the model; None where a reference policy plays.
        points: how it writes coordinates: the model's declared format, or the one that the user gave in its place.
    """

    spec: RunSpec
    data: RunData
    settings: ProtocolSettings
    plan: task_kinds.EpisodePlan
    segmenter: Segmenter
    choice: ModelChoice
    reference: ReferenceSpec | None
    model: Model | None
    points: PointFormat

    @property
    def resize(self) -> Resize:
        """How images are changed before the model sees them."""
        return traits(self.model).resize

    @property
    def deterministic(self) -> bool:
        """Whether the model always gives the same reply to the same request."""
        return self.settings.temperature == 0 and traits(self.model).deterministic

    @property
    def most_requests(self) -> int:
        """The most requests that an episode takes."""
        return self.settings.most_requests(self.plan.strategy.needs)

    @cached_property
    def measuring(self) -> Measuring:
        """How its episodes are measured."""
        return Measuring(self.settings.budget, answer_rule(self._protocol()))

    @cached_property
    def model_spec(self) -> dict[str, Any]:
        """What the manifest says of the model or the reference."""
        if self.model is None:
            name = ",".join([self.choice.plugin, *(f"{key}={value}" for key, value in self.choice.options.items())])
            return {"name": name, "kind": "reference"}
        catalog = {} if self.choice.described is None else {"catalog": dict(self.choice.described)}
        return {"name": self.model.name, "kind": "model", **plugins.spec_of(self.model, "model"), **catalog}

    def manifest(self, argv: Sequence[str] = ()) -> dict[str, Any]:
        """Return the run's manifest.

        Args:
            argv: the command line.
        """
        rollouts = {} if self.plan.rollouts is None else {"rollouts": dict(self.plan.rollouts)}
        return rollouts | manifest.build(
            argv=argv,
            model=self.model_spec,
            task=task_spec(self.data.task, self.data.source),
            segmenter={"name": self.segmenter.name, **plugins.spec_of(self.segmenter, "segmenter")},
            protocol=self._protocol(),
            points=dataclasses.asdict(self.points),
            resize=self.resize.name,
            seed=self.spec.seed,
            limit=self.spec.limit,
            shard=self.spec.shard,
            samples=len(self.data.samples),
            spec=self.spec.to_json(),
        )

    def _protocol(self) -> dict[str, Any]:
        return {"id": PROTOCOL_ID, **self.settings.to_json(), **self.plan.names()}

    def meter(self, max_requests: int | None = None, max_cost: float | None = None) -> UsageMeter:
        """Return a meter of the run's requests, with the limits that are given.

        Raises:
            UsageError: when a limit allows no episode, or cannot be kept for this model.
        """
        meter = UsageMeter(max_requests=max_requests, max_cost=max_cost, per_episode=self.most_requests)
        if meter.limited or self.spec.cache is not None:
            if self.model is None or isinstance(self.model, BatchModel):
                raise UsageError(
                    f"--cache, --max-requests and --max-cost are for a model behind an API; {self.model_spec['name']} "
                    "runs here, so leave them out."
                )
            meter.check(self.model)
        return meter

    def asked_model(self, meter: RequestMeter) -> Model | None:
        """Return the model with a meter and the cache of replies before it; None for a reference policy."""
        if self.model is None or isinstance(self.model, BatchModel):
            return self.model
        metered = MeteredModel(CheckedModel(self.model), meter)
        return metered if self.spec.cache is None else CachedModel(metered, self.model_spec, Path(self.spec.cache))

    async def play(
        self, sample: Sample, batcher: RequestBatcher | None, pool: Executor, encoders: Executor
    ) -> Finished:
        """Play one sample to its end; see `open_episode` for the arguments.

        Raises:
            UsageError: for what ends the run.
        """
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(pool, self.open_episode, sample, batcher, pool, encoders)
        try:
            play = await opening
        except CallTimedOut as error:
            raise UsageError(f"The files of the sample {sample.id} could not be read: {error}.") from None
        episode = await run_episode(play, self.plan.strategy.play, self.plan.begin)
        return await loop.run_in_executor(pool, Finished.of, episode, self.measuring, play.failure)

    def failed(self, sample: Sample, why: str) -> Finished:
        """Return the episode of a sample that cannot be played, as failed. Its image is not opened."""
        truth = self.data.source.truth(sample)
        blank = np.zeros((*truth.mask.shape, 3), np.uint8)
        state = EpisodeState(
            sample,
            blank,
            truth,
            self.segmenter,
            self.settings,
            DeclaredFormat(self.points),
            seed=self.spec.seed,
            data=digests_of(self.data.source, sample),
        )
        state.apply(Action("invalid", reason="api"), None)
        return Finished.of(state.record("error", why), self.measuring)

    def request_builder(self, sample: Sample, image: Image) -> RequestBuilder:
        """Return what makes the model's requests about a sample with this image, uint8 (H, W, 3) RGB."""
        seed = _seed_of(self.spec.seed, sample.id)
        return RequestBuilder(sample, image, self.settings, self.points, self.resize, seed)

    def open_episode(self, sample: Sample, batcher: RequestBatcher | None, pool: Executor, encoders: Executor) -> Play:
        """Open one sample: read its image and its ground truth. Call it in a worker thread.

        While a model thinks about its first click, the segmenter opens the image. Reference policies answer at once,
        and not all of them click, so for them it waits for the click.

        Args:
            sample: the sample.
            batcher: sends requests to the model; None for a reference policy.
            pool: threads for pixel work.
            encoders: threads in which the segmenter opens images.
        """
        source = self.data.source
        image, truth = source.image(sample), source.truth(sample)
        policy: Policy
        opening: Future[Session] | None = None
        if self.reference is not None:
            seed = _seed_of(self.spec.seed, sample.id)
            policy = ReferencePolicy(self.reference, truth, seed, pool, no_target=self.settings.no_target)
        else:
            assert batcher is not None
            opening = encoders.submit(self.segmenter.open, image)
            builder = self.request_builder(sample, image)
            policy = ModelPolicy(builder, batcher.reply, deterministic=self.deterministic, pool=pool)
        state = EpisodeState(
            sample,
            image,
            truth,
            self.segmenter,
            self.settings,
            policy,
            opening=opening,
            seed=self.spec.seed,
            data=digests_of(source, sample),
        )
        return Play(state, policy, pool)


def _seed_of(run_seed: int, sample_id: str) -> int:
    """Return the seed of a sample, 31 bits: services refuse what a signed 32-bit integer does not hold."""
    text = f"{run_seed}/{sample_id}".encode("utf-8", "backslashreplace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest()) % 2**31
