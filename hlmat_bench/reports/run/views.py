"""What the page of one run shows: its numbers as rows and plots for the templates."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hlmat_bench.core.text import clean
from hlmat_bench.reports.pages.templates import in_percent, number, percent
from hlmat_bench.reports.run import live
from hlmat_bench.reports.run.definitions import RULES
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.reports.run.references import Reference
from hlmat_bench.reports.run.result import brackets, noc_of
from hlmat_bench.reports.run.steps import KINDS, OUTCOMES, kinds_of, outcome_word
from hlmat_bench.scores.failures import left_out_words, remarks
from hlmat_bench.scores.registry import NO_TARGET, columns


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
        "version": manifest.get("versions", {}).get("hlmat-bench", "unknown"),
        "command": " ".join(_quoted(word) for word in manifest["argv"]),
        "manifest": manifest,
        "scores": entrant.scores,
        "remarks": _remarks(entrant),
    }


def _remarks(entrant: Entrant) -> list[str]:
    """Say what a reader must know besides the scores: whether episodes are missing, failed or left out."""
    unfinished = live.remark(entrant.run, entrant.scores["n"])
    said = [] if unfinished is None else [unfinished]
    left_out = left_out_words(entrant.manifest)
    if left_out:
        said.append(f"Samples that were left out: {left_out}.")
    return [*said, *(clean(remark, 600) for remark in remarks(entrant.scores, entrant.manifest))]


def rules(entrant: Entrant) -> tuple[list[str], list[list[str]]]:
    """Return the table of the selection rules in per cent: headers and rows; the scored one is marked.

    The mask with the highest predicted IoU has a row only where an IoU was predicted: else it is the last mask.
    """
    names = [rule for rule in RULES if rule != "self" or predicts(entrant)]
    found = {rule: entrant.scores["selection"][rule] for rule in names}
    thresholds = list(next(iter(found.values()))["precision"])
    headers = ["Mask", "mIoU", "cIoU", "Boundary IoU", *(f"IoU ≥ {100 * float(q):.0f} %" for q in thresholds)]
    rows = [
        [
            RULES[rule] + (" (scored)" if rule == entrant.rule else ""),
            _with_brackets(entrant, each["miou"], each["miou_ci"]),
            _with_brackets(entrant, each["ciou"], each["ciou_ci"]),
            in_percent(each["biou"]),
            *(percent(each["precision"][q]) for q in thresholds),
        ]
        for rule, each in found.items()
    ]
    return headers, rows


def predicts(entrant: Entrant) -> bool:
    """Tell whether an IoU was predicted, so that the mask with the highest one may be another than the last."""
    return (
        any(sample.selected["self"] != sample.selected["final"] for sample in entrant.samples) or entrant.rule == "self"
    )


def _with_brackets(entrant: Entrant, value: float | None, ends: Sequence[float] | None) -> str:
    return f"{in_percent(value)} {brackets(ends, entrant.scores['n_images'])}".rstrip()


def no_target(entrant: Entrant) -> dict[str, Any] | None:
    """Return the scores of samples without target: counts, headers and rows; None where every sample has one."""
    found = entrant.scores.get("no_target")
    if found is None:
        return None
    rows = []
    for rule in RULES if predicts(entrant) else ("final", "best"):
        cells = [score.read(entrant.scores, rule) for score in NO_TARGET]
        shown = [number(None) if cell is None else _with_brackets(entrant, cell.value, cell.interval) for cell in cells]
        rows.append([RULES[rule] + (" (scored)" if rule == entrant.rule else ""), *shown])
    return {
        "n": found["n"],
        "targets": found["targets"],
        "headers": ["Mask", *(each.title for each in NO_TARGET)],
        "rows": rows,
    }


def reference_rows(entrant: Entrant, references: Sequence[Reference]) -> tuple[list[str], list[list[str]]]:
    """Return the run among its ceilings and floors: headers and rows; scores in per cent."""
    taken = entrant.taken or {}
    accuracies = [score.title for score in columns("report", entrant.kind, [entrant.scores]) if score.optional]
    said = (entrant.scores.get("no_target") or {}).get(entrant.rule, {})
    noc = [noc_of(entrant, q)["mean"] for q in ("0.80", "0.85")]
    own = [entrant.name, "this run", taken["miou"], taken["ciou"], *noc]
    own += [said["n_acc"], said["t_acc"]] if said else []
    others = [[r.name, r.kind, r.miou, r.ciou, r.noc["0.80"], r.noc["0.85"], *(r.accuracies or ())] for r in references]
    ordered = sorted([own, *others], key=lambda row: -row[2])
    rows = [
        [*row[:2], *map(in_percent, row[2:4]), *(number(n, 2) for n in row[4:6]), *map(in_percent, row[6:])]
        for row in ordered
    ]
    return ["Player", "Kind", "mIoU", "cIoU", "Clicks to 80 %", "Clicks to 85 %", *accuracies], rows


def keep_rows(entrant: Entrant) -> tuple[list[str], list[list[str]]]:
    """Return how filtering by the predicted IoU does at each threshold: headers and rows."""
    headers = ["Threshold", "Correct decisions", "Kept", "Truly above", "Of those kept, above", "Of those above, kept"]
    return headers, [
        [
            f"{100 * float(threshold):.0f} %",
            f"{percent(found['accuracy'])} {brackets(found['accuracy_ci'], entrant.scores['n_images'])}".rstrip(),
            f"{found['kept']:,}",
            f"{found['good']:,}",
            percent(found["precision"]),
            percent(found["recall"]),
        ]
        for threshold, found in entrant.scores["filtering"]["keep"].items()
    ]


def unreadable(entrant: Entrant) -> str:
    """Say how many predictions could not be read, and what they count as."""
    found = entrant.scores["filtering"]
    if not found["unparsable"]:
        return f"All {found['n_masks']:,} predictions could be read."
    return f"{found['unparsable']:,} of {found['n_masks']:,} predictions could not be read; each counts as 50 %."


def step_rows(entrant: Entrant) -> list[tuple[str, str, str, str]]:
    """Return what the clicks did: (kind, count, share, meaning)."""
    counts = Counter(kind for sample in entrant.samples for kind in kinds_of(sample))
    total = counts.total() or 1
    return [(name, f"{counts[name]:,}", percent(counts[name] / total), text) for name, text in KINDS.items()]


def outcome_rows(entrant: Entrant) -> list[tuple[str, str, str, str]]:
    """Return the outcomes per sample: (outcome, count, share, meaning)."""
    counts = Counter(outcome_word(sample) for sample in entrant.samples)
    total = len(entrant.samples)
    return [(n, f"{counts[n]:,}", percent(counts[n] / total), text) for n, text in OUTCOMES.items() if counts[n]]


def cost_rows(entrant: Entrant) -> list[tuple[str, str]]:
    """Return what the run cost, in all and per sample."""
    cost, n = entrant.scores["cost"], entrant.scores["n"]
    rows = [
        ("Tokens of prompts", f"{cost['tokens_in']:,} ({cost['tokens_in'] / n:,.0f} per sample)"),
        ("Tokens of replies", f"{cost['tokens_out']:,} ({cost['tokens_out'] / n:,.0f} per sample)"),
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


def _quoted(word: str) -> str:
    """Quote a word of a command line; where a path was cut, it needs no quotes."""
    return word if re.fullmatch(r"[\w@%+=:,./~…-]+", word) else shlex.quote(word)
