"""Every family of tiny checkpoints through the hf adapter: in batches, alone, and beside a naive decoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.interfaces import Request
from hlmat_bench.testing import Family, tiny_vlm
from tests.support.hf_models import WRITTEN, HfModel, next_logits, questions, texts
from tests.support.networks import chat_passes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=get_args(Family))
def family(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def checkpoint(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm(tmp_path_factory.mktemp(family) / "vlm", family)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Any:
    return HfModel(str(checkpoint), "xy1000", device="cpu")


def naive(path: Path, family: str, request: Request) -> tuple[list[int], list[torch.Tensor]]:
    """Return the greedy tokens up to the first end of the turn or the limit, and the logits behind each."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    ids: list[int] = []
    chosen_from = []
    while len(ids) < request.max_tokens and tokenizer.eos_token_id not in ids:
        chosen_from.append(next_logits(path, family, request, ids))
        ids.append(int(chosen_from[-1].argmax()))
    return ids, chosen_from


def test_replies_and_logits_of_a_batch_are_those_of_a_naive_decoder(family: str, checkpoint: Path, model: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    steps: list[torch.Tensor] = []
    asked = questions(8)
    with chat_passes(after=lambda found: steps.append(found.logits[:, -1].clone())):
        answers = model.reply_batch(asked)
    assert {len(step) for step in steps} == {8}
    for row, (request, (reply,)) in enumerate(zip(asked, answers, strict=True)):
        ids, chosen_from = naive(checkpoint, family, request)
        ended = ids[-1] == tokenizer.eos_token_id
        assert reply.text == tokenizer.decode(ids[:-1] if ended else ids)
        assert (reply.tokens_out, reply.finish) == (len(ids), "stop" if ended else "length")
        for step, expected in zip(steps, chosen_from, strict=False):
            allowed = expected.isfinite()
            torch.testing.assert_close(step[row][allowed], expected[allowed], atol=1e-4, rtol=0)


def test_a_batch_gives_what_each_request_gets_alone(family: str, model: Any) -> None:
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


def test_replies_depend_on_the_image(model: Any) -> None:
    asked = questions(4)
    swapped = [replace(request, image=other.image) for request, other in zip(asked, asked[::-1], strict=True)]
    for (one,), (other,) in zip(model.reply_batch(asked), model.reply_batch(swapped), strict=True):
        assert one.text != other.text


def test_grounding_tokens_stay_and_the_end_of_the_turn_goes(family: Family, tmp_path: Path) -> None:
    says = ["<ref>", "the cat", "</ref>", "<box>", "(1,2),(3,4)", "</box>"]
    path = tiny_vlm(tmp_path / "vlm", family, says=says)
    model = HfModel(str(path), "xy1000", device="cpu")
    for (reply,) in model.reply_batch(questions(3)):
        assert (reply.text, reply.tokens_out, reply.finish) == ("".join(says), 7, "stop")


def test_a_model_without_chat_template_takes_one_as_text(family: Family, tmp_path: Path, model: Any) -> None:
    path = tiny_vlm(tmp_path / "vlm", family, chat_template=False)
    with pytest.raises(UsageError, match=r"no chat template; add template= .*\{prompt\}"):
        HfModel(str(path), "xy1000", device="cpu")
    with pytest.raises(UsageError, match="must contain {prompt}"):
        HfModel(str(path), "xy1000", device="cpu", template="<image>")
    written = HfModel(str(path), "xy1000", device="cpu", template=WRITTEN[family])
    asked = [replace(request, prompt=request.prompt + " {0} {braces}") for request in questions(3)]
    assert texts(written.reply_batch(asked)) == texts(model.reply_batch(asked))
    assert written.spec()["template"] == WRITTEN[family]


def test_bfloat16_answers(checkpoint: Path) -> None:
    model = HfModel(str(checkpoint), "xy1000", device="cpu", dtype="bfloat16")
    assert all(reply.tokens_out for (reply,) in model.reply_batch(questions(2)))
