"""The first things that the page of a run says: the result in one sentence, and its other numbers in one strip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hlmat_bench.core.tables import TextTable
from hlmat_bench.core.text import clean
from hlmat_bench.protocol.reference import REFERENCES
from hlmat_bench.reports.pages.templates import in_percent, number, percent
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.reports.run.references import Reference
from hlmat_bench.scores.paired import INTERVAL_IMAGES
from hlmat_bench.scores.registry import Score, columns

#: Reference policies without sight with their names in sentences, in the order in which one is chosen as the floor.
FLOORS = {"center": "blind clicks on the centre", "random": "random clicks", "empty": "no click at all"}
#: Titles of numbers that alone would not say what they are.
_TITLES = {"refinement.gain": "Gain (points)", "refinement.worsened": "Samples made worse (%)"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result in a sentence: ``**mIoU 68.8** [61.5, 75.6], 80 % of the way ...``.

    Attributes:
        value: the score, e.g. ``mIoU 68.8``.
        interval: its 95 % interval, e.g. ``[61.5, 75.6]``; empty where there is none.
        rest: what follows, with its punctuation.
    """

    value: str
    interval: str
    rest: str

    def __str__(self) -> str:
        return f"{self.value} {self.interval}".rstrip() + self.rest


class Tile(NamedTuple):
    """A number of the strip: what it is, its value, what stands below it, and its definition."""

    label: str
    value: str
    below: str
    meaning: str


def brackets(ends: Sequence[float] | None, images: int, *, scale: float = 100, digits: int = 1) -> str:
    """Write a 95 % interval as ``[61.5, 75.6]``; nothing where there is none, or only one image."""
    if ends is None or images < INTERVAL_IMAGES:
        return ""
    return f"[{number(scale * ends[0], digits)}, {number(scale * ends[1], digits)}]"


def verdict(entrant: Entrant, players: Sequence[Reference]) -> Verdict:
    """Say what was found."""
    if entrant.taken is None:
        return _rated(entrant.scores)
    return _refined(entrant, players) if _begins_with_masks(entrant) else _segmented(entrant, players)


def _segmented(entrant: Entrant, players: Sequence[Reference]) -> Verdict:
    assert entrant.taken is not None
    rest = [*_place(entrant, entrant.taken["miou"], players)]
    return Verdict(
        f"mIoU {in_percent(entrant.taken['miou'])}",
        brackets(entrant.taken["miou_ci"], entrant.scores["n_images"]),
        "".join(f", {each}" for each in rest) + f". {_never(entrant)}",
    )


def _refined(entrant: Entrant, players: Sequence[Reference]) -> Verdict:
    found, n, images = entrant.scores["refinement"], entrant.scores["n"], entrant.scores["n_images"]
    own = found[entrant.rule]
    gain = own["gain"]
    change = f"{number(abs(100 * gain), 1)} points {'better' if gain >= 0 else 'worse'} than the masks at the start"
    worse = f"{round(own['worsened'] * n):,} of {n:,} samples got worse"
    rest = [f"{change} ({in_percent(found['initial_miou'])})", *_place(entrant, own["miou"], players)]
    text = "".join(f", {each}" for each in rest)
    return Verdict(
        f"mIoU {in_percent(own['miou'])}",
        brackets(own["miou_ci"], images),
        f"{text}. {worse}; {_never(entrant, False)}",
    )


def _rated(scores: Mapping[str, Any]) -> Verdict:
    found, images = scores.get("filtering"), scores["n_images"]
    if found is None:
        return Verdict("No mask was rated", "", f": none of {scores['n']:,} samples has a reply about its masks.")
    base = found["baseline"]
    gap = found["mae"] - base["mae"]
    judged = "worse" if gap < 0 else "better" if gap > 0 else "the same"
    compared = f"always predicting {in_percent(base['predicted'])} would be off by {number(base['mae'], 1)} points"
    rest = f" on average, over {found['n_masks']:,} masks; {compared}, which is {judged}."
    return Verdict(
        f"The predicted IoU is off by {number(found['mae'], 1)} points",
        brackets(found["mae_ci"], images, scale=1),
        rest,
    )


def _place(entrant: Entrant, miou: float, players: Sequence[Reference]) -> Iterator[str]:
    """Say where a score lies between a floor and the oracle."""
    by_name = {player.name: player for player in players}
    floor = next((by_name[name] for name in FLOORS if name in by_name), None)
    oracle = by_name.get("oracle")
    if floor is None or oracle is None or is_reference(entrant) or oracle.miou <= floor.miou:
        return
    ends = f"{FLOORS[floor.name]} ({in_percent(floor.miou)})", f"the oracle ({in_percent(oracle.miou)})"
    share = (miou - floor.miou) / (oracle.miou - floor.miou)
    if share < 0:
        yield f"below {ends[0]}; {ends[1]} shows what the segmenter can do"
    else:
        yield f"{round(100 * share)} % of the way from {ends[0]} to {ends[1]}"


