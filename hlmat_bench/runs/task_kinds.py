"""How the kind of a task (segmentation, refinement or filtering) decides how it is played."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hlmat_bench.clicks.random import generator_of
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Sample, Source, Truth
from hlmat_bench.core.types import Image, Mask
from hlmat_bench.data.perturbations import Imperfect, imperfect
from hlmat_bench.data.tasks import Task
from hlmat_bench.protocol.filtering import predicting
from hlmat_bench.protocol.initial import BEGINNINGS
from hlmat_bench.protocol.interfaces import Segmenter
from hlmat_bench.protocol.loop import Begin, Play
from hlmat_bench.protocol.mask_settings import RefinementSettings
from hlmat_bench.protocol.settings import MASK_STATES, NEEDS, ProtocolSettings, is_state, shares_of
from hlmat_bench.protocol.strategies import Strategy, find_strategy
from hlmat_bench.runs.initial_states import initial_state
from hlmat_bench.runs.rollouts import IMPROVE, improving

#: The settings of a kind that the user does not set.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "segmentation": {},
    "refinement": {"initial": "generated"},
    "filtering": {"strategy": "predict"},
}


@dataclass(frozen=True, slots=True)
class EpisodePlan:
    """How the episodes of a run start and which strategy plays them.

    Attributes:
        initial: what the manifest calls the initial state.
        begin: sets it.
        strategy: plays the episode.
        needs_box: the segmenter must accept boxes even on the point track.
        rollouts: what a manifest says of the run whose trajectories are improved; None without one.
    """

    initial: str
    begin: Begin
    strategy: Strategy
    needs_box: bool = False
    rollouts: Mapping[str, Any] | None = None

    def names(self) -> dict[str, str]:
        """Return what a manifest calls initial state and strategy: what comes from files is named by its digest."""
        return {"initial": self.initial, "strategy": self.strategy.name}


def check(task: Task, settings: ProtocolSettings) -> None:
    """Refuse a strategy or an initial state that the kind of a task has no use for.

    Raises:
        UsageError: where that is so.
    """
    if task.kind != "segmentation" and settings.no_target:
        raise UsageError(
            f"Episodes of {task.name} are about given masks of an object that is there; leave no_target out, or choose "
            "a task of the kind segmentation."
        )
    if task.kind == "filtering" and settings.strategy != "predict":
        raise UsageError(
            f"Episodes of {task.name} have no clicks: it asks for the IoU of given masks; leave --strategy out."
        )
    if task.kind != "filtering" and settings.strategy == "predict":
        raise UsageError(f"The strategy predict is for tasks of the kind filtering; choose another for {task.name}.")
    if task.kind == "filtering" and settings.initial != "empty":
        raise UsageError(f"The task {task.name} makes its own masks; leave --initial out.")
    if task.kind == "refinement" and not is_state(settings.initial, MASK_STATES):
        raise UsageError(
            f"Episodes of {task.name} begin with a given mask; leave --initial out, or choose one of "
            f"{', '.join(MASK_STATES)}."
        )
    if task.kind != "refinement" and settings.initial == "generated":
        raise UsageError(f"The task {task.name} makes no masks to refine; choose another --initial or a refine_ task.")


def plan_for(
    task: Task, settings: ProtocolSettings, source: Source, samples: Sequence[Sample], played: Sequence[Sample]
) -> EpisodePlan:
    """Return how a task is played with these settings.

    Args:
        task: its definition.
        settings: which `check` has accepted.
        source: of its samples.
        samples: all of them.
        played: those of the run.

    Raises:
        UsageError: when there is no such strategy, or what episodes should begin with is not there.
    """
    begin: Begin
    rollouts = None
    if task.kind == "filtering":
        strategy = Strategy(predicting(task.filtering), NEEDS["predict"], "predict")
    elif settings.strategy.startswith(f"{IMPROVE}="):
        strategy, rollouts = improving(settings.strategy.partition("=")[2], played)
    else:
        strategy = find_strategy(settings.strategy)
    needs_box = False
    if settings.initial == "generated":
        initial, begin = "generated", Generated(task.refinement, source, samples)
        needs_box = "box" in task.refinement.defects
    elif is_state(settings.initial, ["varied=SHARES"]):
        initial, begin = settings.initial, Varied(shares_of(settings.initial), task, source, samples)
    else:
        initial, begin = initial_state(settings.initial, task.name, samples, played)
    return EpisodePlan(initial, begin, strategy, needs_box, rollouts)


class Varied:
    """Begin each episode with one of several states, drawn by its sample's id and the run's seed.

    Args:
        shares: how often each is drawn, by the names of `VARIED_STATES`; they sum to 1.
        task: says which imperfect masks ``generated`` makes.
        source: of the samples.
        samples: all of the task.
    """

    def __init__(self, shares: Mapping[str, float], task: Task, source: Source, samples: Sequence[Sample]) -> None:
        begin: dict[str, Begin] = {**BEGINNINGS, **generated_masks(task, source, samples)}
        self._states = [begin[name] for name in shares]
        self._shares = list(shares.values())

    async def __call__(self, play: Play) -> None:
        """Draw the state and begin with it."""
        generator = generator_of(play.state.seed, f"{play.state.sample.id}/initial")
        drawn = int(generator.choice(len(self._states), p=self._shares))
        await self._states[drawn](play)


def generated_masks(task: Task, source: Source, samples: Sequence[Sample]) -> dict[str, Generated]:
    """Return what makes imperfect masks, by the kind of the initial state; ``points`` has the defect of that name.

    Args:
        task: says which imperfect masks ``generated`` makes.
        source: of the samples.
        samples: all of the task.
    """
    points = task.refinement.model_copy(update={"defects": ("points",)})
    by_kind = {"generated": task.refinement, "points": points}
    return {kind: Generated(settings, source, samples, kind) for kind, settings in by_kind.items()}


class Generated:
    """Begin episodes with an imperfect mask of the sample.

    Args:
        settings: which ones there are.
        source: of the samples; objects of one image are each other's neighbours.
        samples: all of the task.
        kind: what the record calls the state.
    """

    def __init__(
        self, settings: RefinementSettings, source: Source, samples: Sequence[Sample], kind: str = "generated"
    ) -> None:
        self._settings, self._source, self._kind = settings, source, kind
        self._by_image: dict[str, dict[str | None, Sample]] = {}
        for sample in samples:
            self._by_image.setdefault(sample.image_id, {}).setdefault(sample.ref_id or sample.id, sample)

    async def __call__(self, play: Play) -> None:
        """Make the mask and begin with it."""
        state = play.state
        made = await play.work(self.mask, state.sample, state.image, state.truth, state.segmenter)
        await play.work(state.begin_with_mask, made.mask, kind=self._kind, **made.record())

    def mask(self, sample: Sample, image: Image, truth: Truth, segmenter: Segmenter) -> Imperfect:
        """Return the imperfect mask of a sample; see `hlmat_bench.data.perturbations.imperfect`."""
        return imperfect(self._settings, sample.id, image, truth, self._others(sample), segmenter)

    def _others(self, sample: Sample) -> list[Mask]:
        """Return the masks of the other objects in the image that the task has."""
        objects = self._by_image[sample.image_id]
        mine = sample.ref_id or sample.id
        return [self._source.truth(other).mask for name, other in objects.items() if name != mine]
