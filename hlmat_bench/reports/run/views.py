"""What the page of one run shows: its numbers as rows and plots for the templates."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from hlmat_bench.core.text import clean
from hlmat_bench.reports.pages.plots import Bar, Figure, Series, bars, lines
from hlmat_bench.reports.pages.templates import number, percent
from hlmat_bench.reports.run.definitions import RULES
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.reports.run.references import Reference
from hlmat_bench.scores.failures import left_out_words, remarks
from hlmat_bench.scores.intervals import interval_key
from hlmat_bench.scores.outcomes import NO_TARGET_OUTCOMES, OUTCOMES, STEPS
from hlmat_bench.scores.registry import NO_TARGET, Score, columns
from hlmat_bench.scores.slices import THRESHOLD, Slicing, slice_scores


def about(entrant: Entrant) -> dict[str, Any]:
    """Return what a run is, for headings and the section on how to repeat it."""
    manifest = entrant.manifest
    return {
        "name": entrant.name,
        "task": clean(manifest["task"]["name"]),
        "kind": entrant.kind,
        "segmenter": clean(manifest["segmenter"]["name"]),
        "track": manifest["protocol"]["track"],
        "strategy": manifest["protocol"]["strategy"],
        "initial": manifest["protocol"]["initial"],
        "budget": entrant.budget,
        "points": manifest["points"]["name"],
        "seed": manifest["seed"],
        "started": manifest["started"],
        "fingerprint": manifest["protocol_fingerprint"],
        "digest": manifest["task"]["digest"],
        "command": " ".join(_quoted(word) for word in manifest["argv"]),
        "manifest": manifest,
        "scores": entrant.scores,
        "remarks": _remarks(entrant),
    }


def _remarks(entrant: Entrant) -> list[str]:
    """Say what a reader must know besides the scores: whether episodes are missing, failed or left out."""
    expected, n = entrant.manifest.get("samples") or entrant.scores["n"], entrant.scores["n"]
    said = []
    if entrant.manifest["finished"] is None or expected != n:
        said.append(
            f"This run is not finished: {n:,} of {expected:,} episodes are here. The same command continues it."
        )
    left_out = left_out_words(entrant.manifest)
    if left_out:
        said.append(f"Samples that were left out: {left_out}.")
    return [*said, *(clean(remark, 600) for remark in remarks(entrant.scores, entrant.manifest))]


def tiles(entrant: Entrant) -> list[tuple[str, str, str]]:
    """Return the headline numbers: (label, value, what stands below it)."""
    return [_tile(entrant, score) for score in columns("report", entrant.kind, [entrant.scores])]


def _tile(entrant: Entrant, score: Score) -> tuple[str, str, str]:
    found, missed = entrant.read(score), score.missed(entrant.scores)
    if found is None:
        return score.title, number(None), score.note
    below = [_between(found.interval, score.digits) if found.interval else score.note]
    if missed is not None:
        below.append(f"{missed:,} of {entrant.scores['n']:,} missed")
    return score.title, number(found.value, score.digits), "; ".join(below)


def rules(entrant: Entrant) -> tuple[list[str], list[list[str]]]:
    """Return the table of the selection rules: headers and rows; the one that the run is scored by is marked."""
    found = {rule: entrant.scores["selection"][rule] for rule in RULES}
    thresholds = list(next(iter(found.values()))["precision"])
    headers = ["", "mIoU", "cIoU", "Boundary IoU", *(f"IoU ≥ {q}" for q in thresholds)]
    rows = [
        [
            RULES[rule] + (", scored" if rule == entrant.rule else ""),
            with_range(each["miou"], each["miou_ci"], 3),
            with_range(each["ciou"], each["ciou_ci"], 3),
            number(each["biou"]),
            *(percent(each["precision"][q]) for q in thresholds),
        ]
        for rule, each in found.items()
    ]
    return headers, rows


def no_target(entrant: Entrant) -> dict[str, Any] | None:
    """Return the scores of samples without target: counts, headers and rows; None where every sample has one."""
    found = entrant.scores.get("no_target")
    if found is None:
        return None
    rows = []
    for rule, name in RULES.items():
        cells = [(score.read(entrant.scores, rule), score.digits) for score in NO_TARGET]
        shown = [
            number(None) if cell is None else with_range(cell.value, cell.interval, digits) for cell, digits in cells
        ]
        rows.append([name + (", scored" if rule == entrant.rule else ""), *shown])
    return {
        "n": found["n"],
        "targets": found["targets"],
        "headers": ["", *(each.title for each in NO_TARGET)],
        "rows": rows,
    }


def curve(entrants: Sequence[Entrant], references: Sequence[Reference]) -> Figure | None:
    """Plot mIoU after each click, with intervals, ceilings and floors; None where no masks are scored."""
    if any(entrant.taken is None for entrant in entrants):
        return None
    own = [
        Series(
            entrant.name,
            [point["miou"] for point in entrant.scores["curve"]],
            f"s{min(n, 4)}",
            [point["miou_ci"][0] for point in entrant.scores["curve"]],
            [point["miou_ci"][1] for point in entrant.scores["curve"]],
        )
        for n, entrant in enumerate(entrants)
    ]
    others = [Series(reference.name, reference.curve, reference.kind) for reference in references]
    title = "mIoU after each click, of " + ", ".join(line.name for line in own + others)
    return lines(own + others, title=title, x="clicks", y="mIoU")


def clicks_to(entrant: Entrant, threshold: str) -> Figure:
    """Plot how many samples reach an IoU at which click; misses stand apart, as they are censored."""
    counts = Counter(sample.reached[threshold] for sample in entrant.samples)
    groups = [Bar(str(t), counts[t]) for t in range(1, entrant.budget + 1)]
    missed = Bar(f">{entrant.budget}", counts[None], "censored")
    title = f"Samples by the click that reaches an IoU of {threshold}; {counts[None]} never do"
    return bars([*groups, missed], title=title, x=f"clicks to IoU {threshold}", y="samples")


def final_ious(entrant: Entrant) -> Figure:
    """Plot the final IoUs in tenths."""
    counts, _ = np.histogram([sample.score for sample in entrant.samples], bins=10, range=(0, 1))
    groups = [Bar(f".{n}", float(count)) for n, count in enumerate(counts)]
    return bars(groups, title="Samples by final IoU, in tenths", x="final IoU, from", y="samples")


def reference_rows(entrant: Entrant, references: Sequence[Reference]) -> tuple[list[str], list[list[str]]]:
    """Return the run among its ceilings and floors: headers and rows."""
    taken, noc = entrant.taken or {}, entrant.scores["noc"]
    accuracies = [score.title for score in columns("report", entrant.kind, [entrant.scores]) if score.optional]
    said = (entrant.scores.get("no_target") or {}).get(entrant.rule, {})
    own = [entrant.name, "this run", taken["miou"], taken["ciou"], noc["0.80"]["mean"], noc["0.85"]["mean"]]
    own += [said["n_acc"], said["t_acc"]] if said else []
    others = [[r.name, r.kind, r.miou, r.ciou, r.noc["0.80"], r.noc["0.85"], *(r.accuracies or ())] for r in references]
    ordered = sorted([own, *others], key=lambda row: -row[2])
    digits = (3, 3, 2, 2, 3, 3)
    rows = [[*row[:2], *(number(each, n) for each, n in zip(row[2:], digits, strict=False))] for row in ordered]
    return ["player", "", "mIoU", "cIoU", "NoC@80", "NoC@85", *accuracies], rows


def step_rows(entrant: Entrant) -> list[tuple[str, str, str, str]]:
    """Return what the steps were: (kind, count, share, meaning)."""
    counts = Counter(kind for sample in entrant.samples for kind in sample.kinds if kind)
    total = counts.total() or 1
    return [(name, f"{counts[name]:,}", percent(counts[name] / total), text) for name, text in STEPS.items()]


def outcome_rows(entrant: Entrant) -> list[tuple[str, str, str, str]]:
    """Return what the episodes came to: (outcome, count, share, meaning)."""
    counts = Counter(sample.outcome for sample in entrant.samples)
    total, known = len(entrant.samples), OUTCOMES | NO_TARGET_OUTCOMES
    return [(n, f"{counts[n]:,}", percent(counts[n] / total), text) for n, text in known.items() if counts[n]]


def slice_tables(entrant: Entrant, slicings: Sequence[Slicing]) -> list[dict[str, Any]]:
    """Return a table of scores for each slicing."""
    return [
        {
            "name": way.name,
            "meaning": way.meaning,
            "headers": [way.name, "samples", "mIoU", "cIoU", "NoC@85"],
            "rows": [_slice_row(entrant, way, code) for code in range(len(way.values))],
        }
        for way in slicings
    ]


def cost_rows(entrant: Entrant) -> list[tuple[str, str]]:
    """Return what the run cost, in all and per sample."""
    cost, n = entrant.scores["cost"], entrant.scores["n"]
    rows = [
        ("Prompt tokens", f"{cost['tokens_in']:,} ({cost['tokens_in'] / n:,.0f} per sample)"),
        ("Reply tokens", f"{cost['tokens_out']:,} ({cost['tokens_out'] / n:,.0f} per sample)"),
        ("Time of model, segmenter and harness", f"{cost['seconds']:,.0f} s ({cost['seconds'] / n:,.2f} s per sample)"),
    ]
    dollars = cost.get("dollars")
    shown = "unknown" if dollars is None else f"{dollars:,.2f} US dollars ({dollars / n:,.4f} per sample)"
    return [*rows, ("Price", shown)]


def with_range(value: float, ends: Sequence[float] | None, digits: int) -> str:
    """Return ``0.712 [0.684, 0.741]``; without brackets where there is no interval."""
    if ends is None:
        return number(value, digits)
    return f"{number(value, digits)} [{number(ends[0], digits)}, {number(ends[1], digits)}]"


def _slice_row(entrant: Entrant, way: Slicing, code: int) -> list[str]:
    chosen = [entrant.samples[n] for n in way.members(code)]
    found = slice_scores(chosen, entrant.budget, entrant.rule)
    several = len({sample.image_id for sample in chosen}) > 1  # of a single image an interval says nothing
    shown = [("miou", found, 3), ("ciou", found, 3), ("mean", found["noc"][THRESHOLD], 2)]
    cells = [with_range(part[key], part[interval_key(key)] if several else None, digits) for key, part, digits in shown]
    return [way.values[code], f"{found['n']:,}", *cells]


def _quoted(word: str) -> str:
    """Quote a word of a command line; where a path was cut, it needs no quotes."""
    return word if re.fullmatch(r"[\w@%+=:,./~…-]+", word) else shlex.quote(word)


def _between(ends: Sequence[float], digits: int) -> str:
    return f"{number(ends[0], digits)} to {number(ends[1], digits)}"
