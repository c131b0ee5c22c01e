"""A device that runs out of memory: a hook on the real network raises what torch raises."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.protocol.interfaces import Reply, Request
from hlmat_bench.runs.batching import RequestBatcher
from hlmat_bench.testing import tiny_vlm
from tests.support.hf_models import HfModel, questions, texts
from tests.support.networks import chat_passes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm(tmp_path_factory.mktemp("vlm"))


@pytest.fixture(scope="module")
def plenty(checkpoint: Path) -> Any:
    """Return a model with all the memory it wants."""
    return HfModel(str(checkpoint), "xy1000", device="cpu")


class Short(HfModel):
    """Its network raises unless (rows, tokens of the longest) fit; `given` are the prompts that it got so."""

    def __init__(self, checkpoint: Path, fits: Callable[[int, int], bool], error: Exception | None = None) -> None:
        super().__init__(str(checkpoint), "xy1000", device="cpu")
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        self.fits, self.given = fits, list[tuple[int, int]]()

    def reply_batch(self, requests: Sequence[Request]) -> list[list[Reply]]:
        with chat_passes(before=self.limit):
            replies: list[list[Reply]] = super().reply_batch(requests)
            return replies

    def limit(self, options: Mapping[str, Any]) -> None:
        rows, tokens = options["input_ids"].shape
        if tokens > 1:
            self.given.append((rows, tokens))
        if not self.fits(rows, tokens):
            raise self.error


def test_the_batch_is_halved_until_it_fits_and_stays_so(checkpoint: Path, plenty: Any) -> None:
    model = Short(checkpoint, lambda rows, tokens: rows <= 3)
    asked = questions(8)
    with pytest.warns(RuntimeWarning) as warned:
        answers = model.reply_batch(asked)
    assert [str(warning.message) for warning in warned] == [
        "The device ran out of memory with 8 replies at once; the run continues with 2."
    ]
    assert texts(answers) == texts(plenty.reply_batch(asked))
    assert [rows for rows, _ in model.given] == [8, 4, 2, 2, 2, 2]
    model.given.clear()
    drawn = [replace(request, n=5, temperature=1.0) for request in asked[:1]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert texts(model.reply_batch(drawn)) == texts(plenty.reply_batch(drawn))
    assert [rows for rows, _ in model.given] == [2, 2, 1]


@pytest.mark.parametrize(
    "words", ["MPS backend out of memory (MPS allocated: 17 GB)", "can't allocate memory: 9 bytes"]
)
def test_other_devices_run_out_of_memory_in_other_words(words: str, checkpoint: Path, plenty: Any) -> None:
    model = Short(checkpoint, lambda rows, tokens: rows <= 2, RuntimeError(words))
    with pytest.warns(RuntimeWarning, match="continues with 2"):
        assert texts(model.reply_batch(questions(4))) == texts(plenty.reply_batch(questions(4)))


def test_other_errors_are_no_lack_of_memory(checkpoint: Path) -> None:
    model = Short(checkpoint, lambda rows, tokens: False, RuntimeError("illegal instruction"))
    with pytest.raises(RequestFailed, match="RuntimeError: illegal instruction") as caught:
        model.reply_batch(questions(4))
    assert caught.value.advice
    assert len(model.given) == 1


def ask(model: Any, requests: Sequence[Request]) -> list[list[Reply] | BaseException]:
    """As episodes ask that are played at once."""

    async def all_of_them() -> list[list[Reply] | BaseException]:
        batcher = RequestBatcher(model)
        answers = await asyncio.gather(*map(batcher.reply, requests), return_exceptions=True)
        await batcher.close()
        return answers

    return asyncio.run(all_of_them())


def test_an_image_that_does_not_fit_alone_fails_alone(checkpoint: Path, plenty: Any) -> None:
    asked = [
        replace(request, image=request.image[:40, :40], sample_id=str(i)) for i, request in enumerate(questions(8))
    ]
    large = replace(asked[3], image=np.zeros((112, 112, 3), np.uint8), prompt=asked[2].prompt)
    longest = max(replies[0].tokens_in for replies in plenty.reply_batch(asked))
    assert plenty.reply_batch([large])[0][0].tokens_in > longest
    model = Short(checkpoint, lambda rows, tokens: tokens <= longest)
    answers = ask(model, [*asked[:3], large, *asked[4:]])
    assert isinstance(answers[3], RequestFailed)
    others = [answer for i, answer in enumerate(answers) if i != 3]
    assert texts(others) == texts(plenty.reply_batch([*asked[:3], *asked[4:]]))  # type: ignore[arg-type]
    model.given.clear()
    assert texts(model.reply_batch(asked)) == texts(plenty.reply_batch(asked))
    assert model.given == [(8, longest)]  # the others still come in full batches


def test_where_no_request_fits_the_user_is_told(checkpoint: Path) -> None:
    model = Short(checkpoint, lambda rows, tokens: False)
    few = ask(model, questions(3))
    assert all(isinstance(answer, RequestFailed) for answer in few)
    model = Short(checkpoint, lambda rows, tokens: False)
    many = [answer for _ in range(2) for answer in ask(model, questions(8))]
    assert isinstance(many[-1], UsageError)
    assert "ran out of memory with every request so far" in str(many[-1])


def test_many_large_images_do_not_end_a_run_in_which_others_fit(checkpoint: Path, plenty: Any) -> None:
    (small,) = questions(1)
    large = replace(small, prompt=small.prompt * 3)
    [[fitting]] = plenty.reply_batch([small])
    model = Short(checkpoint, lambda rows, tokens: tokens <= fitting.tokens_in)
    answers = [answer for request in [small, *[large] * 9, small] for answer in ask(model, [request])]
    assert answers[0] == [replace(answers[-1][0], seconds=answers[0][0].seconds)]  # type: ignore[index]
    assert all(isinstance(answer, RequestFailed) for answer in answers[1:-1])
