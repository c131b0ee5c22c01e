"""The command ``doctor``: what is on this machine, and what is missing."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Annotated

import typer

from hlmat_bench.cli import options


def doctor(
    task: Annotated[
        str | None, typer.Option(help="Also check whether this task, or group of tasks, can be played here.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Also check whether this model, name[,key=value...], can run here.")
    ] = None,
    segmenter: Annotated[
        str | None, typer.Option(help="Also check whether this segmenter can run here; it is loaded.")
    ] = None,
    data_root: options.DataRoot = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what this machine has and what is missing. Looks at packages, GPUs, data, weights, a server, disk, locks.

    Exit code 1 if the named task, model or segmenter cannot run here.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when a library of Hugging Face is imported: nothing is downloaded
    from hlmat_bench.cli import console
    from hlmat_bench.runs.doctor import DOCTOR_SCHEMA, examine

    findings = examine(task, model, segmenter, data_root)
    missing = any(finding.level == "missing" for finding in findings)
    if as_json:
        rows = [dataclasses.asdict(finding) for finding in findings]
        console.say(json.dumps({"schema": DOCTOR_SCHEMA, "ok": not missing, "findings": rows}, ensure_ascii=False))
    else:
        areas = [finding.area for finding in findings]
        shown = [area if area != before else "" for area, before in zip(areas, ["", *areas], strict=False)]
        words = {"ok": "ok", "note": "note", "missing": "MISSING"}
        rows_shown = [(words[each.level], area, each.text) for each, area in zip(findings, shown, strict=True)]
        console.table(("", "what", "found"), rows_shown)
    if missing:
        raise typer.Exit(1)
