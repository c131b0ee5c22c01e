"""Checkpoint files of other networks, and files in which training code wrapped the tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.clicks import Click
from hlmat_bench.core.content import folder
from hlmat_bench.core.networks import weights
from hlmat_bench.protocol import plugins
from hlmat_bench.testing import TINY_SAM, TinySam, tiny_sam, tiny_sam_of, tiny_simpleclick
from tests.support.refusals import refused

pytestmark = pytest.mark.slow

Sam = plugins.find("segmenter", f"{folder('adapters') / 'segmenters' / 'sam.py'}:sam").factory.func  # type: ignore[attr-defined]
CLICKS = [Click(True, 40, 30), Click(False, 5, 5)]


@pytest.fixture(scope="module")
def sam_files(tmp_path_factory: pytest.TempPathFactory) -> TinySam:
    return tiny_sam(tmp_path_factory.mktemp("sam"))


@pytest.fixture(scope="module")
def simpleclick_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_simpleclick(tmp_path_factory.mktemp("simpleclick"))


def sam(file: Path) -> Any:
    return Sam(TINY_SAM, checkpoint=str(file), device="cpu")


def simpleclick(file: Path) -> Any:
    return plugins.build("segmenter", "simpleclick", {"checkpoint": str(file), "device": "cpu"})


def simpleclick_content(file: Path) -> dict[str, Any]:
    """Return what a checkpoint of SimpleClick holds, without its loss."""
    content: dict[str, Any] = weights.load(file, inert=("isegm.",))
    content["config"]["params"]["head_params"]["value"]["loss_decode"] = None
    return content


# Other networks


def vit(width: int, depth: int, blocks: str, first: str) -> dict[str, torch.Tensor]:
    biases = {f"{blocks}{i}.attn.qkv.bias": torch.zeros(3) for i in range(depth)}
    return {first: torch.zeros(width), **biases}


def sam_like(width: int = 768, depth: int = 12, *more: str) -> dict[str, torch.Tensor]:
    names = ("prompt_encoder.not_a_point_embed.weight", "mask_decoder.iou_token.weight", *more)
    encoder = vit(width, depth, "image_encoder.blocks.", "image_encoder.patch_embed.proj.bias")
    return {**encoder, **{name: torch.zeros(1) for name in names}}


def sam2_like(width: int, depth: int, *more: str) -> dict[str, torch.Tensor]:
    trunk = "image_encoder.trunk."
    names = (f"{trunk}pos_embed_window", "sam_mask_decoder.iou_token.weight", "memory_attention.norm.bias", *more)
    encoder = vit(width, depth, f"{trunk}blocks.", f"{trunk}patch_embed.proj.bias")
    return {**encoder, **{name: torch.zeros(1) for name in names}}


def named(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(1) for name in names}


OTHERS = [
    (
        sam_like(768, 12, "mask_decoder.hf_token.weight"),
        "a SAM-HQ",
        "checkpoint= of samhq_b.",
    ),
    (
        sam_like(1280, 32, "mask_decoder.hf_token.weight"),
        "a SAM-HQ",
        "checkpoint= of samhq_h.",
    ),
    (sam_like(5, 3, "mask_decoder.hf_token.weight"), "a SAM-HQ", "checkpoint= of samhq."),
    (named("hf_token.weight", "hf_mlp.layers.0.bias"), "the mask decoder of a SAM-HQ", "whole SAM-HQ"),
    ({"model": sam2_like(96, 12)}, "a SAM 2.", "checkpoint= of sam2_t."),
    (
        {"model": sam2_like(96, 12, "no_obj_embed_spatial")},
        "a SAM 2.1.",
        "checkpoint= of sam2.1_t.",
    ),
    (
        {"model": sam2_like(144, 48, "no_obj_embed_spatial")},
        "SAM 2.1",
        "checkpoint= of sam2.1_l.",
    ),
    ({"model": sam2_like(112, 24, "sam_mask_decoder.hf_token.weight")}, "an HQ-SAM 2", "take sam_b"),
    (
        {"model": named("image_encoder.trunk.body.stem.weight", "memory_attention.norm.bias")},
        "an EdgeTAM",
        "checkpoint= of edgetam.",
    ),
    (
        {"model": named("image_encoder.trunk.pos_embed", "memory_attention.norm.bias")},
        "a SAM 2 with another image encoder",
        "take sam_b",
    ),
    (
        {"model": named("detector.backbone.vision_backbone.trunk.pos_embed", "tracker.no_mem_embed")},
        "a SAM 3",
        "checkpoint= of sam3.",
    ),
    (sam_like(1, 0, "image_encoder.patch_embed.seq.0.c.weight"), "a MobileSAM", "checkpoint= of mobilesam."),
    (
        sam_like(1, 0, "image_encoder.patch_embed.seq.0.c.weight", "mask_decoder.hf_token.weight"),
        "a Light HQ-SAM",
        "take sam_b",
    ),
    (
        {"model": sam_like(192, 12, "mask_decoder.final_output_upscaling_layers.0.0.bias")},
        "an EfficientSAM",
        "checkpoint= of efficientsam_t.",
    ),
    (sam_like(1, 0, "image_encoder.backbone.input_stem.op_list.0.conv.weight"), "an EfficientViT-SAM", "take sam_b"),
    ({"model": sam_like(768, 12, "image_encoder.blocks.0.Adapter.channel.0.weight")}, "SAM-Med2D", "take sam_b"),
    (
        named("vision_encoder.pos_embed", "mask_decoder.iou_token.weight"),
        "of transformers",
        "config.json as pretrained=",
    ),
    ({"model": named("cls_token", "patch_embed.proj.bias", "blocks.0.norm1.bias")}, "a plain ViT", "whole one"),
    (named("model.0.conv.weight", "model.1.conv.weight"), "ultralytics", "take sam_b"),
    ({"state_dict": named("feature_extractor.conv1.weight", "maps_transform.0.weight")}, "a RITM", "simpleclick_b"),
]


@pytest.mark.parametrize("make", [sam, simpleclick])
@pytest.mark.parametrize(("content", "what", "instead"), OTHERS)
def test_files_of_other_networks_are_named_with_what_to_take(
    content: dict[str, Any], what: str, instead: str, make: Callable[[Path], Any], tmp_path: Path
) -> None:
    file = tmp_path / "other.pth"
    torch.save(content, file)
    message = refused(lambda: make(file))
    assert message.startswith(f"{file} is not a checkpoint of S")
    assert what in message
    assert instead in message


def test_sam_and_simpleclick_are_named_to_each_other(
    sam_files: TinySam, simpleclick_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / "sam.pth"
    for width, depth, name in ((768, 12, "sam_b"), (1024, 24, "sam_l"), (1280, 32, "sam_h")):
        torch.save(sam_like(width, depth), file)
        assert f"it is a SAM. Give it as checkpoint= of {name}." in refused(lambda: simpleclick(file))
    assert "it is a SAM. " in refused(lambda: simpleclick(sam_files.checkpoint))
    content = simpleclick_content(simpleclick_file)
    torch.save({"state_dict": content["state_dict"]}, file)
    assert "it is a SimpleClick. " in refused(lambda: sam(file))
    assert "objects of isegm" in refused(lambda: sam(simpleclick_file))


def test_an_encoder_and_a_decoder_that_others_wrote_into_the_form_of_simpleclick_are_named(
    simpleclick_file: Path, tmp_path: Path
) -> None:
    content = simpleclick_content(simpleclick_file)
    file = tmp_path / "ritm.pth"
    state = named("feature_extractor.conv1.weight", "maps_transform.0.weight")
    torch.save({"config": {"class": "isegm.model.is_hrnet_model.HRNetModel", "params": {}}, "state_dict": state}, file)
    assert "it is a RITM. " in refused(lambda: simpleclick(file))
    torch.save({**content, "state_dict": sam_like()}, file)
    assert "it is a SAM. " in refused(lambda: simpleclick(file))


def test_objects_of_a_package_are_named(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    torch.save({"model": Path("a"), "epoch": 1}, file)
    message = refused(lambda: sam(file))
    assert "can be read safely: it holds Python objects of pathlib" in message


def test_weights_of_transformers_are_named_whatever_their_family(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    for family in ("samhq", "sam2", "sam3"):
        made = tiny_sam_of(tmp_path / family, family) / "model.safetensors"  # type: ignore[arg-type]
        torch.save(load_file(made), tmp_path / "pytorch_model.bin")
        assert "a network of transformers" in refused(lambda: sam(tmp_path / "pytorch_model.bin"))


# Wrapped tensors


def before(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {prefix + name: tensor for name, tensor in state.items()}


WRAPPED: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda s: {"model": s, "epoch": 3, "optimizer": {"state": {}}}, "model"),
    (lambda s: {"state_dict": before("model.", s), "epoch": 3}, "state_dict/model."),
    (lambda s: {"model_state_dict": before("module.", s)}, "model_state_dict/module."),
    (lambda s: {"network": before("_orig_mod.", s)}, "network/_orig_mod."),
    (lambda s: before("module.", s), "module."),
    (lambda s: before("module._orig_mod.", s), "module._orig_mod."),
    (lambda s: before("_orig_mod.module.", s), "_orig_mod.module."),
]


@pytest.mark.parametrize(("wrap", "note"), WRAPPED)
def test_a_wrapped_sam_gives_the_same_masks(
    wrap: Callable[[dict[str, Any]], Any], note: str, sam_files: TinySam, tmp_path: Path
) -> None:
    file = tmp_path / "trained.pth"
    torch.save(wrap(torch.load(sam_files.checkpoint, weights_only=True)), file)
    plain, found = sam(sam_files.checkpoint), sam(file)
    image = np.random.default_rng(0).integers(0, 255, (60, 100, 3), dtype=np.uint8)
    for count in (1, 2):
        masks = [segmenter.open(image).predict(CLICKS[:count]) for segmenter in (plain, found)]
        np.testing.assert_array_equal(*masks)
    ours, spec = plain.spec(), found.spec()
    assert spec.pop("unwrapped") == note
    assert spec.pop("weights_sha256") != ours.pop("weights_sha256")
    assert spec == ours


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_a_simpleclick_with_a_prefix_gives_the_same_masks(prefix: str, simpleclick_file: Path, tmp_path: Path) -> None:
    content = simpleclick_content(simpleclick_file)
    file = tmp_path / "trained.pth"
    torch.save({**content, "state_dict": before(prefix, content["state_dict"])}, file)
    plain, found = simpleclick(simpleclick_file), simpleclick(file)
    image = np.random.default_rng(0).integers(0, 255, (60, 100, 3), dtype=np.uint8)
    masks = [segmenter.open(image).predict(CLICKS) for segmenter in (plain, found)]
    np.testing.assert_array_equal(*masks)
    assert found.spec()["unwrapped"] == prefix
    assert "unwrapped" not in plain.spec()


def test_what_is_ambiguous_or_twice_wrapped_is_refused(sam_files: TinySam, tmp_path: Path) -> None:
    state = torch.load(sam_files.checkpoint, weights_only=True)
    for content in (
        {"model": state, "state_dict": state},
        {"model": {"model": state}},
        before("module.module.", state),
        {"teacher": state},
        {**before("module.", state), "more": torch.zeros(1)},
    ):
        torch.save(content, tmp_path / "sam.pth")
        assert "SAM tiny" in refused(lambda: sam(tmp_path / "sam.pth"))


names = st.text("abm.", min_size=1, max_size=6)


@given(
    st.dictionaries(names, st.builds(lambda: np.zeros(1)), min_size=1), st.sampled_from(["", "module.", "_orig_mod."])
)
def test_unwrapping_gives_back_every_tensor(state: dict[str, Any], prefix: str) -> None:
    clean = {f"encoder.{name}": tensor for name, tensor in state.items()}
    for wrapper in ("", "model", "net"):
        content: dict[str, Any] = before(prefix, clean)
        found = weights.unwrapped({wrapper: content, "epoch": 1} if wrapper else content)
        assert found.tensors == clean
        assert found.wrapping == "/".join(part for part in (wrapper, prefix) if part)
