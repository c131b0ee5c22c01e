"""Builds the pages of a report: of one run, or of several on the same samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Source
from hlmat_bench.reports.compare import page as comparison
from hlmat_bench.reports.pages.data import json_text
from hlmat_bench.reports.pages.files import write_figures, write_table
from hlmat_bench.reports.pages.frame import build_date
from hlmat_bench.reports.pages.site import Site
from hlmat_bench.reports.pages.templates import render
from hlmat_bench.reports.run import figures, loaded, references, single, views, worst
from hlmat_bench.reports.run.data_files import SHARD, write_data
from hlmat_bench.reports.run.definitions import DEFINITIONS
from hlmat_bench.reports.run.images import write_pictures
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.reports.run.references import Reference
from hlmat_bench.runs import reopen as run_data
from hlmat_bench.scores.episode_scores import EpisodeScores
from hlmat_bench.scores.registry import NO_TARGET, further
from hlmat_bench.scores.slices import slicings

_ASSETS = (
    "base.css",
    "hl.js",
    "report.css",
    "compare.css",
    "masks.js",
    "stage.js",
    "replies.js",
    "player.js",
    "filters.js",
    "gallery.js",
)


def report(
    runs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None = None,
    *,
    images: bool = True,
    data_root: str | os.PathLike[str] | None = None,
    task: str | None = None,
    ceilings: str | os.PathLike[str] | None = None,
    common: bool = False,
    live: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write the pages of one run, or of the comparison of several.

    Args:
        runs: run folders, on the same samples.
        out: the folder of the pages; None: `default_folder`.
        images: whether the pages hold the images; without them nothing of the data is needed.
        data_root: the folder under which the data sets lie.
        task: the task's YAML file, where the run's command line does not name it any more.
        ceilings: a folder with runs of reference policies; None: `references.find` looks near the run.
        common: whether to keep only the samples that all runs have.
        live: the page loads itself again from time to time, because it is written again while the run plays.
        progress: called with (images done, images in all).

    Returns:
        The page to open.

    Raises:
        UsageError: when a folder is no run, the runs are not on the same samples, or the data is not there.
    """
    played = loaded.read([Path(folder) for folder in runs], common=common)
    place = Path(out) if out is not None else default_folder([Path(folder) for folder in runs])
    first = played[0]
    players = references.find(first, ceilings, [one.run.folder.resolve() for one in played])
    oracle: Mapping[str, EpisodeScores] = next((one.samples for one in players if one.name == "oracle"), {})
    ways = slicings(first.samples, oracle)
    source = _source(first, data_root, task) if images else None
    with Site(place) as site:
        wanted = [sample.sample_id for sample in first.samples]
        numbers = write_pictures(site, source, wanted, progress) if source is not None else []
        write_data(site, played, ways, numbers, oracle)
        site.assets(*_ASSETS)
        shared = {**_shared(played, players), "live": live}
        if len(played) > 1:
            more = comparison.content(site, played, ways, source)
            site.write("index.html", render("comparison.html.j2", **shared, **more))
        else:
            page = shared | single.content(first, players, ways, worst.write(site, first, source))
            page["definitions"] = shared["definitions"] | page["terms"]
            write_figures(site, [page["curve"], *(figure for _, figure, _ in (*page["beside"], *page["below"]))])
            for name, table in page["tables"].items():
                write_table(site, name, table)
            site.write("index.html", render("run.html.j2", **page))
    return place / "index.html"


def default_folder(runs: Sequence[Path]) -> Path:
    """Return where a report goes when no folder is named: into the run; of several runs, next to the first."""
    return runs[0] / "report" if len(runs) == 1 else runs[0].resolve().parent / "comparison"


def _source(entrant: Entrant, data_root: str | os.PathLike[str] | None, task: str | None) -> Source:
    try:
        return run_data.reopened(entrant.run.manifest, task=task, data_root=data_root)
    except UsageError as error:
        raise UsageError(f"{error} Or leave the images out with --no-images.") from error


def _shared(played: Sequence[Entrant], players: Sequence[Reference]) -> dict[str, Any]:
    shown = [each for each in further().values() if played[0].kind in each.kinds]
    shown += [each for each in NO_TARGET if each.has_section(played[0].scores)]
    return {
        "root": "",
        "date": build_date(str(entrant.manifest["started"]) for entrant in played),
        "runs": [views.about(entrant) for entrant in played],
        "curve": figures.curve(played, players),
        "definitions": DEFINITIONS | {each.title: each.definition for each in shown},
        "shards": -(-len(played[0].samples) // SHARD),
        "manifests": [json_text(entrant.manifest, indent=1) for entrant in played],
    }
