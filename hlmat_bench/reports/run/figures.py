"""The plots of the page of a run."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

import numpy as np

from hlmat_bench.core.text import clean
from hlmat_bench.reports.pages.plots import (
    Bar,
    Dot,
    Estimate,
    Figure,
    Segment,
    Series,
    bars,
    calibration,
    cumulative,
    forest,
    lines,
    percent_axis,
    scatter,
    stacked,
)
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.reports.run.references import Reference
from hlmat_bench.reports.run.steps import KINDS, counts, hue_of
from hlmat_bench.reports.run.where import clicks_to

#: The most dots of a scatter plot.
MOST_DOTS = 600


def curve(entrants: Sequence[Entrant], references: Sequence[Reference]) -> Figure | None:
    """Plot mIoU after each click, with intervals, ceilings and floors; None where no masks are scored.

    The curve is of the last mask. Where another mask is scored, its mIoU is a point of its own, named as such.
    """
    if any(entrant.taken is None for entrant in entrants):
        return None
    own = [
        line
        for n, entrant in enumerate(entrants)
        for line in _curves(entrant, f"s{min(n, 4)}", alone=len(entrants) == 1)
    ]
    others = [Series(reference.name, reference.curve, reference.kind) for reference in references]
    title = "mIoU after each click, of " + ", ".join(line.name for line in own + others)
    return lines(own + others, title=title, x="clicks", y="mIoU", name="quality-per-click")


def _curves(entrant: Entrant, hue: str, *, alone: bool) -> list[Series]:
    found = entrant.scores["curve"]
    last = Series(
        "last mask" if alone and scores_another(entrant) else entrant.name,
        [point["miou"] for point in found],
        hue,
        [point["miou_ci"][0] for point in found],
        [point["miou_ci"][1] for point in found],
    )
    if not scores_another(entrant) or not alone:
        return [last]
    assert entrant.taken is not None
    scored = Series("scored mask", [*[None] * (len(found) - 1), entrant.taken["miou"]], "s1")
    return [last, scored]


def scores_another(entrant: Entrant) -> bool:
    """Tell whether the run is scored by another mask than the last one."""
    return entrant.rule != "final"


def clicks(entrant: Entrant) -> Figure:
    """Plot what each click did; every part of a bar leads to its samples."""
    columns = [
        (
            str(t),
            [Segment(hue_of(name), name, found[name], "#" + urlencode({"kind": name, "click": t})) for name in KINDS],
        )
        for t, found in enumerate(counts(entrant), 1)
    ]
    title = f"What each click of {entrant.name} did"
    return stacked(columns, len(entrant.samples), title=title, x="click", y="samples", name="what-each-click-did")


def solved(entrant: Entrant) -> Figure:
    """Plot the share of samples that have reached 80, 85 and 90 % IoU after each click."""
    reached = {
        f"{threshold[2:]} %": [clicks_to(sample, threshold, entrant.kind) for sample in entrant.samples]
        for threshold in ("0.80", "0.85", "0.90")
    }
    title = "Share of samples that have reached 80, 85 and 90 % IoU after each click"
    return cumulative(reached, entrant.budget, title=title, name="solved-after-clicks")


def final_ious(entrant: Entrant) -> Figure:
    """Plot the IoUs of the scored masks in bins of 10 %."""
    found, _ = np.histogram([sample.score for sample in entrant.samples], bins=10, range=(0, 1))
    groups = [Bar(str(10 * n), float(count)) for n, count in enumerate(found)]
    return bars(
        groups, title="Samples by final IoU, in bins of 10 %", x="final IoU (%), from", y="samples", name="final-iou"
    )


def gains(entrant: Entrant) -> Figure | None:
    """Plot the gain over the masks at the start by the defect of those masks; None where they have no defects."""
    parts = (entrant.scores.get("refinement") or {}).get("by_defect", {})
    rows = [
        Estimate(clean(name.replace("_", " "), 40), part[entrant.rule]["gain"], *(part[entrant.rule]["gain_ci"]))
        for name, part in parts.items()
    ]
    if not rows:
        return None
    return forest(rows, title="Gain by defect of the mask at the start", x="gain", name="gain-by-defect")


def calibrated(entrant: Entrant) -> Figure:
    """Plot the true IoU over the predicted one, in bins of the predictions, with how many there are."""
    bins = [(one["predicted"], one["true"], one["n"]) for one in entrant.scores["filtering"]["calibration"]]
    return calibration(bins, title="Mean true IoU by predicted IoU, in bins", name="calibration")


def predictions(entrant: Entrant) -> Figure:
    """Plot the true IoU of each mask over the predicted one; of very many masks, some that are spread evenly."""
    pairs = [
        (said, float(sample.iou[t]))
        for sample in entrant.samples
        for t, said in enumerate(sample.predicted, 1)
        if said is not None
    ]
    step = -(-len(pairs) // MOST_DOTS) or 1
    dots = [
        Dot("", 100 * said, true, title=f"predicted {100 * said:.0f}, true {100 * true:.0f}")
        for said, true in pairs[::step]
    ]
    title = "True IoU over predicted IoU, a dot for each mask"
    return scatter(
        dots, title=title, x=percent_axis("predicted IoU"), y="true IoU", diagonal="right", name="predictions"
    )
