"""The segmenter server: masks as without it, whatever happens to sessions, connections and the server itself."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hlmat_bench
from hlmat_bench.clicks import Click
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import BatchSession
from hlmat_bench.segmenters.server.sessions import STATES_KEPT
from hlmat_bench.testing import DiscSegmenter, contract
from tests.support import sam_weights
from tests.support.segmenter_servers import Served, clicks_on, picture, served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make a segmenter whose masks depend on the masks before them."""
    return sam_weights.segmenter("sam", sam_weights.weights_of("sam", tmp_path_factory.mktemp("weights")))


@pytest.fixture(scope="module")
def graphcut() -> Any:
    return plugins.make("segmenter", "graphcut")


@pytest.fixture(scope="module")
def sam_server(sam: Any) -> Iterator[Served]:
    with served(sam) as server:
        yield server


@pytest.fixture
def discs() -> Iterator[Served]:
    with served(DiscSegmenter(9)) as server:
        yield server


def masks_of(session: Any, clicks: list[Click], box: Any = None) -> list[np.ndarray]:
    """One click after the other; then the third is taken back and another one made."""
    first = [session.predict(clicks[:2], box)]
    state = session.snapshot()
    first += [session.predict(clicks[:count], box) for count in range(3, len(clicks))]
    session.restore(state)
    return [*first, session.predict([*clicks[:2], clicks[-1]], box)]


