"""The level *recomputed*: an entry against the episodes of its run, everything computed from the masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.log_lines import read_values
from hlmat_bench.protocol.records import EPISODES, Episode, select
from hlmat_bench.reports.leaderboard.digests import MARK, RunDigest
from hlmat_bench.reports.leaderboard.entry import BoardEntry, Samples, SelectionRule
from hlmat_bench.reports.leaderboard.submission import published_manifest, row, scores_of
from hlmat_bench.reports.leaderboard.verify.findings import TOLERANCE, Mismatch, at, differences
from hlmat_bench.reports.leaderboard.verify.rules import Rules
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.scores import ratio
from hlmat_bench.scores.episodes import GroundTruth, score_episode, states_of


def check(entry: BoardEntry, run: Run) -> Iterator[Mismatch]:
    """Yield where an entry and its run differ, or the run's records contradict their own masks and replies."""
    try:
        manifest = published_manifest(run.manifest)
        found = [*differences(entry.manifest.model_dump(), manifest.model_dump(), "manifest")]
        digest = RunDigest()
        found += _episodes(entry, run, digest)
        if not found:
            found += differences(entry.episodes_sha256, digest.hex(), "episodes_sha256")
            budget = manifest.protocol["budget"]
            rule = manifest.selection
            measured = (score_episode(each, budget, rule=rule, boundary=True) for each in run.episodes())
            scores = scores_of(measured, manifest)
            # An entry does not have the scores that came after it was made.
            kept = {key: value for key, value in scores.further.items() if key in entry.scores.further}
            no_target = scores.no_target if entry.scores.no_target else None
            later = {key: None for key in ("steps", "refinement") if getattr(entry.scores, key) is None}
            again = scores.model_copy(update={"further": kept, "no_target": no_target, **later})
            found += differences(entry.scores.model_dump(), again.model_dump(), "scores")
    except UsageError as error:
        found = [Mismatch("run", str(error))]
    yield from found


def _episodes(entry: BoardEntry, run: Run, digest: RunDigest) -> list[Mismatch]:
    """Return what is wrong with single episodes; add all of them to the digest."""
    found: list[Mismatch] = []
    rules, path = Rules(entry.manifest), run.folder / EPISODES
    for expected, line in zip_longest(_rows(entry.samples), read_values(path) if path.exists() else ()):
        if line is None:
            return [*found, Mismatch(at(expected["id"], None, "id"), "is not in the run")]
        sample = expected["id"] if expected else "beyond those of the entry"
        try:
            episode = Episode.from_json(line[1])
            if episode.sample_id != sample:
                return [
                    *found,
                    Mismatch(at(episode.sample_id, None, "id"), "does not stand in the entry at this place"),
                ]
            digest.add(episode)
            found += _episode(expected, episode, rules, entry.manifest.selection)
        except (UsageError, KeyError, TypeError, ValueError, RecursionError) as error:
            found.append(Mismatch(at(sample, None, "record"), f"is malformed: {error}"))
    return found


def _episode(expected: Mapping[str, Any], episode: Episode, rules: Rules, answer: SelectionRule) -> Iterator[Mismatch]:
    """Yield what contradicts an episode's own record, then what contradicts the entry."""
    sample = episode.sample_id
    recorded = [episode.initial["iou"], *(step.iou for step in episode.steps)]
    truth = GroundTruth(episode)
    areas = [state.areas for state in states_of(episode, truth)]
    for t, (said, found) in enumerate(zip(recorded, (ratio(*each) for each in areas), strict=True)):
        if not abs(said - found) <= TOLERANCE:
            yield Mismatch(at(sample, t, "iou"), f"says {said:.6f}, but its mask gives {found:.6f}")
    yield from rules.check(episode)
    yield from differences(episode.selected, select(episode.steps, episode.initial), at(sample, None, "selected"))
    actual = row(episode, answer, areas, truth.counted)
    yield from _marks(sample, expected["marks"], actual["marks"])
    for key in expected.keys() - {"id", "marks"}:
        yield from differences(expected[key], actual[key], f"samples of {sample}, {key}")


def _marks(sample: str, said: str, found: str) -> Iterator[Mismatch]:
    """Yield the parts of an episode that differ from those that were entered."""
    for number in range(0, max(len(said), len(found)), MARK):
        entered, recorded = said[number : number + MARK], found[number : number + MARK]
        if entered != recorded:
            problem = f"differs (entry {entered[:8] or 'none'}, run {recorded[:8] or 'none'})"
            yield Mismatch(at(sample, number // MARK, "digest"), problem)


def _rows(samples: Samples) -> Iterator[dict[str, Any]]:
    columns = samples.model_dump()
    first = columns.pop("first")
    for number in range(len(samples.id)):
        row = {key: column[number] for key, column in columns.items()}
        yield row | {"first": {key: column[number] for key, column in first.items()}}
