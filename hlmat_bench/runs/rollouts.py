"""The strategy ``improve=RUN[,round=N]``: trajectories from what a model did in an earlier run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hlmat_bench.clicks import Click
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Sample
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.annotator import improve
from hlmat_bench.protocol.loop import Play
from hlmat_bench.protocol.records import EPISODES, read_episodes
from hlmat_bench.protocol.settings import NEEDS, digest
from hlmat_bench.protocol.strategies import Strategy

IMPROVE = "improve"


def clicks_of(folder: Path) -> dict[str, list[Click]]:
    """Return the clicks of each episode of a run, by sample; episodes that failed are left out.

    Raises:
        UsageError: when the folder holds no run.
    """
    path = folder / EPISODES
    return {
        episode.sample_id: [step.action.click for step in episode.steps if step.action.kind == "click"]
        for episode in (read_episodes(path) if path.exists() else ())
        if episode.error is None
    }


def improving(given: str, played: Sequence[Sample]) -> tuple[Strategy, Mapping[str, Any]]:
    """Return the strategy that improves the trajectories of a run, and what a manifest says of that run.

    Args:
        given: the run's folder, and ``,round=N`` where it is not the first round of improvement.
        played: the samples to improve.

    Raises:
        UsageError: when the run is not there, or has no episode of a sample.
    """
    place, _, number = given.partition(",round=")
    if number and not number.isdecimal():
        raise UsageError(f"The round of {IMPROVE}={given} should be a number.")
    folder = Path(place)
    document, clicks = manifest.read(folder), clicks_of(folder)
    lost = [sample.id for sample in played if sample.id not in clicks]
    if lost:
        raise UsageError(
            f"The run {folder} has no episode for {len(lost)} of {len(played)} samples, {lost[0]} among them; play it "
            "to its end, or improve fewer with --limit."
        )

    async def improve_one(play: Play) -> str:
        return await improve(play, clicks[play.state.sample.id])

    name = f"{IMPROVE}=sha256:{digest(sorted(clicks.items()))}"
    about = {key: document[key] for key in ("model", "protocol_fingerprint", "seed")}
    return Strategy(improve_one, NEEDS[IMPROVE], name), {**about, "round": int(number or 1)}
