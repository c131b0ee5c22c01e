"""Whole runs against `transformers serve`, with a checkpoint that is made here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hlmat_bench.testing import tiny_vlm
from tests.servers.programs import check_good, check_refused, free_port, play, program, running

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm(tmp_path_factory.mktemp("checkpoint"), says=["Positive", " point:", " (250", ", 500)"])


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command = [program("transformers", "transformers"), "serve", "--host", "127.0.0.1", "--port", str(port)]
    log = tmp_path_factory.mktemp("transformers") / "log"
    with running([*command, "--device", "cpu"], f"http://127.0.0.1:{port}/health", log):
        yield f"http://127.0.0.1:{port}/v1"


def test_a_good_model_is_asked(base_url: str, checkpoint: Path, tmp_path: Path) -> None:
    check_good(play(tmp_path / "run", base_url, str(checkpoint)))


@pytest.mark.parametrize("name", ["no-such/model", "/no/such/folder"])
def test_a_bad_model_is_told(base_url: str, tmp_path: Path, name: str) -> None:
    check_refused(play(tmp_path / "run", base_url, name))
