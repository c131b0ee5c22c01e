"""scores.json, and beside it a seal that tells whether the scores still belong to the episodes.

The seal ``.scores.json`` holds the SHA-256 of the episodes.jsonl that the scores are of, and that of scores.json.
Scores without a seal that fits are not believed: they are old, of other episodes, or changed by hand.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hlmat_bench.core.digests import sha256_of
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.records import EPISODES
from hlmat_bench.runs import replay_result

SCORES = "scores.json"
SEAL = ".scores.json"

log = logging.getLogger("hlmat_bench")


def write(folder: Path, scores: Mapping[str, Any], episodes_sha256: str) -> None:
    """Write scores.json and its seal.

    Args:
        folder: the run folder.
        scores: the scores, as `hlmat_bench.scores.scoring.score_episodes` makes them.
        episodes_sha256: of the episodes.jsonl that they are of.
    """
    manifest.write_json(folder / SCORES, scores)
    manifest.write_json(folder / SEAL, {"episodes": episodes_sha256, "scores": sha256_of(folder / SCORES)})


def read(folder: Path) -> dict[str, Any] | None:
    """Return what scores.json holds; None where it is missing, damaged, changed, or of other episodes."""
    if not (folder / SCORES).exists():
        return None
    try:
        seal = json.loads((folder / SEAL).read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        seal = None
    if seal == {"episodes": replay_result.digest_of(folder), "scores": sha256_of(folder / SCORES)}:
        value: dict[str, Any] = json.loads((folder / SCORES).read_bytes())
        return value
    log.warning(
        "%s was changed or is not of the episodes in %s; the scores are computed again.", folder / SCORES, EPISODES
    )
    return None
