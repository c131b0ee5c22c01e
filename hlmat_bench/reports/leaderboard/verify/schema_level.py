"""Whether an entry agrees with itself: what can be known without its run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from hlmat_bench.protocol.manifest import fingerprint
from hlmat_bench.reports.leaderboard.digests import MARK
from hlmat_bench.reports.leaderboard.entry import MOST_FAILED, BoardEntry, Samples
from hlmat_bench.reports.leaderboard.verify.findings import Mismatch, differences
from hlmat_bench.scores import miou
from hlmat_bench.scores.intervals import Estimate, with_intervals

_FROM_SAMPLES = ("miou", "miou_ci", "ciou", "ciou_ci")


def check(entry: BoardEntry) -> Iterator[Mismatch]:
    """Yield where an entry contradicts itself: its fingerprint, and the scores that its table of samples gives."""
    manifest, scores = entry.manifest, entry.scores
    yield from differences(manifest.protocol_fingerprint, fingerprint_of(entry), "manifest.protocol_fingerprint")
    for key in ("budget", "track"):
        yield from differences(getattr(scores, key), manifest.protocol.get(key), f"scores.{key}")
    yield from differences([point.t for point in scores.curve], list(range(scores.budget + 1)), "scores.curve.t")
    last = scores.selection["final"].miou if "final" in scores.selection else None
    yield from differences(scores.curve[-1].miou, last, "scores.curve.miou")
    yield from _no_target(entry)
    yield from _steps(entry)
    yield from differences(_said(entry), _from_samples(entry), "scores")
    yield from differences(scores.failures.share, scores.failures.episodes / scores.n, "scores.failures.share")
    if scores.failures.share > MOST_FAILED:
        yield Mismatch("scores.failures.share", f"is above {MOST_FAILED:.0%}: too many requests to the model failed")
    for sample, marks in zip(entry.samples.id, entry.samples.marks, strict=True):
        if len(marks) > MARK * (scores.budget + 1):
            yield Mismatch(f"samples.marks of {sample}", f"has more steps than the budget of {scores.budget}")


def _steps(entry: BoardEntry) -> Iterator[Mismatch]:
    """Yield where the counts of steps are not one for each click, or more than there are samples."""
    steps = entry.scores.steps or {}
    lengths = {kind: len(counts) for kind, counts in steps.items()}
    yield from differences(lengths, dict.fromkeys(steps, entry.scores.budget), "scores.steps")
    for place, counts in enumerate(zip(*steps.values(), strict=False)):
        if sum(counts) > entry.scores.n:
            yield Mismatch(f"scores.steps at click {place + 1}", f"counts {sum(counts)}, more than the samples")


def _no_target(entry: BoardEntry) -> Iterator[Mismatch]:
    """Yield where the scores of samples without target contradict those over all samples, which hold them."""
    found = entry.scores.no_target
    if found is None:
        return
    yield from differences(found.n + found.targets, entry.scores.n, "scores.no_target.n")
    said = found.model_dump()[entry.manifest.selection]
    again = _accuracies(entry.samples)
    yield from differences({key: said[key] for key in again}, again, "scores.no_target")
    for rule, chosen in entry.scores.selection.items():
        said = found.model_dump()[rule]
        for key, name in (("giou", "miou"), ("ciou", "ciou")):
            yield from differences(said[key], getattr(chosen, name), f"scores.no_target.{rule}.{key}")


def _accuracies(samples: Samples) -> dict[str, float | None]:
    """Return N-acc and T-acc of the answers as the rows of the samples give them; none without ground truths."""
    if samples.target is None:
        return {}
    found: dict[str, list[bool]] = {"n_acc": [], "t_acc": []}
    for inner, union, target in zip(samples.intersection, samples.union, samples.target, strict=True):
        empty = inner + union == target
        found["t_acc" if target else "n_acc"].append(empty != bool(target))
    return {name: sum(right) / len(right) if right else None for name, right in found.items()}


def fingerprint_of(entry: BoardEntry) -> str:
    """Return the fingerprint that the settings in an entry's manifest have."""
    manifest = entry.manifest
    return fingerprint(
        protocol=manifest.protocol,
        segmenter=manifest.segmenter,
        points=manifest.points,
        resize=manifest.resize,
        image=manifest.model.get("image"),
    )


def _said(entry: BoardEntry) -> dict[str, Any]:
    scores, rule = entry.scores, entry.manifest.selection
    chosen = scores.selection.get(rule)
    return {
        "n": scores.n,
        "n_images": scores.n_images,
        "selection": {rule: {key: getattr(chosen, key) for key in _FROM_SAMPLES} if chosen else None},
        "noc": {key: _noc(scores.noc[key].model_dump()) if key in scores.noc else None for key in entry.samples.first},
    }


def _noc(said: dict[str, Any]) -> dict[str, Any]:
    return {key: said[key] for key in ("mean", "solved", "failed")}


def _from_samples(entry: BoardEntry) -> dict[str, Any]:
    """Return the scores of `_said` as the rows of the samples give them."""
    samples, budget = entry.samples, entry.scores.budget
    areas = np.array(samples.intersection), np.array(samples.union)
    answers = {"miou": Estimate(samples.ious()), "ciou": Estimate(*areas)}
    solved = {key: sum(click is not None for click in column) for key, column in samples.first.items()}
    return {
        "n": len(samples.id),
        "n_images": len(set(samples.image_id)),
        "selection": {entry.manifest.selection: with_intervals(answers, samples.image_id)},
        "noc": {
            key: {
                "mean": miou(click or budget for click in column),
                "solved": solved[key],
                "failed": len(column) - solved[key],
            }
            for key, column in samples.first.items()
        },
    }
