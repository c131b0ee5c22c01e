"""Write a diagnosis in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hlmat_bench.points import PointFormat
from hlmat_bench.runs.probe.diagnosis import Diagnosis, ProbeAnswer, Spot
from hlmat_bench.runs.probe.fitting import NEAR, Hypothesis
from hlmat_bench.runs.probe.hypotheses import SENT, Convention
from hlmat_bench.runs.probe.numbers import BARE

_MOST_NAMED = 3
_ROUGH = 0.025


def sentences(diagnosis: Diagnosis, answers: Sequence[ProbeAnswer], declared: PointFormat) -> list[str]:
    """Return the verdict, then its evidence, then what to declare, then what is missing."""
    lines = {
        "fits": _fits,
        "mistaken": _mistaken,
        "unclear": _unclear,
        "blind": _blind,
        "silent": _silent,
    }[diagnosis.status](diagnosis, answers, declared)
    return lines + _missing(diagnosis, answers)


def _fits(diagnosis: Diagnosis, answers: Sequence[ProbeAnswer], declared: PointFormat) -> list[str]:
    share, error = _median_error(diagnosis.declared_spots, answers)
    lines = [f"The declared format fits: the median error is {error}."]
    if share > _ROUGH:
        lines.append("But the model points only roughly.")
    return lines + _alike(diagnosis, Convention.declared(declared))


def _mistaken(diagnosis: Diagnosis, answers: Sequence[ProbeAnswer], declared: PointFormat) -> list[str]:
    found, convention = diagnosis.found, Convention.declared(declared)
    assert found is not None
    lines = []
    if "order" in diagnosis.mistakes:
        first = found.convention.order[0]
        lines.append(
            f"The axes are swapped: the model writes {first} first, where {convention.order[0]} is declared first."
        )
    if "unit" in diagnosis.mistakes:
        lines.append(f"The numbers are {_unit(found.convention)}, not {_unit(convention)} as declared.")
    if "canvas" in diagnosis.mistakes:
        lines.append(f"The numbers are measured on {found.convention.canvas}; declared is {SENT}.")
    if "scale" in diagnosis.mistakes:
        lines.append(_scale(found, convention))
    if found.offset is not None:
        lines.append(f"There is an offset: all answers are off by {found.offset}, where right and down are positive.")
    if "syntax" in diagnosis.mistakes:
        lines += _syntax(diagnosis, answers, declared)
    best, now = (_median_error(spots, answers)[1] for spots in (diagnosis.found_spots, diagnosis.declared_spots))
    only_syntax = set(diagnosis.mistakes) == {"syntax"}
    lines.append(
        f"Their numbers fit: the median error is {now}."
        if only_syntax
        else f"Read so, the median error is {best}; as declared, it is {now}."
    )
    lines += _alike(diagnosis, found.convention) if found.factors is None else []
    return [*lines, f"Declare {diagnosis.declare}."] if diagnosis.declare else lines


def _unclear(diagnosis: Diagnosis, answers: Sequence[ProbeAnswer], declared: PointFormat) -> list[str]:
    assert diagnosis.found is not None
    spots, explained = diagnosis.found_spots, 0
    for spot, answer in zip(spots, answers, strict=True):
        explained += spot is not None and _share(spot, answer) <= NEAR
    return [
        "The convention is unknown: the answers depend on the markers, but no convention puts half of them within "
        f"{NEAR * 100:.0f} % of the diagonal.",
        f"The nearest is {diagnosis.found.convention}: it explains {explained} of "
        f"{len(spots) - spots.count(None)} answers, and its median error is {_median_error(spots, answers)[1]}.",
    ]


def _blind(diagnosis: Diagnosis, answers: Sequence[ProbeAnswer], declared: PointFormat) -> list[str]:
    lines = ["This model can't point: its answers don't depend on where the marker is."]
    pairs = [(one.first, one.second) for one in diagnosis.pairs if one is not None]
    common = max(set(pairs), key=lambda pair: (pairs.count(pair), pair))
    if pairs.count(common) * 2 > len(pairs):
        lines.append(f"It wrote ({common[0]:g}, {common[1]:g}) {pairs.count(common)} times of {len(pairs)}.")
    return lines


def _silent(diagnosis: Diagnosis, answers: Sequence[ProbeAnswer], declared: PointFormat) -> list[str]:
    if all(answer.reply is None for answer in answers):
        return ["The convention is unknown: no request was answered."]
    return ["The convention is unknown: too few replies contain two numbers."]


def _missing(diagnosis: Diagnosis, answers: Sequence[ProbeAnswer]) -> list[str]:
    failed = sum(answer.reply is None for answer in answers)
    numberless = sum(one is None for one in diagnosis.pairs) - failed
    lines = [f"{failed} of {len(answers)} requests failed."] if failed else []
    if numberless:
        lines.append(
            f"{numberless} of {len(answers)} replies do not contain two numbers, for example "
            f"{_example(answers, diagnosis)}."
        )
    return lines


def _syntax(diagnosis: Diagnosis, answers: Sequence[ProbeAnswer], declared: PointFormat) -> list[str]:
    followed = f"{diagnosis.followed * 100:.0f} % of the replies"
    share = f"The format is not followed: the syntax {declared.syntax} reads {followed}"
    example = next(
        a.reply for a, one in zip(answers, diagnosis.pairs, strict=True) if one and one.syntax == diagnosis.syntax
    )
    shown = _quoted(example or "")
    if diagnosis.syntax == BARE:
        return [f"{share}; their numbers are in no known syntax, for example {shown}."]
    if diagnosis.syntax == declared.syntax:
        return [f"{share}, because they do not say which sign the point has, for example {shown}."]
    return [f"{share}; they are written in the syntax {diagnosis.syntax}, for example {shown}."]


def _scale(found: Hypothesis, declared: Convention) -> str:
    assert found.factors is not None
    x, y = found.factors
    other_edge = " A negative factor means that the axis is counted from the other edge." if min(x, y) < 0 else ""
    if found.convention.limit is None:
        return f"The scale is wrong: the numbers are the pixels of {SENT} times {_factors(x, y)}.{other_edge}"
    line = f"The scale is wrong: the numbers go up to {x:.4g} in x and to {y:.4g} in y"
    if declared.limit is None:
        return f"{line}; they are not pixels, as declared."
    factors = _factors(x / declared.limit, y / declared.limit)
    return f"{line}, not to {declared.limit:g} as declared: a factor of {factors}.{other_edge}"


def _factors(x: float, y: float) -> str:
    if abs(x - y) <= 0.02 * abs(x):
        return f"{(x + y) / 2:.3g} in both axes"
    return f"{x:.3g} in x and {y:.3g} in y"


def _alike(diagnosis: Diagnosis, chosen: Convention) -> list[str]:
    """Return sentences on conventions that cannot be distinguished: those that differ in their unit first."""
    units = [r.unit for r in diagnosis.alike if (r.order, r.canvas) == (chosen.order, chosen.canvas)]
    others = [str(r) for r in diagnosis.alike if (r.order, r.canvas) != (chosen.order, chosen.canvas)]
    lines = []
    if units:
        ranges = sorted([chosen.unit, *units], key=lambda unit: (len(unit), unit))
        lines.append(f"{_and(ranges)} can't be told apart at this scatter.")
    if others:
        more = len(others) - _MOST_NAMED
        shown = "; ".join(others[:_MOST_NAMED]) + (f"; {more} more" if more > 0 else "")
        lines.append(f"Nor can this be told apart from: {shown}.")
    return lines


def _median_error(spots: Sequence[Spot | None], answers: Sequence[ProbeAnswer]) -> tuple[float, str]:
    """Return the median error in diagonals, and in words."""
    pairs = [(spot, answer) for spot, answer in zip(spots, answers, strict=True) if spot is not None]
    share = float(np.median([_share(spot, answer) for spot, answer in pairs]))
    pixels = float(np.median([math.dist(spot, answer.target) for spot, answer in pairs]))
    return share, f"{pixels:.1f} pixels ({share * 100:.2g} % of the diagonal)"


def _share(spot: Spot, answer: ProbeAnswer) -> float:
    """Return the distance of a spot from the target, in diagonals."""
    return math.dist(spot, answer.target) / math.hypot(*answer.size)


def _unit(convention: Convention) -> str:
    return "pixels" if convention.limit is None else f"of the range {convention.unit}"


def _and(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _example(answers: Sequence[ProbeAnswer], diagnosis: Diagnosis) -> str:
    return next(
        _quoted(answer.reply)
        for answer, one in zip(answers, diagnosis.pairs, strict=True)
        if one is None and answer.reply is not None
    )


def _quoted(reply: str, longest: int = 80) -> str:
    text = " ".join(reply.split())
    return repr(text if len(text) <= longest else f"{text[:longest]}...")
