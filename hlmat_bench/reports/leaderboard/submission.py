"""Making an entry of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, get_args

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import public
from hlmat_bench.protocol.records import Episode
from hlmat_bench.reports.leaderboard.digests import RunDigest, marks
from hlmat_bench.reports.leaderboard.entry import (
    ENTRY_SCHEMA,
    MOST_FAILED,
    BoardEntry,
    Manifest,
    Scores,
    SelectionRule,
    Threshold,
    checked,
)
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.scores import first_success, ratio
from hlmat_bench.scores.episode_scores import Areas
from hlmat_bench.scores.episodes import SHOWN_THRESHOLDS, EpisodeScores, score_episode
from hlmat_bench.scores.outcomes import STEPS
from hlmat_bench.scores.scoring import score_samples


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a submitter says of a run.

    Attributes:
        submitter: who hands it in.
        training_data: what the model was trained on.
        open_weights: whether the model's weights can be had.
        title: the model, as the table shows it; empty: its name in the manifest.
        links: addresses to show.
        trained_on_task: whether images of the task's data set were in the training data; None: not declared.
        report: address of the run's published report; empty: none.
        date: the day, ISO 8601; empty: today.
    """

    submitter: str
    training_data: str
    open_weights: bool
    title: str = ""
    links: Sequence[str] = ()
    report: str = ""
    trained_on_task: bool | None = None
    date: str = ""


def make_entry(run: Run, declared: Declaration, name: str = "") -> BoardEntry:
    """Make the entry of a run, everything computed from its episodes.

    Args:
        run: a finished run of a model.
        declared: what the submitter says.
        name: the entry's id; empty: made of the title, task and segmenter.

    Raises:
        UsageError: when the run is not whole, or something does not fit the schema.
    """
    manifest = published_manifest(run.manifest)
    title = declared.title or str(manifest.model["name"])
    tally = Tally(manifest.selection)
    samples = []
    for episode in run.episodes():
        samples.append(score_episode(episode, manifest.protocol["budget"], rule=manifest.selection, boundary=True))
        tally.add(episode, samples[-1].areas(), samples[-1].target)
    scores = scores_of(samples, manifest)
    _check_complete(run, scores)
    value = {
        "schema": ENTRY_SCHEMA,
        "id": name or _slug(title, manifest, scores),
        "title": title,
        "submitter": declared.submitter,
        "submitted": declared.date or datetime.now(UTC).date().isoformat(),
        "training_data": declared.training_data,
        "weights": "open" if declared.open_weights else "closed",
        "links": list(declared.links),
        "report": declared.report or None,
        "trained_on_task": declared.trained_on_task,
        "manifest": manifest.model_dump(),
        "scores": scores.model_dump(),
        "episodes_sha256": tally.digest.hex(),
        "samples": tally.columns(),
    }
    return checked(BoardEntry, value, "The entry")


def _check_complete(run: Run, scores: Scores) -> None:
    """Refuse a run that lacks episodes, or in which too many failed."""
    if (expected := run.manifest.get("samples", scores.n)) != scores.n:
        raise UsageError(
            f"The run has {scores.n} of its {expected} episodes; run the same command again to play the rest."
        )
    if scores.failures.share > MOST_FAILED:
        raise UsageError(
            f"{scores.failures.episodes} of {scores.n} episodes failed because the model could not be asked, more than "
            f"{MOST_FAILED:.0%}: their scores say nothing about the model. The same command asks them again."
        )


@dataclass
class Tally:
    """The rows of an entry's table of samples, collected episode by episode.

    Attributes:
        rule: which mask is the answer.
        rows: per episode; see `row`.
        digest: of all episodes.
    """

    rule: SelectionRule
    rows: list[dict[str, Any]] = field(default_factory=list)
    digest: RunDigest = field(default_factory=RunDigest)

    def add(self, episode: Episode, areas: Sequence[Areas], target: int) -> None:
        """Add an episode, the areas of its masks, from the initial one on, and the pixels of its ground truth."""
        self.rows.append(row(episode, self.rule, areas, target))
        self.digest.add(episode)

    def columns(self) -> dict[str, Any]:
        """Return the table, by column; `Samples.target` is there where a sample has none."""
        names = ["id", "image_id", "intersection", "union", "marks"]
        names += ["target"] if any(not each["target"] for each in self.rows) else []
        plain = {key: [each[key] for each in self.rows] for key in names}
        return {**plain, "first": {key: [each["first"][key] for each in self.rows] for key in SHOWN_THRESHOLDS}}


