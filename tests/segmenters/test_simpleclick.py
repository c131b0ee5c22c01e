"""The SimpleClick segmenters: sessions, the contract, options, runs."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hlmat_bench
from hlmat_bench.clicks import Click
from hlmat_bench.protocol import plugins
from hlmat_bench.segmenters.simpleclick import checkpoints as simpleclick_weights
from hlmat_bench.testing import TINY_SIMPLECLICK, contract, tiny_simpleclick
from tests.support.episodes import read_lines
from tests.support.refusals import refused

pytestmark = pytest.mark.slow

CLICKS = [Click(True, 40, 30), Click(False, 5, 5), Click(True, 80, 50)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_simpleclick(tmp_path_factory.mktemp("weights"))


def made(file: Path, name: str = "simpleclick", **options: Any) -> Any:
    return plugins.build("segmenter", name, {"checkpoint": str(file), "device": "cpu", "input_size": 224, **options})


@pytest.fixture(scope="module")
def segmenter(tiny: Path) -> Any:
    return made(tiny)


def picture(height: int = 60, width: int = 100, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# Sessions


def test_the_contract_is_kept(segmenter: Any) -> None:
    broken = [finding for finding in contract.check("segmenter", segmenter) if finding.broken]
    assert broken == []


def test_a_mask_is_a_function_of_the_clicks_in_their_order(segmenter: Any) -> None:
    one_by_one = segmenter.open(picture())
    masks = [one_by_one.predict(CLICKS[:count]) for count in (1, 2, 3)]
    assert len({mask.tobytes() for mask in masks}) == 3
    at_once = segmenter.open(picture())
    for count in (3, 1, 2, 2):  # all at once, taken back, further, and again
        np.testing.assert_array_equal(at_once.predict(CLICKS[:count]), masks[count - 1])
    assert not np.array_equal(at_once.predict(CLICKS[::-1]), masks[2])  # the way there counts
    assert not at_once.predict([]).any()


def test_the_network_runs_once_for_each_new_click(tiny: Path) -> None:
    segmenter, runs = made(tiny), []
    segmenter.predictor.network.register_forward_hook(lambda *_: runs.append(1))
    session = segmenter.open(picture())
    for clicks, passes in ((CLICKS[:1], 1), (CLICKS, 3), (CLICKS, 3), (CLICKS[1:], 5)):
        session.predict(clicks)
        assert len(runs) == passes
    session = segmenter.open(picture())
    session.predict(CLICKS[:2])
    state = session.snapshot()
    session.predict(CLICKS)
    session.restore(state)
    runs.clear()
    session.predict([*CLICKS[:2], Click(True, 1, 1)])
    assert len(runs) == 1


@pytest.mark.parametrize("size", [(1, 1), (2, 500), (33, 7)])
def test_clicks_at_every_edge_and_beyond_get_masks(segmenter: Any, size: tuple[int, int]) -> None:
    height, width = size
    clicks = [
        Click(positive, x, y)
        for x in (0, width - 1, width, width + 3, -2)
        for y in (0, height - 1, height, -1)
        for positive in (True, False)
    ]
    session = segmenter.open(picture(*size))
    for count in range(1, len(clicks) + 1):
        mask = session.predict(clicks[:count])
        assert (mask.shape, mask.dtype) == (size, np.bool_)


def test_a_mirrored_image_gets_the_mirrored_mask_where_the_mirror_image_is_averaged(tiny: Path) -> None:
    image, clicks = picture(224, 224), [Click(True, 60, 100)]
    mirrored = [Click(True, 223 - 60, 100)]
    for flip in (True, False):
        segmenter = made(tiny, flip=flip)
        states = []
        for pixels, clicked in ((image, clicks), (image[:, ::-1], mirrored)):
            session = segmenter.open(pixels)
            session.predict(clicked)
            states.append(session.snapshot().probabilities)
        difference = float((states[0] - states[1].flip(-1)).abs().max())
        assert (difference < 1e-5) is flip


def test_the_probabilities_outside_of_the_crop_are_zero(segmenter: Any) -> None:
    session = segmenter.open(picture(300, 400))
    session.predict([Click(True, 140, 130), Click(False, 50, 50)])
    state = session.snapshot()
    top, bottom, left, right = state.crop
    assert (bottom - top + 1) * (right - left + 1) < 300 * 400
    outside = state.probabilities.clone()
    outside[top : bottom + 1, left : right + 1] = 0
    assert outside.abs().max() == 0
    assert state.probabilities.sum() > 0


def test_options_change_what_they_say(tiny: Path, segmenter: Any) -> None:
    def played(**options: Any) -> Any:
        session = made(tiny, **options).open(picture())
        return session.predict(CLICKS), session.snapshot().probabilities

    mask, probabilities = played()
    for options in ({"input_size": 448}, {"flip": False}, {"click_limit": 1}, {"dtype": "bfloat16"}):
        difference = (played(**options)[1] - probabilities).abs().max()
        assert 0 < difference < 0.5, options
        assert made(tiny, **options).spec() != segmenter.spec()
    threshold = float(probabilities.quantile(0.9))
    sure, _ = played(threshold=threshold)
    np.testing.assert_array_equal(sure, (probabilities > threshold).numpy())
    assert 0 < sure.sum() != mask.sum()


def test_patches_of_14_pixels(tmp_path: Path) -> None:
    """What ViT-H has: 16 patches a side, in one window of them."""
    file = tiny_simpleclick(tmp_path, architecture=replace(TINY_SIMPLECLICK, patch=14, grid=16))
    mask = made(file).open(picture()).predict(CLICKS)
    assert 0 < mask.sum() < mask.size


def test_the_spec_holds_all_that_can_change_a_mask(tiny: Path, segmenter: Any) -> None:
    spec = segmenter.spec()
    assert json.loads(json.dumps(spec)) == spec
    assert spec == {
        "name": "simpleclick",
        "family": "SimpleClick",
        "weights_sha256": hashlib.sha256(tiny.read_bytes()).hexdigest(),
        "architecture": {
            "width": 16, "depth": 8, "heads": 2, "patch": 16, "grid": 14, "pyramid": [8, 8, 12, 16], "channels": 8,
            "radius": 5,
        },
        "zoom_in": {
            "input_size": [224, 224], "expansion": 1.4, "least_side": 200, "least_overlap": 0.5, "threshold": 0.5,
        },
        "flip": True,
        "click_limit": None,
        "threshold": 0.49,
        "dtype": "float32",
        "device": "cpu",
        "versions": {"torch": torch.__version__.partition("+")[0]},
    }  # fmt: skip
    assert not segmenter.accepts_box


def test_a_run_with_the_oracle_twice(tiny: Path, tmp_path: Path) -> None:
    def play(name: str) -> list[dict[str, Any]]:
        hlmat_bench.run(
            "oracle", "hres_synth", f"simpleclick_b,checkpoint={tiny},device=cpu,input_size=224", limit=2, budget=3,
            out=tmp_path / name,
        )  # fmt: skip
        episodes = read_lines(tmp_path / name)
        for episode in episodes:
            for step in episode["steps"]:
                step["seconds"] = None
        return sorted(episodes, key=lambda episode: episode["sample_id"])

    first, second = play("first"), play("second")
    assert first == second
    assert [len(episode["steps"]) for episode in first] == [3, 3]
    assert any(step["iou"] > 0 for episode in first for step in episode["steps"])
    manifest = json.loads((tmp_path / "first" / "run.json").read_text())
    assert manifest["segmenter"]["weights_sha256"] == hashlib.sha256(tiny.read_bytes()).hexdigest()


# What a user can get wrong


def test_missing_weights_say_where_to_get_them(tmp_path: Path) -> None:
    for name, file in (
        ("simpleclick_xtiny", "sbd_vit_xtiny.pth"),
        ("simpleclick_b", "cocolvis_vit_base.pth"),
        ("simpleclick_l", "cocolvis_vit_large.pth"),
        ("simpleclick_h", "cocolvis_vit_huge.pth"),
        ("simpleclick", "a checkpoint"),
    ):
        message = refused(lambda name=name: plugins.make("segmenter", name))
        assert all(part in message for part in (file, "github.com/uncbiag/SimpleClick", f"{name},checkpoint=PATH"))
    assert "no checkpoint" in refused(lambda: made(tmp_path / "absent.pth"))
    assert "is a folder" in refused(lambda: made(tmp_path))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"input_size": 500}, "multiple of 224"),
        ({"input_size": 0}, "multiple of 224"),
        ({"input_size": "448x672"}, "a whole number"),
        ({"flip": "often"}, "flip=often"),
        ({"threshold": 1.5}, "threshold=1.5"),
        ({"click_limit": 0}, "click_limit=0"),
        ({"device": "tpu9"}, "There is no device"),
        ({"dtype": "int8"}, "There is no dtype"),
        ({"clicks": 1}, "input_size"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], part: str, tiny: Path) -> None:
    assert part in refused(lambda: made(tiny, **options))


def test_a_box_is_refused(segmenter: Any) -> None:
    assert "no box" in refused(lambda: segmenter.open(picture()).predict(CLICKS, (1, 2, 30, 40)))


def test_listing_the_segmenters_imports_no_torch() -> None:
    code = (
        "import sys; from hlmat_bench.protocol import plugins; print([n for n in plugins.available('segmenter') "
        "if n.startswith('simpleclick')], 'torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == f"{['simpleclick', *simpleclick_weights.OFFICIAL]} False"
