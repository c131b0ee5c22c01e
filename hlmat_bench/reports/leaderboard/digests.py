"""Digests of episodes: what was asked, answered, clicked and masked, without the times, which no two runs share.

The canonical form of an episode is its object in episodes.jsonl without ``seconds`` and ``data``, as JSON with sorted
keys and no spaces. The digest of a run is the SHA-256 over the SHA-256 of every episode, in the file's order.
"""

from __future__ import annotations

import hashlib
from typing import Any

from hlmat_bench.protocol.records import Episode
from hlmat_bench.protocol.settings import digest

MARK = 8
"""Hex digits of a mark: enough to say where two runs differ; that they differ, the whole digest says."""


def canonical(episode: Episode) -> dict[str, Any]:
    """Return the episode as JSON values, without times and without the digests of the files it was played on."""
    value = episode.to_json()
    value.pop("data", None)
    value["steps"] = [{key: part for key, part in step.items() if key != "seconds"} for step in value["steps"]]
    return value


def marks(episode: Episode) -> str:
    """Return the first digits of the digests of the episode's head (all but its steps) and of its steps, joined."""
    value = canonical(episode)
    steps = value.pop("steps")
    return "".join(digest(part)[:MARK] for part in (value, *steps))


class RunDigest:
    """The digest of a run, made episode by episode."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, episode: Episode) -> None:
        """Take the next episode in."""
        self._hash.update(bytes.fromhex(digest(canonical(episode))))

    def hex(self) -> str:
        """Return the digest of all episodes so far."""
        return self._hash.hexdigest()
