"""The SAM segmenters against the reference evaluator's recorded masks, and against each other."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from hlmat_bench.clicks import Click
from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.networks import weights
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import Segmenter
from hlmat_bench.segmenters.sam.official import VIT_B, VIT_H, SamArchitecture
from hlmat_bench.testing import TINY_SAM, TinySam, tiny_sam
from tests.support.networks import passes

pytestmark = pytest.mark.slow

PLUGIN = folder("adapters") / "segmenters" / "sam.py"
Sam = plugins.find("segmenter", f"{PLUGIN}:sam").factory.func  # type: ignore[attr-defined]


def picture(seed: int = 0, height: int = 60, width: int = 100) -> np.ndarray:
    image = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    image[height // 3 : height // 2, width // 3 : width // 2] = 20 + seed
    return image


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinySam:
    return tiny_sam(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def sam(tiny: TinySam) -> Any:
    return Sam(TINY_SAM, checkpoint=str(tiny.checkpoint), device="cpu")


# The reference


def reduced(build: dict[str, Any]) -> SamArchitecture:
    return SamArchitecture(
        "reduced",
        width=build["embed"],
        depth=build["depth"],
        heads=build["heads"],
        global_attention=tuple(build["glob"]),
        input_size=build["img_size"],
        window=build["win"],
        prompt_width=build["dim"],
        decoder_mlp=build["mlp"],
        decoder_heads=build["th"],
        score_hidden=64,
    )


@pytest.mark.shared
def test_masks_and_logits_are_those_of_the_reference_evaluator(networks: Path) -> None:
    meta = json.loads((networks / "sam" / "meta.json").read_text())
    arrays = np.load(networks / "sam" / "arrays.npz")
    checkpoint = str(networks / "sam" / meta["state_dict"])
    made = {
        feedback: Sam(reduced(meta["build"]), checkpoint=checkpoint, device="cpu", feedback=feedback)
        for feedback in (True, False)
    }
    steps = 0
    for sequence in meta["sequences"]:
        image = np.array(Pillow.open(networks / "sam" / sequence["image"]).convert("RGB"))
        session = made[sequence["mode"].endswith("_prev")].open(image)
        for t, step in enumerate(sequence["steps"]):
            clicks = [Click(positive, x, y) for positive, y, x in step["clicks"]]
            box = None if step["box_used"] is None else tuple(map(int, step["box_used"]))
            mask = session.predict(clicks, box)
            key = f"{sequence['key']}_t{t}"
            expected = np.unpackbits(arrays[f"{key}_mask"])[: mask.size].reshape(mask.shape)
            logits = session.snapshot()[0, 0, ::4, ::4].numpy()
            np.testing.assert_allclose(logits, arrays[f"{key}_best_logits_s4"], atol=1e-5, err_msg=key)
            assert np.count_nonzero(mask != expected) <= step["near_zero_low_res_1e4"], key
            steps += 1
    assert steps == 48


# The two ways to the same masks


def test_both_code_paths_give_the_same_masks(tiny: TinySam, sam: Any) -> None:
    other = Sam(TINY_SAM, pretrained=str(tiny.pretrained), device="cpu")
    rng = np.random.default_rng(1)
    shares = set()
    for shape in ((60, 100), (130, 90), (128, 128)):
        image = picture(shape[0], *shape)
        sessions = sam.open(image), other.open(image)
        for box in (None, (5, 6, 70, 50)):
            clicks: list[Click] = []
            for _ in range(4):
                clicks.append(Click(bool(rng.integers(2)), int(rng.integers(90)), int(rng.integers(60))))
                masks = [session.predict(clicks, box) for session in sessions]
                # Logits span about 0.3; with transformers' own LayerNorm eps they differ by 4e-6 or more.
                logits = [session.snapshot() for session in sessions]
                torch.testing.assert_close(*logits, atol=1e-6, rtol=0)
                assert np.count_nonzero(masks[0] != masks[1]) <= 2
                shares.add(round(float(masks[0].mean()), 3))
    assert len(shares) > 12  # the masks do depend on the clicks


def test_both_code_paths_decode_candidates_in_one_batch(tiny: TinySam, sam: Any) -> None:
    other = Sam(TINY_SAM, pretrained=str(tiny.pretrained), device="cpu")
    sessions = sam.open(picture()), other.open(picture())
    first = [Click(True, 40, 30)]
    candidates = [[*first, Click(x % 2 == 0, x, 50)] for x in range(10, 60, 7)]
    for box in (None, (5, 6, 70, 50)):
        for session in sessions:
            session.predict(first, box)
        together = [session.predict_each(candidates, box) for session in sessions]
        state = sessions[0].snapshot()
        for clicks, *masks in zip(candidates, *together, strict=True):
            alone = sessions[0].predict(clicks, box)
            sessions[0].restore(state)
            assert all(np.count_nonzero(mask != alone) <= 2 for mask in masks)


def test_any_size_that_transformers_saved_is_named_sam(tiny: TinySam, sam: Any) -> None:
    other = plugins.make("segmenter", f"{PLUGIN}:sam,pretrained={tiny.pretrained},device=cpu")
    assert isinstance(other, Segmenter)
    clicks = [Click(True, 40, 30)]
    mine, theirs = sam.open(picture()).predict(clicks), other.open(picture()).predict(clicks)
    assert np.count_nonzero(mine != theirs) <= 2


def test_a_smaller_number_type_changes_the_encoder_only(tiny: TinySam, sam: Any) -> None:
    half = Sam(TINY_SAM, checkpoint=str(tiny.checkpoint), device="cpu", dtype="bfloat16")
    other = Sam(TINY_SAM, pretrained=str(tiny.pretrained), device="cpu", dtype="bfloat16")
    clicks = [Click(True, 40, 30)]
    full_session = sam.open(picture())
    full_session.predict(clicks)
    for segmenter in (half, other):
        session = segmenter.open(picture())
        session.predict(clicks)
        assert session.snapshot().dtype == torch.float32
        difference = float((session.snapshot() - full_session.snapshot()).abs().max())
        assert 0 < difference < 0.05
    assert half.spec()["dtype"] == "bfloat16"


# Sessions


def test_logits_are_fed_back_unless_switched_off(tiny: TinySam, sam: Any) -> None:
    once = Sam(TINY_SAM, checkpoint=str(tiny.checkpoint), device="cpu", feedback=False)
    clicks = [Click(True, 40, 30), Click(False, 5, 5)]
    for segmenter, same in ((sam, False), (once, True)):
        session, fresh = segmenter.open(picture()), segmenter.open(picture())
        session.predict(clicks[:1])
        after, direct = session.predict(clicks), fresh.predict(clicks)
        assert np.array_equal(after, direct) is same
        assert segmenter.spec()["logit_feedback"] is not same


def test_a_session_goes_back_to_its_snapshot(sam: Any) -> None:
    session = sam.open(picture())
    start = session.snapshot()
    session.predict([Click(True, 40, 30)])
    state = session.snapshot()
    first = session.predict([Click(True, 40, 30), Click(False, 5, 5)])
    session.predict([Click(True, 40, 30), Click(True, 90, 50)])
    session.restore(state)
    assert np.array_equal(session.predict([Click(True, 40, 30), Click(False, 5, 5)]), first)
    session.restore(start)
    fresh = sam.open(picture()).predict([Click(True, 1, 2)])
    assert np.array_equal(session.predict([Click(True, 1, 2)]), fresh)


def test_masks_are_bool_of_the_image_size_and_empty_without_a_prompt(sam: Any) -> None:
    session = sam.open(picture(0, 33, 257))
    mask = session.predict([Click(True, 256, 32)])
    assert (mask.shape, mask.dtype) == ((33, 257), np.bool_)
    empty = sam.open(picture(0, 33, 257)).predict([])
    assert (empty.shape, empty.dtype, empty.any()) == ((33, 257), np.bool_, False)


def test_threads_get_the_masks_that_one_thread_gets(sam: Any) -> None:
    def play(seed: int) -> list[np.ndarray]:
        session = sam.open(picture(seed % 3))
        clicks = [Click(True, 10 + seed, 20), Click(False, 70, 5 + seed)]
        return [session.predict(clicks[: t + 1]) for t in range(2)]

    alone = [play(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(play, range(8)))
    for one, other in zip(alone, together, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_equal_images_are_encoded_once(tiny: TinySam) -> None:
    segmenter = Sam(TINY_SAM, pretrained=str(tiny.pretrained), device="cpu")
    with passes() as encoded:
        for seed in (0, 0, 1, 0):
            segmenter.open(picture(seed))
    assert len(encoded) == 2


# What a user can get wrong


def refused(*args: Any, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        Sam(*args, device="cpu", **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_missing_weights_say_where_to_get_them(tmp_path: Path) -> None:
    for name, file, hub_id in (
        ("sam_b", "sam_vit_b_01ec64.pth", "facebook/sam-vit-base"),
        ("sam_l", "sam_vit_l_0b3195.pth", "facebook/sam-vit-large"),
        ("sam_h", "sam_vit_h_4b8939.pth", "facebook/sam-vit-huge"),
    ):
        with pytest.raises(UsageError) as caught:
            plugins.make("segmenter", f"{PLUGIN}:{name}")
        assert all(part in str(caught.value) for part in (file, hub_id, "checkpoint=", "pretrained="))
    assert "no checkpoint" in refused(VIT_B, checkpoint=str(tmp_path / "absent.pth"))
    assert "is a folder" in refused(VIT_B, checkpoint=str(tmp_path))
    assert "no folder" in refused(VIT_B, pretrained=str(tmp_path / "absent"))
    assert "config.json" in refused(VIT_B, pretrained=str(tmp_path))
    assert "not both" in refused(VIT_B, checkpoint="a", pretrained="b")
    assert "sam_b" in refused(None, checkpoint="a.pth")


def test_weights_of_another_size_are_named(tmp_path: Path, tiny: TinySam) -> None:
    file = tmp_path / "sam.pth"
    huge = {"image_encoder.patch_embed.proj.bias": torch.zeros(1280)}
    huge |= {f"image_encoder.blocks.{i}.attn.qkv.bias": torch.zeros(3) for i in range(32)}
    torch.save(huge, file)
    assert "name the segmenter sam_h" in refused(VIT_B, checkpoint=str(file))
    assert "name the segmenter sam." in refused(VIT_H, pretrained=str(tiny.pretrained))
    config = json.loads((tiny.pretrained / "config.json").read_text())
    config["vision_config"] |= {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
    copy = shutil.copytree(tiny.pretrained, tmp_path / "base")
    (copy / "config.json").write_text(json.dumps(config))
    assert "name the segmenter sam_b" in refused(VIT_H, pretrained=str(copy))


def test_what_is_no_sam_checkpoint_is_refused(tmp_path: Path, tiny: TinySam) -> None:
    file = tmp_path / "sam.pth"
    state = torch.load(tiny.checkpoint, weights_only=True)
    lacking = {name: tensor for name, tensor in state.items() if name != "mask_decoder.iou_token.weight"}
    odd = {0: torch.zeros(1), "image_encoder.patch_embed.proj.bias": torch.tensor(1.0)}
    more = {**state, "image_encoder.patch_embed.proj.bias": torch.tensor(1.0)}
    for content in ([1, 2], {"a": 1}, {"model": lacking}, lacking, {**state, "more": torch.zeros(1)}, odd, more):
        torch.save(content, file)
        assert "SAM tiny" in refused(TINY_SAM, checkpoint=str(file))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, tiny: TinySam) -> None:
    whole = tiny.checkpoint.read_bytes()
    file = tmp_path / "sam.pth"
    rng = np.random.default_rng(0)
    cut = [whole[: len(whole) // 2], whole[:-1], whole[1000:]]
    for content in (b"", b"PK", b"<html>404</html>", pickle.dumps(1), *cut):
        file.write_bytes(content)
        assert str(file) in refused(TINY_SAM, checkpoint=str(file))
    with zipfile.ZipFile(tiny.checkpoint) as archive:  # the pickle inside, with bytes changed at random
        names = {name: archive.read(name) for name in archive.namelist()}
    inner = next(name for name in names if name.endswith("data.pkl"))
    for _ in range(150):
        changed = bytearray(names[inner])
        for at in rng.integers(0, len(changed), 3):
            changed[at] = rng.integers(256)
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in names.items():
                archive.writestr(name, bytes(changed) if name == inner else content)
        with contextlib.suppress(UsageError):  # some changes only rename a tensor
            weights.load(file)


class Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_checkpoint_does_not_run(tmp_path: Path, tiny: TinySam) -> None:
    file, target = tmp_path / "sam.pth", tmp_path / "it-ran"
    for content in (Hostile(target), {"image_encoder.pos_embed": Hostile(target)}):
        torch.save(content, file)
        assert "read safely" in refused(TINY_SAM, checkpoint=str(file))
        file.write_bytes(pickle.dumps(content))
        assert "read safely" in refused(TINY_SAM, checkpoint=str(file))
        assert not target.exists()
    pickle.loads(pickle.dumps(Hostile(target)))  # it would have run
    assert target.exists()


@pytest.mark.parametrize("how", ["truncated", "garbage", "absent", "config", "list", "other", "partial"])
def test_a_damaged_folder_is_refused(how: str, tmp_path: Path, tiny: TinySam) -> None:
    copy = shutil.copytree(tiny.pretrained, tmp_path / "copy")
    tensors, config = copy / "model.safetensors", copy / "config.json"
    values = json.loads(config.read_text())
    if how == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:-1000])
    elif how == "garbage":
        tensors.write_bytes(b"no tensors" * 100)
    elif how == "absent":
        tensors.unlink()
    elif how == "config":
        config.write_text("{")
    elif how == "list":
        config.write_text("[]")
    elif how == "other":
        config.write_text('{"model_type": "bert"}')
    else:
        values["mask_decoder_config"]["num_hidden_layers"] = 3
        config.write_text(json.dumps(values))
    assert str(copy) in refused(TINY_SAM, pretrained=str(copy))


def test_an_unknown_device_or_number_type_is_refused(tiny: TinySam) -> None:
    for options in ({"device": "tpu9"}, {"device": "cuda:77"}, {"device": "cpu", "dtype": "int8"}):
        with pytest.raises(UsageError, match="There is no"):
            Sam(TINY_SAM, checkpoint=str(tiny.checkpoint), **options)


def test_the_spec_holds_all_that_can_change_a_mask(tiny: TinySam, sam: Any) -> None:
    spec = sam.spec()
    assert spec["weights_sha256"] == hashlib.sha256(tiny.checkpoint.read_bytes()).hexdigest()
    assert json.loads(json.dumps(spec)) == spec
    assert spec | {"weights_sha256": "", "versions": {}} == {
        "name": "sam_tiny",
        "family": "SAM",
        "weights_sha256": "",
        "library": "segment-anything",
        "versions": {},
        "input_size": 128,
        "dtype": "float32",
        "device": "cpu",
        "masks": 3,
        "mask_choice": "best predicted score",
        "threshold": 0.0,
        "logit_feedback": True,
    }


def test_listing_the_segmenters_imports_no_network() -> None:
    code = (
        "import sys; from hlmat_bench.protocol import plugins; "
        f"print(plugins.find('segmenter', {str(PLUGIN)!r} + ':sam_h').missing); "
        "print([m for m in ('torch', 'transformers', 'segment_anything', 'cv2') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines() == ["None", "[]"]
