"""Files of repositories of the Hugging Face hub, found by the library huggingface_hub.

The library finds files, their sizes and digests, and knows the environment's HF_ENDPOINT and HF_TOKEN. Its own download
(``hf_hub_download`` of version 2.4) begins again from the first byte after a process was ended: its part files have a
name of their own for each process, and are removed. So the bytes are downloaded by `download`, as all others are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from hlmat_bench.data.fetch.download import PATIENCE, SOON_AGAIN, Remote, pause, retry_after
from hlmat_bench.data.fetch.problems import AddressFailed, TryAgain, gated

_FORM = re.compile(
    r"hub:(?P<models>models/)?(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w.-]+))?/(?P<path>.+)", re.ASCII
)
_WILD = re.compile(r"[*?\[]")


def find(address: str) -> list[Remote]:
    """Return the files that ``hub:[models/]OWNER/REPO[@REVISION]/PATH`` stands for; PATH may have wildcards.

    Raises:
        AddressFailed: when the hub cannot be reached, or has no such repository, revision or file.
    """
    import tenacity

    match = _FORM.fullmatch(address)
    if match is None:
        raise AddressFailed("it does not have the form hub:OWNER/REPO[@REVISION]/PATH")
    kind = "model" if match["models"] else "dataset"
    busy, stop = tenacity.retry_if_exception_type(TryAgain), tenacity.stop_after_attempt(PATIENCE)
    again = tenacity.Retrying(retry=busy, stop=stop, wait=pause, reraise=True)
    return again(_find, match["repo"], kind, match["revision"], match["path"])


def _find(repo: str, kind: str, revision: str | None, path: str) -> list[Remote]:
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        found = list(_files(HfApi(), repo, kind, revision, path))
    except OfflineModeIsEnabled as error:
        raise AddressFailed("HF_HUB_OFFLINE forbids requests to the hub; unset it") from error
    except (HfHubHTTPError, HTTPError, HFValidationError, OSError) as error:
        answer = getattr(error, "response", None)
        if answer is not None and answer.status_code in SOON_AGAIN:
            after = retry_after(answer.headers.get("Retry-After"))
            raise TryAgain(f"the hub answers with HTTP {answer.status_code}", after) from error
        raise AddressFailed(_reason(error, repo, kind)) from error
    if not found:
        raise AddressFailed(f"the repository {repo} has no file {path}")
    return found


def _files(api: Any, repo: str, kind: str, revision: str | None, pattern: str) -> Iterator[Remote]:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    # A commit, so that all files are of one state of the repository, whatever is pushed meanwhile.
    commit = api.repo_info(repo, repo_type=kind, revision=revision).sha
    folder = _plain_folder(pattern)
    below = bool(_WILD.search(pattern))  # `*` stands for several folders, too
    tree = api.list_repo_tree(repo, folder or None, recursive=below, revision=commit, repo_type=kind)
    for file in tree:
        if isinstance(file, RepoFile) and fnmatchcase(file.path, pattern):
            if ".." in PurePosixPath(file.path).parts or "\\" in file.path:
                raise AddressFailed(f"the repository {repo} names a file outside of it")
            yield Remote(
                url=hf_hub_url(repo, file.path, repo_type=kind, revision=commit),
                name=file.path.removeprefix(f"{folder}/"),
                headers=build_hf_headers(),
                size=file.size,
                sha256=file.lfs.sha256 if file.lfs else None,
            )


def _plain_folder(pattern: str) -> str:
    """Return the folder of a pattern's files, up to its first wildcard.

    >>> _plain_folder("data/*.parquet"), _plain_folder("a/b.zip"), _plain_folder("*.json")
    ('data', 'a', '')
    """
    folder = PurePosixPath(_WILD.split(pattern, maxsplit=1)[0] + "_").parent.as_posix()
    return "" if folder == "." else folder


def _reason(error: Exception, repo: str, kind: str) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return gated(f"{'datasets/' if kind == 'dataset' else ''}{repo}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"the hub has no repository {repo}, or it is private and HF_TOKEN is not set to a token that may read it"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the repository {repo} has no such revision"
    if isinstance(error, errors.EntryNotFoundError):
        return f"the repository {repo} has no such folder"
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"the hub answers with HTTP {status}" if status else f"the hub cannot be reached ({type(error).__name__})"
