"""Templates, thoughts, ends of turns, processors, resizing and errors of a checkpoint's own code in the hf adapter."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.testing import tiny_vlm
from tests.support.hf_models import WRITTEN, HfModel, questions, texts
from tests.support.networks import chat_passes, raising

pytestmark = pytest.mark.slow

THOUGHT, ANSWER = "<|channel|>analysis<|message|>", "<|start|>assistant<|channel|>final<|message|>"


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm(tmp_path_factory.mktemp("qwen") / "vlm")


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm(tmp_path_factory.mktemp("llava") / "vlm", "llava")


def hf(folder: Path, points: str = "xy1000", **options: Any) -> Any:
    return HfModel(str(folder), points, device="cpu", **options)


def refused(folder: Path | str, points: str = "xy1000", **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        HfModel(str(folder), points, device="cpu", **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def with_template(folder: Path, target: Path, change: Any) -> Path:
    """Make a copy of a checkpoint with another chat template."""
    shutil.copytree(folder, target)
    file = target / "chat_template.jinja"
    file.write_text(change(file.read_text()))
    return target


# Ends of turns


@pytest.mark.parametrize("family", ["internvl", "qwen2_5_vl", "llava"])
def test_the_end_of_a_thought_in_harmony_does_not_end_the_turn(family: Any, tmp_path: Path) -> None:
    said = [THOUGHT, "Maybe the middle.", "<|end|>", ANSWER, "<box>", "(1,2),(3,4)", "</box>"]
    model = hf(tiny_vlm(tmp_path / "vlm", family, says=said))
    for (reply,) in model.reply_batch([replace(request, max_tokens=20) for request in questions(2)]):
        assert (reply.text, reply.tokens_out, reply.finish) == ("".join(said), 8, "stop")


def test_harmony_ends_a_turn_with_return_with_call_and_after_an_answer(tmp_path: Path) -> None:
    for number, end in enumerate(["<|return|>", "<|call|>", "<|end|>"]):
        said = ["<|channel|>final<|message|>", "Finish", end, "and more"]
        model = hf(tiny_vlm(tmp_path / str(number), says=said))
        assert texts(model.reply_batch(questions(2))) == [["<|channel|>final<|message|>Finish"]] * 2


def test_a_thought_of_harmony_may_be_followed_by_several_messages_in_a_batch(tmp_path: Path) -> None:
    said = [THOUGHT, "So.", "<|end|>", ANSWER, "Finish", "<|return|>", "and more"]
    model = hf(tiny_vlm(tmp_path / "vlm", says=said))
    asked = [replace(request, max_tokens=limit) for request, limit in zip(questions(4), (3, 9, 9, 4), strict=True)]
    whole, cut, shorter = "".join(said[:5]), "".join(said[:3]), "".join(said[:4])
    answers = [replies[0] for replies in model.reply_batch(asked)]
    assert [reply.text for reply in answers] == [cut, whole, whole, shorter]
    assert [reply.finish for reply in answers] == ["length", "stop", "stop", "length"]


def test_outside_of_harmony_the_end_token_ends_the_turn(tmp_path: Path) -> None:
    model = hf(tiny_vlm(tmp_path / "vlm", says=["Finish", "<|end|>", "and more"]))
    assert texts(model.reply_batch(questions(1))) == [["Finish"]]
    model = hf(tiny_vlm(tmp_path / "call", says=["Finish", "<|call|>", "and more"]))
    assert texts(model.reply_batch(questions(1))) == [["Finish<|call|>and more"]]


# Thoughts that the template opens


@pytest.mark.parametrize(
    "opening", ["<think>\n", "[THINK]\n", "◁think▷\n", "<|channel|>analysis<|message|>\n", "<think>\n\n", "<thought>\n"]
)
def test_a_thought_that_the_template_opens_is_in_the_reply(opening: str, tmp_path: Path) -> None:
    path = tiny_vlm(tmp_path / "vlm", says=["So maybe", " here"])
    plain = hf(path)
    opened = with_template(
        path, tmp_path / "opened", lambda text: text[: -len("{% endif %}")] + opening + "{% endif %}"
    )
    model = hf(opened)
    asked = questions(3)
    for (one,), (other,) in zip(model.reply_batch(asked), plain.reply_batch(asked), strict=True):
        assert (one.text, other.text) == (opening + "So maybe here", "So maybe here")
        assert one.tokens_out == other.tokens_out == 3
    (cut,) = model.reply_batch([replace(asked[0], max_tokens=1)])[0]
    assert (cut.text, cut.finish) == (opening + "So maybe", "length")
    written = hf(path, template=WRITTEN["qwen2_5_vl"] + opening)
    assert texts(written.reply_batch(asked)) == texts(model.reply_batch(asked))


def test_a_thought_that_the_template_also_closes_is_not_in_the_reply(tmp_path: Path) -> None:
    path = tiny_vlm(tmp_path / "vlm", says=["Finish"])
    model = hf(path, template=WRITTEN["qwen2_5_vl"] + "<think>\n\n</think>\n\n")
    assert texts(model.reply_batch(questions(1))) == [["Finish"]]


# Templates


def test_a_template_without_the_image_or_with_two_is_refused_at_the_start(qwen: Path, llava: Path) -> None:
    for wrong in ("<image>{prompt}", "{prompt}", "<|image_pad|><|image_pad|>{prompt}"):
        message = refused(qwen, template=wrong)
        assert repr(wrong) in message
        assert "template=<|image_pad|>{prompt}" in message
    assert "template=<image>{prompt}" in refused(llava, template="<|image_pad|>{prompt}")


def test_a_chat_template_without_the_image_is_refused_at_the_start(qwen: Path, tmp_path: Path) -> None:
    blind = with_template(qwen, tmp_path / "blind", lambda text: text.replace("<|image_pad|>", ""))
    assert refused(blind).startswith(f"The chat template of {blind} cannot prepare a request: ValueError: ")
    assert hf(blind, template=WRITTEN["qwen2_5_vl"])


def test_a_processor_that_counts_other_image_tokens_ends_the_run(llava: Path, tmp_path: Path) -> None:
    other = shutil.copytree(llava, tmp_path / "other")
    file = other / "processor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "num_additional_image_tokens": 0}))
    model = hf(other)
    with pytest.raises(UsageError, match="another number of image tokens") as caught:
        model.reply_batch(questions(1))
    assert str(other) in str(caught.value)


@pytest.mark.parametrize("broken", ["{{ raise_exception('no images here') }}", "{% for %}", "{{ messages.a.b }}"])
def test_a_chat_template_that_raises_is_refused_at_the_start(broken: str, qwen: Path, tmp_path: Path) -> None:
    message = refused(with_template(qwen, tmp_path / "broken", lambda text: broken))
    assert message.startswith(f"The chat template of {tmp_path / 'broken'} cannot prepare a request: ")


def test_a_chat_template_that_raises_for_one_prompt_fails_that_request(qwen: Path, tmp_path: Path) -> None:
    strict = "{% if 'please' in messages | string %}{{ raise_exception('be brief') }}{% endif %}"
    model = hf(with_template(qwen, tmp_path / "strict", lambda text: strict + text))
    first, second = questions(2)
    assert model.reply_batch([first])
    with pytest.raises(RequestFailed, match="TemplateError: be brief"):
        model.reply_batch([second])


# Errors of torch and of the checkpoint's code


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("expected m1 and m2 to have the same dtype,\n but got: float != c10::Half"),
        AttributeError("'NoneType' object has no attribute 'shape'"),
        KeyError("pixel_values"),
        TypeError("unsupported"),
        AssertionError(),
        IndexError("index 9 is out of range"),
    ],
)
def test_an_error_of_the_network_is_a_failed_request_in_a_sentence(error: Exception, qwen: Path) -> None:
    model = hf(qwen)
    with chat_passes(raising(error)), pytest.raises(RequestFailed) as caught:
        model.reply_batch(questions(1))
    assert type(error).__name__ in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.advice
    assert model.reply_batch(questions(1))


def test_a_device_that_failed_ends_the_run(qwen: Path) -> None:
    model = hf(qwen)
    error = RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later")
    with chat_passes(raising(error)), pytest.raises(UsageError, match="device-side assert triggered") as caught:
        model.reply_batch(questions(1))
    assert "\n" not in str(caught.value)


# Coordinates in pixels


def test_pixels_need_a_word_on_how_the_checkpoint_resizes(qwen: Path, llava: Path) -> None:
    message = refused(qwen, "xypixel-json")
    assert "resize=smart" in message
    assert "smart-28-784-12544" in message
    assert hf(qwen, "xypixel", resize="smart").resize.name == "smart-28-784-12544"
    assert hf(qwen, "xypixel", resize="fit-long4096").resize.name == "fit-long4096"
    assert hf(qwen, "xy1000").resize.name == "none"
    with pytest.warns(RuntimeWarning, match="CLIPImageProcessor.* resizes"):
        assert hf(llava, "xypixel").resize.name == "none"
    with pytest.raises(UsageError, match="does not resize by Qwen's rule"):
        hf(llava, "xypixel", resize="smart")


# Folders without a processor


def without_processor(folder: Path, target: Path, *patterns: str) -> Path:
    shutil.copytree(folder, target)
    for file in [file for pattern in patterns for file in target.glob(pattern)]:
        file.unlink()
    return target


def test_a_processor_can_be_taken_from_another_folder(qwen: Path, tmp_path: Path) -> None:
    bare = without_processor(qwen, tmp_path / "tuned", "*processor*", "token*", "*.jinja")
    base = without_processor(qwen, tmp_path / "base", "config.json", "*.safetensors")
    message = refused(bare)
    assert "processor=" in message
    assert "preprocessor_config.json" in message
    model, whole = hf(bare, processor=str(base)), hf(qwen)
    assert texts(model.reply_batch(questions(3))) == texts(whole.reply_batch(questions(3)))
    spec = model.spec()
    assert spec["processor"]["name"] == "base"
    assert len(spec["processor"]["sha256"]) == 64
    assert str(tmp_path) not in json.dumps(spec)
    assert "processor" not in whole.spec()
    template = base / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert hf(bare, processor=str(base)).spec()["processor"]["sha256"] != spec["processor"]["sha256"]


def test_a_processor_that_is_none_is_told_to_the_user(qwen: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(qwen, processor=str(tmp_path / "empty"))
    assert "gone" in refused(qwen, processor=str(tmp_path / "gone"))
    assert "owner/none" in refused(qwen, processor="owner/none")
    text_only = without_processor(qwen, tmp_path / "text", "*processor*")
    assert "processor=" in refused(text_only)


def test_an_adapter_given_as_a_model_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "lora"
    folder.mkdir()
    config = {"base_model_name_or_path": "Qwen/Qwen2.5-VL-7B-Instruct", "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    assert f"pretrained=Qwen/Qwen2.5-VL-7B-Instruct,peft={folder}" in refused(folder)
    (folder / "adapter_config.json").write_text("[]")
    assert f"pretrained=BASE,peft={folder}" in refused(folder)


def test_openings_and_ends_are_found_where_each_byte_is_a_token(qwen: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(qwen)
    model = hf(qwen, template=WRITTEN["qwen2_5_vl"] + THOUGHT)
    assert len(tokenizer.encode(THOUGHT)) == len(THOUGHT)
    assert all(text.startswith(THOUGHT) for (text,) in texts(model.reply_batch(questions(2))))