def is_reference(entrant: Entrant) -> bool:
    """Tell whether the run is of a reference policy."""
    model = entrant.manifest["model"]
    return model.get("kind") == "reference" and model["name"] in REFERENCES


def _begins_with_masks(entrant: Entrant) -> bool:
    return entrant.kind == "refinement" and entrant.scores.get("refinement") is not None


def noc_of(entrant: Entrant, threshold: str) -> Mapping[str, Any]:
    """Return the clicks to an IoU; where episodes begin with a mask of a refinement task, 0 clicks may be enough."""
    section = entrant.scores["refinement"] if _begins_with_masks(entrant) else entrant.scores
    found: Mapping[str, Any] = section["noc"][threshold]
    return found


def _never(entrant: Entrant, sentence: bool = True) -> str:
    failed, n = noc_of(entrant, "0.80")["failed"], entrant.scores["n"]
    if not failed:
        return (
            f"{'All' if sentence else 'all'} {n:,} samples reach 80 % IoU." if n > 1 else "The sample reaches 80 % IoU."
        )
    return f"{failed:,} of {n:,} samples never {'reaches' if n == 1 else 'reach'} 80 % IoU."


def strip(entrant: Entrant) -> list[Tile]:
    """Return the numbers of the strip below the plots."""
    made = [_tile(entrant, score) for score in columns("report", entrant.kind, [entrant.scores])]
    if entrant.taken is None and entrant.scores.get("filtering") is not None:
        base = entrant.scores["filtering"]["baseline"]
        made[0] = made[0]._replace(
            label="MAE (points)", below=f"{made[0].below} · a constant: {number(base['mae'], 2)}"
        )
        made[1] = made[1]._replace(
            label="MSE (points²)", below=f"{made[1].below} · a constant: {number(base['mse'], 2)}"
        )
    return [tile for tile in (*made, _first_click(entrant), _cost(entrant)) if tile is not None]


def _tile(entrant: Entrant, score: Score) -> Tile:
    found, missed, n = entrant.read(score), score.missed(entrant.scores), entrant.scores["n"]
    title = _TITLES.get(score.key, score.title)
    if missed is not None:
        title = f"Clicks to {score.path[-2][2:]} %"
    if found is None:
        return Tile(title, number(None), score.note, score.definition)
    share = score.unit == "share"
    value = in_percent(found.value) if share else number(found.value, score.digits)
    digits = 1 if share else score.digits
    ends = brackets(found.interval, entrant.scores["n_images"], scale=100 if share else 1, digits=digits)
    said = [ends or score.note, f"{missed:,} of {n:,} never" if missed is not None else ""]
    return Tile(title, value, " · ".join(each for each in said if each), score.definition)


def _first_click(entrant: Entrant) -> Tile | None:
    share = entrant.scores["clicks"].get("first_click_inside")
    if share is None or _begins_with_masks(entrant):
        return None
    targets = sum(sample.target > 0 for sample in entrant.samples)
    meaning = "The share of samples whose first action is a positive click inside the object."
    return Tile("First click on object", percent(share), f"{round(share * targets):,} of {targets:,}", meaning)


def _cost(entrant: Entrant) -> Tile | None:
    cost, n = entrant.scores["cost"], entrant.scores["n"]
    if is_reference(entrant):
        return None
    meaning = "What the model's replies cost, of an API or at the catalogue's prices, for 1,000 samples."
    if cost.get("dollars") is None:
        tokens = (cost["tokens_in"] + cost["tokens_out"]) / n
        if not tokens:
            meaning = "Time of the model, the segmenter and the loop together."
            return Tile("Time", f"{cost['seconds'] / n:,.1f} s", "per sample", meaning)
        return Tile("Tokens", f"{tokens:,.0f}", "per sample, read and written", "Tokens of the prompts and replies.")
    return Tile("Cost", f"${1000 * cost['dollars'] / n:,.2f}", "per 1,000 samples", meaning)


def row(entrant: Entrant, tiles: Sequence[Tile]) -> TextTable:
    """Return the result as a table of one row: the model, its score with the interval, and the strip's numbers."""
    task = clean(str(entrant.manifest["task"]["name"]))
    found = [] if entrant.taken is None else [("mIoU (%)", in_percent(entrant.taken["miou"]))]
    if entrant.taken is not None:
        ends = entrant.taken["miou_ci"] if entrant.scores["n_images"] >= INTERVAL_IMAGES else None
        found += [("low", in_percent(ends[0] if ends else None)), ("high", in_percent(ends[1] if ends else None))]
    cells = [("Model", entrant.name), *found, *((tile.label, tile.value) for tile in tiles)]
    caption = f"{entrant.name} on {task}, {entrant.scores['n']:,} samples; low and high are the 95 % interval"
    return TextTable([name for name, _ in cells], [[value for _, value in cells]], caption=caption)
