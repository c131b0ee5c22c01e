"""What each step was, and what an episode failed by: the failure taxonomy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from hlmat_bench.actions import Action

#: An episode is solved where its answer has at least this IoU.
SOLVED = 0.80

#: What a step can be, with what that means. The first two are right clicks.
STEPS = {
    "hit": "a positive click on a missed part of the object, or a negative click on excess, and the mask got better",
    "segmenter failure": "such a click, and yet the mask got no better",
    "wrong sign": "a positive click on excess, or a negative click inside the object",
    "off object": "a positive click beside the object, where there is no mask",
    "idle": "a positive click on a part that is covered already, or a negative one where there is nothing to remove",
    "unparsable": "a reply that is no action: not readable, out of the image, empty, or the same click once more",
    "refusal": "the model declined to answer",
    "request failed": "the model gave no reply at all",
}

_NO_ACTIONS = frozenset({"unparsable", "refusal", "request failed"})

#: What an episode can come to, with what that means. It failed by what most of its failing steps were.
OUTCOMES = {
    "solved": f"the IoU of the answer is at least {SOLVED:.2f}",
    "overshoot": f"another mask of the episode was as good as that, but the answer is below {SOLVED:.2f}",
    **{name: f"most failing steps: {text}" for name, text in STEPS.items() if name != "hit"},
    "stopped early": "no step failed, and the model said that it had finished",
    "out of clicks": "no step failed; more clicks would have been needed",
    "rated": "the masks were given, and the model predicted their IoU",
}

#: What an episode can also come to where a sample has no target, or the model says so.
NO_TARGET_OUTCOMES = {
    "no object, seen": "the image has no such object, and the answer is an empty mask",
    "no object, masked": "the image has no such object, but the answer has a mask",
    "object denied": "the model said that there is no such object, but there is one",
}


class ClickPlace(NamedTuple):
    """The place of a click: whether the object and the mask before it cover the pixel."""

    inside: bool
    covered: bool

    def corrected_by(self, positive: bool) -> bool:
        """Tell whether a click of that sign is right here: it adds a missed pixel, or removes an excess one."""
        return self.inside != self.covered and positive == self.inside


def step_kind(action: Action, place: ClickPlace | None, gain: float) -> str | None:
    """Return what a step was, one of `STEPS`; None of other actions than clicks.

    Args:
        action: what was done.
        place: of a click.
        gain: change of IoU by it.
    """
    if action.kind == "invalid":
        return {"refusal": "refusal", "api": "request failed"}.get(action.reason or "", "unparsable")
    if place is None:
        return None
    if place.corrected_by(bool(action.positive)):
        return "hit" if gain > 0 else "segmenter failure"
    if action.positive:
        return "idle" if place.inside else "wrong sign" if place.covered else "off object"
    return "wrong sign" if place.inside else "idle"


def did_nothing(kinds: Sequence[str | None]) -> bool:
    """Tell whether no step of these kinds was an action: the mask is still the initial one."""
    return _NO_ACTIONS.issuperset(kinds)


def outcome(kinds: Sequence[str | None], stop: str, *, score: float, best: float, target: bool = True) -> str:
    """Return what an episode came to, one of `OUTCOMES` or `NO_TARGET_OUTCOMES`.

    An empty mask is right for a sample without target. Where no reply was an action, though, the model did not choose
    it: such an episode failed by what its steps were.

    Args:
        kinds: what its steps were.
        stop: why it ended.
        score, best: IoU of the answer and of the best mask.
        target: whether the sample has one.
    """
    failing = Counter(kind for kind in kinds if kind not in (None, "hit"))
    most = str(failing.most_common(1)[0][0]) if failing else None  # The earliest of those that are equally frequent.
    if not target:
        if not score:
            return "no object, masked"
        return most if most and did_nothing(kinds) else "no object, seen"
    if score >= SOLVED:
        return "solved"
    if stop == "none":
        return "object denied"
    if best >= SOLVED:
        return "overshoot"
    return most or ("stopped early" if stop == "stop" else "out of clicks")
