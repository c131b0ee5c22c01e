"""Whole runs through nginx, with its ordinary limits and with none behind it."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hlmat_bench.testing import ChatServer
from tests.servers.programs import SAYS, check_good, check_refused, free_port, nginx_program, play, running

pytestmark = pytest.mark.servers

# As root, nginx gives its workers to the user nobody, who cannot write into the folder of a test.
CONFIG = """
user {user};
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size {most};
        location = /ready {{ return 204; }}
        location / {{ proxy_pass {upstream}; }}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, upstream: str, most: str = "1m") -> Iterator[str]:
    """Run nginx in front of a server; yield its `base_url`.

    Args:
        folder: for its files.
        upstream: the `base_url` of the server.
        most: the largest request that it lets through; 1m is what nginx has without a setting.
    """
    port, config = free_port(), folder / "nginx.conf"
    config.write_text(
        CONFIG.format(
            folder=folder, port=port, most=most, upstream=upstream.removesuffix("/v1"), user=getpass.getuser()
        )
    )
    command = [nginx_program(), "-p", str(folder), "-e", "stderr", "-c", str(config)]
    with running(command, f"http://127.0.0.1:{port}/ready", folder / "log"):
        yield f"http://127.0.0.1:{port}/v1"


@pytest.mark.parametrize(("most", "more"), [("1m", ""), ("200k", ",quality=50")])
def test_a_good_model_is_asked(tmp_path: Path, most: str, more: str) -> None:
    with ChatServer(lambda *_: SAYS) as upstream, nginx(tmp_path, upstream.base_url, most) as base_url:
        check_good(play(tmp_path / "run", base_url, "clicker", more=more))


def test_an_unknown_model_is_told(tmp_path: Path) -> None:
    with ChatServer(lambda *_: SAYS, models=["clicker"]) as upstream, nginx(tmp_path, upstream.base_url) as base_url:
        check_refused(play(tmp_path / "run", base_url, "no-such-model"), "no-such-model")


@pytest.mark.parametrize("more", ["", ",image_format=png"])
def test_requests_that_are_too_large_are_told(tmp_path: Path, more: str) -> None:
    with ChatServer(lambda *_: SAYS) as upstream, nginx(tmp_path, upstream.base_url, "200k") as base_url:
        check_refused(play(tmp_path / "run", base_url, "clicker", more=more), "413")


def test_a_dead_server_behind_it_is_told(tmp_path: Path) -> None:
    with nginx(tmp_path, f"http://127.0.0.1:{free_port()}/v1") as base_url:
        check_refused(play(tmp_path / "run", base_url, "clicker"), "502")