def same(seen: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(seen) == len(expected)
    for one, other in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(one, other)


# The same masks as without a server


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("box", [None, (20, 10, 80, 60)])
def test_sam_gives_the_same_masks(sam: Any, sam_server: Served, box: Any, seed: int) -> None:
    image = picture(seed)
    clicks = clicks_on(image, 6, seed)
    same(masks_of(sam_server.client().open(image), clicks, box), masks_of(sam.open(image), clicks, box))


def test_graphcut_gives_the_same_masks(graphcut: Any) -> None:
    image = picture(1, 90, 120)
    clicks = clicks_on(image, 5)
    with served(graphcut) as server:
        same(masks_of(server.client().open(image), clicks), masks_of(graphcut.open(image), clicks))


def test_candidates_are_decoded_in_one_batch_where_the_segmenter_does(
    sam: Any, sam_server: Served, graphcut: Any
) -> None:
    image = picture(2)
    clicks = clicks_on(image, 8)
    local, far = sam.open(image), sam_server.client().open(image)
    assert isinstance(far, BatchSession)
    for session in (local, far):
        session.predict(clicks[:2], (10, 10, 90, 50))
    candidates = [[*clicks[:2], click] for click in clicks[2:]]
    same(far.predict_each(candidates, (10, 10, 90, 50)), local.predict_each(candidates, (10, 10, 90, 50)))
    same([far.predict(candidates[0])], [local.predict(candidates[0])])
    assert far.predict_each([]) == []
    with served(graphcut) as server:
        assert not isinstance(server.client().open(image), BatchSession)


def test_an_empty_prompt_gives_an_empty_mask_as_locally(sam: Any, sam_server: Served) -> None:
    image = picture()
    same([sam_server.client().open(image).predict([])], [sam.open(image).predict([])])


@pytest.mark.parametrize("name", ["graphcut", "sam", "discs"])
def test_the_client_keeps_every_rule_of_a_segmenter(name: str, sam: Any, graphcut: Any) -> None:
    with served({"sam": sam, "graphcut": graphcut, "discs": DiscSegmenter(9)}[name], threads=2) as server:
        assert [finding for finding in contract.check("segmenter", server.client()) if finding.broken] == []


def test_a_run_is_the_same_run(boxes: Path, tool: str, tmp_path: Path) -> None:
    with served(plugins.make("segmenter", tool)) as server:
        far, local = (
            hlmat_bench.run("oracle", str(boxes / "boxes.yaml"), segmenter, out=tmp_path / name, limit=6, budget=3)
            for name, segmenter in (("far", f"server,url={server.url}"), ("local", tool))
        )
    assert far.manifest["segmenter"] == local.manifest["segmenter"]
    assert far.manifest["protocol_fingerprint"] == local.manifest["protocol_fingerprint"]
    played = [[[(step.action, step.mask, step.iou) for step in e.steps] for e in r.episodes()] for r in (far, local)]
    assert played[0] == played[1]
    assert all(len(steps) >= 1 for steps in played[0])


# What gets lost


def test_masks_depend_on_earlier_masks_so_that_the_tests_below_can_fail(sam: Any) -> None:
    image = picture()
    clicks = clicks_on(image, 4)
    assert (masks_of(sam.open(image), clicks)[-1] != sam.open(image).predict([*clicks[:2], clicks[-1]])).any()


def test_expired_sessions_are_rebuilt(sam: Any) -> None:
    image = picture()
    clicks = clicks_on(image, 6)
    local = sam.open(image)
    with served(sam) as server:
        session = server.client().open(image)
        for count in range(1, 5):
            same([session.predict(clicks[:count])], [local.predict(clicks[:count])])
            server.expire()
        assert server.statuses.count(404) == 3


def test_a_session_expires_while_nobody_asks() -> None:
    with served(DiscSegmenter(9), idle=0.05) as server:
        server.open(picture())
        assert wait_until(lambda: len(server.service.sessions) == 0)


def test_the_session_unused_longest_makes_room(sam: Any) -> None:
    images = [picture(seed) for seed in range(3)]
    clicks = clicks_on(images[0], 4)
    with served(sam, sessions=2) as server:
        client = server.client()
        pairs = [(client.open(image), sam.open(image)) for image in images]
        for count in range(1, 5):
            for far, local in pairs:
                same([far.predict(clicks[:count])], [local.predict(clicks[:count])])
        assert len(server.service.sessions) == 2
        assert 404 in server.statuses


def test_a_state_that_the_server_no_longer_keeps_is_made_again(sam: Any, sam_server: Served) -> None:
    image = picture(4)
    clicks = clicks_on(image, STATES_KEPT + 4)
    local, far = sam.open(image), sam_server.client().open(image)
    for session in (local, far):
        session.predict(clicks[:1])
    states = [session.snapshot() for session in (local, far)]
    for count in range(2, len(clicks)):
        same([far.predict(clicks[:count])], [local.predict(clicks[:count])])
    for session, state in zip((local, far), states, strict=True):
        session.restore(state)
    same([far.predict(clicks[:2])], [local.predict(clicks[:2])])


def test_a_server_that_is_started_again_goes_on(sam: Any) -> None:
    image = picture()
    clicks = clicks_on(image, 5)
    local = sam.open(image)
    with served(sam) as server:
        session = server.client().open(image)
        same([session.predict(clicks[:2])], [local.predict(clicks[:2])])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(session.predict, clicks[:3])
        time.sleep(0.2)  # at least one attempt finds nobody
        with served(sam, port=server.port):
            same([waiting.result()], [local.predict(clicks[:3])])
            same([session.predict(clicks[:4])], [local.predict(clicks[:4])])


def test_another_segmenter_after_a_restart_ends_the_run() -> None:
    with served(DiscSegmenter(9)) as server:
        session = server.client().open(picture())
    with served(DiscSegmenter(10), port=server.port), pytest.raises(UsageError, match="another segmenter"):
        session.predict([Click(True, 3, 3)])


def test_a_server_that_stays_away_ends_the_run() -> None:
    with served(DiscSegmenter(9)) as server:
        session = server.client(patience=2).open(picture())
    with pytest.raises(UsageError, match=r"no answer for 2 seconds.*start the same command again"):
        session.predict([Click(True, 3, 3)])


# Many clients


class Gate(DiscSegmenter):
    """Predicts when it is allowed to."""

    def __init__(self) -> None:
        super().__init__(9)
        self.opened, self.asked = threading.Event(), threading.Event()

    def open(self, image: np.ndarray) -> Any:
        session = super().open(image)
        predict = session.predict

        def guarded(*args: Any) -> np.ndarray:
            self.asked.set()
            assert self.opened.wait(30)
            return predict(*args)

        session.predict = guarded  # type: ignore[method-assign]
        return session


def test_an_overloaded_server_says_so_and_the_client_waits() -> None:
    gate, image, clicks = Gate(), picture(), [Click(True, 30, 30)]
    with served(gate, queue=0) as server, ThreadPoolExecutor(2) as pool:
        sessions = [server.client().open(image) for _ in range(2)]
        first = pool.submit(sessions[0].predict, clicks)
        assert gate.asked.wait(10)
        refused = server.post("sessions", content=b"")
        assert refused.status_code == 415  # what needs no segmenter is answered at once
        second = pool.submit(sessions[1].predict, clicks)
        assert wait_until(lambda: 503 in server.statuses)
        assert not second.done()
        gate.opened.set()
        same([first.result(), second.result()], [DiscSegmenter(9).open(image).predict(clicks)] * 2)


def test_the_answer_503_names_a_time() -> None:
    gate, image = Gate(), picture()
    with served(gate, queue=0) as server, ThreadPoolExecutor(1) as pool:
        name, body = server.open(image), {"calls": [{"clicks": [[True, 3, 3]]}]}
        pool.submit(server.post, f"sessions/{name}/predict", json=body)
        assert gate.asked.wait(10)
        refused = server.post(f"sessions/{name}/predict", json=body)
        gate.opened.set()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["error"]["code"] == "overloaded"


def test_thirty_two_sessions_at_once() -> None:
    local = DiscSegmenter(7)

    def wrong(number: int) -> int:
        image = picture(number, 40 + number, 100 - number)
        clicks, session = clicks_on(image, 12, number), client.open(image)
        expected = [local.open(image).predict(clicks[:count]) for count in range(1, 13)]
        return sum((session.predict(clicks[:n]) != mask).any() for n, mask in enumerate(expected, 1))

    with served(DiscSegmenter(7), threads=2, queue=8) as server, ThreadPoolExecutor(32) as pool:
        client = server.client()
        assert sum(pool.map(wrong, range(32))) == 0


def wait_until(condition: Any, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(condition())


# Without a server, and the command


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "127.0.0.1:9", "http://[", "17"])
def test_no_server_there_is_one_sentence(url: str) -> None:
    with pytest.raises(UsageError, match=r"no segmenter server at .*serve-segmenter|is not a URL"):
        plugins.make("segmenter", f"server,url={url}")


