"""Split a task among machines, by image, and put the parts together again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any, TypeVar

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Sample
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.records import EPISODES, Episode, read_episodes, read_values, to_record
from hlmat_bench.runs.episode_log import RunLock

T = TypeVar("T")


def select_samples(samples: Sequence[Sample], shard: str | None, limit: int | None) -> list[Sample]:
    """Return the samples of a shard ``"I/N"`` (the images I, I + N, ...), at most ``limit`` of them.

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


def merge(folders: Sequence[Path], out: Path, *, allow_incomplete: bool = False) -> None:
    """Write the run that the shards are parts of, episodes in the order of the undivided run.

    Args:
        folders: the run folders of all shards, in any order.
        out: a new run folder.
        allow_incomplete: merge shards that lack episodes, too; the merged run then counts as unfinished.

    Raises:
        UsageError: when they are not the parts of one run, one is missing or given twice, or one lacks episodes.
    """
    documents = {folder: manifest.read(folder) for folder in folders}
    for folder, document in documents.items():
        if document["shard"] is None:
            raise UsageError(f"{folder} is no shard; play it with --shard I/N first.")
    lacking = [why for folder, document in documents.items() if (why := _lacking(folder, document))]
    if lacking and not allow_incomplete:
        raise UsageError(
            f"{lacking[0]}. Run the shard's own command again, without --limit; or merge what there is with "
            "--allow-incomplete."
        )
    ordered = sorted(folders, key=lambda folder: _parse_shard(documents[folder]["shard"]))
    shards = [documents[folder]["shard"] for folder in ordered]
    first = documents[ordered[0]]
    for folder in ordered[1:]:
        manifest.check_same(ordered[0], first, documents[folder] | {"shard": first["shard"]})
    _check_complete(shards)
    if (out / manifest.MANIFEST).exists():
        raise UsageError(f"{out} holds a run already; choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    count = 0
    with RunLock(out), (out / EPISODES).open("wb") as file:
        for episode in _interleaved([_by_image(folder) for folder in ordered]):
            file.write(to_record(episode))
            count += 1
    whole = {"shard": None, "limit": None, "merged": shards, "samples": count}
    manifest.write_json(out / manifest.MANIFEST, first | whole | ({"finished": None} if lacking else {}))


def _lacking(folder: Path, document: Mapping[str, Any]) -> str | None:
    """Say what a shard lacks, without a full stop; None where it is whole."""
    if document["limit"] is not None:
        return f"{folder} was played with --limit {document['limit']}, so it is not the whole shard"
    expected, there = document.get("samples"), _count(folder / EPISODES)
    if expected not in (None, there):
        return f"{folder} holds {there} of the {expected} episodes of its shard"
    return f"{folder} was not played to its end" if document["finished"] is None else None


def _count(path: Path) -> int:
    return sum(1 for _ in read_values(path)) if path.exists() else 0


def _check_complete(shards: Sequence[str]) -> None:
    count = _parse_shard(shards[0])[1]
    expected = [f"{part}/{count}" for part in range(1, count + 1)]
    if list(shards) != expected:
        raise UsageError(f"A merge needs the shards {', '.join(expected)}; these are {', '.join(shards)}.")


def _by_image(folder: Path) -> Iterator[list[Episode]]:
    episodes = read_episodes(folder / EPISODES)
    for _, group in groupby(episodes, key=lambda episode: episode.image_id):
        yield list(group)


def _interleaved(parts: Sequence[Iterable[list[T]]]) -> Iterator[T]:
    """One image of each part in turn: the inverse of how `select_samples` deals them out."""
    for images in zip_longest(*parts):
        for image in images:
            yield from image or ()
