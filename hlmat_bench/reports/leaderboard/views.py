"""What the pages and downloads of a leaderboard show, as plain values."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import clean
from hlmat_bench.data.tasks import load_task
from hlmat_bench.reports.leaderboard.entry import BoardEntry
from hlmat_bench.reports.leaderboard.published import BoardTable
from hlmat_bench.reports.leaderboard.ranking import Ranking, Row
from hlmat_bench.reports.leaderboard.repository import Withdrawal
from hlmat_bench.reports.leaderboard.rows import SYMBOLS, scores_of
from hlmat_bench.reports.leaderboard.verify.findings import LEVELS
from hlmat_bench.reports.pages import bibtex
from hlmat_bench.scores.registry import Score, ScoreValue

_TITLES = {
    "res": "RES: referring expressions",
    "hres": "HRES: high resolution, thin and intricate objects",
    "hres_extra": "HRES: further data sets",
    "reason": "ReasonSeg: expressions that need reasoning",
    "gres": "GRES: expressions for no object, one or several",
    "gseval": "GSEval: stuff, parts, single and several objects",
    "classic": "Classic interactive segmentation",
    "segnext": "Interactive segmentation: HQSeg-44K, SBD, PASCAL VOC",
    "train": "Training splits",
    "refine": "Refinement of given masks",
    "synth": "Synthetic scenes",
}


INVALID = {
    "parse": "not readable",
    "out_of_bounds": "outside the image",
    "refusal": "refused",
    "empty": "empty",
    "repeat": "repeated",
    "api": "without a reply",
}
"""What a page calls the reasons of replies that are no action."""


@dataclass(frozen=True, slots=True)
class TaskGroup:
    """A page of rankings.

    Attributes:
        name: of the task group.
        rankings, withdrawn, published: what is on it.
    """

    name: str
    rankings: Sequence[Ranking]
    withdrawn: Sequence[Withdrawal]
    published: Sequence[BoardTable]

    @property
    def title(self) -> str:
        """Return its heading."""
        return group_title(self.name)

    @property
    def page(self) -> str:
        """Return the name of its file."""
        return f"group-{self.name}.html"

    @property
    def entries(self) -> int:
        """Return how many rows its rankings have."""
        return sum(len(ranking.rows) for ranking in self.rankings)

    @property
    def columns(self) -> list[Score]:
        """Return the scores that its downloads hold."""
        found = [score for each in self.rankings for score in scores_of(each.rows, each.task.kind)]
        return list(dict.fromkeys(found))


def groups(
    rankings: Sequence[Ranking], withdrawn: Sequence[Withdrawal], published: Sequence[BoardTable]
) -> list[TaskGroup]:
    """Return a group for each task group that anything belongs to; those of the paper first."""
    names = {ranking.task.group for ranking in rankings}
    names |= {each.group for each in withdrawn} | {table.group for table in published}
    order = [name for name in _TITLES if name in names] + sorted(names - set(_TITLES))
    return [
        TaskGroup(
            name,
            [ranking for ranking in rankings if ranking.task.group == name],
            [each for each in withdrawn if each.group == name],
            [table for table in published if table.group == name],
        )
        for name in order
    ]


class EntryCell(NamedTuple):
    """A score of an entry.

    Attributes:
        score: which one.
        value: None where the entry does not have it.
        missed: of a number of clicks, the samples that never get there; None of other scores.
    """

    score: Score
    value: ScoreValue | None
    missed: int | None


def cells(entry: BoardEntry, shown: Sequence[Score]) -> list[EntryCell]:
    """Return scores of an entry, in the order of the columns that show them."""
    scores, rule = entry.scores.model_dump(), entry.manifest.selection
    return [EntryCell(score, score.read(scores, rule), score.missed(scores)) for score in shown]


def _flat_scores(shown: Sequence[EntryCell]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for score, value, missed in shown:
        name = score.key.replace("@", "_").replace(".", "_")
        found[name] = value.value if value else None
        if missed is not None:
            found[f"{name}_missed"] = missed
        elif not score.note:
            found |= {f"{name}_low": value.low if value else None, f"{name}_high": value.high if value else None}
    return found


def flat(ranking: Ranking, row: Row, shown: Sequence[Score]) -> dict[str, Any]:
    """Return a row of the downloads, texts cleaned."""
    entry, scores = row.entry, row.entry.scores
    best, worst = row.rank or (None, None)
    return {
        "id": entry.id,
        "rank_best": best,
        "rank_worst": worst,
        "reference": row.reference,
        "task": ranking.task.name,
        "model": clean(entry.title),
        "segmenter": ranking.segmenter,
        "track": ranking.track,
        "budget": ranking.budget,
        "start": ranking.start,
        "strategy": clean(entry.manifest.protocol["strategy"]),
        "answer": entry.manifest.selection,
        **_flat_scores(cells(entry, shown)),
        "dollars": scores.cost.dollars,
        "tokens_in": scores.cost.tokens_in,
        "tokens_out": scores.cost.tokens_out,
        "seconds": scores.cost.seconds,
        "weights": entry.weights,
        "level": row.listed.level,
        "submitter": clean(entry.submitter),
        "submitted": entry.submitted,
        "n": scores.n,
        "failed": scores.failures.episodes,
        "n_images": scores.n_images,
        "ranking": ranking.key,
        "protocol_fingerprint": entry.manifest.protocol_fingerprint,
    }


def command(entry: BoardEntry) -> str:
    """Return the command line that made the run, as a shell takes it."""
    return shlex.join(clean(word, 2000) for word in entry.manifest.argv)


def pretty(value: Mapping[str, Any]) -> str:
    """Return JSON in ASCII for a page: what hides or turns characters is seen as its number."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=True)


def task_title(name: str) -> str:
    """Return the full title of a task; the name where it is not installed here."""
    try:
        return load_task(name).title or name
    except UsageError:
        return name


def group_title(name: str) -> str:
    """Return the heading of a task group."""
    return _TITLES.get(name, name)


def task_bibtex(name: str) -> str:
    """Return the BibTeX of a task's data after an empty line; empty where it is not installed here or has none."""
    try:
        task = load_task(name)
    except UsageError:
        return ""
    found = bibtex.data(name, task.citation, task.homepage)
    return f"\n{found}" if found else ""


def levels() -> Iterator[tuple[str, str, str]]:
    """Yield name, symbol and meaning of every level."""
    for level, meaning in LEVELS.items():
        yield level, SYMBOLS[level], meaning
