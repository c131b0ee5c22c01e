"""Data sets in the cache of the Hugging Face hub on this machine (https://huggingface.co/docs/huggingface_hub)."""

from __future__ import annotations

import re
from pathlib import Path

from hlmat_bench.core.errors import UsageError

PREFIX = "hub:"
_NAME = re.compile(r"hub:(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w.-]+))?(?:/(?P<path>.*))?", re.ASCII)


def cached(name: str) -> Path | None:
    """Return the path of ``hub:OWNER/REPO[@REVISION][/PATH]`` in the cache; None where no such data set is cached.

    Without a revision it is that of the branch ``main`` which was fetched last.

    Raises:
        UsageError: when the name has another form, or its path leads out of the repository.
    """
    match = _NAME.fullmatch(name)
    path = match["path"] or "" if match else ""
    if match is None or ".." in path.split("/"):
        raise UsageError(f"{name!r} does not have the form hub:OWNER/REPO[@REVISION][/PATH].")
    snapshot = _snapshot(match["repo"], match["revision"])
    return None if snapshot is None else snapshot / path


def named(name: str) -> str:
    """Return a name for a manifest: with the revision that is cached, where one is."""
    match = _NAME.fullmatch(name)
    snapshot = _snapshot(match["repo"], match["revision"]) if match else None
    if match is None or snapshot is None:
        return name
    return f"{PREFIX}{match['repo']}@{snapshot.name}" + (f"/{match['path']}" if match["path"] else "")


def _snapshot(repo: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, repo_type="dataset", revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise UsageError(f"{repo!r} is not a name of a data set of the Hugging Face hub: {error}") from error
