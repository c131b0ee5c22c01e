"""The commands ``models``, ``segmenters`` and ``tasks``."""

from __future__ import annotations

from typing import Annotated

import typer

from hlmat_bench.cli import options


def models(
    name: Annotated[str | None, typer.Argument(help="A model: show everything in its catalogue entry.")] = None,
    catalog: options.CatalogFile = None,
) -> None:
    """List all models, how they write coordinates, and whether they can run on this machine."""
    from hlmat_bench.cli import console
    from hlmat_bench.models.catalog import Catalog

    known = Catalog.load(catalog)
    if name is not None:
        console.say(known.page(name))
        return
    console.table(known.HEADERS, known.rows())
    console.say("\n`hlmat-bench models NAME` shows the whole entry of a model.")


def segmenters() -> None:
    """List all segmenters, their inputs and options, and whether they can run on this machine."""
    from hlmat_bench.cli import console
    from hlmat_bench.protocol.plugins import available

    takes = ("box", "negative clicks", "previous logits", "start mask")
    rows = []
    for plugin in sorted(available("segmenter").values(), key=lambda plugin: plugin.name):
        known = [""] * 7
        if (facts := plugin.facts) is not None:
            flags = (facts.box, facts.negative_clicks, facts.previous_logits, facts.start_mask)
            known = ["yes" if flag else "no" for flag in flags]
            weights = " or ".join(filter(None, (facts.weights, facts.file))) or "none"
            known += [facts.input_size, facts.licence, weights]
        rows.append([plugin.name, plugin.origin, *known, plugin.missing or "yes"])
    console.table(("segmenter", "from", *takes, "input size", "licence", "weights", "can run here"), rows)


def tasks(data_root: options.DataRoot = None) -> None:
    """List all tasks, and whether their data are on this machine."""
    from hlmat_bench.cli import console
    from hlmat_bench.data.tasks import layouts, load_task, task_names

    rows = []
    for name in task_names():
        task = load_task(name)
        expressions = task.expected.expressions
        here = task.missing(data_root)
        rows.append((name, task.title, str(expressions or ""), here or "yes"))
    console.table(("task", "title", "expressions", "can run here"), rows, right=[2])
    console.say(f"\nA task file of your own may name one of the layouts {', '.join(layouts())}, or a layout's file.")
