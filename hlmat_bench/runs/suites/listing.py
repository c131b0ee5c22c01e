"""List the suites, and find out what is missing on this machine to play them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hlmat_bench.data.tasks import load_task
from hlmat_bench.models.catalog import Catalog
from hlmat_bench.protocol import plugins
from hlmat_bench.runs.suites.definition import load_suite, suite_names
from hlmat_bench.runs.suites.expansion import Plan, expand

HEADERS = ("suite", "runs", "missing here", "title")


@dataclass(frozen=True)
class Missing:
    """Everything known to be missing for a suite, in words.

    Attributes:
        parts: how many tasks, segmenters and models the suite has.
        data: missing data by task.
        tools: what is missing by segmenter.
        models: what is missing by model.
    """

    parts: int
    data: Mapping[str, str]
    tools: Mapping[str, str]
    models: Mapping[str, str]

    def short(self) -> str:
        """Return how much is missing."""
        lacking = len(self.data) + len(self.tools) + len(self.models)
        return f"{lacking} of {self.parts} parts" if lacking else "nothing"

    def lines(self) -> list[str]:
        """Return what is missing and how to provide it, one line per name."""
        parts = (*self.data.items(), *self.tools.items(), *self.models.items())
        return [f"{name} {words}" for name, words in parts] or ["nothing"]


def rows(data_root: Path | None = None) -> list[tuple[str, str, str, str]]:
    """Return one row per suite of the project, with columns `HEADERS`."""
    plans = {name: expand(load_suite(name)) for name in suite_names()}
    return [(name, str(len(p.runs)), missing_for(p, data_root).short(), p.suite.title) for name, p in plans.items()]


def page(name: str, data_root: Path | None = None) -> str:
    """Describe a suite before it is played: tables, notes, runs, replaceable parts, and what is missing.

    Raises:
        UsageError: when there is no such suite.
    """
    plan = expand(load_suite(name))
    suite = plan.suite
    parts = {"model": suite.models, "segmenter": suite.segmenters}
    named = [f"--{kind} {key}={spec}" for kind, specs in parts.items() for key, spec in specs.items()]
    titles = [table.title for table in suite.tables]
    notes = [note for table in suite.tables for note in table.notes]
    sections = {"runs": [run.name for run in plan.runs], "parts that may be replaced": named}
    sections |= {"missing here": missing_for(plan, data_root).lines()}
    text = [suite.title, *(title for title in titles if title != suite.title), *notes, *plan.notes()]
    return "\n".join([*text, *(f"\n{head}:\n  " + "\n  ".join(body) for head, body in sections.items())])


def missing_for(plan: Plan, data_root: Path | None = None) -> Missing:
    """Find out what is missing for the runs of a suite, without loading data, segmenters or models."""

    def of(specs: Iterable[str], check: Callable[[str], str | None]) -> dict[str, str]:
        found = {spec: check(spec) for spec in specs}
        return {spec: words for spec, words in found.items() if words is not None}

    tasks, tools, models = (
        dict.fromkeys(getattr(run, kind) for run in plan.runs) for kind in ("task", "segmenter", "model")
    )
    return Missing(
        len(tasks) + len(tools) + len(models),
        of(tasks, lambda name: load_task(name).missing(data_root)),
        of(tools, _segmenter),
        of(models, _model),
    )


def _segmenter(spec: str) -> str | None:
    name, options = plugins.parse_spec(spec)
    found = plugins.find("segmenter", name)
    if found.missing is not None:
        return f"cannot run: {found.missing}"
    has_weights = found.facts is not None and bool(found.facts.weights)
    return f"needs weights: --segmenter {name}={name},checkpoint=FILE" if has_weights and not options else None


def _model(spec: str) -> str | None:
    catalog = Catalog.load()
    entry = catalog.models.get(str(catalog.choose(spec).entry))
    words = entry.missing(plugins.available("model")) if entry else None
    return f"needs {words}" if words else None
