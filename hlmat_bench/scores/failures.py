"""What went wrong in a run, counted from its records: failed, refused, empty and cut-off replies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hlmat_bench.core.validation import exact
from hlmat_bench.protocol.records import Episode, Step
from hlmat_bench.protocol.settings import answer_rule

#: How many different reasons of failed episodes are kept in the scores, the commonest first.
_REASONS = 5
#: A run whose clicks all lie within this share of the width and height from the upper left corner wrote fractions of 1.
_CORNER = 0.01
_FEWEST = 3


@exact
@dataclass(frozen=True, slots=True)
class EpisodeFailures:
    """What went wrong in one episode.

    Attributes:
        error: why the model could not be asked; None where it could.
        replies: all replies that came.
        refused, empty, cut_off: how many of them were refused or withheld, had no text, or were cut off before an
            action at the longest length.
        thoughts_only: how many were empty while thoughts came in a field of their own.
        farthest: the largest relative coordinate of its clicks, 0 to 1; None without clicks.
    """

    error: str | None
    replies: int
    refused: int
    empty: int
    cut_off: int
    thoughts_only: int
    farthest: float | None


def episode_failures(episode: Episode) -> EpisodeFailures:
    """Count what went wrong in an episode."""
    height, width = episode.size
    said = [step for step in episode.steps if step.raw is not None]
    clicks = [step.action for step in said if step.action.kind == "click"]
    return EpisodeFailures(
        error=(episode.error or "no reason recorded") if episode.stop == "error" else None,
        replies=len(said),
        refused=sum(step.action.reason == "refusal" for step in said),
        empty=sum(_is_empty(step) for step in said),
        cut_off=sum(step.finish == "length" and step.action.kind == "invalid" for step in said),
        thoughts_only=sum(step.thought and not (step.raw or "").strip() for step in said),
        farthest=max((max(one.click.x / width, one.click.y / height) for one in clicks), default=None),
    )


def _is_empty(step: Step) -> bool:
    return step.action.reason == "empty"


def failure_scores(episodes: Sequence[EpisodeFailures]) -> dict[str, Any]:
    """Return the section ``failures`` of the scores.

    - ``episodes``: episodes that ended because the model could not be asked, and their ``share`` of all.
    - ``refused``, ``empty``, ``cut_off``: episodes with at least one such reply.
    - ``replies``: all replies, and how many were ``refused``, ``empty``, ``cut_off`` before an action, or
      ``thoughts_only``.
    - ``farthest_click``: the largest coordinate of any click relative to the image's side, 0 to 1; null without clicks.
    - ``reasons``: of failed episodes, the commonest messages with how many episodes had each.
    """
    failed = [each.error for each in episodes if each.error is not None]
    kinds = ("refused", "empty", "cut_off")
    reached = [each.farthest for each in episodes if each.farthest is not None]
    return {
        "episodes": len(failed),
        "share": len(failed) / len(episodes) if episodes else 0.0,
        **{kind: sum(getattr(each, kind) > 0 for each in episodes) for kind in kinds},
        "replies": {
            "all": sum(each.replies for each in episodes),
            **{kind: sum(getattr(each, kind) for each in episodes) for kind in (*kinds, "thoughts_only")},
        },
        "farthest_click": max(reached, default=None),
        "reasons": dict(Counter(failed).most_common(_REASONS)),
    }


def remarks(scores: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    """Say what a user must know of a run beside its scores, as sentences: failures, and what may explain bad scores.

    Args:
        scores: as in scores.json.
        manifest: of the run.
    """
    found = scores.get("failures")
    if not found:
        return []
    replies, valid = found["replies"], scores["clicks"]["valid"]
    said = [*_counts(scores["n"], found), *_unanswered(scores, manifest)]
    if replies["all"] and 2 * replies["thoughts_only"] >= replies["all"]:
        said.append(_thoughts_only(replies, manifest))
    elif replies["all"] and 2 * replies["cut_off"] >= replies["all"]:
        said.append(_cut_off(replies, manifest))
    elif replies["all"] and replies["empty"] == replies["all"]:
        said.append(f"All {replies['all']} replies were empty: check the server's log and the prompt.")
    if valid >= _FEWEST and found["farthest_click"] <= _CORNER and manifest["points"]["unit"] != "0-1":
        said.append(
            f"All {valid} clicks are in the upper left corner, within 1 % of the image: the model may write fractions "
            f"of 1, while its point format {manifest['points']['name']} says otherwise. `hlmat-bench probe` measures "
            "it; points= declares it."
        )
    return said


def left_out_words(manifest: Mapping[str, Any]) -> str:
    """List the samples that the data settings left out of a run, by kind; empty where there are none."""
    skipped = (manifest["task"].get("source") or {}).get("skipped")
    counts = skipped if isinstance(skipped, Mapping) else {"missing": skipped or 0}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _counts(n: int, found: Mapping[str, Any]) -> list[str]:
    words = {"refused": "with a refusal", "empty": "with an empty reply", "cut_off": "with a reply cut off too early"}
    parts = [f"{found[kind]} {text}" for kind, text in words.items() if found[kind]]
    if found["episodes"]:
        reason, times = next(iter(found["reasons"].items()))
        parts.insert(0, f"{found['episodes']} failed and scored with the mask that they had ({times} times: {reason})")
    again = " The same command asks those that failed again." if found["episodes"] else ""
    return [f"Of {n} episodes: {'; '.join(parts)}.{again}"] if parts else []


def _unanswered(scores: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    """Say how many samples without target are right only because nothing was done."""
    found = (scores.get("no_target") or {}).get(answer_rule(manifest["protocol"]))
    if not found or not found["unanswered"]:
        return []
    return [
        f"N-acc counts {found['unanswered']} of {scores['no_target']['n']} samples without target as right although no "
        "reply was an action: their masks stayed empty, but the model did not say that there is no such object."
    ]


def _cut_off(replies: Mapping[str, int], manifest: Mapping[str, Any]) -> str:
    length = manifest["protocol"]["max_tokens"]
    return (
        f"{replies['cut_off']} of {replies['all']} replies were cut off at max_tokens={length} before an answer; give "
        f"the model room with --set max_tokens={max(4096, 4 * length)}."
    )


def _thoughts_only(replies: Mapping[str, int], manifest: Mapping[str, Any]) -> str:
    length = manifest["protocol"]["max_tokens"]
    return (
        f"{replies['thoughts_only']} of {replies['all']} replies were empty, and only thoughts came, in a field of "
        f"their own: the model may need more than max_tokens={length}; give it room with --set max_tokens="
        f"{max(4096, 4 * length)}, or turn its thinking off."
    )
