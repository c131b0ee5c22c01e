"""Which weights a SAM segmenter takes, and what it says of others: other families, sizes and releases, none at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from hlmat_bench.clicks import Click
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol import plugins
from tests.support.sam_weights import EVERY, picture, segmenter, weights_of

pytestmark = pytest.mark.slow

HUB_IDS = {
    "samhq_b": "syscv-community/sam-hq-vit-base",
    "samhq_l": "syscv-community/sam-hq-vit-large",
    "samhq_h": "syscv-community/sam-hq-vit-huge",
    "sam2_t": "facebook/sam2-hiera-tiny",
    "sam2_s": "facebook/sam2-hiera-small",
    "sam2_b": "facebook/sam2-hiera-base-plus",
    "sam2_l": "facebook/sam2-hiera-large",
    "sam2.1_t": "facebook/sam2.1-hiera-tiny",
    "sam2.1_s": "facebook/sam2.1-hiera-small",
    "sam2.1_b": "facebook/sam2.1-hiera-base-plus",
    "sam2.1_l": "facebook/sam2.1-hiera-large",
    "sam3": "facebook/sam3",
    "edgetam": "yonigozlan/EdgeTAM-hf",
}
# Channels of the first blocks and blocks per stage, from the papers' configurations.
HIERA = {"t": (96, [1, 2, 7, 2]), "s": (96, [1, 2, 11, 2]), "b": (112, [2, 3, 16, 3]), "l": (144, [2, 6, 36, 4])}
DECODER = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 4, "iou_head_hidden_dim": 32}
MEMORY = {
    "memory_attention_hidden_size": 32,
    "memory_attention_num_layers": 1,
    "memory_attention_feed_forward_hidden_size": 32,
    "memory_encoder_hidden_size": 32,
    "memory_encoder_output_channels": 16,
    "mask_downsampler_embed_dim": 32,
    "memory_fuser_embed_dim": 32,
    "memory_fuser_intermediate_dim": 32,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("sams")
    return {family: weights_of(family, place / family) for family in EVERY}


def refused(name: str, folder: Path | str | None = None) -> str:
    options = {} if folder is None else {"pretrained": str(folder)}
    with pytest.raises(UsageError) as caught:
        plugins.build("segmenter", name, options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def rewritten(folder: Path, target: Path, change: Any) -> Path:
    """Make a copy of a folder whose configuration was changed."""
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    change(config)
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_without_weights_each_says_where_they_are() -> None:
    for name, hub_id in HUB_IDS.items():
        message = refused(name)
        assert message.startswith(f"{name} needs its weights.")
        assert f"{hub_id} on the Hugging Face hub" in message
        assert "pretrained=" in message


@pytest.mark.parametrize("name", ["samhq_b", "sam2.1_t", "sam3", "edgetam"])
def test_without_the_hub_an_id_is_refused_in_a_sentence(name: str) -> None:
    message = refused(name, HUB_IDS[name])
    assert message.startswith(f"{HUB_IDS[name]} could not be loaded")
    assert "Name a folder" in message


def test_options_that_mean_nothing_are_refused(folders: dict[str, Path]) -> None:
    for name in EVERY:
        for option in ("feedback=perhaps", "feedback=1", "cache_mb=much", "cache_mb=-1", "dtype=int8", "device=tpu9"):
            key = option.partition("=")[0]
            with pytest.raises(UsageError, match=key):
                plugins.make("segmenter", f"{name},pretrained={folders[name]},{option}")


def test_weights_of_another_family_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    for held in EVERY:
        for name in EVERY:
            if held != name:
                assert f"name the segmenter {held}." in refused(name, folders[held])
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    for name in EVERY:
        assert "of type 'bert'" in refused(name, tmp_path)


@pytest.mark.parametrize("how", ["truncated", "absent", "lacking"])
@pytest.mark.parametrize("family", EVERY)
def test_damaged_weights_are_refused(how: str, family: str, folders: dict[str, Path], tmp_path: Path) -> None:
    def deepen(config: dict[str, Any]) -> None:
        if how == "lacking":
            config["mask_decoder_config"]["num_hidden_layers"] = 3

    copy = rewritten(folders[family], tmp_path / "copy", deepen)
    tensors = copy / "model.safetensors"
    if how == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:-1000])
    elif how == "absent":
        tensors.unlink()
    assert str(copy) in refused(family, copy)


def test_a_vit_of_another_size_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    assert "name the segmenter samhq." in refused("samhq_b", folders["samhq"])

    def grow(config: dict[str, Any]) -> None:
        config["vision_config"] |= {"hidden_size": 1024, "num_hidden_layers": 24}

    large = rewritten(folders["samhq"], tmp_path / "large", grow)
    assert "name the segmenter samhq_l." in refused("samhq_b", large)


def test_a_hiera_of_another_size_or_release_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    assert "name the segmenter sam2." in refused("sam2_t", folders["sam2"])
    for letter, (channels, blocks) in HIERA.items():
        for occlusion in (None, False, True):

            def resize(config: dict[str, Any], channels: int = channels, blocks: list[int] = blocks) -> None:
                config["vision_config"]["backbone_config"]["blocks_per_stage"] = blocks
                config["vision_config"]["backbone_config"]["embed_dim_per_stage"] = [channels * n for n in (1, 2, 4, 8)]

            folder = rewritten(folders["sam2"], tmp_path / f"{letter}{occlusion}", resize)
            (folder / "model.safetensors").unlink()  # the right name goes on to the weights, and ends there
            fitting = {None: [f"sam2_{letter}", f"sam2.1_{letter}"], False: [f"sam2_{letter}"]}
            right = fitting.get(occlusion, [f"sam2.1_{letter}"])
            if occlusion is not None:
                config = json.loads((folder / "config.json").read_text())
                config |= {"model_type": "sam2_video", "enable_occlusion_spatial_embedding": occlusion}
                (folder / "config.json").write_text(json.dumps(config))
            for name in (name for name in HUB_IDS if name.startswith("sam2")):
                told = f"name the segmenter {' or '.join(right)}."
                assert (told in refused(name, folder)) is (name not in right), name


def _pyramid(side: int, patch: int) -> list[list[int]]:
    return [[side // patch * scale] * 2 for scale in (4, 2, 1)]


def test_the_checkpoints_of_videos_are_read(folders: dict[str, Path], tmp_path: Path) -> None:
    """SAM 2 on the hub is saved so: the image's network is a part of it."""
    image = hf.Sam2Config.from_pretrained(folders["sam2"])
    parts = {
        "vision_config": image.vision_config.to_dict(),
        "prompt_encoder_config": image.prompt_encoder_config.to_dict(),
        "mask_decoder_config": image.mask_decoder_config.to_dict(),
    }
    torch.manual_seed(0)
    video = hf.Sam2VideoModel(hf.Sam2VideoConfig(**parts, image_size=128, **MEMORY))
    video.load_state_dict(hf.Sam2Model.from_pretrained(folders["sam2"]).state_dict(), strict=False)
    video.save_pretrained(tmp_path / "video")
    clicks = [Click(True, 40, 30)]
    masks = [
        segmenter("sam2", where).open(picture()).predict(clicks) for where in (folders["sam2"], tmp_path / "video")
    ]
    assert np.array_equal(*masks)


