"""Checkpoints of SimpleClick: official ones, others, and files that are not what they should be."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hlmat_bench.core.networks import weights
from hlmat_bench.protocol import plugins
from hlmat_bench.testing import TINY_SIMPLECLICK, tiny_sam, tiny_simpleclick
from tests.support.refusals import refused

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_simpleclick(tmp_path_factory.mktemp("weights"))


def made(file: Path, name: str = "simpleclick") -> Any:
    return plugins.build("segmenter", name, {"checkpoint": str(file), "device": "cpu"})


def test_weights_of_another_official_size_are_named(tmp_path: Path) -> None:
    sizes = {"width": 160, "heads": 4, "grid": 28, "pyramid": (96, 192, 288, 384), "channels": 128}
    file = tiny_simpleclick(tmp_path, architecture=replace(TINY_SIMPLECLICK, **sizes))
    assert made(file).name == made(file, "simpleclick_xtiny").name == "simpleclick_xtiny"
    assert "name the segmenter simpleclick_xtiny" in refused(lambda: made(file, "simpleclick_l"))


@pytest.mark.parametrize(
    ("name", "width", "depth", "group"),
    [("simpleclick_b", 768, 12, 6), ("simpleclick_l", 1024, 24, 6), ("simpleclick_h", 1280, 32, 8)],
)
def test_official_sizes_are_known(name: str, width: int, depth: int, group: int) -> None:
    """Groups of blocks: two for B, four for the others."""
    architecture = replace(TINY_SIMPLECLICK, width=width, depth=depth)
    assert (architecture.official, architecture.group) == (name, group)


def content(tiny: Path) -> dict[str, Any]:
    """Return the checkpoint as a dict that a test changes; the loss in it is an inert object."""
    loaded: dict[str, Any] = weights.load(tiny, inert=("isegm.",))
    loaded["config"]["params"]["head_params"]["value"]["loss_decode"] = None
    return loaded


def test_objects_in_an_official_checkpoint_are_read_as_inert_ones(tiny: Path) -> None:
    allowed = set(torch.serialization.get_safe_globals())
    refused(lambda: weights.load(tiny))  # plain weights_only refuses the loss in it
    loaded = weights.load(tiny, inert=("isegm.",))
    loss = loaded["config"]["params"]["head_params"]["value"]["loss_decode"]
    assert isinstance(loss, weights.Inert)
    assert not hasattr(loss, "training")  # the state that the file holds is dropped
    assert "isegm" not in sys.modules
    assert set(torch.serialization.get_safe_globals()) == allowed
    refused(lambda: weights.load(tiny))


def test_checkpoints_are_read_in_several_threads_at_once(tiny: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda _: weights.load(tiny, inert=("isegm.",)), range(8)))
    assert all(
        isinstance(one["config"]["params"]["head_params"]["value"]["loss_decode"], weights.Inert) for one in read
    )


def test_the_tiny_checkpoint_is_the_same_every_time(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    states = [content(tiny_simpleclick(tmp_path / str(n), seed=n // 2))["state_dict"] for n in range(3)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["head.conv_seg.weight"], states[2]["head.conv_seg.weight"])
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's random numbers were touched


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_checkpoint_does_not_run(tmp_path: Path, tiny: Path) -> None:
    target, file = tmp_path / "it-ran", tmp_path / "hostile.pth"
    hostile = Hostile(f"touch {target}")
    whole = content(tiny)
    for value in (hostile, {"config": hostile, "state_dict": {}}, {**whole, "more": hostile}):
        torch.save(value, file)
        assert "read safely" in refused(lambda: made(file))
        file.write_bytes(pickle.dumps(value))
        assert "read safely" in refused(lambda: made(file))
    assert not target.exists()
    pickle.loads(pickle.dumps(hostile))  # it would have run
    assert target.exists()


class Hostile:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def test_damaged_files_are_refused(tmp_path: Path, tiny: Path) -> None:
    whole, file = tiny.read_bytes(), tmp_path / "damaged.pth"
    for data in (b"", b"PK", b"<html>404</html>", pickle.dumps(1), whole[:-1], whole[: len(whole) // 2], whole[999:]):
        file.write_bytes(data)
        assert str(file) in refused(lambda: made(file))


def _without(loaded: dict[str, Any], name: str) -> None:
    del loaded["state_dict"][name]


def _with(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda loaded: loaded["state_dict"].__setitem__(name, value)


def _param(name: str, value: Any, inner: str | None = None) -> Callable[[dict[str, Any]], None]:
    def change(loaded: dict[str, Any]) -> None:
        parameter = loaded["config"]["params"].setdefault(name, {})
        if inner is None:
            parameter["value"] = value
        else:
            parameter["value"][inner] = value

    return change


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda c: c.pop("config"), "no config and state_dict"),
        (lambda c: c.__setitem__("config", [1]), "not a SimpleClick that can run here"),
        (lambda c: c.__setitem__("state_dict", [1]), "not a SimpleClick that can run here"),
        (lambda c: c["config"].pop("params"), "lacks 'params'"),
        (lambda c: c["config"]["params"].pop("neck_params"), "lacks 'neck_params'"),
        (lambda c: _without(c, "head.conv_seg.bias"), "1 tensors differ, for example head.conv_seg.bias"),
        (lambda c: _without(c, "backbone.blocks.3.attn.qkv.weight"), "number of blocks is 7, not 8"),
        (_with("more.weight", torch.zeros(1)), "for example more.weight"),
        (_with("head.conv_seg.weight", torch.zeros(1, 9, 1, 1)), "for example head.conv_seg.weight"),
        (_with("head.conv_seg.bias", torch.zeros(1, dtype=torch.long)), "head.conv_seg.bias holds no weights"),
        (_with("head.conv_seg.bias", torch.zeros(1).to_sparse()), "head.conv_seg.bias holds no weights"),
        (_with("head.conv_seg.bias", torch.zeros(1, device="meta")), "head.conv_seg.bias holds no weights"),
        (_with("head.conv_seg.bias", "text"), "head.conv_seg.bias holds no weights"),
        (_with("backbone.pos_embed", torch.zeros(1, 4, 16)), "for example backbone.pos_embed"),
        (_param("use_disks", False), "use_disks is False"),
        (_param("random_split", True), "random_split is True"),
        (_param("norm_mean_std", ([0.5] * 3, [0.5] * 3)), "norm_mean_std"),
        (_param("norm_mean_std", torch.zeros(2, 3)), "norm_mean_std"),
        (_param("norm_radius", -1), "a size in its config is -1"),
        (_param("head_params", "x2", "upsample"), "upsample is x2"),
        (_param("head_params", True, "align_corners"), "align_corners is True"),
        (_param("head_params", 10**12, "channels"), "a size in its config is"),
        (_param("neck_params", [8, 8], "out_dims"), "not enough values"),
        (_param("backbone_params", 10**9, "depth"), "a size in its config is"),
        (_param("backbone_params", 3, "num_heads"), "embed_dim modulo num_heads"),
        (_param("backbone_params", [224, 448], "img_size"), "height"),
        (_param("backbone_params", [15, 15], "patch_size"), "224 modulo patch_size"),
        (_param("backbone_params", "x\n" * 1000, "embed_dim"), "a size in its config is"),
    ],
)
def test_checkpoints_of_something_else_are_refused(
    change: Callable[[dict[str, Any]], None], part: str, tmp_path: Path, tiny: Path
) -> None:
    loaded, file = content(tiny), tmp_path / "other.pth"
    change(loaded)
    torch.save(loaded, file)
    message = refused(lambda: made(file))
    assert part in message
    assert str(file) in message
    assert "github.com/uncbiag/SimpleClick" in message


def test_weights_of_another_family_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    for other in (torch.load(tiny_sam(tmp_path).checkpoint, weights_only=True), [1, 2], {"model": {}}):
        torch.save(other, file)
        assert "not a checkpoint of SimpleClick" in refused(lambda: made(file))
