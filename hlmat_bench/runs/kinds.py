"""What the kind of a task means for how it is played: segmentation, refinement or filtering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Sample, Source, Truth
from hlmat_bench.core.types import Image, Mask
from hlmat_bench.data.perturbations import Imperfect, imperfect
from hlmat_bench.data.tasks import Task
from hlmat_bench.protocol.filtering import Predict
from hlmat_bench.protocol.initial import draw_mask
from hlmat_bench.protocol.interfaces import Segmenter
from hlmat_bench.protocol.loop import Play
from hlmat_bench.protocol.mask_settings import RefinementSettings
from hlmat_bench.protocol.settings import MASK_STATES, ProtocolSettings, is_state
from hlmat_bench.protocol.strategies import Named, strategy
from hlmat_bench.runs.initial_states import Initial, initial_state

#: Settings that a kind has unless the user says otherwise.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "segmentation": {},
    "refinement": {"initial": "generated"},
    "filtering": {"strategy": "predict"},
}


class Manner(NamedTuple):
    """How a task is played.

    Attributes:
        initial: how episodes begin.
        strategy: who chooses what is done.
        needs_box: the segmenter is asked for masks of boxes, whatever the track.
    """

    initial: Initial
    strategy: Named
    needs_box: bool = False

    def names(self) -> dict[str, str]:
        """What a manifest calls them: what they take from files is named by its digest."""
        return {"initial": self.initial.name, "strategy": self.strategy.name}


def check(task: Task, rules: ProtocolSettings) -> None:
    """Refuse a strategy or an initial state that the kind of a task has no use for.

    Raises:
        UsageError: where that is so.
    """
    if task.kind == "filtering" and rules.strategy != "predict":
        raise UsageError(f"Nobody clicks in {task.name}: it asks for the IoU of given masks; leave --strategy out.")
    if task.kind != "filtering" and rules.strategy == "predict":
        raise UsageError(f"The strategy predict is for tasks of the kind filtering; choose another for {task.name}.")
    if task.kind == "filtering" and rules.initial != "empty":
        raise UsageError(f"The task {task.name} makes its own masks; leave --initial out.")
    if task.kind == "refinement" and not is_state(rules.initial, MASK_STATES):
        raise UsageError(
            f"Episodes of {task.name} begin with a given mask; leave --initial out, or choose one of "
            f"{', '.join(MASK_STATES)}."
        )
    if task.kind != "refinement" and rules.initial == "generated":
        raise UsageError(f"The task {task.name} makes no masks to refine; choose another --initial or a refine_ task.")


def manner(
    task: Task, rules: ProtocolSettings, source: Source, samples: Sequence[Sample], played: Sequence[Sample]
) -> Manner:
    """How a task is played under these rules.

    Args:
        task: its definition.
        rules: which `check` has let through.
        source: of its samples.
        samples: all of them.
        played: those of the run.

    Raises:
        UsageError: when there is no such strategy, or what episodes should begin with is not there.
    """
    chosen = Named("predict", Predict(task.filtering)) if task.kind == "filtering" else strategy(rules.strategy)
    if rules.initial == "generated":
        made = Initial("generated", Generated(task.refinement, source, samples))
        return Manner(made, chosen, needs_box="box" in task.refinement.defects)
    return Manner(initial_state(rules.initial, task.name, samples, played), chosen)


class Generated:
    """Begins with an imperfect mask of the sample.

    Args:
        settings: which ones there are.
        source: of the samples; objects of one image are each other's neighbours.
        samples: all of the task.
    """

    def __init__(self, settings: RefinementSettings, source: Source, samples: Sequence[Sample]) -> None:
        self._settings, self._source = settings, source
        self._by_image: dict[str, dict[str | None, Sample]] = {}
        for sample in samples:
            self._by_image.setdefault(sample.image_id, {}).setdefault(sample.ref_id or sample.id, sample)

    async def __call__(self, play: Play) -> None:
        """Make the mask and begin with it."""
        made = await play.work(lambda sample: self.mask(sample, play.image, play.truth, play.segmenter), play.sample)
        await draw_mask(play, made.mask, kind="generated", **made.record())

    def mask(self, sample: Sample, image: Image, truth: Truth, segmenter: Segmenter) -> Imperfect:
        """The imperfect mask of a sample; see `hlmat_bench.data.perturbations.imperfect`."""
        return imperfect(self._settings, sample.id, image, truth, self._others(sample), segmenter)

    def _others(self, sample: Sample) -> list[Mask]:
        """The masks of the other objects in the image, as far as the task has them."""
        objects = self._by_image[sample.image_id]
        mine = sample.ref_id or sample.id
        return [self._source.truth(other).mask for name, other in objects.items() if name != mine]
