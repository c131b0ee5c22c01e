"""The content of the page of one run, for its template."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.tables import TextTable
from hlmat_bench.data.tasks import load_task
from hlmat_bench.reports.pages import bibtex
from hlmat_bench.reports.pages.plots import Figure
from hlmat_bench.reports.run import figures, result, sections, views, where
from hlmat_bench.reports.run import references as found_references
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
#: Definitions of the columns of slices.
_TERMS = {
    "Never 80 %": "The share of samples that never reach an IoU of 80 % within the budget.",
    "Clicks that helped": "The share of replies, stops left out, that are correctly placed clicks and raised the IoU.",
    "Oracle": "The mIoU of the reference player that clicks the middle of the largest error, on the same samples.",
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
    if extra["refinement"] and not views.predicts(entrant):  # then it is the last mask, under another name
        extra["refinement"] = {key: value for key, value in extra["refinement"].items() if key != "self"}
    strip = result.strip(entrant)
    players_table = views.reference_rows(entrant, players) if players else None
    rated = not scored and entrant.scores.get("filtering") is not None
    keep = views.keep_rows(entrant) if rated else None
    return {
        **_figures(entrant),
        "tables": _tables(entrant, strip, parts, players_table, keep),
        "terms": _TERMS | {tile.label: tile.meaning for tile in strip},
        "citation": bibtex.benchmark(str(entrant.manifest["started"])) + _data_citation(entrant),
        "verdict": result.verdict(entrant, players),
        "manner": _manner(entrant),
        "strip": strip,
        "parts": parts,
        "chosen": where.chosen(parts),
        "overall": entrant.taken["miou"] if entrant.taken is not None else None,
        "meanings": {way.name: way.meaning for way in ways if way.meaning},
        "worst": tiles,
        "has_oracle": bool(oracle),
        "keep": keep,
        "unreadable": views.unreadable(entrant) if rated else "",
        "rules": views.rules(entrant) if scored and views.predicts(entrant) else None,
        "by_prediction": entrant.rule == "self",
        "no_target": views.no_target(entrant),
        "references": players_table,
        "ceilings_command": found_references.public_command(entrant) if scored else "",
        "clicks": sections.click_tables(entrant.scores["clicks"]) if scored else [],
        "steps": views.step_rows(entrant) if scored else [],
        "outcomes": views.outcome_rows(entrant) if scored else [],
        "cost": views.cost_rows(entrant),
        "extra": {name: sections.tables(values) for name, values in extra.items() if values},
    }


def _figures(entrant: Entrant) -> dict[str, Any]:
    """Return the plots beside the curve of quality per click, with their titles and captions, in two rows."""
    if entrant.taken is None:
        return {"beside": _rating_figures(entrant), "below": []}
    beside = [
        ("What each click did", figures.clicks(entrant), "Share of samples; each part of a bar opens its samples.")
    ]
    below = [
        ("Solved after clicks", figures.solved(entrant), "Share of samples that have reached 80, 85 and 90 % IoU."),
        ("Final IoU per sample", figures.final_ious(entrant), "Number of samples, in bins of 10 %."),
    ]
    if entrant.kind == "refinement" and (found := figures.gains(entrant)) is not None:
        below[1] = (
            "Gain by defect",
            found,
            "Mean difference of the IoU to that of the mask at the start, with its 95 % interval.",
        )
    return {"beside": beside, "below": below}


def _rating_figures(entrant: Entrant) -> list[tuple[str, Figure, str]]:
    """Return the plots of predicted IoUs; none where no prediction could be read."""
    found = entrant.scores.get("filtering")
    if found is None or not found["calibration"]:
        return []
    binned = "Mean true IoU of the masks in each bin of the predicted IoU; the numbers say how many masks."
    return [
        ("Calibration", figures.calibrated(entrant), binned),
        ("Predicted and true IoU", figures.predictions(entrant), _dots(entrant)),
    ]


def _tables(
    entrant: Entrant,
    strip: Sequence[result.Tile],
    parts: Sequence[where.Part],
    players: tuple[list[str], list[list[str]]] | None,
    keep: tuple[list[str], list[list[str]]] | None,
) -> dict[str, TextTable]:
    """Return the tables that can be taken away, by the names of their files."""
    about = f"{entrant.name} on {entrant.manifest['task']['name']}"
    found = {"result": result.row(entrant, strip)}
    if parts:
        found["slices"] = where.text_table(parts, f"Slices of {about}, the worst first")
    if players is not None:
        found["reference-players"] = TextTable(*players, texts=2, caption=f"{about} and the reference players")
    if keep is not None:
        found["filtering"] = TextTable(*keep, caption=f"Filtering by the predicted IoU of {about}")
    return found


def _data_citation(entrant: Entrant) -> str:
    """Return the BibTeX of the task's data; empty where its task file is not known by name any more."""
    with contextlib.suppress(UsageError):
        task = load_task(str(entrant.manifest["task"]["name"]))
        if found := bibtex.data(task.name, task.citation, task.homepage):
            return f"\n{found}"
    return ""


def _dots(entrant: Entrant) -> str:
    masks = entrant.scores["filtering"]["n_masks"]
    shown = "a dot for each mask" if masks <= figures.MOST_DOTS else f"a dot for some of {masks:,} masks, spread evenly"
    return f"True over predicted IoU, {shown}; predictions that could not be read are left out."


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
