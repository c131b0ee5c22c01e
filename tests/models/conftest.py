"""What the tests of the adapters of models share."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.workers import WORKER, CommandModel


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Other tests run at the same time; threads that wait for each other make small networks slow."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def own_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make temporary files in tmp_path."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(name="worker")
def started_workers(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Make models whose worker follows a scenario; in tmp_path it leaves its process ids in the file pids."""
    models = []

    def start(scenario: str = "", **options: Any) -> Any:
        (tmp_path / "worker.py").write_text(WORKER.replace("SCENARIO", scenario))
        model = CommandModel(f"{sys.executable} worker.py", cwd=str(tmp_path), log=str(tmp_path / "log"), **options)
        models.append(model)
        return model

    yield start
    for model in models:
        asyncio.run(model.close())


@pytest.fixture
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the keys, addresses and proxies of whoever runs the tests; tries follow each other at once."""
    proxies = [f"{scheme}_proxy" for scheme in ("http", "https", "all", "no")]
    payers = ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "SSL_CERT_FILE", "SSL_CERT_DIR"]
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", *proxies, *map(str.upper, proxies), *payers):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("hlmat_bench.models.api.retries.FIRST_PAUSE", 0.01)
