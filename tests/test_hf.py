"""The hf adapter on tiny checkpoints: against a naive decoder written here, and in batches against alone."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from hlmat_bench import plugins
from hlmat_bench.content import folder
from hlmat_bench.errors import RequestFailed, UsageError
from hlmat_bench.interfaces import BatchModel, Model, Reply, Request
from hlmat_bench.points import PointFormat
from hlmat_bench.testing import tiny_vlm

PLUGIN = folder("adapters") / "models" / "hf.py"
HfModel = plugins.find("model", str(PLUGIN)).factory
FAMILIES = ("qwen2_5_vl", "llava")
# What the templates of the tiny checkpoints come to, written out.
WRITTEN = {
    "qwen2_5_vl": "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{prompt}<|im_end|>\n"
    "<|im_start|>assistant\n",
    "llava": "USER: <image>\n{prompt} ASSISTANT:",
}


@pytest.fixture(scope="module", autouse=True)
def offline_on_one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("vlm")
    return {family: tiny_vlm(place / family, family) for family in FAMILIES}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def models(checkpoints: dict[str, Path]) -> dict[str, Any]:
    return {family: HfModel(str(path), "xy1000", device="cpu") for family, path in checkpoints.items()}


def questions(count: int = 8, **changes: Any) -> list[Request]:
    rng = np.random.default_rng(0)
    return [
        Request(
            image=rng.integers(0, 255, (60 + 11 * i, 100 - 5 * i, 3), dtype=np.uint8),
            prompt="where is the cat" + " please" * (i % 3) + str(i),
            max_tokens=10,
            seed=i,
            **changes,
        )
        for i in range(count)
    ]


def texts(answers: Sequence[Sequence[Reply]]) -> list[list[str]]:
    return [[reply.text for reply in replies] for replies in answers]


def first_logits(path: Path, family: str, request: Request, forced: Sequence[int] = ()) -> torch.Tensor:
    """The logits after the prompt and the forced tokens: one sequence, no padding, no cache, no generate."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(path)
    model = AutoModelForImageTextToText.from_pretrained(path, attn_implementation="eager")
    text = WRITTEN[family].format(prompt=request.prompt)
    inputs = processor(text=[text], images=[Pillow.fromarray(request.image)], return_tensors="pt")
    more = torch.tensor([list(forced)], dtype=torch.long)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], more], dim=1)
    for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        if name in inputs:
            inputs[name] = torch.cat([inputs[name], torch.full_like(more, value)], dim=1)
    with torch.no_grad():
        logits: torch.Tensor = model(**inputs, use_cache=False).logits[0, -1]
    logits[model.generation_config.suppress_tokens] = -torch.inf
    return logits


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_replies_are_those_of_a_naive_decoder(
    family: str, checkpoints: dict[str, Path], models: dict[str, Any]
) -> None:
    from transformers import AutoProcessor

    tokenizer = AutoProcessor.from_pretrained(checkpoints[family]).tokenizer
    ends = {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|endoftext|>")}
    asked = questions(4)
    for request, (reply,) in zip(asked, models[family].reply_batch(asked), strict=True):
        ids: list[int] = []
        while len(ids) < request.max_tokens and not ends & set(ids):
            ids.append(int(first_logits(checkpoints[family], family, request, ids).argmax()))
        assert reply.tokens_out == len(ids)
        assert reply.text == tokenizer.decode([token for token in ids if token not in ends])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_gives_what_each_request_gets_alone(family: str, models: dict[str, Any]) -> None:
    model = models[family]
    for changes in ({}, {"temperature": 1.0, "n": 3}):
        asked = questions(8, **changes)
        together = model.reply_batch(asked)
        alone = [model.reply_batch([request])[0] for request in asked]
        assert texts(together) == texts(alone)
        for one, other in zip(together, alone, strict=True):
            assert [(r.tokens_in, r.tokens_out) for r in one] == [(r.tokens_in, r.tokens_out) for r in other]
        assert len({reply.text for replies in together for reply in replies}) > 4  # they do depend on the request
    lengths = {replies[0].tokens_in for replies in together}
    assert len(lengths) > 2  # so there was padding


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_does_not_change_the_logits(family: str, checkpoints: dict[str, Path], models: dict[str, Any]) -> None:
    model = models[family]
    rows = [plugin_row(model, i, request) for i, request in enumerate(questions(3))]
    inputs = model._inputs(rows)
    mask = inputs["attention_mask"]
    assert mask[:, -1].all()
    assert not mask[:, 0].all()
    assert (mask.diff(dim=1) >= 0).all()  # zeros on the left alone
    padded = model._model.generate(**inputs, max_new_tokens=1, output_scores=True, return_dict_in_generate=True)
    for row, logits in zip(rows, padded.scores[0], strict=True):
        expected = first_logits(checkpoints[family], family, row.request)
        torch.testing.assert_close(logits, expected, atol=2e-5, rtol=1e-5)


def plugin_row(model: Any, at: int, request: Request) -> Any:
    return sys.modules[type(model).__module__]._Row(at, 0, request)


# Draws


def test_draws_follow_the_distribution_of_the_model(checkpoints: dict[str, Path]) -> None:
    model = HfModel(str(checkpoints["llava"]), "xy1000", device="cpu", batch_size=256)
    (request,) = questions(1, n=1024, temperature=0.5)
    request = replace(request, max_tokens=1)
    counts = Counter(reply.text for reply in model.reply_batch([request])[0])
    expected: Counter[str] = Counter()
    for token, share in enumerate(torch.softmax(first_logits(checkpoints["llava"], "llava", request) / 0.5, dim=0)):
        ends_the_turn = token == model._tokenizer.eos_token_id
        expected["" if ends_the_turn else model._tokenizer.decode([token])] += float(share)  # type: ignore[assignment]
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


def test_batches_are_no_larger_than_allowed_and_share_a_limit(checkpoints: dict[str, Path]) -> None:
    model = HfModel(str(checkpoints["llava"]), "xy1000", device="cpu", batch_size=3)
    calls: list[tuple[int, int]] = []
    generate = model._model.generate

    def counted(**options: Any) -> Any:
        calls.append((len(options["input_ids"]), options["generation_config"].max_new_tokens))
        return generate(**options)

    model._model.generate = counted
    asked = [replace(request, max_tokens=limit) for request, limit in zip(questions(5), (9, 2, 9, 9, 9), strict=True)]
    answers = model.reply_batch(asked)
    assert calls == [(1, 2), (3, 9), (1, 9)]
    assert [replies[0].tokens_out for replies in answers][1] == 2
    calls.clear()
    model.reply_batch([replace(asked[0], n=4, temperature=1.0)])
    assert calls == [(3, 9), (1, 9)]


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


@pytest.mark.parametrize("family", FAMILIES)
def test_grounding_tokens_stay_and_the_end_of_the_turn_goes(family: Any, tmp_path: Path) -> None:
    says = ["<ref>", "the cat", "</ref>", "<box>", "(1,2),(3,4)", "</box>"]
    path = tiny_vlm(tmp_path / "vlm", family, says=says)
    model = HfModel(str(path), "xy1000", device="cpu", repetition_penalty=1.0)
    for (reply,) in model.reply_batch(questions(3)):
        assert (reply.text, reply.tokens_out) == ("".join(says), 7)


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


# Templates


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_without_chat_template_takes_one_as_text(family: Any, tmp_path: Path, models: dict[str, Any]) -> None:
    path = tiny_vlm(tmp_path / "vlm", family, chat_template=False)
    with pytest.raises(UsageError, match=r"no chat template; add template= .*\{prompt\}"):
        HfModel(str(path), "xy1000", device="cpu")
    with pytest.raises(UsageError, match="must hold {prompt}"):
        HfModel(str(path), "xy1000", device="cpu", template="<image>")
    model = HfModel(str(path), "xy1000", device="cpu", template=WRITTEN[family])
    asked = [replace(request, prompt=request.prompt + " {0} {braces}") for request in questions(3)]
    assert texts(model.reply_batch(asked)) == texts(models[family].reply_batch(asked))
    assert model.spec()["template"] == WRITTEN[family]


# What can go wrong


def test_what_the_model_cannot_take_is_a_failed_request(models: dict[str, Any]) -> None:
    (request,) = questions(1)
    flat = replace(request, image=np.zeros((1, 3000, 3), dtype=np.uint8))
    with pytest.raises(RequestFailed, match="cannot take"):
        models["qwen2_5_vl"].reply_batch([flat])
    with pytest.raises(RequestFailed, match="cannot take"):
        models["llava"].reply_batch([replace(request, prompt="another <image>")])


def test_too_little_memory_is_told_to_the_user(checkpoints: dict[str, Path]) -> None:
    model = HfModel(str(checkpoints["llava"]), "xy1000", device="cpu")

    def full(**_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model._model.generate = full
    with pytest.raises(UsageError, match="batch_size below 8"):
        model.reply_batch(questions(1))


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
    from safetensors.torch import load_file, save_file

    tensors = load_file(path / "model.safetensors")
    next(iter(tensors.values())).view(-1)[0] += 1e-3
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    changed = HfModel(str(path), "xy1000", device="cpu").spec()
    assert changed["sha256"] != specs[0]["sha256"]
    assert changed | {"sha256": ""} == specs[0] | {"sha256": ""}


def test_bfloat16_answers(checkpoints: dict[str, Path]) -> None:
    model = HfModel(str(checkpoints["qwen2_5_vl"]), "xy1000", device="cpu", dtype="bfloat16")
    assert all(reply.tokens_out for (reply,) in model.reply_batch(questions(2)))


def test_listing_imports_no_network() -> None:
    code = (
        "import sys; from hlmat_bench import plugins; "
        f"print(plugins.find('model', {str(PLUGIN)!r}).missing, "
        "[m for m in ('torch', 'transformers', 'cv2') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["None", "[]"]
