"""The leaderboard's site: a folder of static pages, made of entries and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment

from hlmat_bench.core.text import clean
from hlmat_bench.reports.leaderboard import views
from hlmat_bench.reports.leaderboard.published import published
from hlmat_bench.reports.leaderboard.ranking import Ranking, Row, rankings
from hlmat_bench.reports.leaderboard.repository import ENTRIES, Repository, Withdrawal, read_repository
from hlmat_bench.reports.pages.data import csv_text, json_text
from hlmat_bench.reports.pages.site import Site
from hlmat_bench.reports.pages.templates import environment
from hlmat_bench.scores.registry import CLICKED, columns, further

_ASSETS = ("base.css", "hl.js", "board.css", "board.js")


def build(folder: Path, out: Path) -> Path:
    """Write the site of the leaderboard in a folder; equal folders make equal sites.

    Raises:
        UsageError: when there is no leaderboard, a file of it is refused, or the site cannot be written.
    """
    repository = read_repository(folder)
    ranked = rankings(repository.listed)
    groups = views.groups(ranked, repository.withdrawn, published())
    pages = _environment(groups)
    with Site(out) as site:
        site.assets(*_ASSETS)
        site.write("index.html", _index(pages, groups, repository))
        for group in groups:
            page = pages.get_template("board_group.html.j2")
            values = {"lookalikes": group.lookalikes(), "curves": views.curves(group), "root": ""}
            site.write(group.page, page.render(group=group, **values))
            _downloads(site, group)
        for ranking in ranked:
            for row in ranking.rows:
                site.write(f"entries/{row.entry.id}.html", _entry(pages, ranking, row))
                name = f"{row.entry.id}.json"
                site.write(f"data/entries/{name}", (folder / ENTRIES / name).read_bytes())
        for each in repository.withdrawn:
            page = pages.get_template("board_withdrawn.html.j2")
            site.write(f"entries/{each.id}.html", page.render(withdrawal=each, root="../"))
    return out


def _environment(groups: Sequence[views.TaskGroup]) -> Environment:
    pages = environment()
    optional = dict.fromkeys(score for group in groups for score in group.columns if score.optional)
    pages.globals |= {
        "groups": groups,
        "symbols": views.SYMBOLS,
        "most_curves": views.MOST_CURVES,
        "task_title": views.task_title,
        "cells": views.cells,
        "further": [*optional, *(each for each in further().values() if set(CLICKED) & set(each.kinds))],
    }
    return pages


def _index(pages: Environment, groups: Sequence[views.TaskGroup], repository: Repository) -> str:
    leaders = {ranking.key: _leaders(ranking) for group in groups for ranking in group.rankings}
    return pages.get_template("board_index.html.j2").render(
        repository=repository, levels=list(views.levels()), leaders=leaders, root=""
    )


def _leaders(ranking: Ranking) -> list[Row]:
    """Return the ranked rows than which no other is clearly better."""
    return [row for row in ranking.rows if row.rank is not None and row.rank[0] == 1]


def _entry(pages: Environment, ranking: Ranking, row: Row) -> str:
    return pages.get_template("board_entry.html.j2").render(
        ranking=ranking,
        row=row,
        entry=row.entry,
        columns=columns("leaderboard", ranking.task.kind, [dict(row.entry.scores)]),
        drawn=views.entry_curve(ranking, row),
        command=views.command(row.entry),
        manifest=views.pretty(row.entry.manifest.model_dump()),
        levels={name: meaning for name, _, meaning in views.levels()},
        root="../",
    )


def _downloads(site: Site, group: views.TaskGroup) -> None:
    """Write the group's rows as CSV and as JSON."""
    shown = group.columns
    rows = [views.flat(ranking, row, shown) for ranking in group.rankings for row in ranking.rows]
    headers = list(rows[0]) if rows else ["id"]
    site.write(f"data/{group.name}.csv", csv_text(headers, [list(row.values()) for row in rows]))
    value = {
        "group": group.name,
        "entries": rows,
        "withdrawn": [_withdrawn(each) for each in group.withdrawn],
        "published": [table.model_dump() for table in group.published],
    }
    site.write(f"data/{group.name}.json", json_text(value, indent=1) + "\n")


def _withdrawn(withdrawal: Withdrawal) -> Mapping[str, Any]:
    return {key: clean(value, 2000) for key, value in withdrawal.model_dump(exclude={"schema_id"}).items()}
