"""The content of the page of one run, for its template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hlmat_bench.reports.run import references as found_references
from hlmat_bench.reports.run import result, sections, views, where
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.reports.run.references import Reference
from hlmat_bench.reports.run.worst import Tile
from hlmat_bench.scores.episode_scores import EpisodeScores
from hlmat_bench.scores.slices import Slicing

#: How a run was played, in the words of pages.
_TRACKS = {"point": "clicks only", "box+point": "clicks and boxes"}
_STRATEGIES = {
    "greedy": "one reply per step",
    "prm": "stops when the predicted IoU no longer rises",
    "tree": "tries several candidates at each step",
    "box-only": "one box, no clicks",
    "predict": "predicts the IoU of given masks",
}
_STARTS = {"empty": "starts without a mask", "generated": "starts from the task's masks"}


def content(
    entrant: Entrant, players: Sequence[Reference], ways: Sequence[Slicing], tiles: Sequence[Tile]
) -> dict[str, Any]:
    """Return the variables of run.html.j2, besides those that all reports have."""
    scored = entrant.taken is not None
    oracle: Mapping[str, EpisodeScores] = next((one.samples for one in players if one.name == "oracle"), {})
    parts = where.parts(entrant, ways, oracle) if scored else []
    extra = {name: entrant.scores.get(name) for name in ("refinement", "search")}
    return {
        "verdict": result.verdict(entrant, players),
        "manner": _manner(entrant),
        "strip": result.strip(entrant),
        "parts": parts,
        "chosen": where.chosen(parts),
        "overall": entrant.taken["miou"] if entrant.taken is not None else None,
        "meanings": {way.name: way.meaning for way in ways if way.meaning},
        "worst": tiles,
        "rules": views.rules(entrant) if scored and views.predicts(entrant) else None,
        "no_target": views.no_target(entrant),
        "references": views.reference_rows(entrant, players) if players else None,
        "ceilings_command": found_references.public_command(entrant) if scored else "",
        "clicks": sections.click_tables(entrant.scores["clicks"]) if scored else [],
        "steps": views.step_rows(entrant) if scored else [],
        "outcomes": views.outcome_rows(entrant) if scored else [],
        "cost": views.cost_rows(entrant),
        "extra": {name: sections.tables(values) for name, values in extra.items() if values},
    }


def _manner(entrant: Entrant) -> list[str]:
    """Say how the run was played: which actions, how they are chosen, and how episodes begin."""
    protocol = entrant.manifest["protocol"]
    strategy, start = str(protocol["strategy"]), str(protocol["initial"])
    if entrant.taken is None:
        return [_STRATEGIES["predict"]]
    return [
        _TRACKS.get(protocol["track"], str(protocol["track"])),
        _STRATEGIES.get(strategy, f"strategy {strategy}"),
        _STARTS.get(start, f"starts from {start}"),
    ]
