"""What sessions are opened from: settings as JSON values, and the pool that they open once per process."""

from __future__ import annotations

import copy
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import Field, field_validator

from hlmat_bench.core.errors import UsageError, unknown
from hlmat_bench.core.samples import Sample, Truth
from hlmat_bench.core.types import Image
from hlmat_bench.core.validation import Strict, validated
from hlmat_bench.data.hub_tasks import is_hub_task
from hlmat_bench.data.tasks import is_path
from hlmat_bench.models.catalog import Catalog
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import Reply, Request, Segmenter
from hlmat_bench.protocol.loop import Play
from hlmat_bench.protocol.policies import DeclaredFormat
from hlmat_bench.protocol.state import EpisodeState
from hlmat_bench.runs.opening import digests_of
from hlmat_bench.runs.plan import RunSetup, RunSpec
from hlmat_bench.runs.replay import tolerance
from hlmat_bench.training.rewards import RewardSettings
from hlmat_bench.training.session import ClickSession

#: Images, with their ground truths, that a pool keeps decoded: the sessions of one image follow each other.
_KEPT_IMAGES = 16
#: Pools that a process keeps: data sets for training may be mixed from many tasks.
_MOST_SHARED = 32


class SessionSettings(Strict):
    """What sessions are opened from, as JSON values; what is left out has the defaults of `hlmat-bench run`."""

    task: str = Field(description="A task's name, or the path of a task's YAML file.")
    segmenter: str = Field("graphcut", description="A name with options, or a file.")
    model: str | None = Field(
        None,
        description="The catalogue entry of the model that is trained: its point format, its resize rule and its "
        "settings are taken, unless they are given here. The model itself is not loaded.",
    )
    points: str | None = Field(None, description="The point format of replies; by default the model's, else xy1000.")
    resize: str | None = Field(None, description="The rule that resizes images; by default the model's, else none.")
    budget: int | None = Field(None, description="Clicks per episode; by default the task's.")
    initial: str | None = Field(None, description="The state before the first click; by default what the task has.")
    limit: int | None = Field(None, description="Only this many samples, from the first.")
    seed: int = Field(0, description="The seed of everything random in the data.")
    data_root: str | None = Field(None, description="The folder that holds the data sets; by default HLMAT_DATA.")
    shard: str | None = Field(None, description="I/N: the I-th of N parts of the samples, split by image.")
    catalog: str | None = Field(None, description="A file with more models.")
    embedding_cache: str | None = Field(None, description="A folder for what the segmenter's encoder computes.")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the protocol (overlay.color) and of the data (data.missing)."
    )
    deterministic: bool = Field(
        False,
        description="The policy always gives the same reply to the same picture, so that an invalid reply ends the "
        "episode, as in a run at temperature 0. A policy that is trained draws its replies: an invalid one costs a "
        "step.",
    )
    rewards: str | dict[str, Any] = Field("gain", description="The name of a reward, or the weights of its parts.")

    @field_validator("task", "segmenter", "data_root", "catalog", "embedding_cache", mode="before")
    @classmethod
    def _path_as_text(cls, value: Any) -> Any:
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    @staticmethod
    def of(value: SessionSettings | Mapping[str, Any]) -> SessionSettings:
        """Return settings for their JSON values.

        Raises:
            UsageError: for an unknown field, or a value that does not fit.
        """
        if isinstance(value, SessionSettings):
            return value
        return validated(SessionSettings, dict(value), "the environment", what="setting")

    def files(self) -> dict[str, str]:
        """Return the settings that name a file which can hold code, where there are such: ``task``, ``segmenter``."""
        named = {"task": self.task} if is_path(self.task) and not is_hub_task(self.task) else {}
        path = self.segmenter.partition(",")[0].partition(":")[0]
        return named | ({"segmenter": self.segmenter} if path.endswith(".py") else {})

    def open(self, segmenter: Segmenter | None = None) -> SessionPool:
        """Open the task and the segmenter.

        Args:
            segmenter: the segmenter itself, in place of the one that is named.

        Raises:
            UsageError: when a part cannot be opened, or the parts do not fit together.
        """
        chosen = Catalog.load(self.catalog).choose(self.model) if self.model else None
        declared = chosen.options if chosen else {}
        points = self.points or declared.get("points", "xy1000")
        resize = self.resize or declared.get("resize", "none")
        learner = Learner(PointFormat.named(points), Resize.named(resize), self.deterministic)
        spec = RunSpec(
            model=learner.name,
            task=self.task,
            segmenter=self.segmenter,
            budget=self.budget,
            initial=self.initial,
            limit=self.limit,
            seed=self.seed,
            data_root=self.data_root,
            shard=self.shard,
            catalog=self.catalog,
            embedding_cache=self.embedding_cache,
            settings={**(chosen.settings if chosen else {}), **self.settings},
        )
        return SessionPool(spec.open(learner, segmenter=segmenter), RewardSettings.of(self.rewards), self)

    def shared(self) -> SessionPool:
        """Return the pool of these settings in this process: task and segmenter are opened once, whatever the rewards.

        Raises:
            UsageError: as `open`.
        """
        bare = self.model_copy(update={"rewards": "gain"})
        name = json.dumps(self.model_dump(), sort_keys=True)
        with _OPENING:
            if name not in _SHARED:
                _SHARED[name] = self.open() if self == bare else bare.shared().rewarding(self)
            _SHARED.move_to_end(name)
            while len(_SHARED) > _MOST_SHARED:
                _SHARED.popitem(last=False)
            return _SHARED[name]


