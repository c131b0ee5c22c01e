"""What each click of a run did, in the words of the pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.scores.episode_scores import EpisodeScores

#: What a click can have done, in the order of the bars, with what that means.
KINDS = {
    "helped": "a positive click on a missed part, or a negative click on excess, and the IoU rose",
    "no effect": "a correctly placed click that did not raise the IoU",
    "wrong sign": "a positive click on excess, or a negative click inside the object",
    "off object": "a positive click where there is neither the object nor a mask",
    "already covered": "a positive click on a part that the mask covers, or a negative one where there is no mask",
    "invalid reply": "a reply that is not an action: not readable, outside the image, or a repeated click",
    "refusal": "the model declined to answer",
    "request failed": "the model gave no reply at all",
    "stopped": "the model ended the episode",
}
STOPPED = "stopped"

#: The words of the pages by the names in the record.
_WORDS = {
    "hit": "helped",
    "segmenter failure": "no effect",
    "idle": "already covered",
    "unparsable": "invalid reply",
}

#: Outcomes of episodes in the words of the pages, with what they mean.
OUTCOMES = {
    "solved": "the scored mask has an IoU of at least 80 %",
    "lost a good mask": "an earlier mask had an IoU of at least 80 %, but the scored mask has not",
    "no effect": "most unsuccessful clicks had no effect",
    "wrong sign": "most unsuccessful clicks had the wrong sign",
    "off object": "most unsuccessful clicks were off the object",
    "already covered": "most unsuccessful clicks were on parts that were already right",
    "invalid reply": "most unsuccessful replies could not be read as an action",
    "refusal": "most unsuccessful replies were refusals",
    "request failed": "most unsuccessful requests got no reply",
    "stopped early": "no click failed, and the model said that it had finished",
    "out of clicks": "no click failed; more clicks would have been needed",
    "rated": "the masks were given, and the model predicted their IoU",
    "no object, seen": "the image has no such object, and the scored mask is empty",
    "no object, masked": "the image has no such object, but the scored mask is not empty",
    "object denied": "the model said that there is no such object, but there is one",
}
_OUTCOME_WORDS = _WORDS | {"overshoot": "lost a good mask"}


def word_of(kind: str) -> str:
    """Return the word of the pages, one of `KINDS`, for a kind of step in the record."""
    return _WORDS.get(kind, kind)


def hue_of(word: str) -> str:
    """Return the name in `style.HUES` of one of `KINDS`."""
    return word.replace(" ", "-")


def outcome_word(sample: EpisodeScores) -> str:
    """Return the outcome of an episode, one of `OUTCOMES`."""
    return _OUTCOME_WORDS.get(sample.outcome, sample.outcome)


def kinds_of(sample: EpisodeScores) -> list[str]:
    """Return what each step of an episode did, one of `KINDS` each."""
    return [_kind(sample, t) for t in range(1, len(sample.kinds) + 1)]


def _kind(sample: EpisodeScores, t: int) -> str:
    name = sample.kinds[t - 1]
    if name is not None:
        return word_of(name)
    if t == len(sample.kinds) and sample.stop in ("stop", "none"):
        return STOPPED
    return "helped" if sample.iou[t] > sample.iou[t - 1] else "no effect"  # a box


def counts(entrant: Entrant) -> list[Counter[str]]:
    """Return, for each click up to the budget, how many samples had a click of each kind; `KINDS` has the order."""
    played = [kinds_of(sample) for sample in entrant.samples]
    return [Counter(kinds[t] for kinds in played if t < len(kinds)) for t in range(entrant.budget)]


def helped(samples: Sequence[EpisodeScores]) -> float | None:
    """Return the share of clicks that helped among all replies but stops; None without any."""
    found = Counter(kind for sample in samples for kind in kinds_of(sample))
    total = found.total() - found[STOPPED]
    return found["helped"] / total if total else None
