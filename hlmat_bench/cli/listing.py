"""The commands ``models``, ``segmenters`` and ``tasks``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hlmat_bench.cli import options

if TYPE_CHECKING:
    from hlmat_bench.protocol.plugins import Plugin


_Word = Annotated[str | None, typer.Argument(metavar="[WORD]", help="List only those with this word in the name.")]


def models(
    word: Annotated[
        str | None,
        typer.Argument(metavar="[WORD]", help="A model: show its entry. Or a word: list only the models that have it."),
    ] = None,
    catalog: options.CatalogFile = None,
) -> None:
    """List models, their point formats, and what is missing."""
    from hlmat_bench.cli import console
    from hlmat_bench.models.catalog import Catalog

    known = Catalog.load(catalog)
    rows = [] if word in known.names() else known.rows(word or "")
    if word is not None and not rows:
        console.say(known.page(word))
        return
    console.table(known.HEADERS, rows, cut=[2])
    console.explain(
        "\n`hlmat-bench models NAME` shows the whole entry of a model. Missing are packages, keys and servers; "
        "`hlmat-bench doctor --model NAME` also looks at weights and memory."
    )


def segmenters(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A segmenter: show all about it.")] = None,
) -> None:
    """List segmenters, what they take, and what they need."""
    from hlmat_bench.cli import console
    from hlmat_bench.protocol.plugins import available, find

    if name is not None:
        console.say(_segmenter_page(find("segmenter", name)))
        return
    found = sorted(available("segmenter").values(), key=lambda plugin: plugin.name)
    console.table(("segmenter", *_TAKES, "size", "needs"), [_segmenter_row(plugin) for plugin in found], cut=[6])
    console.explain(
        "\nIt takes a box, negative clicks, the logits of its last mask, a mask to start from; size: the side of the "
        "image that it sees, in pixels; needs: a package that is missing here, or weights. "
        "`hlmat-bench segmenters NAME` shows all of it."
    )


_TAKES = ("box", "negative", "logits", "mask")


def _segmenter_row(plugin: Plugin) -> list[str]:
    facts = plugin.facts
    if facts is None:
        return [plugin.name, *[""] * 5, plugin.missing or "nothing"]
    takes = (facts.box, facts.negative_clicks, facts.previous_logits, facts.start_mask)
    weights = facts.file or facts.weights or "nothing"
    return [plugin.name, *("yes" if it else "no" for it in takes), facts.input_size, plugin.missing or weights]


def _segmenter_page(plugin: Plugin) -> str:
    lines = [plugin.name, f"from: {plugin.origin}"]
    if (facts := plugin.facts) is not None:
        takes = {
            "box": facts.box,
            "negative clicks": facts.negative_clicks,
            "logits of its last mask": facts.previous_logits,
            "mask to start from": facts.start_mask,
        }
        lines += [f"takes {what}: {'yes' if it else 'no'}" for what, it in takes.items()]
        weights = " or ".join(filter(None, (facts.weights, facts.file))) or "none"
        lines += [f"input size: {facts.input_size}", f"licence: {facts.licence}", f"weights: {weights}"]
    return "\n".join([*lines, f"missing package: {plugin.missing or 'none'}"])


def tasks(word: _Word = None, data_root: options.DataRoot = None) -> None:
    """List tasks, and whether their data are here."""
    from hlmat_bench.cli import console
    from hlmat_bench.core.errors import unknown
    from hlmat_bench.data.tasks import layouts, load_task, task_names

    chosen = [load_task(name) for name in task_names() if (word or "").lower() in name.lower()]
    if not chosen:
        raise unknown("task", str(word), task_names(), "`hlmat-bench tasks` lists them.")
    rows = [
        (task.name, str(task.expected.expressions or ""), "data" if task.missing(data_root) else "nothing", task.title)
        for task in chosen
    ]
    console.table(("task", "samples", "missing here", "title"), rows, right=[1], cut=[3])
    console.explain(
        "\n`hlmat-bench data where TASK` says which data are missing, `hlmat-bench data fetch TASK` downloads them."
        f"\nA task file of your own may name one of the layouts {', '.join(layouts())}, or a layout's file."
    )
