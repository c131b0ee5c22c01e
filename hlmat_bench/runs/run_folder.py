"""A run folder: its manifest, its episodes and its scores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlmat_bench.core.plain_files import check_plain
from hlmat_bench.core.text import valid
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.records import EPISODES, Episode, read_episodes
from hlmat_bench.protocol.settings import answer_rule
from hlmat_bench.runs import measuring, replay_result, sealed_scores
from hlmat_bench.scores.episode_scores import EpisodeScores
from hlmat_bench.scores.episodes import NOC_THRESHOLDS
from hlmat_bench.scores.registry import further
from hlmat_bench.scores.scoring import score_episodes, score_samples

if TYPE_CHECKING:
    import pandas as pd


class Run:
    """A run folder.

    Args:
        folder: where run.json and episodes.jsonl are.

    Raises:
        UsageError: when it is no run folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.manifest = manifest.read(self.folder)
        if (self.folder / EPISODES).exists():
            check_plain(self.folder / EPISODES)

    def episodes(self) -> Iterator[Episode]:
        """Return the finished episodes, in the samples' order."""
        path = self.folder / EPISODES
        return read_episodes(path) if path.exists() else iter(())

    def samples(self) -> list[EpisodeScores]:
        """Return the finished episodes in numbers, in the samples' order."""
        protocol = self.manifest["protocol"]
        return measuring.measured(self.folder, protocol["budget"], answer_rule(protocol))

    def scores(self) -> dict[str, Any]:
        """Return what scores.json holds, where it is of these episodes and unchanged; else compute it again."""
        found = sealed_scores.read(self.folder)
        return self.score() if found is None or self._lacks_scores(found) else found

    def score(self) -> dict[str, Any]:
        """Compute the scores from the episodes alone and write scores.json; add what a replay of them found."""
        protocol, found = self.manifest["protocol"], replay_result.load(self.folder)
        digest = replay_result.digest_of(self.folder)
        budget, track = protocol["budget"], protocol["track"]
        if found is None:
            scores = score_samples(self.samples(), budget=budget, track=track)
        else:  # further scores may be of the regrets, which a replay knows and measures do not
            rule = answer_rule(protocol)
            scores = score_episodes(self.episodes(), budget=budget, track=track, rule=rule, regrets=found.regrets)
            scores["replay"] = found.summary()
        sealed_scores.write(self.folder, scores, digest)
        return scores

    def _lacks_scores(self, found: Mapping[str, Any]) -> bool:
        """Tell whether a score was declared, or a threshold of NoC added, after these were computed."""
        declared = {key for key, score in further().items() if self.manifest["task"]["kind"] in score.kinds}
        thresholds = {f"{threshold:.2f}" for threshold in NOC_THRESHOLDS} if found["noc"] else set()
        return bool(declared - found.get("further", {}).keys() or thresholds - found["noc"].keys()) and found["n"] > 0

    def finished(self) -> bool:
        """Tell whether the run was played to its end and all of its episodes are there."""
        expected = self.manifest.get("samples")
        return self.manifest["finished"] is not None and expected in (None, self.scores()["n"])

    def to_dataframe(self) -> pd.DataFrame:
        """Return a table with one row per step; masks are left out."""
        import pandas as pd

        rows = (row.items() for episode in self.episodes() for row in _rows(episode))
        return pd.DataFrame(
            [{valid(name): valid(part) if isinstance(part, str) else part for name, part in row} for row in rows]
        )


def _rows(episode: Episode) -> Iterator[dict[str, Any]]:
    for step in episode.steps:
        action = step.action
        yield {
            "sample_id": episode.sample_id,
            "image_id": episode.image_id,
            "ref_id": episode.ref_id,
            "expression": episode.expression,
            "t": step.t,
            "kind": action.kind,
            "positive": action.positive,
            "x": action.x,
            "y": action.y,
            "reason": action.reason,
            "predicted_iou": action.predicted_iou,
            "iou": step.iou,
            "raw": step.raw,
            "finish": step.finish,
            "cost": step.cost,
            **{f"seconds_{part}": value for part, value in step.seconds.items()},
            **{f"tokens_{part}": value for part, value in step.tokens.items()},
            "stop": episode.stop,
        }
