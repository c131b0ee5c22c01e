"""Whole runs through LiteLLM's proxy, which stands in front of another server."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from hlmat_bench.testing import ChatServer
from tests.servers.programs import SAYS, check_good, check_refused, free_port, play, program, running

pytestmark = pytest.mark.servers

KEY = f"sk-{secrets.token_hex(32)}"  # the proxy refuses to start with one that is easy to guess


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("litellm"), free_port()
    with ChatServer(lambda *_: SAYS, models=["clicker"]) as upstream:
        addresses = {
            "clicker": ("clicker", upstream.base_url),
            "unknown": ("unknown", upstream.base_url),
            "away": ("clicker", f"http://127.0.0.1:{free_port()}/v1"),
        }
        models = [
            {"model_name": name, "litellm_params": {"model": f"openai/{there}", "api_base": url, "api_key": "none"}}
            for name, (there, url) in addresses.items()
        ]
        config = folder / "config.yaml"
        settings = {"general_settings": {"master_key": KEY}, "router_settings": {"num_retries": 0}}
        config.write_text(json.dumps({"model_list": models, **settings}))
        command = [program("litellm", "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        with running(command, f"http://127.0.0.1:{port}/health/liveliness", folder / "log"):
            yield f"http://127.0.0.1:{port}/v1"


def test_a_good_model_is_asked(base_url: str, tmp_path: Path) -> None:
    check_good(play(tmp_path / "run", base_url, "clicker", key=KEY))


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder", "unknown", "away"])
def test_a_bad_model_is_told(base_url: str, tmp_path: Path, name: str) -> None:
    """Names that the proxy does not know, one that only the server behind it does not, and a server that is gone."""
    check_refused(play(tmp_path / "run", base_url, name, key=KEY))


def test_a_wrong_key_is_told_and_kept_secret(base_url: str, tmp_path: Path) -> None:
    """The proxy keeps no list of keys here, and answers with status 400 instead of 401."""
    played = play(tmp_path / "run", base_url, "clicker", key="sk-canary-0123456789")
    check_refused(played)
    assert "canary" not in played.errors
