"""Tasks that are made from a data set of the Hugging Face hub: ``hf:OWNER/REPO[@REVISION][,split=NAME,...]``.

The other options are settings of the layout ``parquet``; ``files`` is a path inside the repository. The data lie under
the data root as OWNER/REPO, where ``data fetch`` puts them, or in the cache of the hub.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import cut
from hlmat_bench.data.layouts import hub_cache
from hlmat_bench.data.layouts.parquet import ParquetSettings
from hlmat_bench.protocol.plugins import parse_spec

PREFIX = "hf:"
_REPO = re.compile(r"hf:(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w.-]+))?", re.ASCII)
_OF_MANIFEST = "hf_"
_LAYOUT = "parquet"


def is_hub_task(name: str) -> bool:
    """Return whether a task's name is that of a data set of the hub."""
    return name.startswith(PREFIX)


def hub_fields(text: str) -> dict[str, Any]:
    """Return the fields of the task that a name describes; its field ``source`` is a list of sections.

    Args:
        text: ``hf:OWNER/REPO[@REVISION][,SETTING=VALUE...]``.

    Raises:
        UsageError: when it has another form.
    """
    name, options = parse_spec(text)
    match = _REPO.fullmatch(name)
    inner = options.pop("files", "")
    if match is None or "kind" in options or ".." in inner.split("/"):
        raise UsageError(
            f"{cut(text)!r} does not have the form hf:OWNER/REPO[@REVISION][,split=NAME,...], with settings of the "
            f"layout {_LAYOUT}."
        )
    repo, revision = match["repo"], match["revision"]
    under = f"/{inner}" if inner else ""
    cached = f"{hub_cache.PREFIX}{repo}{f'@{revision}' if revision else ''}{under}"
    # Only the cache knows revisions, so it is asked first for one.
    places = [cached, f"{repo}{under}"] if revision else [f"{repo}{under}", cached]
    split = options.get("split", "")
    return {
        "name": _OF_MANIFEST + re.sub(r"[^\w.+-]+", "_", f"{repo} {split}".strip()),
        "title": f"{repo} {split}".strip(),
        "source": [{"kind": _LAYOUT, "files": place, **options} for place in places],
        "revision": revision or "",
        "homepage": f"https://huggingface.co/datasets/{repo}",
        "fetch": [_fetched(repo, f"@{revision}" if revision else "", inner)],
    }


def _fetched(repo: str, revision: str, inner: str) -> dict[str, str]:
    """Return the entry of the section ``fetch``: a parquet file of a repository, or all that lie in a folder of it."""
    if inner.endswith(".parquet"):
        return {"from": f"hub:{repo}{revision}/{inner}", "to": posixpath.dirname(f"{repo}/{inner}")}
    folder = f"/{inner.strip('/')}" if inner else ""
    return {"from": f"hub:{repo}{revision}{folder}/*.parquet", "to": f"{repo}{folder}"}


def hub_task_of(name: str, source: Any) -> str | None:
    """Return the task ``hf:...`` that a manifest describes; None where its task is another.

    Args:
        name: the task's name in the manifest.
        source: the manifest's ``task.source``: the settings of the data.
    """
    files = source.get("files") if isinstance(source, Mapping) and name.startswith(_OF_MANIFEST) else None
    if not isinstance(files, str) or source.get("kind") != _LAYOUT:
        return None
    place = re.fullmatch(r"(?:hub:)?(?P<repo>[\w.-]+/[\w.-]+(?:@[\w.-]+)?)(?:/(?P<files>.*))?", files, re.ASCII)
    if place is None:
        return None
    usual = {key: field.default for key, field in ParquetSettings.model_fields.items()}
    given = {key: value for key, value in source.items() if key in usual and value != usual[key]}
    options = {**given, "files": place["files"]}
    texts = [f"{key}={value}" for key, value in options.items() if key != "kind" and value]
    return ",".join([f"{PREFIX}{place['repo']}", *texts])
