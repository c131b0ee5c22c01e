"""The runs of a report, read once: their episodes in numbers, and as JSON for the player."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.masks import RLE
from hlmat_bench.core.text import clean, public
from hlmat_bench.protocol.log_lines import read_values, to_line
from hlmat_bench.protocol.records import EPISODES, Episode
from hlmat_bench.protocol.settings import answer_rule
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.scores.episodes import EpisodeScores
from hlmat_bench.scores.registry import Score, ScoreValue
from hlmat_bench.scores.scoring import score_samples

NAME_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Entrant:
    """A run, as the pages show it.

    Attributes:
        name: the model's, with what tells it from the other runs of the report.
        manifest: without paths and secrets.
        scores: as in scores.json.
        samples: its episodes in numbers, in their order.
        texts: the episodes as JSON, as recorded but for paths in error messages; in the same order.
    """

    name: str
    run: Run
    manifest: Mapping[str, Any]
    scores: Mapping[str, Any]
    samples: Sequence[EpisodeScores]
    texts: Sequence[str]

    @property
    def budget(self) -> int:
        """Return the clicks per episode."""
        return int(self.manifest["protocol"]["budget"])

    @property
    def rule(self) -> str:
        """Return the selection rule whose masks the run is scored by."""
        return answer_rule(self.manifest["protocol"])

    @property
    def taken(self) -> Mapping[str, Any] | None:
        """Return the scores of that rule; None where the task has no masks to score."""
        found: Mapping[str, Any] | None = (self.scores["selection"] or {}).get(self.rule)
        return found

    @property
    def kind(self) -> str:
        """Return the kind of its task."""
        return str(self.manifest["task"].get("kind", "segmentation"))

    def read(self, score: Score) -> ScoreValue | None:
        """Return a score of the run's answers; None where it has none."""
        return score.read(self.scores, self.rule)

    def truth(self, number: int) -> RLE:
        """Return the ground truth of an episode."""
        gt: RLE = json.loads(self.texts[number])["gt"]
        return gt

    def reordered(self, ids: Sequence[str]) -> Entrant:
        """Return this run with its episodes in the order of these sample ids."""
        places = {sample.sample_id: n for n, sample in enumerate(self.samples)}
        order = [places[sample] for sample in ids]
        return replace(self, samples=[self.samples[n] for n in order], texts=[self.texts[n] for n in order])


def read(folders: Sequence[Path], *, common: bool = False) -> list[Entrant]:
    """Read the runs of these folders, on the same samples in the same order.

    Args:
        folders: the run folders.
        common: whether to keep only the samples that all runs have; their scores are then of these.

    Raises:
        UsageError: when one is not a run, has no episode, or when they are not on the same samples.
    """
    runs = [Run(folder) for folder in folders]
    entrants = [_read(run, name) for run, name in zip(runs, _names(runs), strict=True)]
    if common:
        entrants = _common(entrants)
    return [entrants[0], *(_aligned(entrants[0], other) for other in entrants[1:])]


def _read(run: Run, name: str) -> Entrant:
    texts = list(_texts(run.folder / EPISODES))
    if not texts:
        raise UsageError(f"{run.folder} has no finished episode yet; run it first.")
    scores = run.scores()
    if scores["n"] != len(texts):
        scores = run.score()
    return Entrant(name, run, public(run.manifest), scores, run.samples(), texts)


def _texts(path: Path) -> Iterator[str]:
    """Yield the episodes of a log as JSON texts, after a check of each."""
    for _, value in read_values(path) if path.exists() else ():
        Episode.from_json(value)
        yield to_line(_shown(value)).decode().rstrip("\n")


def _common(entrants: Sequence[Entrant]) -> list[Entrant]:
    """Return the runs with the samples that all of them have, in the order of the first."""
    shared = set.intersection(*({sample.sample_id for sample in one.samples} for one in entrants))
    ids = [sample.sample_id for sample in entrants[0].samples if sample.sample_id in shared]
    if not ids:
        raise UsageError("These runs have no sample in common; give runs on the same task, data and seed.")
    return [one if len(ids) == len(one.samples) else _part(one, ids) for one in entrants]


def _part(entrant: Entrant, ids: Sequence[str]) -> Entrant:
    made = entrant.reordered(ids)
    scores = score_samples(made.samples, budget=made.budget, track=made.manifest["protocol"]["track"])
    return replace(made, scores=scores)


def _aligned(first: Entrant, other: Entrant) -> Entrant:
    ids = [sample.sample_id for sample in first.samples]
    ours, theirs = set(ids), {sample.sample_id for sample in other.samples}
    if ours != theirs:
        raise UsageError(
            f"{first.run.folder} and {other.run.folder} are not on the same samples: {len(ours & theirs)} are in both, "
            f"{len(ours - theirs)} in the first only, {len(theirs - ours)} in the second only; give them one --limit "
            "and the same data, or compare the samples that all have with `hlmat-bench compare --common`."
        )
    made = other.reordered(ids)
    for number, sample in enumerate(ids):
        if first.truth(number) != made.truth(number):
            raise UsageError(
                f"{first.run.folder} and {other.run.folder} have another ground truth for {sample}, so their scores do "
                "not compare; run both on the same data."
            )
    return made


def _names(runs: Sequence[Run]) -> list[str]:
    """Return the models' names; where two are equal, with the segmenter, the strategy or a number."""
    names = [run.manifest["model"]["name"] for run in runs]
    for detail in (("segmenter", "name"), ("protocol", "strategy"), ("protocol", "budget"), ("task", "name")):
        values = [run.manifest[detail[0]][detail[1]] for run in runs]
        if len(set(names)) < len(names) and len(set(values)) > 1:
            names = [f"{name}, {value}" for name, value in zip(names, values, strict=True)]
    shown = [clean(public(name), NAME_LENGTH) for name in names]
    return [f"{name} ({n})" if shown.count(name) > 1 else name for n, name in enumerate(shown, 1)]


def _shown(episode: dict[str, Any]) -> dict[str, Any]:
    """Return the episode without its digest and paths of this machine."""
    whole = {key: value for key, value in episode.items() if key != "digest"}
    return whole | {"image": public(episode["image"]), "error": public(episode.get("error"))}
