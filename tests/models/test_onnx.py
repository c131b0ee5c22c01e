"""The adapter onnx on checkpoints with random weights, compared with transformers."""

from __future__ import annotations

import asyncio
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

from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.core.networks import device, weights
from hlmat_bench.models.catalog import Catalog
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import BatchModel, Model
from hlmat_bench.testing import contract
from tests.support.tiny_models import HfModel, OnnxModel, Plain, graph_logits, programs, random_checkpoint, scenes

pytestmark = pytest.mark.usefixtures("one_thread")

STRETCH = "stretch-128x128"
QUESTIONS = scenes(12, max_tokens=8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoint(tmp_path_factory.mktemp("tiny") / "random")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Any:
    return OnnxModel(str(checkpoint), "xy1000", STRETCH)


def texts(model: Any, requests: list[Any]) -> list[list[str]]:
    return [[reply.text for reply in replies] for replies in model.reply_batch(requests)]


# Against transformers


@pytest.mark.slow
@pytest.mark.parametrize("digits", [False, True])
def test_its_answers_are_those_of_transformers(tmp_path: Path, digits: bool) -> None:
    """Token by token, with a network that does not pad and keeps nothing; then through the adapter hf."""
    place = random_checkpoint(tmp_path / "random", digits=digits)
    model, plain = OnnxModel(str(place), "xy1000", STRETCH), Plain(place)
    answers = texts(model, QUESTIONS)
    assert answers == [[plain.answer(request)] for request in QUESTIONS]
    assert len({text for [text] in answers}) > 8
    for request in QUESTIONS[:4]:
        np.testing.assert_allclose(graph_logits(place, request), plain.logits(request), atol=1e-3)
    hf = HfModel(str(place), "xy1000", STRETCH, device="cpu")
    assert texts(hf, QUESTIONS) == answers
    drawn = [replace(request, n=2, temperature=0.5) for request in QUESTIONS[:6]]
    assert texts(hf, drawn) == texts(model, drawn)
    assert hf.spec()["sha256"] == model.spec()["sha256"]


@pytest.mark.slow
def test_draws_follow_the_distribution_of_the_model(checkpoint: Path) -> None:
    model, plain = OnnxModel(str(checkpoint), "xy1000", batch_size=256), Plain(checkpoint)
    request = replace(QUESTIONS[0], n=1024, temperature=0.1, max_tokens=1)
    counts = Counter(reply.text for reply in model.reply_batch([request])[0])
    shares = torch.softmax(plain.logits(request) / 0.1, dim=0)
    likely = shares.topk(5)
    assert likely.values[3] > 0.02  # several to tell apart
    for share, token in zip(likely.values.tolist(), likely.indices.tolist(), strict=True):
        deviation = (1024 * share * (1 - share)) ** 0.5
        assert abs(counts[plain.processor.tokenizer.decode([token])] - 1024 * share) < 4 * deviation


# Batches and draws


def test_an_answer_does_not_depend_on_the_batch(checkpoint: Path, model: Any) -> None:
    """Prompts of different lengths in one batch, greedy ones and draws, long limits and short ones."""
    asked = [
        replace(request, prompt=request.prompt + " of the mug" * (number % 3), temperature=number % 2 * 0.8, n=2)
        for number, request in enumerate(QUESTIONS)
    ]
    asked[3] = replace(asked[3], max_tokens=3)
    whole = texts(model, asked)
    assert whole == [one for request in asked for one in texts(model, [request])]
    assert whole == texts(OnnxModel(str(checkpoint), "xy1000", batch_size=5), asked)
    assert model.reply_batch(asked)[3][1].tokens_out == 3


def test_a_draw_depends_on_its_seed_and_number_alone(model: Any) -> None:
    request = replace(QUESTIONS[0], n=4, temperature=2.0)
    [first], [again] = texts(model, [request]), texts(model, [request])
    assert first == again
    assert len(set(first)) == 4
    assert texts(model, [replace(request, n=2)]) == [first[:2]]
    assert not set(texts(model, [replace(request, seed=99)])[0]) & set(first)
    assert len(set(texts(model, [replace(request, temperature=0.0)])[0])) == 1


def test_it_is_a_model_and_a_batch_model(model: Any) -> None:
    assert isinstance(model, Model)
    assert isinstance(model, BatchModel)
    [reply] = asyncio.run(model.reply(QUESTIONS[0]))
    assert [reply.text] == texts(model, QUESTIONS[:1])[0]
    assert reply.tokens_in == len(QUESTIONS[0].prompt.split()) + 66  # <s>, 64 tokens of the picture, <answer>
    assert (reply.tokens_out, reply.finish) == (8, "length")
    assert (model.batch_size, model.points, model.resize.name) == (16, PointFormat.named("xy1000"), STRETCH)


def test_images_of_other_sizes_are_resized_as_the_processor_does(checkpoint: Path, model: Any) -> None:
    from PIL import Image as Pillow

    image = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    small = np.asarray(Pillow.fromarray(image).resize((128, 128), Pillow.Resampling.BICUBIC))
    asked = [replace(QUESTIONS[0], image=one) for one in (image, small)]
    first, second = texts(model, asked)
    assert first == second


def test_it_keeps_the_contract(checkpoint: Path) -> None:
    made = plugins.make("model", f"onnx,pretrained={checkpoint},points=xy1000,resize={STRETCH}")
    assert [finding.rule for finding in contract.check("model", made) if finding.broken is not None] == []


def test_neither_torch_nor_transformers_is_imported(checkpoint: Path) -> None:
    code = (
        "import sys; import numpy as np; from hlmat_bench.protocol import plugins\n"
        "from hlmat_bench.protocol.interfaces import Request\n"
        f"model = plugins.make('model', 'onnx,pretrained={checkpoint},points=xy1000')\n"
        "[[reply]] = model.reply_batch([Request(np.zeros((128, 128, 3), np.uint8), 'the red mug', max_tokens=2)])\n"
        "print(reply.tokens_out, *{name.partition('.')[0] for name in sys.modules})"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert printed[0] == "2"
    assert not {"torch", "transformers", "onnx"} & set(printed)


# What can go wrong


def test_a_prompt_with_the_token_of_the_image_is_a_failed_request(model: Any) -> None:
    with pytest.raises(RequestFailed, match="contains <image>"):
        model.reply_batch([replace(QUESTIONS[0], prompt="the <image>")])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "needs pretrained= and points="),
        ({"pretrained": "somebody/model"}, "There is no folder somebody/model"),
        ({"pretrained": "package:hlmat-tinny"}, "no checkpoint in hlmat-bench called 'hlmat-tinny'"),
        ({"batch_size": 0, "pretrained": "."}, "batch_size=0 is no number"),
    ],
)
def test_wrong_options_are_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        OnnxModel(points="xy1000", **options)


