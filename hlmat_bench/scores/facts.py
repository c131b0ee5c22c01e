"""What the pages need of one episode, computed from its masks alone; recorded IoUs are not believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hlmat_bench.core import masks
from hlmat_bench.core.masks import RLE
from hlmat_bench.protocol.records import Episode
from hlmat_bench.scores import first_success, ratio
from hlmat_bench.scores.bands import bands_from
from hlmat_bench.scores.outcomes import Place, outcome, step_kind
from hlmat_bench.scores.regions import Region

#: The thresholds of NoC that the pages show.
THRESHOLDS = (0.80, 0.85)


@dataclass(frozen=True, slots=True)
class Facts:
    """One episode in numbers; sequences run over t = 0..budget, the last mask carried forward.

    Attributes:
        sample_id, image, image_id, expression, tags: as in the episode.
        intersection, union: pixels, ignored ones left out.
        iou: their ratio.
        selected: per selection rule the step whose mask is taken.
        answer: the one of these that the run is scored by.
        bands: the sample's, as `hlmat_bench.scores.bands` names them.
        clicks: per threshold of NoC the click that reached it; None for a miss.
        kinds: per step what it was; see `outcomes.STEPS`.
        outcome: see `outcomes.OUTCOMES`.
        stop: why the episode ended.
        predicted: of masks that were given to be rated, the predicted IoUs; None where none was read.
    """

    sample_id: str
    image: str
    image_id: str
    expression: str
    tags: Mapping[str, str]
    intersection: Sequence[int]
    union: Sequence[int]
    iou: Sequence[float]
    selected: Mapping[str, int]
    answer: int
    bands: Mapping[str, str]
    clicks: Mapping[str, int | None]
    kinds: Sequence[str | None]
    outcome: str
    stop: str
    predicted: Sequence[float | None] = ()

    def at(self, rule: str) -> float:
        """The IoU of the mask that a selection rule takes."""
        return self.iou[self.selected[rule]]

    @property
    def score(self) -> float:
        """The IoU of the answer."""
        return self.iou[self.answer]


def facts(episode: Episode, budget: int, rule: str = "final") -> Facts:
    """The facts of an episode.

    Args:
        episode: the record.
        budget: clicks allowed.
        rule: which selection rule's mask is the answer; see `hlmat_bench.protocol.settings.headline`.

    Raises:
        UsageError: when a mask is none.
    """
    judge = _Judge(episode.gt, episode.ignore)
    before = Region(episode.mask_at(0))
    areas = [judge.areas(before)]
    kinds: list[str | None] = []
    previous = episode.mask_at(0)
    for step in episode.steps:
        same = previous is not None and step.mask["counts"] == previous["counts"]
        after = before if same else Region(step.mask)
        areas.append(areas[-1] if same else judge.areas(after))
        place = None
        if step.action.kind == "click":
            click = step.action.click
            place = Place(judge.truth.holds(click.x, click.y), before.holds(click.x, click.y))
        kinds.append(step_kind(step.action, place, ratio(*areas[-1]) - ratio(*areas[-2])))
        before, previous = after, step.mask
    areas = (areas + [areas[-1]] * (budget + 1 - len(areas)))[: max(budget, len(episode.steps)) + 1]
    iou = [ratio(*area) for area in areas]
    answer = episode.selected[rule]
    predicted = [step.action.predicted_iou for step in episode.steps if step.action.kind == "predict"]
    return Facts(
        sample_id=episode.sample_id,
        image=episode.image,
        image_id=episode.image_id,
        expression=episode.expression,
        tags=episode.tags,
        intersection=[intersection for intersection, _ in areas],
        union=[union for _, union in areas],
        iou=iou,
        selected=episode.selected,
        answer=answer,
        bands=bands_from(judge.truth.area, judge.truth.perimeter(), episode.expression),
        clicks={f"{threshold:.2f}": first_success(iou[1:], threshold, budget) for threshold in THRESHOLDS},
        kinds=kinds,
        outcome="rated" if predicted else outcome(kinds, episode.stop, score=iou[answer], best=max(iou)),
        stop=episode.stop,
        predicted=predicted,
    )


class _Judge:
    """A ground truth that masks are compared with."""

    def __init__(self, gt: RLE, ignore: RLE | None) -> None:
        self.truth = Region(gt)
        self._ignored = None if ignore is None else Region(ignore)
        self._counted = self.truth
        if ignore is not None:
            self._counted = Region(masks.encode(masks.decode(gt) & ~masks.decode(ignore)))

    def areas(self, region: Region) -> tuple[int, int]:
        """Intersection and union in pixels, ignored ones left out."""
        hidden = 0 if self._ignored is None else region.shared(self._ignored)
        intersection = region.shared(self._counted)
        return intersection, region.area - hidden + self._counted.area - intersection
