"""Making an entry of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import public
from hlmat_bench.protocol.records import Episode
from hlmat_bench.reports.leaderboard.digests import RunDigest, marks
from hlmat_bench.reports.leaderboard.entry import ENTRY_SCHEMA, MOST_FAILED, Entry, Manifest, Rule, Scores, checked
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.scores import first_success, ratio
from hlmat_bench.scores.scoring import score_episodes

THRESHOLDS = ("0.80", "0.85")


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a submitter says of a run.

    Attributes:
        submitter: who hands it in.
        training_data: what the model was trained on.
        open_weights: whether the model's weights can be had.
        title: the model, as the table shows it; empty: its name in the manifest.
        links: addresses to show.
        date: the day, ISO 8601; empty: today.
    """

    submitter: str
    training_data: str
    open_weights: bool
    title: str = ""
    links: Sequence[str] = ()
    date: str = ""


def make_entry(run: Run, declared: Declaration, name: str = "") -> Entry:
    """The entry of a run, everything computed from its episodes.

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
    scores = scores_of(tally.watch(run.episodes()), manifest)
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
        "manifest": manifest.model_dump(),
        "scores": scores.model_dump(),
        "episodes_sha256": tally.digest.hex(),
        "samples": tally.columns(),
    }
    return checked(Entry, value, "The entry")


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
    """The rows of an entry's table of samples, collected while episodes pass by.

    Attributes:
        rule: which mask is the answer.
        rows: per episode; see `row`.
        digest: of all episodes that passed.
    """

    rule: Rule
    rows: list[dict[str, Any]] = field(default_factory=list)
    digest: RunDigest = field(default_factory=RunDigest)

    def watch(self, episodes: Iterable[Episode]) -> Iterator[Episode]:
        """The same episodes."""
        for episode in episodes:
            self.rows.append(row(episode, self.rule, state_areas(episode)))
            self.digest.add(episode)
            yield episode

    def columns(self) -> dict[str, Any]:
        """The table, by column."""
        plain = {key: [each[key] for each in self.rows] for key in ("id", "image_id", "intersection", "union", "marks")}
        return {**plain, "first": {key: [each["first"][key] for each in self.rows] for key in THRESHOLDS}}


def row(episode: Episode, rule: Rule, areas: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """What an entry holds of one episode, from the `state_areas` of its masks."""
    curve = [ratio(*each) for each in areas[1:]]
    intersection, union = areas[episode.selected[rule]]
    return {
        "id": episode.sample_id,
        "image_id": episode.image_id,
        "intersection": intersection,
        "union": union,
        "first": {key: first_success(curve, float(key), len(curve)) if curve else None for key in THRESHOLDS},
        "marks": marks(episode),
    }


def state_areas(episode: Episode) -> list[tuple[int, int]]:
    """Intersection and union with the ground truth, in pixels, of the initial mask and of that after every step."""
    nothing = masks.RLE(size=list(episode.size), counts=_all_zero(episode))
    states = [episode.initial["mask"] or nothing, *(step.mask for step in episode.steps)]
    return [masks.intersection_union(episode.gt, state, ignore=episode.ignore) for state in states]


def scores_of(episodes: Iterable[Episode], manifest: Manifest) -> Scores:
    """The scores of a run's episodes, of which the entry takes the fields it knows.

    Raises:
        UsageError: when there is no episode, or a number is beyond what an entry holds.
    """
    protocol = manifest.protocol
    scores = score_episodes(episodes, budget=protocol["budget"], track=protocol["track"])
    if not scores["n"]:
        raise UsageError("The run has no episodes; play it to its end.")
    return checked(Scores, scores, "The scores", extra="ignore")


def published_manifest(document: Mapping[str, Any]) -> Manifest:
    """A run's manifest as an entry holds it: known fields, without folders of the machine and secrets.

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


def _all_zero(episode: Episode) -> str:
    height, width = episode.size
    return masks.compress({"size": [height, width], "counts": [height * width]})["counts"]


def _slug(title: str, manifest: Manifest, scores: Scores) -> str:
    """An id that says what the entry is, of at most 99 characters."""
    parts = (title, manifest.task.name, manifest.segmenter["name"], f"{scores.track}-{scores.budget}")
    words = (re.sub(r"[^a-z0-9.-]+", "-", part.lower())[:24].strip("-.") for part in parts)
    return "_".join(word for word in words if word)
