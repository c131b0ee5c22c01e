"""The data files of a report: what the page loads, and the same for people who compute their own numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hlmat_bench.core.text import clean, public
from hlmat_bench.reports.pages.data import csv_text, json_text, script
from hlmat_bench.reports.pages.site import Site
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.reports.run.steps import KINDS, OUTCOMES, kinds_of, outcome_word
from hlmat_bench.reports.run.where import clicks_to
from hlmat_bench.scores.episode_scores import EpisodeScores
from hlmat_bench.scores.episodes import SHOWN_THRESHOLDS
from hlmat_bench.scores.slices import Slicing

SHARD = 32
"""Samples in a shard."""
EXPRESSION_LENGTH = 400
_FIELDS = ("sample_id", "image_id", "expression", "run", "outcome", "stop")


def write_data(
    site: Site,
    entrants: Sequence[Entrant],
    slicings: Sequence[Slicing],
    images: Sequence[int],
    oracle: Mapping[str, EpisodeScores],
) -> None:
    """Write everything under ``data/``.

    Args:
        site: the folder.
        entrants: the runs, on the same samples in the same order.
        slicings: of those samples.
        images: for each sample the number of its image; empty without images.
        oracle: the oracle's episodes by sample; empty where there are none.
    """
    text = json_text(index(entrants, slicings, images, oracle))
    site.write("data/index.json", text + "\n")
    site.write("data/index.js", script("index", text))
    site.write("data/scores.json", json_text({one.name: one.scores for one in entrants}, indent=1) + "\n")
    site.write("data/runs.json", json_text({one.name: one.manifest for one in entrants}, indent=1) + "\n")
    site.write("data/samples.csv", csv_text(*_samples(entrants)))
    for number, start in enumerate(range(0, len(entrants[0].samples), SHARD)):
        played = [one.texts[start : start + SHARD] for one in entrants]
        rows = [f"[{','.join(texts)}]" for texts in zip(*played, strict=True)]
        site.write(f"data/shard-{number:03d}.json", "[\n" + ",\n".join(rows) + "\n]\n")
        keyed = (script(f"s{n}", row) for n, row in enumerate(rows, start))
        site.write(f"data/shard-{number:03d}.js", "".join(keyed))


def index(
    entrants: Sequence[Entrant],
    slicings: Sequence[Slicing],
    images: Sequence[int],
    oracle: Mapping[str, EpisodeScores],
) -> dict[str, Any]:
    """Return what the list of samples needs, in columns: names, slices, and per run IoUs, clicks and what they did.

    ``kinds`` names what a click did; in a run, ``kinds`` has a digit for each click of each sample. ``oracle`` has the
    oracle's IoUs, ``no_target`` the numbers of the samples whose ground truth is empty; each where it is known.
    """
    samples = entrants[0].samples
    outcomes = _outcomes(entrants)
    empty = [number for number, sample in enumerate(samples) if not sample.target]
    known = bool(oracle) and all(sample.sample_id in oracle for sample in samples)
    return {
        "shard": SHARD,
        "kind": entrants[0].kind,
        "outcomes": outcomes,
        "kinds": list(KINDS),
        "prompts": [public(str(one.manifest["protocol"].get("prompt") or "")) for one in entrants],
        "ids": sample_names(samples),
        "expressions": [clean(sample.expression, EXPRESSION_LENGTH) for sample in samples],
        "images": list(images),
        "slicings": [{"name": way.name, "values": list(way.values), "codes": list(way.codes)} for way in slicings],
        "runs": [_run(one, outcomes) for one in entrants],
        **({"no_target": empty} if empty else {}),
        **({"oracle": [round(oracle[sample.sample_id].score, 6) for sample in samples]} if known else {}),
    }


def _outcomes(entrants: Sequence[Entrant]) -> list[str]:
    """Return the names of the outcomes that occur, in order."""
    found = {outcome_word(sample) for one in entrants for sample in one.samples}
    return [*(name for name in OUTCOMES if name in found), *sorted(found - OUTCOMES.keys())]


def sample_names(samples: Sequence[EpisodeScores]) -> list[str]:
    """Return the samples' ids as pages name them; equal ones with a number, so that links to both lead somewhere."""
    seen: Counter[str] = Counter()
    made = []
    for name in (clean(public(sample.sample_id)) for sample in samples):
        seen[name] += 1
        made.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return made


def _run(entrant: Entrant, outcomes: Sequence[str]) -> dict[str, Any]:
    codes = {name: code for code, name in enumerate(outcomes)}
    digits = {name: str(code) for code, name in enumerate(KINDS)}
    found: dict[str, Any] = {
        "name": entrant.name,
        "budget": entrant.budget,
        "final": [round(sample.score, 6) for sample in entrant.samples],
        "answer": [sample.answer for sample in entrant.samples],
        "best": [round(sample.at("best"), 6) for sample in entrant.samples],
        "curves": [[round(1000 * iou) for iou in sample.iou.tolist()] for sample in entrant.samples],
        "clicks": [clicks_to(sample, "0.80", entrant.kind) for sample in entrant.samples],
        "outcome": [codes[outcome_word(sample)] for sample in entrant.samples],
    }
    if entrant.taken is None:
        return found | {"predicted": [list(sample.predicted) for sample in entrant.samples]}
    return found | {"kinds": ["".join(digits[kind] for kind in kinds_of(one)) for one in entrant.samples]}


def _samples(entrants: Sequence[Entrant]) -> tuple[list[str], Iterator[list[Any]]]:
    """Return a row per sample and run, and their headers; numbers in full precision.

    The pixels of the ground truth stand in the last column, where one is empty.
    """
    clicks = [f"clicks_{q}" for q in SHOWN_THRESHOLDS]
    target = ["target"] if any(not sample.target for sample in entrants[0].samples) else []
    headers = [*_FIELDS, "iou", "intersection", "union", "iou_self", "iou_best", *clicks, *target]
    return headers, _sample_rows(entrants, bool(target))


def _sample_rows(entrants: Sequence[Entrant], target: bool) -> Iterator[list[Any]]:
    for one in entrants:
        for sample in one.samples:
            t = sample.answer
            names = [public(sample.sample_id), public(sample.image_id), sample.expression, one.name]
            masks = [sample.score, *sample.areas()[t], sample.at("self"), sample.at("best")]
            shown = (clean(name, EXPRESSION_LENGTH) for name in names)
            clicks = [clicks_to(sample, q, one.kind) for q in SHOWN_THRESHOLDS]
            yield [*shown, outcome_word(sample), sample.stop, *masks, *clicks, *([sample.target] if target else [])]
