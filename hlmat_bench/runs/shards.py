"""Split a task among machines, by image, and put the parts together again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.plain_files import replaced
from hlmat_bench.core.samples import Sample
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.log_lines import read_values, whole_lines
from hlmat_bench.protocol.records import EPISODES, Episode
from hlmat_bench.runs import measures
from hlmat_bench.runs.run_lock import RunLock

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
            raise UsageError(f"{folder} is not a shard; play it with --shard I/N first.")
    lacking = [why for folder, document in documents.items() if (why := _lacking(folder, document))]
    if lacking and not allow_incomplete:
        raise UsageError(
            f"{lacking[0]}. Run the shard's own command again, without --limit; or merge what there is with "
            "--allow-incomplete."
        )
    ordered = sorted(folders, key=lambda folder: _parse_shard(documents[folder]["shard"]))
    first = documents[ordered[0]]
    for folder in ordered[1:]:
        manifest.check_same(ordered[0], first, documents[folder] | {"shard": first["shard"]})
    shards = [documents[folder]["shard"] for folder in ordered]
    _check_complete(shards)
    if (out / manifest.MANIFEST).exists():
        raise UsageError(f"{out} holds a run already; choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    with RunLock(out):
        count = _join_episodes(ordered, out)
        measures.join(ordered, out)
        whole = {"shard": None, "limit": None, "merged": shards, "samples": count}
        manifest.write_json(out / manifest.MANIFEST, first | whole | ({"finished": None} if lacking else {}))


def _lacking(folder: Path, document: Mapping[str, Any]) -> str | None:
    """Say what a shard lacks, without a full stop; None where it is whole."""
    if document["limit"] is not None:
        return f"{folder} was played with --limit {document['limit']}, so it is not the whole shard"
    expected, there = document.get("samples"), sum(1 for _ in whole_lines(folder / EPISODES))
    if expected not in (None, there):
        return f"{folder} holds {there} of the {expected} episodes of its shard"
    return f"{folder} was not played to its end" if document["finished"] is None else None


def _check_complete(shards: Sequence[str]) -> None:
    """Refuse shards of which one is missing, given twice, or of another division."""
    count = _parse_shard(shards[0])[1]
    expected = [f"{part}/{count}" for part in range(1, count + 1)]
    missing = [shard for shard in expected if shard not in shards]
    double = [shard for shard, times in Counter(shards).items() if times > 1]
    other = [shard for shard in shards if shard not in expected]
    words = [
        *([f"{', '.join(missing)} missing"] if missing else []),
        *([f"{', '.join(double)} given more than once"] if double else []),
        *([f"{', '.join(other)} of another division"] if other else []),
    ]
    if words:
        raise UsageError(f"A merge needs each shard from 1/{count} to {count}/{count} once; {'; '.join(words)}.")


def _join_episodes(shards: Sequence[Path], out: Path) -> int:
    """Write the lines of all shards as they are, in the order of the undivided run, and return their number.

    Raises:
        UsageError: when a line is no episode, or two shards hold the same sample.
    """
    seen: dict[str, Path] = {}
    with replaced(out / EPISODES) as file:
        for line in _interleaved([_by_image(folder) for folder in shards]):
            if (other := seen.setdefault(line.sample_id, line.folder)) != line.folder:
                raise UsageError(
                    f"{other} and {line.folder} both hold the sample {line.sample_id}, so they are not the shards of "
                    "one run; play one of them again."
                )
            file.write(line.text)
    return len(seen)


class _Line(NamedTuple):
    folder: Path
    sample_id: str
    image_id: str
    text: bytes


def _by_image(folder: Path) -> Iterator[list[_Line]]:
    """Yield the lines of each image of a shard; those that were measured are not parsed."""
    for _, group in groupby(_lines(folder), key=lambda line: line.image_id):
        yield list(group)


def _lines(folder: Path) -> Iterator[_Line]:
    path = folder / EPISODES
    known = measures.Heads(folder).find
    for text, value in read_values(path, known=known) if path.exists() else ():
        if value.keys() != measures.HEAD:  # the whole line was parsed
            Episode.from_json(value)
        yield _Line(folder, str(value["sample_id"]), str(value["image_id"]), text)


def _interleaved(parts: Sequence[Iterable[list[T]]]) -> Iterator[T]:
    """One image of each part in turn: the inverse of how `select_samples` deals them out."""
    for images in zip_longest(*parts):
        for image in images:
            yield from image or ()
