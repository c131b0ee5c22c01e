"""The states of recorded episodes that a policy learns from, with the action that is right in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hlmat_bench.actions import Action
from hlmat_bench.clicks import Click
from hlmat_bench.core import masks
from hlmat_bench.core.masks import RLE
from hlmat_bench.protocol.records import Episode

#: The ends of episodes whose last mask is answered with the stop word: the annotator's (``reached``, ``exhausted``),
#: a model's (``stop``), and that of a trajectory that came late (``budget``).
FINISHED = frozenset({"reached", "exhausted", "stop", "budget"})


@dataclass(frozen=True, slots=True)
class Selection:
    """Which states of a run are taken.

    Attributes:
        min_gain: a click that raises the IoU by no more than this is left out.
        keep_iou: an episode whose last mask has a lower IoU than this is left out.
        stop_examples: the last mask of a finished episode is answered with the stop word.
        stop_iou: the least IoU of such a mask.
    """

    min_gain: float = 0.0
    keep_iou: float = 0.0
    stop_examples: bool = False
    stop_iou: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """A state before a reply, and what is right there.

    Attributes:
        t: the number of the step that the reply is, from 1.
        mask: the mask that is shown; None: an empty one.
        iou: of this mask, 0 to 1.
        clicks: the clicks that led to it, oldest first.
        action: a click, ``none`` or ``stop``.
        after: the mask that the action leads to; None: an empty one.
        iou_after: of that mask.
    """

    t: int
    mask: RLE | None
    iou: float
    clicks: tuple[Click, ...]
    action: Action
    after: RLE | None
    iou_after: float


def states_of(episode: Episode, rules: Selection, left_out: Counter[str] | None = None) -> list[State]:
    """Return the states of an episode that are taken.

    Args:
        episode: the episode.
        rules: which are taken.
        left_out: counts what is left out, by reason: whole episodes (``failed episodes``, ``episodes below keep_iou``)
            and steps (``invalid steps``, ``clicks without gain``, ...).
    """
    counts = Counter[str]() if left_out is None else left_out
    if episode.error is not None or episode.stop == "error":
        counts["failed episodes"] += 1
        return []
    if episode.iou_at(len(episode.steps)) < rules.keep_iou:
        counts["episodes below keep_iou"] += 1
        return []
    taken = []
    for state in _steps(episode):
        if why := _reason(state, episode, rules):
            counts[why] += 1
        else:
            taken.append(state)
    return [*taken, *_stop(episode, rules)]


def chain_of(episode: Episode, states: Sequence[State]) -> list[State]:
    """Return the clicks that follow each other from the empty mask on, up to the first one that was not taken.

    Formats of whole trajectories show the mask after one click as the mask before the next.
    """
    chain: list[State] = []
    for state in states if episode.initial["mask"] is None else ():
        if state.action.kind != "click" or state.clicks != tuple(each.action.click for each in chain):
            break
        chain.append(state)
    return chain


def _steps(episode: Episode) -> Iterator[State]:
    """Give every step as a state with the recorded action."""
    clicks: tuple[Click, ...] = ()
    for step in episode.steps:
        before = step.t - 1
        yield State(step.t, episode.mask_at(before), episode.iou_at(before), clicks, step.action, step.mask, step.iou)
        if step.action.kind == "click":
            clicks = (*clicks, step.action.click)


def _reason(state: State, episode: Episode, rules: Selection) -> str | None:
    """Return why a step is left out; None where it is taken."""
    kind = state.action.kind
    if kind == "none":  # right where there is no object, whatever it changes
        return "wrong answers that there is no object" if masks.area(episode.gt) else None
    if kind != "click":
        return f"{kind} steps"
    if state.action.box is not None:  # the answer would be one of its two parts
        return "clicks with a box"
    return None if state.iou_after - state.iou > rules.min_gain else "clicks without gain"


def _stop(episode: Episode, rules: Selection) -> Iterator[State]:
    """Give the state in which a finished episode stops, if it is taken."""
    acted = [step for step in episode.steps if step.action.kind != "stop"]
    mask, iou = episode.mask_at(len(acted)), episode.iou_at(len(acted))
    if rules.stop_examples and episode.stop in FINISHED and iou >= rules.stop_iou:
        clicks = tuple(step.action.click for step in acted if step.action.kind == "click")
        yield State(len(acted) + 1, mask, iou, clicks, Action("stop"), mask, iou)
