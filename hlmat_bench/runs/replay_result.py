"""What a replay found, as the run folder keeps it (`replay.json`, ``hlmat-replay/1``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hlmat_bench.core.digests import sha256_of
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.plain_files import read_bytes
from hlmat_bench.protocol.manifest import write_json
from hlmat_bench.protocol.records import EPISODES

REPLAY_SCHEMA = "hlmat-replay/1"
REPLAY = "replay.json"


class Difference(NamedTuple):
    """A mask that was drawn again: of step ``t`` (0 is the initial state), with the share of pixels that differ."""

    sample_id: str
    t: int
    share: float


@dataclass
class ReplayResult:
    """A run, played again.

    Attributes:
        episodes_sha256: of the episodes.jsonl that was played.
        tolerance: the share of a mask's pixels that may differ.
        masks: how many masks were compared.
        largest: the largest share of pixels that differ in one.
        differing: the masks that differ in more than the tolerance.
        regrets: by sample and step, of every valid click: the gain of the oracle's click from the same state minus the
            gain of the click.
    """

    episodes_sha256: str
    tolerance: float
    masks: int = 0
    largest: float = 0.0
    differing: list[Difference] = field(default_factory=list)
    regrets: dict[str, dict[int, float]] = field(default_factory=dict)

    def add(self, sample_id: str, differences: Sequence[Difference], regrets: Mapping[int, float]) -> None:
        """Add an episode: all masks that were compared, and the regrets of its clicks by step."""
        self.masks += len(differences)
        self.largest = max([self.largest, *(difference.share for difference in differences)])
        self.differing += [difference for difference in differences if difference.share > self.tolerance]
        self.regrets[sample_id] = dict(regrets)

    def summary(self) -> dict[str, Any]:
        """Return what scores.json says of it."""
        return {"masks": self.masks, "differing": len(self.differing), "largest": self.largest}

    def sentences(self) -> str:
        """Return what was found, as a sentence."""
        regrets = [regret for steps in self.regrets.values() for regret in steps.values()]
        points = f"{100 * sum(regrets) / len(regrets):.1f} points of IoU" if regrets else ""
        mean = f" The mean regret of {len(regrets)} clicks is {points}." if regrets else ""
        if not self.differing:
            return f"{self.masks} masks were predicted again, all as recorded.{mean}"
        shown = ", ".join(f"{sample} step {t} ({share:.2%} of its pixels)" for sample, t, share in self.differing[:5])
        more = f" and {len(self.differing) - 5} more" if len(self.differing) > 5 else ""
        return f"{len(self.differing)} of {self.masks} masks are not those recorded: {shown}{more}.{mean}"

    def save(self, folder: Path) -> None:
        """Write replay.json."""
        value = {
            "schema": REPLAY_SCHEMA,
            "episodes_sha256": self.episodes_sha256,
            "tolerance": self.tolerance,
            "masks": self.masks,
            "largest": self.largest,
            "differing": [each._asdict() for each in self.differing],
            "regrets": self.regrets,
        }
        write_json(folder / REPLAY, value)


def load(folder: Path) -> ReplayResult | None:
    """Return what a replay of the run's episodes found; None where there was none, or episodes have been added since.

    Raises:
        UsageError: when the file is damaged.
    """
    path = folder / REPLAY
    if not path.exists():
        return None
    try:
        value = json.loads(read_bytes(path))
        if value["schema"] != REPLAY_SCHEMA:
            raise ValueError(f"its schema is {value['schema']!r}")
        found = _from_json(value)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise UsageError(f"{path} is damaged ({error}); run score --replay again, or remove it.") from error
    return found if found.episodes_sha256 == digest_of(folder) else None


def _from_json(value: Mapping[str, Any]) -> ReplayResult:
    regrets = {
        str(sample): {int(t): float(regret) for t, regret in steps.items()}
        for sample, steps in value["regrets"].items()
    }
    return ReplayResult(
        episodes_sha256=value["episodes_sha256"],
        tolerance=value["tolerance"],
        masks=value["masks"],
        largest=value["largest"],
        differing=[Difference(**each) for each in value["differing"]],
        regrets=regrets,
    )


def digest_of(folder: Path) -> str:
    """Return the SHA-256 (hex) of a run's episodes.jsonl.

    Raises:
        UsageError: when there is none.
    """
    try:
        return sha256_of(folder / EPISODES)
    except FileNotFoundError as error:
        raise UsageError(f"{folder} has no {EPISODES} yet; run it first.") from error