@pytest.mark.parametrize(("patience", "said"), [("soon", "should be a number"), ("0", "is not a number of seconds")])
def test_a_patience_that_is_none_is_refused(patience: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"patience={patience} {said}"):
        plugins.make("segmenter", f"server,patience={patience}")


def test_the_command_serves_until_it_is_interrupted(tool: str) -> None:
    command = [sys.executable, "-m", "hlmat_bench", "serve-segmenter", "--segmenter", f"{tool},radius=5", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("Serving discs at http://127.0.0.1:")
        client = plugins.make("segmenter", f"server,url={line.split()[3]}")
        image, clicks = picture(), [Click(True, 20, 20)]
        same([client.open(image).predict(clicks)], [DiscSegmenter(5).open(image).predict(clicks)])
        assert client.spec() == {"radius": 5}
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=20)
        assert (server.returncode, out, err) == (0, "", "")
    finally:
        server.kill()
        server.wait()


def test_a_port_that_is_taken_is_one_sentence(discs: Served, tool: str) -> None:
    command = ["serve-segmenter", "--segmenter", tool, "--port", str(discs.port)]
    ran = subprocess.run([sys.executable, "-m", "hlmat_bench", *command], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "choose another --port" in ran.stderr
    assert "Traceback" not in ran.stderr
