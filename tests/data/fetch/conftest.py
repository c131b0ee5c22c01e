"""What the tests of fetching share."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from hlmat_bench.data.fetch import download
from hlmat_bench.data.fetch.download import client
from tests.support.file_server import FileServer, serving


@pytest.fixture
def server() -> Iterator[FileServer]:
    """Return a server of files that are added to it."""
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def http() -> Iterator[httpx2.Client]:
    """Return the client of fetching; it takes 0.1 s to make."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("NO_PROXY", "127.0.0.1")
        with client() as opened:
            yield opened


@pytest.fixture
def hub(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    """Return the server, at which huggingface_hub asks; the environment of all tests keeps it from any hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return server


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait only as long as a server asks."""
    monkeypatch.setattr(download, "FIRST_WAIT", 0.0)
