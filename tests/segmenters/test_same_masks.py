"""The same oracle episodes however they are played: alone, side by side, over a server, with a cache, after detours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hlmat_bench
from hlmat_bench import testing
from hlmat_bench.core import masks
from hlmat_bench.protocol import plugins
from hlmat_bench.runs.run_folder import Run
from tests.support.segmenter_servers import served

pytestmark = pytest.mark.slow

EPISODES = 12
SHARE = {"graphcut": 0.0, "sam": 1e-4, "simpleclick": 1e-4}
"""The share of pixels that may differ."""

# A segmenter that tries another click before each of an episode, and takes it back.
DETOUR = """
from hlmat_bench.protocol import plugins
from hlmat_bench.clicks import Click

class Detour:
    def __init__(self):
        self.inner = plugins.make("segmenter", SPEC)
        self.name, self.accepts_box = self.inner.name, self.inner.accepts_box
    def spec(self):
        return self.inner.spec()
    def open(self, image):
        return Session(self.inner.open(image), image.shape)

class Session:
    def __init__(self, inner, shape):
        self.inner, self.shape = inner, shape
    def predict(self, clicks, box=None):
        state = self.inner.snapshot()
        self.inner.predict([*clicks[:-1], Click(True, self.shape[1] - 1, 0)], box)
        self.inner.restore(state)
        return self.inner.predict(clicks, box)
    def snapshot(self):
        return self.inner.snapshot()
    def restore(self, state):
        self.inner.restore(state)

SEGMENTERS = {"detour": Detour}
"""


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("weights")
    return {
        "graphcut": "graphcut",
        "sam": f"sam,pretrained={testing.tiny_sam(folder / 'sam').pretrained}",
        "simpleclick": f"simpleclick,checkpoint={testing.tiny_simpleclick(folder / 'simpleclick')}",
    }


@pytest.mark.parametrize("name", SHARE)
def test_the_masks_are_the_same(name: str, specs: dict[str, str], task: str, tmp_path: Path) -> None:
    spec = specs[name]
    detour = tmp_path / "detour.py"
    detour.write_text(DETOUR.replace("SPEC", json.dumps(spec)))

    def play(how: str, segmenter: str = spec, concurrency: int = 1) -> Run:
        return hlmat_bench.run(
            "oracle", task, segmenter, budget=3, limit=EPISODES, out=tmp_path / how, concurrency=concurrency
        )

    def over_a_server() -> Run:
        with served(plugins.make("segmenter", spec)) as server:
            return play("server", f"server,url={server.url}", 4)

    ways: list[Callable[[], Run]] = [
        lambda: play("side by side", concurrency=8),
        lambda: play("detour", str(detour)),
        over_a_server,
    ]
    if name == "sam":  # the others' encoders see the clicks, or there is none
        cached = f"{spec},embedding_cache={tmp_path / 'embeddings'}"
        ways += [lambda: play("cold", cached), lambda: play("warm", cached)]
    alone = _masks(play("alone"))
    assert len(alone) == 3 * EPISODES
    for way in ways:
        for mask, expected in zip(_masks(way()), alone, strict=True):
            assert (mask != expected).mean() <= SHARE[name]


def _masks(run: Run) -> list[np.ndarray]:
    return [masks.decode(step.mask) for episode in run.episodes() for step in episode.steps]
