"""The leaderboard's site: a folder of static pages, made of entries and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment

from hlmat_bench.core import files
from hlmat_bench.core.content import folder as content
from hlmat_bench.core.text import clean
from hlmat_bench.reports.leaderboard import changes, figures, rows, views, words
from hlmat_bench.reports.leaderboard.entry_page import EntryPage
from hlmat_bench.reports.leaderboard.published import published
from hlmat_bench.reports.leaderboard.ranking import rankings
from hlmat_bench.reports.leaderboard.ranking_page import RankingPage, pages_of, tabs
from hlmat_bench.reports.leaderboard.repository import ENTRIES, Repository, Withdrawal, read_repository
from hlmat_bench.reports.pages import bibtex, frame
from hlmat_bench.reports.pages.data import csv_text, json_text, script
from hlmat_bench.reports.pages.files import write_figures, write_table
from hlmat_bench.reports.pages.site import Site
from hlmat_bench.reports.pages.templates import environment, in_percent
from hlmat_bench.scores.registry import CLICKED, Score, columns, further

_ASSETS = ("board.css", "board.js", *(f"still-{number}.webp" for number in range(1, 6)))


@dataclass(frozen=True)
class Leaderboard:
    """What a folder holds, ready to be written.

    Attributes:
        folder: where it is.
        repository: what was read.
        pages: the rankings, those with the most entries first.
        groups: task groups.
    """

    folder: Path
    repository: Repository
    pages: Sequence[RankingPage]
    groups: Sequence[views.TaskGroup]

    @cached_property
    def changes(self) -> list[changes.Change]:
        """Return all changes, the newest first."""
        return changes.changes(self.repository)

    @cached_property
    def scores(self) -> list[Score]:
        """Return the scores that any table shows."""
        shown = [score for group in self.groups for score in group.columns]
        known = shown or columns("leaderboard", "segmentation", [])
        return list(dict.fromkeys([*known, *(each for each in further().values() if set(CLICKED) & set(each.kinds))]))

    def repeated(self) -> list[str]:
        """Return a sentence for each entry that is of the same run as an earlier one."""
        return [
            f"{row.entry.id} is the same run as {row.repeats.id}, which was submitted before; it has no rank."
            for page in self.pages
            for row in page.ranking.rows
            if row.repeats is not None
        ]


def read(folder: Path) -> Leaderboard:
    """Read the leaderboard in a folder and rank its entries.

    Raises:
        UsageError: when there is no leaderboard, or a file of it is refused.
    """
    repository = read_repository(folder)
    ranked = rankings(repository.listed)
    groups = views.groups(ranked, repository.withdrawn, published())
    return Leaderboard(folder, repository, pages_of(ranked), groups)


def build(folder: Path, out: Path) -> Path:
    """Write the site of the leaderboard in a folder; equal folders make equal sites.

    Raises:
        UsageError: when there is no leaderboard, a file of it is refused, or the site cannot be written.
    """
    return write(read(folder), out)


def write(board: Leaderboard, out: Path) -> Path:
    """Write the site of a leaderboard.

    Raises:
        UsageError: when it cannot be written.
    """
    pages = _environment(board)
    with Site(out) as site:
        site.assets(*_ASSETS)
        _front(site, pages, board)
        for page in board.pages:
            _ranking(site, pages, board, page)
        for group in board.groups:
            own = [page for page in board.pages if page.ranking.task.group == group.name]
            site.write(group.page, pages.get_template("board_group.html.j2").render(group=group, own=own, root=""))
            if group.entries:
                _downloads(site, group)
        for page in board.pages:
            for place in range(len(page.ranking.rows)):
                _entry(site, pages, board.folder, page, EntryPage(page.ranking, place))
        for each in board.repository.withdrawn:
            template = pages.get_template("board_withdrawn.html.j2")
            site.write(f"entries/{each.id}.html", template.render(withdrawal=each, root="../"))
    return out


def _environment(board: Leaderboard) -> Environment:
    pages = environment()
    pages.globals |= {
        "groups": board.groups,
        "group_title": views.group_title,
        "symbols": rows.SYMBOLS,
        "most_curves": figures.MOST_CURVES,
        "page_size": rows.PAGE,
        "task_title": views.task_title,
        "in_percent": in_percent,
        "points": words.points,
        "strategy": rows.strategy,
        "definitions": rows.definitions(board.scores),
        "invalid_words": views.INVALID,
        "date": frame.build_date(each.date for each in board.changes),
    }
    return pages


def _front(site: Site, pages: Environment, board: Leaderboard) -> None:
    """Write the first page and the pages that are of no ranking."""
    common = {
        "root": "",
        "stills": files.read(content("leaderboard") / "stills.yaml", "captions of stills"),
        "recent": changes.recent(board.changes),
        "pages": board.pages,
    }
    if board.pages:
        values = {**_values(board, board.pages[0]), **common, "front": True, "here": "index.html", "page": 0}
        site.write("index.html", pages.get_template("board_index.html.j2").render(values))
    else:
        site.write("index.html", pages.get_template("board_empty.html.j2").render(common, here="index.html"))
    for name in ("tasks", "submit", "method"):
        page = pages.get_template(f"board_{name}.html.j2")
        cite = bibtex.benchmark(str(pages.globals["date"]))
        levels = list(views.levels())
        site.write(f"{name}.html", page.render(common, here=f"{name}.html", levels=levels, bibtex=cite))
    site.write(changes.FEED, changes.feed(board.changes))


def _values(board: Leaderboard, page: RankingPage) -> dict[str, Any]:
    return {"view": page, "tabs": tabs(board.pages, page), "rankings": len(board.pages)}


def _ranking(site: Site, pages: Environment, board: Leaderboard, page: RankingPage) -> None:
    """Write the pages of a ranking, its figures, its table, and its rows for the script if they need several pages."""
    template = pages.get_template("board_ranking.html.j2")
    for number in range(page.pages):
        values = {**_values(board, page), "front": False, "page": number, "root": ""}
        site.write(page.file(number), template.render(values))
    write_figures(site, [page.curves, page.cost])
    write_table(site, f"ranking-{page.ranking.key}", page.table())
    if page.pages > 1:
        data = json_text([row.data() for row in page.rows])
        site.write(f"data/{page.ranking.key}.js", script(page.ranking.key, data))


def _entry(site: Site, pages: Environment, folder: Path, page: RankingPage, view: EntryPage) -> None:
    entry = view.entry
    cite = bibtex.leaderboard_entry(
        entry.id,
        title=entry.title,
        submitter=entry.submitter,
        submitted=entry.submitted,
        task=views.task_title(entry.manifest.task.name),
        url=entry.links[0] if entry.links else None,
    )
    curve, steps = figures.entry_curve(view.ranking, view.place), figures.steps(entry, view.place)
    write_figures(site, [curve, steps])
    text = pages.get_template("board_entry.html.j2").render(
        view=view,
        page=page,
        curve=curve,
        steps=steps,
        command=views.command(entry),
        manifest=views.pretty(entry.manifest.model_dump()),
        bibtex=cite + views.task_bibtex(entry.manifest.task.name),
        root="../",
    )
    site.write(f"entries/{entry.id}.html", text)
    name = f"{entry.id}.json"
    site.write(f"data/entries/{name}", (folder / ENTRIES / name).read_bytes())


def _downloads(site: Site, group: views.TaskGroup) -> None:
    """Write the group's rows as CSV and as JSON."""
    shown = group.columns
    found = [views.flat(ranking, row, shown) for ranking in group.rankings for row in ranking.rows]
    site.write(f"data/{group.name}.csv", csv_text(list(found[0]), [list(row.values()) for row in found]))
    value = {
        "group": group.name,
        "entries": found,
        "withdrawn": [_withdrawn(each) for each in group.withdrawn],
        "published": [table.model_dump() for table in group.published],
    }
    site.write(f"data/{group.name}.json", json_text(value, indent=1) + "\n")


def _withdrawn(withdrawal: Withdrawal) -> Mapping[str, Any]:
    return {key: clean(value, 2000) for key, value in withdrawal.model_dump(exclude={"schema_id"}).items()}