@pytest.mark.parametrize(
    "file", ["decoder.onnx", "model.safetensors", "config.json", "tokenizer.json", "processor_config.json"]
)
def test_a_damaged_or_missing_file_is_one_sentence(checkpoint: Path, tmp_path: Path, file: str) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    for damaged in (folder / file).read_bytes()[:-300], None:
        if damaged is None:
            (folder / file).unlink()
        else:
            (folder / file).write_bytes(damaged)
        with pytest.raises(UsageError, match="copy") as caught:
            OnnxModel(str(folder), "xy1000")
        assert "\n" not in str(caught.value)


def test_graphs_of_another_checkpoint_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    digits = random_checkpoint(tmp_path / "digits", digits=True)
    shutil.copy(digits / "decoder.onnx", folder)
    with pytest.raises(UsageError, match=r"decoder.onnx does not fit"):
        OnnxModel(str(folder), "xy1000")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = device.missing_packages("onnxruntime", "no_such_package", extra=None)
    assert sentence == "no_such_package is not installed here; run: pip install no_such_package"
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    with pytest.raises(UsageError, match=r"onnxruntime, tokenizers, safetensors are not installed here; run: pip"):
        OnnxModel("package:hlmat-tiny", "xy1000")


# Where the weights are


def test_an_entry_is_played_by_both_adapters(tmp_path: Path) -> None:
    choice = Catalog.load().choose("hlmat-tiny,adapter=hf,device=cpu")
    assert choice.plugin == "hf"
    assert choice.options["pretrained"] == "package:hlmat-tiny"
    assert (choice.options["resize"], choice.predicts_iou) == (STRETCH, True)
    assert Catalog.load().choose("qwen3-vl-8b,adapter=command").options.get("pretrained") is None


def test_the_graphs_hold_no_weights(checkpoint: Path) -> None:
    assert sum(file.stat().st_size for file in checkpoint.glob("*.onnx")) < 40_000
    assert sum(file.stat().st_size for file in checkpoint.iterdir()) < 3_200_000


def test_the_exporter_refuses_another_network(checkpoint: Path, tmp_path: Path) -> None:
    _, graph, _ = programs()
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"quick_gelu"', '"gelu"'))
    with pytest.raises(ValueError, match="another network"):
        graph.write(folder)
    assert weights.pretrained_folder(str(folder)) == folder