def row(episode: Episode, rule: SelectionRule, areas: Sequence[Areas], target: int) -> dict[str, Any]:
    """Return what an entry holds of one episode.

    Args:
        episode: the record.
        rule: which mask is the answer.
        areas: of its masks, from the initial one on, carried forward or not.
        target: pixels of the ground truth, ignored ones left out.
    """
    curve = [ratio(*each) for each in areas[1:] or areas]
    intersection, union = areas[episode.selected[rule]]
    return {
        "id": episode.sample_id,
        "image_id": episode.image_id,
        "intersection": intersection,
        "union": union,
        "target": target,
        "first": {key: first_success(curve, float(key), len(curve)) for key in SHOWN_THRESHOLDS},
        "marks": marks(episode),
    }


def step_counts(samples: Iterable[EpisodeScores], budget: int) -> dict[str, list[int]]:
    """Return how many steps of each kind there were at click 1, 2, ... of the budget."""
    counts = {kind: [0] * budget for kind in STEPS}
    for sample in samples:
        for place, kind in enumerate(sample.kinds[:budget]):
            if kind is not None:
                counts[kind][place] += 1
    return counts


def scores_of(samples: Iterable[EpisodeScores], manifest: Manifest) -> Scores:
    """Return the scores of a run's episodes, of which the entry takes the fields it knows.

    Raises:
        UsageError: when there is no episode, or a number is beyond what an entry holds.
    """
    protocol = manifest.protocol
    measured = list(samples)
    scores = score_samples(measured, budget=protocol["budget"], track=protocol["track"])
    if not scores["n"]:
        raise UsageError("The run has no episodes; play it to its end.")
    scores["noc"] = {key: found for key, found in scores["noc"].items() if key in get_args(Threshold)}
    if manifest.task.kind != "refinement":
        scores["refinement"] = None
    elif scores["refinement"]:
        kept = {key: found for key, found in scores["refinement"]["noc"].items() if key in get_args(Threshold)}
        scores["refinement"]["noc"] = kept
    scores["steps"] = step_counts(measured, protocol["budget"])
    return checked(Scores, scores, "The scores", extra="ignore")


def published_manifest(document: Mapping[str, Any]) -> Manifest:
    """Return a run's manifest as an entry holds it: known fields, without folders of the machine and secrets.

    Settings that the fingerprint covers stay as they are.

    Raises:
        UsageError: when the run is not whole or its task has no masks to rank.
    """
    missing = [name for name in ("shard", *Manifest.model_fields) if name not in document]
    if missing:
        raise UsageError(f"run.json has no {missing[0]}; play the run with this version of hlmat-bench.")
    if unlike := [name for name in ("model", "task") if not isinstance(document[name], dict)]:
        raise UsageError(f"{unlike[0]} in run.json is no JSON object; play the run with this version of hlmat-bench.")
    if document["shard"] is not None:
        raise UsageError("This is one shard of a run; put the shards together with `hlmat-bench merge` first.")
    if document["finished"] is None:
        raise UsageError("The run is not finished; run the same command again until it is.")
    if document["task"].get("kind") == "filtering":
        raise UsageError("A filtering task has no clicks and no masks to rank; enter a run of a segmentation task.")
    known = {name: document[name] for name in Manifest.model_fields}
    task = document["task"]
    known["argv"] = public(document["argv"])
    known["model"] = {key: part if key == "image" else public(part) for key, part in document["model"].items()}
    known["task"] = {**task, "source": public(task.get("source"))}
    return checked(Manifest, known, "The manifest")


def _slug(title: str, manifest: Manifest, scores: Scores) -> str:
    """Return an id that says what the entry is, of at most 99 characters."""
    parts = (title, manifest.task.name, manifest.segmenter["name"], f"{scores.track}-{scores.budget}")
    words = (re.sub(r"[^a-z0-9.-]+", "-", part.lower())[:24].strip("-.") for part in parts)
    return "_".join(word for word in words if word)
