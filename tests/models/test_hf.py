"""The hf adapter on tiny checkpoints: draws, batches, options, and what can go wrong."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GenerationMixin, LlavaForConditionalGeneration

from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol.interfaces import BatchModel, Model
from hlmat_bench.testing import tiny_vlm
from tests.support.hf_models import PLUGIN, HfModel, next_logits, questions, texts

pytestmark = pytest.mark.slow

FAMILIES = ("qwen2_5_vl", "llava")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("vlm")
    return {family: tiny_vlm(place / family, family) for family in FAMILIES}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def models(checkpoints: dict[str, Path]) -> dict[str, Any]:
    return {family: HfModel(str(path), "xy1000", device="cpu") for family, path in checkpoints.items()}


# Draws


def test_draws_follow_the_distribution_of_the_model(checkpoints: dict[str, Path]) -> None:
    model = HfModel(str(checkpoints["llava"]), "xy1000", device="cpu", batch_size=256)
    tokenizer = AutoTokenizer.from_pretrained(checkpoints["llava"])
    (request,) = questions(1, n=1024, temperature=0.5)
    request = replace(request, max_tokens=1)
    counts = Counter(reply.text for reply in model.reply_batch([request])[0])
    expected: Counter[str] = Counter()
    for token, share in enumerate(torch.softmax(next_logits(checkpoints["llava"], "llava", request) / 0.5, dim=0)):
        ends_the_turn = token == tokenizer.eos_token_id
        expected["" if ends_the_turn else tokenizer.decode([token])] += float(share)  # type: ignore[assignment]
    likely = expected.most_common(6)
    assert likely[3][1] > 0.02  # several to tell apart
    for text, share in likely:
        deviation = (1024 * share * (1 - share)) ** 0.5
        assert abs(counts[text] - 1024 * share) < 4 * deviation


def test_a_draw_depends_on_its_seed_and_number_alone(models: dict[str, Any]) -> None:
    model = models["qwen2_5_vl"]
    (request,) = questions(1, n=4, temperature=1.0)
    (first,), (again,) = texts(model.reply_batch([request])), texts(model.reply_batch([request]))
    assert first == again
    assert len(set(first)) == 4
    (fewer,) = texts(model.reply_batch([replace(request, n=2)]))
    assert fewer == first[:2]
    (others,) = texts(model.reply_batch([replace(request, seed=1)]))
    assert not set(others) & set(first)
    mixed = texts(model.reply_batch([replace(request, n=1, temperature=0.0), request, replace(request, seed=1)]))
    assert mixed[1:] == [first, others]


def test_the_seed_of_torch_is_not_touched(models: dict[str, Any]) -> None:
    state = torch.get_rng_state()
    models["llava"].reply_batch(questions(2, n=2, temperature=1.0))
    assert torch.equal(torch.get_rng_state(), state)


def test_greedy_replies_n_times_are_one_reply(models: dict[str, Any]) -> None:
    (replies,) = models["llava"].reply_batch(questions(1, n=3))
    assert len(replies) == 3
    assert len({reply.text for reply in replies}) == 1


# Batches


def test_batches_are_no_larger_than_allowed_and_share_a_limit(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = HfModel(str(checkpoints["llava"]), "xy1000", device="cpu", batch_size=3)
    calls: list[tuple[int, int]] = []
    generate = GenerationMixin.generate

    def counted(self: Any, **options: Any) -> Any:
        calls.append((len(options["input_ids"]), options["generation_config"].max_new_tokens))
        return generate(self, **options)

    monkeypatch.setattr(GenerationMixin, "generate", counted)
    asked = [replace(request, max_tokens=limit) for request, limit in zip(questions(5), (9, 9, 9, 2, 9), strict=True)]
    answers = model.reply_batch(asked)
    assert calls == [(1, 2), (3, 9), (1, 9)]
    assert [replies[0].tokens_out for replies in answers][3] == 2
    calls.clear()
    model.reply_batch([replace(asked[0], n=4, temperature=1.0)])
    assert calls == [(3, 9), (1, 9)]
    calls.clear()
    model.batch_size = 2
    model.reply_batch([replace(asked[0], n=4, temperature=1.0)])
    assert calls == [(2, 9), (2, 9)]


def test_it_is_a_model_and_a_batch_model(models: dict[str, Any]) -> None:
    model = models["qwen2_5_vl"]
    assert isinstance(model, Model)
    assert isinstance(model, BatchModel)
    (request,) = questions(1)
    assert [r.text for r in asyncio.run(model.reply(request))] == texts(model.reply_batch([request]))[0]
    assert (model.batch_size, model.points) == (8, PointFormat.named("xy1000"))
    (reply,) = model.reply_batch([request])[0]
    assert reply.seconds > 0
    assert reply.cost is None


# What a reply holds


def test_a_reply_stops_at_the_turn_end_of_the_tokenizer(tmp_path: Path) -> None:
    path = tiny_vlm(tmp_path / "vlm", says=["Finish"])
    config = json.loads((path / "generation_config.json").read_text())
    (path / "generation_config.json").write_text(json.dumps({**config, "eos_token_id": 1}))
    model = HfModel(str(path), "xy1000", device="cpu")
    assert texts(model.reply_batch(questions(2))) == [["Finish"], ["Finish"]]


def test_settings_of_the_checkpoint_do_not_change_decoding(
    tmp_path: Path, checkpoints: dict[str, Path], models: dict[str, Any]
) -> None:
    path = shutil.copytree(checkpoints["llava"], tmp_path / "copy")
    config = json.loads((path / "generation_config.json").read_text())
    config |= {"do_sample": True, "temperature": 5.0, "top_k": 2, "top_p": 0.1, "repetition_penalty": 3.0}
    (path / "generation_config.json").write_text(json.dumps(config | {"num_beams": 3}))
    copy = HfModel(str(path), "xy1000", device="cpu")
    for changes in ({}, {"temperature": 1.0, "n": 2}):
        asked = questions(3, **changes)
        assert texts(copy.reply_batch(asked)) == texts(models["llava"].reply_batch(asked))
    penalised = HfModel(str(path), "xy1000", device="cpu", repetition_penalty=3.0)
    assert texts(penalised.reply_batch(questions(3))) != texts(copy.reply_batch(questions(3)))


# What can go wrong


def test_what_the_model_cannot_take_is_a_failed_request(models: dict[str, Any]) -> None:
    (request,) = questions(1)
    flat = replace(request, image=np.zeros((1, 3000, 3), dtype=np.uint8))
    with pytest.raises(RequestFailed, match="cannot take"):
        models["qwen2_5_vl"].reply_batch([flat])
    with pytest.raises(RequestFailed, match="cannot take"):
        models["llava"].reply_batch([replace(request, prompt="another <image>")])


def damage(path: Path, how: str) -> None:
    tensors, config = path / "model.safetensors", path / "config.json"
    values = json.loads(config.read_text())
    if how == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:-1000])
    elif how == "absent":
        tensors.unlink()
    elif how == "no tokenizer":
        for file in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
            (path / file).unlink()
    elif how == "one layer more":
        values["text_config"]["num_hidden_layers"] = 3
    elif how == "bert":
        values = {"model_type": "bert"}
    elif how == "own code":
        values = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
        (path / "own.py").write_text("raise SystemExit('it ran')")
    config.write_text(json.dumps(values))


@pytest.mark.parametrize("how", ["truncated", "absent", "no tokenizer", "one layer more", "bert", "own code"])
def test_a_checkpoint_that_cannot_be_loaded_is_told_to_the_user(
    how: str, tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    path = shutil.copytree(checkpoints["llava"], tmp_path / "copy")
    damage(path, how)
    message = refused(str(path))
    assert ("trust_remote_code=true" in message) or how != "own code"


def test_a_checkpoint_that_is_not_there_is_told_to_the_user(tmp_path: Path) -> None:
    for name in (str(tmp_path / "gone"), str(tmp_path), "owner/no-such-model"):
        refused(name)


def refused(name: str) -> str:
    with pytest.raises(UsageError) as caught:
        HfModel(name, "xy1000", device="cpu")
    message = str(caught.value)
    assert name in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "points="),
        ({"pretrained": "x"}, "points="),
        ({"pretrained": "x", "points": "zz"}, "point format"),
        ({"dtype": "int4"}, "dtype"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"device": "cuda:99"}, "device"),
        ({"attn": "no_such_attention"}, "could not be loaded"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], reason: str, checkpoints: dict[str, Path]) -> None:
    if "points" not in options and "pretrained" not in options and options:
        options = {"pretrained": str(checkpoints["llava"]), "points": "xy1000", "device": "cpu", **options}
    with pytest.raises(UsageError, match=reason):
        HfModel(**options)


# What is said of the model


def test_the_spec_names_the_checkpoint_by_its_content(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    path = shutil.copytree(checkpoints["llava"], tmp_path / "copy")
    specs = [HfModel(str(path), "xy1000", device="cpu", **more).spec() for more in ({}, {"dtype": "bfloat16"})]
    assert str(tmp_path) not in json.dumps(specs)
    assert (specs[0]["pretrained"], specs[0]["dtype"], specs[1]["dtype"]) == ("copy", "float32", "bfloat16")
    assert specs[0]["sha256"] == specs[1]["sha256"]
    tensors = load_file(path / "model.safetensors")
    next(iter(tensors.values())).view(-1)[0] += 1e-3
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    changed = HfModel(str(path), "xy1000", device="cpu").spec()
    assert changed["sha256"] != specs[0]["sha256"]
    assert changed | {"sha256": ""} == specs[0] | {"sha256": ""}


def test_listing_imports_no_network() -> None:
    code = (
        "import sys; from hlmat_bench.protocol import plugins; "
        f"print(plugins.find('model', {str(PLUGIN)!r}).missing, "
        "[m for m in ('torch', 'transformers', 'cv2') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["None", "[]"]


OWN_CODE = """
from transformers import LlavaConfig, LlavaForConditionalGeneration

class OwnConfig(LlavaConfig):
    model_type = "own"

class OwnModel(LlavaForConditionalGeneration):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        open(MARKER, "w").close()
"""


def test_code_of_a_checkpoint_runs_only_when_the_user_says_so(
    tmp_path: Path, checkpoints: dict[str, Path], models: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = shutil.copytree(checkpoints["llava"], tmp_path / "own")
    config = json.loads((path / "config.json").read_text())
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForImageTextToText": "own.OwnModel"}
    (path / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": own}))
    marker = tmp_path / "it ran"
    (path / "own.py").write_text(OWN_CODE.replace("MARKER", repr(str(marker))))
    plain = LlavaForConditionalGeneration.from_pretrained(checkpoints["llava"])
    save_file(plain.state_dict(), path / "model.safetensors", metadata={"format": "pt"})
    assert "contains Python code: read it, and add trust_remote_code=true" in refused(str(path))
    assert not (tmp_path / "modules").exists()
    assert not marker.exists()
    model = HfModel(str(path), "xy1000", device="cpu", trust_remote_code=True)
    assert marker.exists()
    assert texts(model.reply_batch(questions(3))) == texts(models["llava"].reply_batch(questions(3)))
