"""The level *recomputed*: an entry against the episodes of its run, everything computed from the masks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from hlmat_bench.actions import parse
from hlmat_bench.board.digests import MARK, RunDigest
from hlmat_bench.board.entry import Entry, Manifest, Samples
from hlmat_bench.board.findings import TOLERANCE, Finding, at, differences
from hlmat_bench.board.submission import THRESHOLDS, published_manifest, row, scores_of, state_areas
from hlmat_bench.errors import UsageError
from hlmat_bench.framing import Resize
from hlmat_bench.points import PointFormat
from hlmat_bench.records import Episode, Step, select
from hlmat_bench.runs import Run
from hlmat_bench.scores import ratio


def check(entry: Entry, run: Run) -> Iterator[Finding]:
    """Where an entry and its run differ, or the run's records contradict their own masks and replies."""
    try:
        manifest = published_manifest(run.manifest)
        found = [*differences(entry.manifest.model_dump(), manifest.model_dump(), "manifest")]
        digest = RunDigest()
        found += _episodes(entry, run, digest)
        if not found:
            found += differences(entry.episodes_sha256, digest.hex(), "episodes_sha256")
            scores = scores_of(run.episodes(), manifest)
            found += differences(entry.scores.model_dump(), scores.model_dump(), "scores")
    except UsageError as error:
        found = [Finding("run", str(error))]
    yield from found


def _episodes(entry: Entry, run: Run, digest: RunDigest) -> list[Finding]:
    """What is wrong with single episodes; the digest takes all of them in."""
    found: list[Finding] = []
    reader = Reader(entry.manifest)
    for expected, episode in zip_longest(_rows(entry.samples), run.episodes()):
        if episode is None:
            return [*found, Finding(at(expected["id"], None, "id"), "is not in the run")]
        if expected is None or expected["id"] != episode.sample_id:
            return [*found, Finding(at(episode.sample_id, None, "id"), "does not stand in the entry at this place")]
        try:
            digest.add(episode)
            found += _episode(expected, episode, reader)
        except (UsageError, KeyError, TypeError, ValueError, RecursionError) as error:
            found.append(Finding(at(episode.sample_id, None, "record"), f"is malformed: {error}"))
    return found


def _episode(expected: Mapping[str, Any], episode: Episode, reader: Reader) -> Iterator[Finding]:
    """First what the record says of itself, then what the entry says of it."""
    sample, budget = episode.sample_id, reader.budget
    if [step.t for step in episode.steps] != list(range(1, len(episode.steps) + 1)) or len(episode.steps) > budget:
        yield Finding(at(sample, None, "steps"), f"are not numbered from 1 to at most {budget}")
        return
    recorded = [episode.initial["iou"], *(step.iou for step in episode.steps)]
    areas = state_areas(episode)
    for t, (said, found) in enumerate(zip(recorded, (ratio(*each) for each in areas), strict=True)):
        if not abs(said - found) <= TOLERANCE:
            yield Finding(at(sample, t, "iou"), f"says {said:.6f}, but its mask gives {found:.6f}")
    for step in episode.steps:
        yield from reader.check(episode, step)
    yield from differences(episode.selected, select(episode.steps, episode.initial), at(sample, None, "selected"))
    actual = row(episode, reader.manifest.selection, areas)
    yield from _marks(sample, expected["marks"], actual["marks"])
    for key in ("image_id", "intersection", "union", "first"):
        yield from differences(expected[key], actual[key], f"samples of {sample}, {key}")


def _marks(sample: str, said: str, found: str) -> Iterator[Finding]:
    """Which part of an episode is another one than that which was entered."""
    for number in range(0, max(len(said), len(found)), MARK):
        if said[number : number + MARK] != found[number : number + MARK]:
            yield Finding(at(sample, number // MARK, "digest"), "is another one in the entry than in the run")


class Reader:
    """Reads replies again, to see whether the recorded clicks are what they say.

    Args:
        manifest: of the run: how its model writes points and sees images.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.budget: int = manifest.protocol["budget"]
        self._by_truth = manifest.protocol.get("prm") in ("oracle", "noisy")
        try:
            self._points = PointFormat(**manifest.points)
        except TypeError as error:
            raise UsageError(f"The manifest's points are no point format: {error}.") from error
        self._resize = Resize.named(manifest.resize)

    def check(self, episode: Episode, step: Step) -> Iterator[Finding]:
        """Whether a step's click or box, and every predicted IoU, are those of its replies."""
        action, place = step.action, at(episode.sample_id, step.t, "action")
        does = action.kind in ("click", "box")
        read = None
        if step.raw is not None:
            read = parse(step.raw, self._points, episode.size, self._resize.frame(episode.size))
        elif does:
            yield Finding(place, f"is a {action.kind} without a reply")
        if action.box is not None and (step.t > 1 or self.manifest.protocol["track"] == "point"):
            yield Finding(place, "has a box, which only the first step of a box+point track may have")
        if read is not None and does:
            # A box that is not allowed here is left out of the record.
            said = replace(read, box=read.box if action.box is not None else None, predicted_iou=None)
            if said != replace(action, predicted_iou=None):
                yield Finding(place, f"says {json.dumps(action.to_json())}, but the reply {json.dumps(said.to_json())}")
        if (does or action.predicted_iou is not None) and action.predicted_iou != (read and read.predicted_iou):
            problem = f"says {action.predicted_iou}, but the reply {read and read.predicted_iou}"
            yield Finding(at(episode.sample_id, step.t, "predicted_iou"), problem)
        yield from self._candidates(episode, step)

    def _candidates(self, episode: Episode, step: Step) -> Iterator[Finding]:
        """Whether what a search tried is worth what was said of it, and what it took is the step's action."""
        place, size = at(episode.sample_id, step.t, "candidates"), episode.size
        taken = [each["action"] for each in step.candidates if each["chosen"]]
        if step.candidates and taken != [step.action.to_json()]:
            yield Finding(place, "the one that was taken is not the step's action")
        for each in step.candidates:
            judgement = each["judgement"]
            if judgement is None and (self._by_truth or each["action"]["kind"] not in ("click", "box")):
                continue  # nobody was asked
            withheld = each.get("finish") in ("content_filter", "refusal")
            found = None if judgement is None or withheld else parse(judgement, self._points, size, None).predicted_iou
            if each["predicted_iou"] != found:
                yield Finding(place, f"one is said to be worth {each['predicted_iou']}, but the reply says {found}")


def _rows(samples: Samples) -> Iterator[dict[str, Any]]:
    for number, sample in enumerate(samples.id):
        yield {
            "id": sample,
            "image_id": samples.image_id[number],
            "intersection": samples.intersection[number],
            "union": samples.union[number],
            "first": {key: samples.first[key][number] for key in THRESHOLDS},  # type: ignore[index]
            "marks": samples.marks[number],
        }