_OPENING = threading.RLock()
_SHARED: OrderedDict[str, SessionPool] = OrderedDict()


@dataclass(slots=True)
class Learner:
    """Stands for the policy that is trained: what the protocol must know of it, see `ModelTraits`."""

    points: PointFormat
    resize: Resize
    deterministic: bool
    name: str = "learner"

    async def reply(self, request: Request) -> list[Reply]:
        """Refuse: the trainer has the policy, so nothing here asks it."""
        raise UsageError("This session has no model: the replies come from the program that opened it.")


class SessionPool:
    """Opens sessions of one run setup, which share its segmenter with all encodings that it keeps.

    Its methods may be called from several threads.

    Args:
        setup: the opened run.
        rewards: how steps are rewarded.
        settings: what it was opened from.

    Raises:
        UsageError: when episodes of this task need more than one reply per step.
    """

    def __init__(self, setup: RunSetup, rewards: RewardSettings, settings: SessionSettings) -> None:
        if (strategy := setup.settings.strategy) != "greedy":
            raise UsageError(
                f"Sessions take one reply as one action, which the strategy {strategy} of {setup.data.task.name} does "
                "not; take a task with clicks, and leave the strategy out."
            )
        if setup.settings.initial == "model-box":
            raise UsageError(
                "Sessions cannot begin with a box of the model, which would be asked first; take initial=gt-box or "
                "box-from=RUN, or settings with track=box+point."
            )
        self.setup, self.rewards, self.settings = setup, rewards, settings
        self.samples: Sequence[Sample] = setup.data.samples
        self._numbers = {sample.id: number for number, sample in enumerate(self.samples)}
        self._read: OrderedDict[str, tuple[Image, Truth, Mapping[str, str]]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    def rewarding(self, settings: SessionSettings) -> SessionPool:
        """Return a pool of the same task and segmenter with the rewards of other settings.

        Raises:
            UsageError: when these rewards are none.
        """
        other = copy.copy(self)
        other.rewards, other.settings = RewardSettings.of(settings.rewards), settings
        return other

    @cached_property
    def digest(self) -> str:
        """The digest of the data, as a run's manifest has it."""
        return self.setup.data.source.digest()

    @cached_property
    def tolerance(self) -> float:
        """The share of a mask's pixels that may differ when the segmenter predicts it again."""
        return tolerance(plugins.spec_of(self.setup.segmenter, "segmenter"))

    def find(self, sample: int | str) -> Sample:
        """Return a sample by its number, from 0, or its id.

        Raises:
            UsageError: when there is none.
        """
        if isinstance(sample, str):
            if sample not in self._numbers:
                raise unknown("sample", sample, self._numbers, f"The task is {self.setup.data.task.name}.")
            return self.samples[self._numbers[sample]]
        if not 0 <= sample < len(self):
            raise UsageError(f"There is no sample number {sample}; they are 0 to {len(self) - 1}.")
        return self.samples[sample]

    def open(self, sample: int | str, *, rewards: RewardSettings | None = None) -> ClickSession:
        """Open an episode of a sample, in its initial state.

        Args:
            sample: its number, from 0, or its id.
            rewards: other rewards than the pool's; None: these.

        Raises:
            UsageError: when there is no such sample, or its files cannot be read.
            PluginFailed: when the segmenter fails at the initial state.
        """
        session = self.blank(sample, rewards=rewards)
        play = _PlayHere(session.state)
        _run_now(self.setup.plan.begin(play))
        return session

    def blank(self, sample: int | str, *, rewards: RewardSettings | None = None) -> ClickSession:
        """Open an episode that begins with an empty mask, whatever the initial state of the task; see `open`."""
        found = self.find(sample)
        image, truth, data = self.pixels(found)
        setup = self.setup
        state = EpisodeState(
            found,
            image,
            truth,
            setup.segmenter,
            setup.settings,
            DeclaredFormat(setup.points, setup.resize.frame((image.shape[0], image.shape[1])), setup.deterministic),
            seed=setup.spec.seed,
            data=data,
        )
        return ClickSession(state, setup, rewards or self.rewards)

    def pixels(self, sample: Sample) -> tuple[Image, Truth, Mapping[str, str]]:
        """Return image, ground truth and digests of a sample; those used last are kept."""
        with self._lock:
            if sample.id in self._read:
                self._read.move_to_end(sample.id)
                return self._read[sample.id]
        source = self.setup.data.source
        read = source.image(sample), source.truth(sample), digests_of(source, sample)
        with self._lock:
            self._read[sample.id] = read
            while len(self._read) > _KEPT_IMAGES:
                self._read.popitem(last=False)
        return read


class _PlayHere(Play):
    """An episode whose initial state is made in the calling thread, without an event loop."""

    def __init__(self, state: EpisodeState) -> None:
        self.state = state

    async def work(self, work: Any, *arguments: Any, **named: Any) -> Any:
        """Do pixel work at once."""
        return work(*arguments, **named)


def _run_now(beginning: Awaitable[None]) -> None:
    """Run what waits for nothing to its end, without an event loop: the caller may run one already."""
    for _ in beginning.__await__():
        raise AssertionError("the initial state waits for something")
