"""Adapters of peft in the hf adapter, beside weights that were merged by hand."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hlmat_bench.core.errors import UsageError
from hlmat_bench.testing import tiny_vlm
from tests.support.hf_models import HfModel, questions, texts
from tests.support.networks import chat_passes

pytestmark = pytest.mark.slow

TENSORS = "adapter_model.safetensors"
RANK, ALPHA = 4, 6


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm(tmp_path_factory.mktemp("base") / "vlm")


@pytest.fixture(scope="module")
def lora(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a LoRA on the language model, as a training script does."""
    from peft import LoraConfig

    folder = tmp_path_factory.mktemp("lora") / "clicks-lora"
    return train(
        checkpoint, folder, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["q_proj", "v_proj", "up_proj"])
    )


def train(checkpoint: Path, folder: Path, config: Any) -> Path:
    from peft import get_peft_model
    from transformers import AutoModelForImageTextToText

    model = get_peft_model(AutoModelForImageTextToText.from_pretrained(checkpoint), config)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(std=0.3, generator=generator)
    model.save_pretrained(folder)
    return folder


def rewrite(lora: Path, folder: Path, change: Any) -> Path:
    """Return a copy with other tensors."""
    shutil.copytree(lora, folder)
    save_file(change(load_file(lora / TENSORS)), folder / TENSORS, metadata={"format": "pt"})
    return folder


def hf(checkpoint: Path, **options: Any) -> Any:
    return HfModel(str(checkpoint), "xy1000", device="cpu", **options)


def in_file(layer: str) -> str:
    """Return what the file of a Qwen2.5-VL calls the weight of a layer of the loaded network."""
    return layer.replace("model.language_model.", "model.").replace("model.visual.", "visual.") + ".weight"


@pytest.fixture(scope="module")
def by_hand(checkpoint: Path, lora: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the model with W + alpha / r * B A for every adapted W (Hu et al. 2021, arXiv 2106.09685, section 4.1)."""
    folder = shutil.copytree(checkpoint, tmp_path_factory.mktemp("merged") / "vlm")
    weights, deltas = load_file(folder / "model.safetensors"), load_file(lora / TENSORS)
    for name in [name for name in deltas if "lora_A" in name]:
        layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        weights[in_file(layer)] += ALPHA / RANK * deltas[name.replace("lora_A", "lora_B")] @ deltas[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return hf(folder)


def test_replies_are_those_of_weights_merged_by_hand(checkpoint: Path, lora: Path, by_hand: Any) -> None:
    asked = questions(8)
    adapted = texts(hf(checkpoint, peft=str(lora)).reply_batch(asked))
    assert adapted == texts(by_hand.reply_batch(asked))
    assert adapted != texts(hf(checkpoint).reply_batch(asked))


def test_logits_are_those_of_weights_merged_by_hand(checkpoint: Path, lora: Path, by_hand: Any) -> None:
    found: list[list[torch.Tensor]] = []
    for model in (hf(checkpoint, peft=str(lora)), by_hand, hf(checkpoint)):
        found.append([])
        with chat_passes(after=lambda output: found[-1].append(output.logits[:, -1].clone())):
            model.reply_batch(questions(3))
    adapted, merged, without = found
    torch.testing.assert_close(adapted, merged, atol=1e-4, rtol=0)
    assert not torch.allclose(adapted[0], without[0], atol=1e-3)


def test_names_of_older_transformers_are_understood(checkpoint: Path, lora: Path, by_hand: Any, tmp_path: Path) -> None:
    old = rewrite(
        lora, tmp_path / "old", lambda tensors: {k.replace("language_model.", ""): v for k, v in tensors.items()}
    )
    assert texts(hf(checkpoint, peft=str(old)).reply_batch(questions())) == texts(by_hand.reply_batch(questions()))


def test_the_spec_names_the_adapter_by_its_content(checkpoint: Path, lora: Path, tmp_path: Path) -> None:
    assert (hf(checkpoint).name, hf(checkpoint).spec()["peft"]) == ("vlm", None)
    model = hf(checkpoint, peft=str(lora))
    assert model.name == "vlm+clicks-lora"
    spec = model.spec()
    assert spec["peft"]["name"] == "clicks-lora"
    assert str(lora) not in json.dumps(spec)
    (lora / "README.md").write_text("not part of what it does")
    assert hf(checkpoint, peft=str(lora)).spec() == spec
    other = rewrite(lora, tmp_path / "clicks-lora", lambda tensors: {k: v * 1.01 for k, v in tensors.items()})
    changed = hf(checkpoint, peft=str(other)).spec()["peft"]
    assert (changed["name"], changed["sha256"] != spec["peft"]["sha256"]) == ("clicks-lora", True)


def refused(checkpoint: Path, adapter: str) -> str:
    with pytest.raises(UsageError) as caught:
        hf(checkpoint, peft=adapter)
    assert Path(adapter).name in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_adapter_is_told_to_the_user(checkpoint: Path, lora: Path, tmp_path: Path) -> None:
    assert "no adapter_config.json" in refused(checkpoint, str(checkpoint))
    assert "no folder" in refused(checkpoint, str(tmp_path / "gone"))
    refused(checkpoint, "owner/no-such-adapter")
    empty = shutil.copytree(lora, tmp_path / "empty")
    (empty / TENSORS).unlink()
    refused(checkpoint, str(empty))
    cut = shutil.copytree(lora, tmp_path / "cut")
    (cut / TENSORS).write_bytes((lora / TENSORS).read_bytes()[:-100])
    refused(checkpoint, str(cut))


def test_an_adapter_of_another_model_is_told_to_the_user(checkpoint: Path, lora: Path, tmp_path: Path) -> None:
    llava = tiny_vlm(tmp_path / "llava", "llava")
    assert "does not fit" in refused(llava, str(lora))  # it has q_proj in its vision tower too
    some = rewrite(lora, tmp_path / "some", lambda tensors: dict(list(tensors.items())[2:]))
    assert "2 of its weights" in refused(checkpoint, str(some))
    fewer = shutil.copytree(lora, tmp_path / "fewer")
    config = json.loads((lora / "adapter_config.json").read_text())
    (fewer / "adapter_config.json").write_text(json.dumps({**config, "target_modules": ["q_proj"]}))
    assert "does not fit" in refused(checkpoint, str(fewer))
    wide = rewrite(lora, tmp_path / "wide", lambda tensors: {k: torch.cat([v, v], dim=1) for k, v in tensors.items()})
    refused(checkpoint, str(wide))


def test_an_adapter_that_cannot_be_merged_is_told_to_the_user(checkpoint: Path, tmp_path: Path) -> None:
    from peft import PromptTuningConfig

    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, token_dim=32, num_layers=2)
    assert "can be merged" in refused(checkpoint, str(train(checkpoint, tmp_path / "prompt", config)))


def test_without_peft_the_user_is_told(checkpoint: Path, lora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageError, match=r"peft is not installed here; run: pip install 'hlmat-bench\[local\]'"):
        hf(checkpoint, peft=str(lora))
