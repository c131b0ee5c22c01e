"""The commands ``check`` and ``probe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hlmat_bench.cli import options
from hlmat_bench.cli.settings import settings as settings_of
from hlmat_bench.core.errors import UsageError


def check(
    plugin: Annotated[str, typer.Argument(help="A file, or a name with options, as --model and --segmenter take it.")],
    catalog: options.CatalogFile = None,
) -> None:
    """Check that a plug-in follows the interface. It is a model or a segmenter; exit code 1 if it breaks a rule."""
    from hlmat_bench.cli import console
    from hlmat_bench.models.catalog import Catalog
    from hlmat_bench.protocol.plugins import kind_of, make
    from hlmat_bench.protocol.reference import REFERENCES
    from hlmat_bench.testing import contract

    choice = Catalog.load(catalog).choose(plugin)
    if choice.plugin in REFERENCES:
        raise UsageError(
            f"{choice.plugin} is a reference policy and part of hlmat-bench, so there is no plug-in to check; name a "
            "model, a segmenter or a file, such as ./my_model.py."
        )
    kind = kind_of(choice.plugin)
    findings = contract.check(kind, choice.make() if kind == "model" else make(kind, plugin))
    for finding in findings:
        console.say(
            f"ok     {finding.rule}" if finding.broken is None else f"BROKEN {finding.rule}\n       {finding.broken}"
        )
    broken = sum(finding.broken is not None for finding in findings)
    console.say(f"{plugin} keeps {len(findings) - broken} of {len(findings)} rules of a {kind}.")
    if broken:
        raise typer.Exit(1)


def probe(
    model: Annotated[str, typer.Option(help="Name[,key=value...] or ./file.py.")],
    samples: Annotated[int, typer.Option(help="Markers to ask for; four are on one image.")] = 32,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the images, the picture of the result, and the replies.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests sent in parallel.")] = None,
    batch_size: options.BatchSize = None,
    catalog: options.CatalogFile = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting, key=value: points=yx1000, ...")] = None,
) -> None:
    """Check a model's point format. Asks it for markers at known places; exit code 1 if the format is wrong."""
    from hlmat_bench.cli import console
    from hlmat_bench.cli.names import short_names
    from hlmat_bench.runs.probe import probe as probe_one

    with console.progress(f"probing {short_names([model])[0]}") as progress:
        report = probe_one(
            model,
            samples=samples,
            seed=seed,
            out=out,
            concurrency=concurrency,
            batch_size=batch_size,
            catalog=catalog,
            settings=settings_of(set_ or []),
            progress=progress,
        )
    console.say(report.heading())
    console.table(report.HEADERS, report.rows(), right=range(1, 6))
    console.say("\n".join(["", *report.sentences(), "", f"picture: {report.picture}", f"replies: {report.replies}"]))
    if not report.ok:
        raise typer.Exit(1)
