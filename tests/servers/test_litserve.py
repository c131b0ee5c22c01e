"""Whole runs against LitServe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.programs import SAYS, check_good, check_refused, free_port, play, program, running

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    script = Path(__file__).with_name("litserve_program.py")
    command = [program("litserve", "python"), str(script), str(port), SAYS]
    log = tmp_path_factory.mktemp("litserve") / "log"
    with running(command, f"http://127.0.0.1:{port}/health", log):
        yield f"http://127.0.0.1:{port}/v1"


def test_a_good_model_is_asked(base_url: str, tmp_path: Path) -> None:
    check_good(play(tmp_path / "run", base_url, "clicker"))


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder", "broken"])
def test_a_bad_model_is_told(base_url: str, tmp_path: Path, name: str) -> None:
    check_refused(play(tmp_path / "run", base_url, name))
