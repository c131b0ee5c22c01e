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
from hlmat_bench.reports.leaderboard.verify.findings import LEVELS
from hlmat_bench.reports.pages import plots
from hlmat_bench.scores.registry import Score, ScoreValue, columns

MOST_CURVES = 5
"""How many curves a plot can show that a reader tells apart."""

SYMBOLS = {"schema": "○", "recomputed": "◔", "replayed": "◑", "rerun": "●"}
"""How full the circle of each level is."""

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
        return _TITLES.get(self.name, self.name)

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
        """Return the scores that its tables show."""
        kinds = dict.fromkeys(ranking.task.kind for ranking in self.rankings)
        found = [dict(row.entry.scores) for ranking in self.rankings for row in ranking.rows]
        return list(dict.fromkeys(score for kind in kinds for score in columns("leaderboard", kind, found)))

    def choices(self) -> dict[str, list[str]]:
        """Return what there is to filter by: per property its values."""
        values: dict[str, set[str]] = {
            "task": {ranking.task.name for ranking in self.rankings},
            "segmenter": {ranking.segmenter for ranking in self.rankings},
            "track": {ranking.track for ranking in self.rankings},
            "weights": {row.entry.weights for ranking in self.rankings for row in ranking.rows},
        }
        budgets = [str(budget) for budget in sorted({ranking.budget for ranking in self.rankings})]
        return {**{name: sorted(found) for name, found in values.items()}, "budget": budgets}

    def lookalikes(self) -> set[str]:
        """Return the keys of rankings that differ from another one in nothing that their heading says."""
        seen: dict[tuple[str, str, str, int, str], list[str]] = {}
        for ranking in self.rankings:
            heading = (ranking.task.name, ranking.segmenter, ranking.track, ranking.budget, ranking.start)
            seen.setdefault(heading, []).append(ranking.key)
        return {key for keys in seen.values() if len(keys) > 1 for key in keys}


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


def curves(group: TaskGroup) -> plots.Figure | None:
    """Plot the mIoU of every row after each click; all but the first are spare lines, for a script to show."""
    rows = [(ranking, row) for ranking in group.rankings for row in ranking.rows]
    if not rows:
        return None
    series = []
    for number, (ranking, row) in enumerate(rows):
        values = [point.miou for point in row.entry.scores.curve]
        kind = f"s{number}" if number < MOST_CURVES else "spare"
        series.append(plots.Series(_curve_name(ranking, row), values, kind, key=row.entry.id))
    return plots.lines(series, title=f"mIoU after each click, {group.title}", x="clicks", y="mIoU")


def entry_curve(ranking: Ranking, row: Row) -> plots.Figure:
    """Plot an entry's mIoU after each click, with the references of its ranking."""
    own = row.entry.scores.curve
    low, high = zip(*(point.miou_ci for point in own), strict=True)
    series = [plots.Series(clean(row.entry.title), [point.miou for point in own], "s0", low, high)]
    for other in ranking.rows:
        if other is not row and other.reference in ("ceiling", "floor"):
            values = [point.miou for point in other.entry.scores.curve]
            series.append(plots.Series(clean(other.entry.title, 40), values, other.reference))
    return plots.lines(series, title="mIoU after each click", x="clicks", y="mIoU")


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


def levels() -> Iterator[tuple[str, str, str]]:
    """Yield name, symbol and meaning of every level."""
    for level, meaning in LEVELS.items():
        yield level, SYMBOLS[level], meaning


def _curve_name(ranking: Ranking, row: Row) -> str:
    fixed = f"{ranking.task.name}, {ranking.segmenter}, {ranking.track}, {ranking.budget} clicks"
    return f"{clean(row.entry.title, 60)}: {fixed}"
