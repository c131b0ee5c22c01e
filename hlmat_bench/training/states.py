"""Snapshots: states of recorded episodes as JSON values, from which single replies are played."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, field_validator

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.validation import Misfit, Strict, checked
from hlmat_bench.protocol.records import Episode, Step, select
from hlmat_bench.protocol.settings import OPTIONAL
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.training.pool import SessionSettings
from hlmat_bench.training.rewards import RewardSettings

SNAPSHOT_SCHEMA = "hlmat-snapshot/1"


class Snapshot(Strict):
    """A state of an episode, before a reply.

    Attributes:
        schema_: `SNAPSHOT_SCHEMA`.
        sessions: the settings of the sessions that play from here.
        data: the digest of the task's data.
        episode: the record of the episode until here, ``hlmat-episode/1``, without replies, times and candidates.
    """

    schema_: Literal["hlmat-snapshot/1"] = Field(alias="schema")
    sessions: SessionSettings
    data: str
    episode: dict[str, Any]

    @field_validator("episode")
    @classmethod
    def _is_record(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            Episode.from_json(value)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return value

    @cached_property
    def record(self) -> Episode:
        """The record of the episode until here."""
        return Episode.from_json(self.episode)

    @property
    def sample_id(self) -> str:
        """The id of the sample."""
        return self.record.sample_id

    @property
    def t(self) -> int:
        """The number of the step that the reply will be, from 1."""
        return len(self.record.steps) + 1

    @property
    def iou(self) -> float:
        """The IoU of the mask before the reply."""
        return self.record.iou_at(self.t - 1)

    def to_json(self) -> str:
        """Return the snapshot as JSON text, the same for equal snapshots."""
        return json.dumps(self.model_dump(by_alias=True), sort_keys=True)

    @staticmethod
    def read(value: Snapshot | str | Mapping[str, Any]) -> Snapshot:
        """Return the snapshot in JSON text or a JSON value.

        Raises:
            UsageError: when it is none.
        """
        if isinstance(value, Snapshot):
            return value

        def refused(misfit: Misfit) -> UsageError:
            return UsageError(f"The state is no {SNAPSHOT_SCHEMA}: {misfit.sentence('it')}; make it with snapshots().")

        try:
            found = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError):
            raise UsageError("The state is not JSON; make it with snapshots() and rows().") from None
        return checked(Snapshot.model_validate, found, refused)


def snapshots(run: Run | str | os.PathLike[str], **options: Any) -> Iterator[Snapshot]:
    """Give a snapshot before each step of a run's or a trajectory set's episodes, in their order.

    Nothing is played and no image is read. Episodes that ended with an error are left out.

    Args:
        run: the run, or its folder.
        options: settings of `SessionSettings` that replace those of the run. ``task`` and ``segmenter`` must be given
            where the run's are files. Where the run is of a reference policy, or a ``model`` is given, point format,
            resize rule and prompt are those of the ``model``, or what ``points``, ``resize`` and ``settings`` say.

    Raises:
        UsageError: when the run is of given masks, or names a file of code, which only the caller may name.
    """
    opened = run if isinstance(run, Run) else Run(run)
    settings = sessions_of(opened.manifest, options)
    RewardSettings.of(settings.rewards)
    for episode in opened.episodes():
        if episode.stop != "error":
            yield from _of_episode(episode, settings, opened.manifest["task"]["digest"])


def sessions_of(manifest: Mapping[str, Any], options: Mapping[str, Any]) -> SessionSettings:
    """Return the settings of sessions that play as a run did, from its manifest and what replaces it.

    Args:
        manifest: of the run.
        options: see `snapshots`.

    Raises:
        UsageError: as `snapshots`.
    """
    spec, protocol = manifest.get("spec") or {}, manifest["protocol"]
    if manifest["task"].get("kind") == "filtering":
        raise UsageError(f"The run on {manifest['task']['name']} has no clicks, so it has no states to reply to.")
    found = {
        "task": spec.get("task", manifest["task"]["name"]),
        "segmenter": spec.get("segmenter", manifest["segmenter"]["name"]),
    }
    # A run folder may be a stranger's: what it names leads to code that is shipped or installed, never to a file.
    for name, value in SessionSettings.of(found).files().items():
        if name not in options:
            raise UsageError(
                f"The run's {name} {value!r} is a file; give it to snapshots() with {name}=..., or to an export with "
                f"--{name}."
            )
    given = {name: value for name, value in spec.get("settings", {}).items() if name not in ("points", *OPTIONAL)}
    seen = {"settings": {**given, "track": protocol["track"]}}
    if manifest["model"].get("kind") != "reference" and "model" not in options:
        left_out = {"id", "strategy", "initial", "budget", *OPTIONAL}
        shown = _flat({name: value for name, value in protocol.items() if name not in left_out})
        data = {name: value for name, value in given.items() if name.startswith("data.")}
        seen = {"points": manifest["points"]["name"], "resize": manifest["resize"], "settings": {**shown, **data}}
    base = {**found, **seen, "budget": protocol["budget"], "seed": manifest["seed"]}
    return SessionSettings.of(
        {**base, **options, "settings": {**base["settings"], **options.get("settings", {})}},
    )


def _flat(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a manifest by the names that ``--set`` takes; those without a value are left out."""
    flat: dict[str, Any] = {}
    for name, value in protocol.items():
        parts = {f"{name}.{key}": part for key, part in value.items()} if isinstance(value, Mapping) else {name: value}
        flat |= {key: part for key, part in parts.items() if part is not None}
    return flat


def _of_episode(episode: Episode, settings: SessionSettings, data: str) -> Iterator[Snapshot]:
    """Give a snapshot before each step of an episode."""
    for step in episode.steps:
        yield snapshot_before(episode, step.t, settings, data)


def snapshot_before(episode: Episode, t: int, settings: SessionSettings, data: str) -> Snapshot:
    """Return the state of an episode before a step, or after its last one.

    Args:
        episode: the episode.
        t: the number of the step, from 1 to one more than the episode has.
        settings: of the sessions that play from there.
        data: the digest of the task's data.
    """
    steps = [Step(step.t, None, step.action, step.mask, step.iou) for step in episode.steps[: t - 1]]
    until = replace(episode, steps=steps, selected=select(steps, episode.initial), stop="open", data={})
    return Snapshot(schema=SNAPSHOT_SCHEMA, sessions=settings, data=data, episode=until.to_json())
