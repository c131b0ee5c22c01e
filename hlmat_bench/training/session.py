"""Sessions: episodes that a trainer, a search or another program plays step by step, by the rules of a run.

Everything goes through what `hlmat-bench run` uses: the run's data, settings and segmenter come from a `RunSpec`, the
rules from `EpisodeState`, and what the policy sees from `RequestBuilder`. `SessionSettings` names all of it with JSON
values; `SessionPool` opens it once per process; `ClickSession` is one episode.
"""

from __future__ import annotations

import json
import math
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import Field

from hlmat_bench.actions import Action
from hlmat_bench.core.errors import PluginFailed, UsageError, unknown
from hlmat_bench.core.samples import Sample, Truth
from hlmat_bench.core.types import Image
from hlmat_bench.core.validation import Strict, validated
from hlmat_bench.models.catalog import Catalog
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol.interfaces import Reply, Request
from hlmat_bench.protocol.loop import Play
from hlmat_bench.protocol.observation import RequestBuilder
from hlmat_bench.protocol.policies import DeclaredFormat
from hlmat_bench.protocol.records import Episode
from hlmat_bench.protocol.state import TRUNCATED, EpisodePoint, EpisodeState
from hlmat_bench.runs.batching import checked
from hlmat_bench.runs.opening import digests_of
from hlmat_bench.runs.plan import RunSetup, RunSpec
from hlmat_bench.scores.outcomes import ClickPlace
from hlmat_bench.training.rewards import Progress, Reward, RewardSettings, reward

#: Images, with their ground truths, that a pool keeps decoded: the sessions of one image follow each other.
_KEPT_IMAGES = 16


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

    @staticmethod
    def of(value: SessionSettings | Mapping[str, Any]) -> SessionSettings:
        """Return settings for their JSON values.

        Raises:
            UsageError: for an unknown field, or a value that does not fit.
        """
        if isinstance(value, SessionSettings):
            return value
        return validated(SessionSettings, dict(value), "the environment", what="setting")

    def open(self) -> SessionPool:
        """Open the task and the segmenter.

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
        return SessionPool(spec.open(learner), RewardSettings.of(self.rewards), self)

    def shared(self) -> SessionPool:
        """Return the pool of these settings in this process; it is opened once.

        Raises:
            UsageError: as `open`.
        """
        name = json.dumps(self.model_dump(), sort_keys=True)
        with _OPENING:
            if name not in _SHARED:
                _SHARED[name] = self.open()
            return _SHARED[name]


_OPENING = threading.Lock()
_SHARED: dict[str, SessionPool] = {}


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reply came to.

    Attributes:
        action: what it was read as.
        before: the IoU before, 0 to 1.
        after: the IoU after.
        reward: the reward of the step, with its parts.
        end: why the episode is over, as `Episode.stop` says it; None where it is not.
    """

    action: Action
    before: float
    after: float
    reward: Reward
    end: str | None = None

    @property
    def terminated(self) -> bool:
        """Whether the episode was ended by what was done."""
        return self.end is not None and self.end not in TRUNCATED

    @property
    def truncated(self) -> bool:
        """Whether the episode was ended by the budget."""
        return self.end in TRUNCATED

    def info(self) -> dict[str, Any]:
        """Return the outcome as new JSON values; ``reason`` says why a reply is invalid and is empty for others."""
        return {
            "action": self.action.to_json(),
            "predicted_iou": self.action.predicted_iou,
            "iou_before": self.before,
            "iou": self.after,
            "reason": self.action.reason or "",
            "reward_parts": dict(self.reward.parts),
            "end": self.end or "",
        }


@dataclass(frozen=True, slots=True)
class SavedState:
    """A state of a session to which it can return.

    Attributes:
        point: the episode's.
        end: why the episode was over; None where it was not.
    """

    point: EpisodePoint
    end: str | None = None


