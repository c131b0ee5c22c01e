"""Splitting a task among machines, by image, and putting the parts together again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any, TypeVar

from hlmat_bench import manifest
from hlmat_bench.episode_log import RunLock
from hlmat_bench.errors import UsageError
from hlmat_bench.records import EPISODES, read_episodes
from hlmat_bench.samples import Sample

T = TypeVar("T")


def select_samples(samples: Sequence[Sample], shard: str | None, limit: int | None) -> list[Sample]:
    """The samples of a shard ``"I/N"`` (the images I, I + N, ...), at most ``limit`` of them.

    Raises:
        UsageError: when the shard or the limit is none.
    """
    if limit is not None and limit < 1:
        raise UsageError("--limit must be 1 or more.")
    chosen = list(samples)
    if shard is not None:
        part, parts = _parse_shard(shard)
        images = [list(group) for _, group in groupby(samples, key=lambda sample: sample.image_id)]
        chosen = [sample for image in images[part - 1 :: parts] for sample in image]
    if not chosen:
        raise UsageError("There is no sample to play: the task is empty, or the shard is.")
    return chosen[:limit]


def _parse_shard(shard: str) -> tuple[int, int]:
    part, _, parts = shard.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise UsageError(f"--shard must look like 1/4, with a part from 1 to the number of parts, not {shard!r}.")
    return int(part), int(parts)


def merge(folders: Sequence[Path], out: Path) -> None:
    """Write the run that the shards are parts of, episodes in the order of the undivided run.

    Args:
        folders: the run folders of all shards, in any order.
        out: a new run folder.

    Raises:
        UsageError: when they are not the parts of one run, or one is missing or given twice.
    """
    documents = {folder: manifest.read(folder) for folder in folders}
    for folder, document in documents.items():
        if document["shard"] is None or document["finished"] is None:
            raise UsageError(f"{folder} is no finished shard; run it to its end with --shard I/N first.")
    ordered = sorted(folders, key=lambda folder: _parse_shard(documents[folder]["shard"]))
    shards = [documents[folder]["shard"] for folder in ordered]
    first = documents[ordered[0]]
    for folder in ordered[1:]:
        manifest.check_same(ordered[0], first, documents[folder] | {"shard": first["shard"]})
    _check_complete(shards)
    if (out / manifest.MANIFEST).exists():
        raise UsageError(f"{out} holds a run already; choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    with RunLock(out), (out / EPISODES).open("w", encoding="utf-8") as file:
        for value in _interleaved([_by_image(folder) for folder in ordered]):
            file.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
    manifest.write_json(out / manifest.MANIFEST, first | {"shard": None, "limit": None, "merged": shards})


def _check_complete(shards: Sequence[str]) -> None:
    count = _parse_shard(shards[0])[1]
    expected = [f"{part}/{count}" for part in range(1, count + 1)]
    if list(shards) != expected:
        raise UsageError(f"A merge needs the shards {', '.join(expected)}; these are {', '.join(shards)}.")


def _by_image(folder: Path) -> Iterator[list[dict[str, Any]]]:
    episodes = read_episodes(folder / EPISODES)
    for _, group in groupby(episodes, key=lambda episode: episode.image_id):
        yield [episode.to_json() for episode in group]


def _interleaved(parts: Sequence[Iterable[list[T]]]) -> Iterator[T]:
    """One image of each part in turn: the inverse of how `select_samples` deals them out."""
    for images in zip_longest(*parts):
        for image in images:
            yield from image or ()
