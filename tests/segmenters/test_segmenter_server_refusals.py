"""What the segmenter server refuses, and that whatever it is sent, it goes on."""

from __future__ import annotations

import json
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import numpy as np
import pytest

from hlmat_bench.clicks import Click
from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol import plugins
from hlmat_bench.segmenters.server.requests import MOST_JSON_BYTES
from hlmat_bench.testing import DiscSegmenter
from tests.support.segmenter_servers import Served, clicks_on, picture, png, served

pytestmark = pytest.mark.slow

IMAGE = picture(0, 40, 60)
PIXELS = struct.pack(">I", 1 << 30) + b"IDAT"


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(DiscSegmenter(9), megapixels=1) as server:
        yield server


@pytest.fixture(autouse=True)
def still_right(server: Served) -> Iterator[None]:
    """After each test, the server gives another client its mask."""
    yield
    click = Click(True, 30, 20)
    mask = server.client().open(IMAGE).predict([click])
    np.testing.assert_array_equal(mask, DiscSegmenter(9).open(IMAGE).predict([click]))


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    assert error["message"].endswith(".")
    assert "Traceback" not in error["message"]
    return answer.status_code, error["code"]


def header(width: int, height: int) -> bytes:
    """Make a PNG file of that size, cut off where its pixels begin."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + PIXELS


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (415, "not_an_image")),
        (b"not an image", (415, "not_an_image")),
        (b"\xff\xd8\xff\xe0 a JPEG begins like this", (415, "not_an_image")),
        (png(IMAGE)[:20], (415, "not_an_image")),
        (png(IMAGE, "L"), (415, "not_rgb")),
        (png(IMAGE, "RGBA"), (415, "not_rgb")),
        (png(IMAGE)[:-2000], (422, "damaged_image")),
        (png(IMAGE)[:500] + bytes(100) + png(IMAGE)[600:], (422, "damaged_image")),
        (header(30_000, 30_000), (413, "too_large")),
        (header(1001, 1000), (413, "too_large")),
        (header(1000, 1000), (422, "damaged_image")),
        (png(np.zeros((1000, 1001, 3), np.uint8)), (413, "too_large")),
        (bytes(6_000_000), (413, "too_large")),
    ],
)
def test_what_is_no_image(server: Served, body: bytes, expected: tuple[int, str]) -> None:
    assert refusal(server.post("sessions", content=body)) == expected


def test_two_gigabytes_are_refused_before_they_are_sent(server: Served) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 2147483648\r\n\r\n")
        answer = b""
        while chunk := raw.recv(4096):  # until the server closes the connection
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 413")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_large"


def test_who_sends_all_the_same_reads_the_refusal_after_it(server: Served) -> None:
    answered = len(server.statuses)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n")
        while server.statuses[answered:] != [413]:
            time.sleep(0.01)
        for _ in range(30):
            raw.sendall(bytes(1_000_000))
        raw.sendall(b"GET /v1/spec HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = b"".join(iter(lambda: raw.recv(4096), b""))
    assert answers.startswith(b"HTTP/1.1 413")
    assert b"too_large" in answers
    assert b"HTTP/1.1 200" in answers


def test_a_body_of_unknown_length_is_cut_off(server: Served) -> None:
    answer = server.post("sessions", content=(bytes(1 << 20) for _ in range(7)))
    assert refusal(answer) == (413, "too_large")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "not_json")),
        (b"{", (400, "not_json")),
        (b"\xff\xfe", (400, "not_json")),
        (b"[" * 100_000, (400, "not_json")),
        (b"[]", (422, "bad_request")),
        (b"{}", (422, "bad_request")),
        (b'{"calls": []}', (422, "bad_request")),
        (b'{"calls": [{}]}', (422, "bad_request")),
        (b'{"calls": [{"clicks": [[true, 1]]}]}', (422, "bad_request")),
        (b'{"calls": [{"clicks": [[1, 1, 1]]}]}', (422, "bad_request")),
        (b'{"calls": [{"clicks": [[true, 1.5, 1]]}]}', (422, "bad_request")),
        (b'{"calls": [{"clicks": [[true, NaN, 1]]}]}', (422, "bad_request")),
        (b'{"calls": [{"clicks": [[true, "1", 1]]}]}', (422, "bad_request")),
        (b'{"calls": [{"clicks": [], "box": [1, 2, 3]}]}', (422, "bad_request")),
        (b'{"calls": [{"clicks": [], "mask": 1}]}', (422, "bad_request")),
        (b'{"calls": [' + b'{"clicks": []},' * 1000 + b'{"clicks": []}]}', (422, "bad_request")),
        (b'{"calls": [{"clicks": [[true, 60, 1]]}]}', (422, "click_outside")),
        (b'{"calls": [{"clicks": [[true, 1, 40]]}]}', (422, "click_outside")),
        (b'{"calls": [{"clicks": [[false, -1, 1]]}]}', (422, "click_outside")),
        (b'{"calls": [{"clicks": [[true, 1' + b"0" * 400 + b", 1]]}]}", (422, "click_outside")),
        (b'{"calls": [{"clicks": [[true, 99, 1]]}, {"clicks": []}]}', (422, "click_outside")),
        (b'{"calls": [{"clicks": [], "box": [0, 0, 61, 40]}]}', (422, "box_outside")),
        (b'{"calls": [{"clicks": [], "box": [9, 0, 8, 40]}]}', (422, "box_outside")),
        (b" " * (MOST_JSON_BYTES + 1), (413, "too_large")),
    ],
)
def test_what_is_no_prediction(server: Served, body: bytes, expected: tuple[int, str]) -> None:
    assert refusal(server.post(f"sessions/{server.open(IMAGE)}/predict", content=body)) == expected


GIVEN = masks.encode(np.eye(40, 60, dtype=bool))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "not_json")),
        (b"{}", (422, "bad_request")),
        (b'{"mask": 1}', (422, "bad_request")),
        (b'{"mask": {"size": [40, 60]}}', (422, "bad_request")),
        (b'{"mask": {"size": [40, 60], "counts": [0, 2400]}}', (422, "bad_request")),
        (b'{"mask": {"size": [40, 60, 1], "counts": ""}}', (422, "bad_request")),
        (b'{"mask": {"size": [40, 60], "counts": ""}}', (422, "bad_mask")),
        (b'{"mask": {"size": [40, 60], "counts": "garbage!"}}', (422, "bad_mask")),
        (b'{"mask": {"size": [40, 60], "counts": "oooooooooooooooo"}}', (422, "bad_mask")),
        (json.dumps({"mask": {**GIVEN, "size": [60, 40]}}).encode(), (422, "mask_size")),
        (b'{"mask": {"size": [1000000, 1000000], "counts": "0"}}', (422, "mask_size")),
        (b" " * (MOST_JSON_BYTES + 1), (413, "too_large")),
    ],
)
def test_what_is_no_start_mask(server: Served, body: bytes, expected: tuple[int, str]) -> None:
    path = f"sessions/{server.open(IMAGE)}"
    assert refusal(server.post(f"{path}/start_from", content=body)) == expected
    mask = server.post(f"{path}/predict", json={"calls": [{"clicks": []}]}).json()["mask"]
    assert masks.area(mask) == 0  # the session has not started from anything


def test_a_session_starts_once(server: Served) -> None:
    path, other = f"sessions/{server.open(IMAGE)}", masks.encode(np.ones((40, 60), bool))
    for _ in range(2):  # a request that is made again after its answer was lost
        answer = server.post(f"{path}/start_from", json={"mask": GIVEN})
        assert (answer.status_code, answer.json()) == (200, {"mask": GIVEN})
    assert refusal(server.post(f"{path}/start_from", json={"mask": other})) == (409, "already_started")
    late = f"sessions/{server.open(IMAGE)}"
    server.post(f"{late}/predict", json={"calls": [{"clicks": []}]})
    assert refusal(server.post(f"{late}/start_from", json={"mask": GIVEN})) == (409, "already_started")
    assert refusal(server.post("sessions/unknown/start_from", json={"mask": GIVEN})) == (404, "unknown_session")


def test_the_corners_of_the_image_are_inside(server: Served) -> None:
    calls = [{"clicks": [[True, 0, 0], [True, 59, 39]], "box": [0, 0, 60, 40]}]
    answer = server.post(f"sessions/{server.open(IMAGE)}/predict", json={"calls": calls})
    assert answer.status_code == 200
    assert masks.decode(answer.json()["mask"]).all()


@pytest.mark.parametrize("path", ["sessions/unknown/predict", "sessions/unknown/predict_each"])
def test_an_unknown_session(server: Served, path: str) -> None:
    assert refusal(server.post(path, json={"calls": [{"clicks": []}]})) == (404, "unknown_session")


def test_a_closed_session_is_unknown(server: Served) -> None:
    url = f"{server.url}/v1/sessions/{server.open(IMAGE)}"
    assert httpx2.delete(url, trust_env=False).status_code == 204
    assert refusal(httpx2.delete(url, trust_env=False)) == (404, "unknown_session")


def test_requests_that_there_are_not(server: Served) -> None:
    assert refusal(server.post("nothing")) == (404, "no_such_request")
    assert refusal(httpx2.get(f"{server.url}/v1/sessions", trust_env=False)) == (405, "no_such_request")
    body = {"calls": [], "candidates": [{"clicks": [[True, 1, 1]]}]}
    assert refusal(server.post(f"sessions/{server.open(IMAGE)}/predict_each", json=body)) == (422, "no_batches")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"SSH-2.0-x\r\n"])
def test_something_else_at_that_address(server: Served, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, ThreadPoolExecutor(1) as pool:

        def reply() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        pool.submit(reply)
        with pytest.raises(UsageError, match="(not a|There is no) segmenter server"):
            plugins.make("segmenter", f"server,url=http://127.0.0.1:{other.getsockname()[1]}")


# Segmenters that refuse and fail


class Moody(DiscSegmenter):
    """Takes no box, refuses two clicks, and breaks at three."""

    accepts_box = False

    def open(self, image: np.ndarray) -> Any:
        session = super().open(image)
        predict = session.predict

        def guarded(clicks: list[Click], box: Any) -> np.ndarray:
            if len(clicks) == 2:
                raise UsageError("Two clicks are too many; make one.")
            return predict(clicks, box) if len(clicks) != 3 else np.zeros(3)[5]

        session.predict = guarded  # type: ignore[method-assign]
        return session


def test_a_segmenter_that_refuses_or_fails_is_told_and_the_session_goes_on() -> None:
    clicks = clicks_on(IMAGE, 4)
    with served(Moody(9)) as moody:
        session = moody.client().open(IMAGE)
        first = session.predict(clicks[:1])
        with pytest.raises(UsageError, match="refused: Two clicks are too many; make one"):
            session.predict(clicks[:2])
        with pytest.raises(UsageError, match=r"The segmenter failed \(IndexError\); the server's log says more"):
            session.predict(clicks[:3])
        with pytest.raises(UsageError, match="takes clicks, no box"):
            session.predict(clicks[:1], (1, 1, 2, 2))
        np.testing.assert_array_equal(session.predict(clicks[:1]), first)
        assert session.predict(clicks).any()
        assert moody.statuses.count(500) == 1


def test_an_image_that_is_too_large_is_one_sentence(server: Served) -> None:
    with pytest.raises(UsageError, match="--max-megapixels"):
        server.client().open(np.zeros((1001, 1000, 3), np.uint8))


# Clients that vanish


def test_clients_that_vanish_in_the_middle_disturb_nobody() -> None:
    """Connections broken off inside a header, an upload, and while the mask is computed."""
    clicks, local = clicks_on(IMAGE, 10), DiscSegmenter(9).open(IMAGE)
    with served(DiscSegmenter(9, pause=0.01)) as server:
        session, name = server.client().open(IMAGE), server.open(IMAGE)
        asked = json.dumps({"calls": [{"clicks": [[True, 1, 1]]}]}).encode()
        predict = b"POST /v1/sessions/%b/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
        upload = b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n" + png(IMAGE)[:99]
        whole = predict % (name.encode(), len(asked), asked)
        for count in range(1, 11):
            for sent in (whole, whole[:30], upload):
                vanish(server.port, sent)
            np.testing.assert_array_equal(session.predict(clicks[:count]), local.predict(clicks[:count]))
        assert set(server.statuses) <= {200, 201, 400}
        assert server.post(f"sessions/{name}/predict", content=asked).status_code == 200


def vanish(port: int, sent: bytes) -> None:
    """Send these bytes and reset the connection, as the system does for a killed process with unread data."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.sendall(sent)