@dataclass
class ClickSession:
    """One episode, which is played by whoever holds it. Synchronous; a session belongs to one thread at a time.

    Attributes:
        state: the episode's state.
        setup: the run that it belongs to.
        rewards: how its steps are rewarded.
        end: why it is over, as `Episode.stop` says it; None where it is not.
        failure: the failure of the segmenter that ended it; None where nothing failed.
    """

    state: EpisodeState
    setup: RunSetup
    rewards: RewardSettings
    end: str | None = None
    failure: PluginFailed | None = None

    @property
    def sample(self) -> Sample:
        """The sample that is annotated."""
        return self.state.sample

    @cached_property
    def _builder(self) -> RequestBuilder:
        return self.setup.request_builder(self.sample, self.state.image)

    def request(self) -> Request:
        """Return what the policy sees now: the painted and resized image, and the prompt.

        Its ``image`` is a new array each time, uint8 (H', W', 3) RGB.
        """
        return self._builder.request(self.state.observation())

    def step(self, reply: str | Reply) -> Outcome:
        """Take a reply of the policy as a run takes it, and return what it came to.

        Args:
            reply: its text, or a `Reply`, which also says whether it was cut off.

        Raises:
            PluginFailed: when the segmenter fails. The episode is then over with ``error``, and has no reward.
            UsageError: when the episode is over.
        """
        if self.end is not None:
            raise self.failure or UsageError("This episode is over; open the next one.")
        said = Reply(reply) if isinstance(reply, str) else reply
        [said] = checked([said], 1, "learner")
        state = self.state
        state.asked.append(said)
        action, before, covered = state.interpret(said), state.iou, state.segmentation.mask
        try:
            state.apply(action, said)
        except PluginFailed as failure:
            state.apply(Action("invalid", reason="api"), None)
            self.failure, self.end = failure, "error"
            raise
        self.end = state.ended()
        place = None
        if action.kind == "click":
            place = ClickPlace(bool(state.truth.mask[action.y, action.x]), bool(covered[action.y, action.x]))
        earned = reward(self._progress(place, over=self.end is not None), self.rewards)
        return Outcome(action, before, state.iou, earned, self.end)

    def closing_reward(self) -> Reward:
        """Return what the end of the episode would add to its rewards, where it ends now although no rule ends it.

        A trainer may end a conversation at its limit of tokens, or where the policy calls no tool any more. The parts
        that are counted at the end are then due. Where the episode is over they are 0: its last step had them.

        Raises:
            PluginFailed: when the segmenter failed, because a failure has no reward.
        """
        if self.failure is not None:
            raise self.failure
        names = self.rewards.weights() if self.end is None else {}
        ended, under_way = (
            reward(self._progress(None, over=over), self.rewards.model_copy(update={"placement": 0.0}))
            for over in (True, False)
        )
        parts = {name: ended.parts.get(name, 0.0) - under_way.parts.get(name, 0.0) for name in names}
        return Reward(math.fsum(parts.values()), parts)

    def _progress(self, place: ClickPlace | None, *, over: bool) -> Progress:
        steps = self.state.steps
        ious = [float(self.state.initial["iou"]), *(step.iou for step in steps)]
        return Progress(ious, [step.action for step in steps], place, over)

    def save(self) -> SavedState:
        """Return the current state, for `restore`."""
        return SavedState(self.state.fork(), self.end)

    def restore(self, saved: SavedState) -> None:
        """Return to a state of this session, also after the end of the episode.

        Raises:
            PluginFailed: when the segmenter has failed, so that its session can be in any state.
        """
        if self.failure is not None:
            raise self.failure
        self.state.goto(saved.point)
        self.state.asked.clear()
        self.end = saved.end

    def record(self) -> Episode:
        """Return the episode as a run records it.

        Raises:
            UsageError: when it is not over.
        """
        if self.end is None:
            raise UsageError("This episode is not over, so it has no record yet; play it to its end.")
        return self.state.record(self.end, None if self.failure is None else str(self.failure))


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