def test_the_tracker_in_a_checkpoint_of_sam3_is_read(folders: dict[str, Path], tmp_path: Path) -> None:
    """SAM 3 on the hub is saved so: a detector and a tracker, which share the image encoder and not its neck."""
    from safetensors.torch import load_file, save_file

    tracker = hf.Sam3TrackerConfig.from_pretrained(folders["sam3"])
    shutil.copytree(folders["sam3"], tmp_path / "whole")
    weights = {}
    for name, tensor in load_file(folders["sam3"] / "model.safetensors").items():
        name = name.replace("tracker_model.", "")
        if name.startswith("vision_encoder.backbone."):
            weights[f"detector_model.{name}"] = tensor
        elif name.startswith("vision_encoder.neck."):
            weights[name.replace("vision_encoder.neck.", "tracker_neck.")] = tensor
            weights[f"detector_model.{name}"] = torch.zeros_like(tensor)
        else:
            weights[f"tracker_model.{name}"] = tensor
    save_file(weights, tmp_path / "whole" / "model.safetensors", metadata={"format": "pt"})
    inner = {**tracker.to_dict(), "model_type": "sam3_tracker_video"}
    whole = {"model_type": "sam3_video", "tracker_config": inner, "detector_config": {"model_type": "sam3"}}
    (tmp_path / "whole" / "config.json").write_text(json.dumps(whole))
    clicks = [Click(True, 40, 30), Click(False, 3, 3)]
    masks = [
        segmenter("sam3", where).open(picture()).predict(clicks) for where in (folders["sam3"], tmp_path / "whole")
    ]
    assert np.array_equal(*masks)
