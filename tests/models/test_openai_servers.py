"""The openai adapter and the servers that are met: certificates, proxies, addresses, keys, fields that are refused."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.protocol.plugins import make
from hlmat_bench.testing import Answer, ChatServer, Failure
from tests.support.asking import KEY, SAYS, OpenAIModel, ask, check_secrecy, reply_once, request, sequence

pytestmark = pytest.mark.usefixtures("no_settings_from_outside")


# Certificates and schemes


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate of 127.0.0.1 that it signed itself, and its key, in one PEM file."""
    folder = tmp_path_factory.mktemp("certificate")
    subject = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*words, "-keyout", "key.pem", "-out", "only.pem"], cwd=folder, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "only.pem").read_text() + (folder / "key.pem").read_text())
    return both


def speaking_tls(certificate: Path) -> ChatServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return ChatServer(lambda *_: SAYS, key=KEY, tls=context)


def test_a_certificate_that_is_not_trusted_ends_the_run(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with speaking_tls(certificate) as server:
        with pytest.raises(UsageError, match=r"certificate of 127\.0\.0\.1 is not trusted.*SSL_CERT_FILE") as caught:
            ask(server)
        check_secrecy(caught.value)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("only.pem")))
        assert [reply.text for reply in ask(server)] == [SAYS]
        other_name = server.base_url.replace("127.0.0.1", "localhost")
        with pytest.raises(UsageError, match="write the name that is in the certificate in base_url="):
            reply_once(OpenAIModel("fake", "xy1000", base_url=other_name, api_key=KEY))


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_file_of_certificates_that_cannot_be_read_is_told(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        (tmp_path / "ca.pem").write_text(text)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with ChatServer(lambda *_: SAYS) as server, pytest.raises(UsageError, match="SSL_CERT_FILE"):
        ask(server)


def test_the_wrong_scheme_is_told(certificate: Path) -> None:
    with speaking_tls(certificate) as server:
        url = server.base_url.replace("https://", "http://")
        with pytest.raises(UsageError, match="speaks TLS; write https:// in base_url="):
            reply_once(OpenAIModel("fake", "xy1000", base_url=url, retries=1000))
    with ChatServer(lambda *_: SAYS) as server:
        url = server.base_url.replace("http://", "https://")
        with pytest.raises(UsageError, match="does not speak TLS; write http:// in base_url="):
            reply_once(OpenAIModel("fake", "xy1000", base_url=url, retries=1000))


# Proxies


class _Proxy(BaseHTTPRequestHandler):
    """Lets nothing through, and remembers what it was asked."""

    seen: list[str]

    def do_POST(self) -> None:
        self.seen.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(407, "Proxy Authentication Required")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_CONNECT(self) -> None:
        self.seen.append(self.path)
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Proxy,), {"seen": seen}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}", seen
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("scheme", "said"),
    [("http", "HTTP 407; name the login of the proxy"), ("https", r"did not let .* through \(HTTP 403\)")],
)
def test_a_proxy_that_refuses_is_named_without_its_password(
    scheme: str, said: str, proxy: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, seen = proxy
    monkeypatch.setenv(f"{scheme}_proxy", f"http://me:canary-pw@{place}")
    model = OpenAIModel("fake", "xy1000", base_url=f"{scheme}://models.invalid/v1", api_key=KEY)
    with pytest.raises(UsageError, match=said) as caught:
        reply_once(model)
    assert "canary-pw" not in str(caught.value)
    assert "models.invalid" in seen[0]
    check_secrecy(caught.value)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
def test_a_proxy_that_is_not_there_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = closed_port()
    monkeypatch.setenv(variable, f"http://me:canary-pw@127.0.0.1:{port}")
    model = OpenAIModel("fake", "xy1000", base_url="http://models.invalid/v1")
    with pytest.raises(UsageError, match=f"no proxy at 127.0.0.1:{port}, which {variable} names") as caught:
        reply_once(model)
    assert "canary" not in str(caught.value)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ChatServer(lambda *_: SAYS) as server:
        assert ask(server)[0].text == SAYS


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("socks5://127.0.0.1:1080", "http_proxy names no proxy that can be used"),
        ("http://127.0.0.1:abc", "http_proxy names no proxy that can be used"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_told(url: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", url)
    with pytest.raises(UsageError, match=said):
        reply_once(OpenAIModel("fake", "xy1000", base_url="http://models.invalid/v1"))


# Addresses, keys and headers


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:99999/v1", "http://127.0.0.1:abc/v1", "http://127.0.0.1:0/v1", "http://[::1/v1", "http://",
        "ftp://host/v1", "localhost:8000/v1", "http:/localhost/v1", "http://ho st/v1", "http://ho\tst/v1",
        f"http://{'a' * 70}.example/v1", "http://a..b/v1",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="base_url= must look like"):
        OpenAIModel("fake", "xy1000", base_url=url)


@pytest.mark.parametrize(
    ("added", "path"),
    [
        ("", "/v1/chat/completions"),
        ("/", "/v1/chat/completions"),
        (" \n", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("?api-version=2024-10-21", "/v1/chat/completions?api-version=2024-10-21"),
        ("/chat/completions/?a=b", "/v1/chat/completions?a=b"),
    ],
)
def test_the_path_is_added_before_the_query_and_once(added: str, path: str) -> None:
    with ChatServer(lambda *_: SAYS) as server:
        reply_once(OpenAIModel("fake", "xy1000", base_url=server.base_url + added))
    assert [asked.path for asked in server.asked] == [path]


def test_what_the_query_calls_a_key_is_blotted_out() -> None:
    answer = Failure(400, body=json.dumps({"error": {"message": "no canary-4711 here"}}))
    with ChatServer(lambda *_: answer) as server, pytest.raises(RequestFailed, match=r"no \*\*\* here"):
        reply_once(OpenAIModel("fake", "xy1000", base_url=server.base_url + "?key=canary-4711"))


@pytest.mark.parametrize("around", ["{}\r\n", " {}", "\ufeff{}\t", "{}\u00a0"])
def test_blanks_around_a_key_are_left_out(around: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", around.format(KEY))
    with ChatServer(lambda *_: SAYS, key=KEY) as server:
        assert reply_once(OpenAIModel("fake", "xy1000", base_url=server.base_url))[0].text == SAYS


@pytest.mark.parametrize("key", ["\u201csk-canary\u201d", "sk-canary-\u0431", "sk-canary\nsk-more", "sk canary"])
def test_a_key_that_no_header_carries_is_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(UsageError, match="The key in MY_KEY holds a character") as caught:
        OpenAIModel("fake", "xy1000", key_env="MY_KEY")
    assert "canary" not in str(caught.value)
    assert str(caught.value).count(".") == 1
    with pytest.raises(UsageError, match="api_key="):
        OpenAIModel("fake", "xy1000", api_key=key)


def test_a_key_given_for_the_name_of_its_variable_is_not_shown() -> None:
    with pytest.raises(UsageError, match="the name of an environment variable") as caught:
        OpenAIModel("fake", "xy1000", key_env=KEY)
    assert KEY not in str(caught.value)


def test_a_key_can_go_in_another_header_and_further_headers_can_be_sent() -> None:
    with ChatServer(lambda *_: f"{SAYS} canary-value") as server:
        model = make(
            "model",
            f"openai,model=fake,points=xy1000,base_url={server.base_url},api_key={KEY},key_header=api-key,"
            "headers=X-Team:canary-value+X-Auth:Bearer ab+cd==",
        )
        (reply,) = reply_once(model)
    sent = server.asked[0].headers
    assert "authorization" not in sent
    assert (sent["api-key"], sent["x-team"], sent["x-auth"]) == (KEY, "canary-value", "Bearer ab+cd==")
    assert reply.text == f"{SAYS} ***"
    spec = json.dumps(model.spec())
    assert "X-Team" in spec
    assert "canary" not in spec


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"headers": "no colon"}, "Name:Value"),
        ({"headers": "Na me:x"}, "Name:Value"),
        ({"headers": "X-A:\u201cx\u201d"}, "The header X-A"),
        ({"key_header": "api key"}, "name of a header"),
    ],
)
def test_a_header_that_is_none_is_refused(options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        OpenAIModel("fake", "xy1000", base_url="http://127.0.0.1:1/v1", **options)


# Fields, paths and sizes


def test_an_image_that_is_too_large_is_told_also_where_the_server_does_not_read_it() -> None:
    """As proxies do: the answer comes after the head of the request, and then the connection closes."""

    def refuse(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:  # closed
                return
            with connection:
                if b"POST" not in connection.recv(4):  # one that only looks whether the server is there
                    continue
                connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    noise = np.random.default_rng(0).integers(0, 255, (1500, 1500, 3), dtype=np.uint8)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=refuse, args=(listening,), daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        with pytest.raises(RequestFailed, match="HTTP 413") as caught:
            reply_once(OpenAIModel("fake", "xy1000", base_url=url, image_format="png", retries=0), request(image=noise))
    assert "resize=" in caught.value.advice


def strict(body: dict[str, Any], image: Any, prompt: str) -> Answer:
    """Answers as servers that refuse every field they do not know."""
    known = {"model", "messages", "temperature", "max_tokens"}
    if unknown := sorted(body.keys() - known):
        return Failure(422, body=json.dumps({"detail": f"Unexpected fields in the request: {set(unknown)}"}))
    return SAYS


def test_a_field_that_nobody_asked_for_is_left_out_and_stays_out() -> None:
    with ChatServer(strict) as server:
        model = OpenAIModel("fake", "xy1000-box", base_url=server.base_url, leave_out="seed", retries=0)
        before = model.spec()

        async def several() -> None:
            await asyncio.gather(*(model.reply(request(prompt=str(i))) for i in range(3)))
            await model.reply(request())
            await model.close()

        asyncio.run(several())
    with_field = [asked for asked in server.asked if "skip_special_tokens" in asked.body]
    assert len(with_field) <= 3
    assert "skip_special_tokens" not in server.asked[-1].body
    assert model.spec() == before


def test_a_field_that_the_server_refuses_ends_the_run_with_the_option_that_leaves_it_out() -> None:
    with ChatServer(strict) as server:
        with pytest.raises(UsageError, match="add leave_out=seed"):
            ask(server)
        assert len(server.asked) == 1
        assert ask(server, leave_out="seed")[0].text == SAYS


@pytest.mark.parametrize("added", ["", "/v2"])
def test_a_wrong_path_is_told_with_the_one_that_most_servers_have(added: str) -> None:
    answer = Failure(404, body='{"detail": "Not Found"}')
    with ChatServer(lambda *_: answer) as server:
        url = server.base_url.removesuffix("/v1") + added
        with pytest.raises(UsageError, match="base_url=") as caught:
            reply_once(OpenAIModel("fake", "xy1000", base_url=url))
    assert ("to end in /v1" in str(caught.value)) is (added == "")


def test_a_server_that_says_wait_is_asked_more_often_than_retries_allow() -> None:
    wait = Failure(429, body=json.dumps([{"error": {"message": "later", "details": [{"retryDelay": "0.02s"}]}}]))
    with ChatServer(sequence(*[wait] * 5, SAYS)) as server:
        assert ask(server, retries=1)[0].text == SAYS
    assert len(server.asked) == 6


@pytest.mark.slow
def test_a_server_that_takes_few_requests_a_minute_answers_all_of_them() -> None:
    """Five in each window of a third of a second; only its body says how long to wait, as Google's does."""
    window, taken, lock = 0.0, 0, threading.Lock()

    def answer(*_: Any) -> Answer:
        nonlocal window, taken
        with lock:
            if time.monotonic() - window > 0.3:
                window, taken = time.monotonic(), 0
            taken += 1
            if taken <= 5:
                return SAYS
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.35s"}]
        error = {"code": 429, "message": "Too fast.", "status": "RESOURCE_EXHAUSTED", "details": details}
        return Failure(429, body=json.dumps([{"error": error}]))

    async def together() -> list[str]:
        model = OpenAIModel("fake", "xy1000", base_url=server.base_url, retries=0)
        replies = await asyncio.gather(*(model.reply(request(prompt=str(i))) for i in range(24)))
        await model.close()
        return [reply.text for (reply,) in replies]

    with ChatServer(answer) as server:
        assert asyncio.run(together()) == [SAYS] * 24
    assert len(server.asked) < 24 + 60


@pytest.mark.slow
def test_a_server_that_always_says_wait_is_asked_until_the_deadline() -> None:
    with ChatServer(lambda *_: Failure(429)) as server, pytest.raises(RequestFailed, match="HTTP 429") as caught:
        ask(server, retries=0, deadline=1.0)
    assert "longer deadline=" in caught.value.advice
    assert len(server.asked) > 2


@pytest.mark.slow
def test_a_check_leaves_no_connection_open() -> None:
    with ChatServer(lambda *_: SAYS) as server:
        words = ["check", f"openai,model=fake,points=xy1000,base_url={server.base_url}"]
        done = subprocess.run([sys.executable, "-m", "hlmat_bench", *words], capture_output=True, text=True)
    assert done.returncode == 0
    assert "Unclosed" not in done.stdout + done.stderr
