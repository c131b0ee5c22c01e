"""Image-text-to-text chat models of transformers, in batches on this machine.

At temperature 0 decoding takes the most probable token, otherwise it samples from the whole distribution at that
temperature. The sampling settings in a checkpoint's generation config are ignored. A sample depends only on the
request's seed and the reply's number, never on the batch.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import re
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlmat_bench.core.errors import HlmatError, RequestFailed, UsageError
from hlmat_bench.core.networks import device as local
from hlmat_bench.core.networks import memory, weights
from hlmat_bench.models import chat_processors
from hlmat_bench.models import peft as peft_adapters
from hlmat_bench.models.chat_processors import ChatProcessor, EndOfTurn, Text
from hlmat_bench.models.rows import Noise, Row, reply_in_rows
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol.interfaces import Reply, Request

if TYPE_CHECKING:
    import torch

_PACKAGES = ("torch", "torchvision", "transformers", "accelerate", "safetensors")
_ADVICE = "Name a folder that transformers saved or an id of the Hugging Face hub; a gated one needs `hf auth login`."

_PROCESSOR_ADVICE = (
    "Copy the processor's files of the base model (preprocessor_config.json, tokenizer.json, chat_template.jinja, ...) "
    "into the folder, or name the base model as processor=."
)
_SMALLER = "take smaller images, a smaller dtype, or device=balanced where there are several devices"

# The error of transformers if the number of image tokens in a prompt is not the number of the images' features.
_MISMATCH = re.compile(r"image (?:features|tokens).*do(?:es)? not match", re.IGNORECASE)


def missing(name: str) -> str | None:
    """Return what is missing on this machine, in words; None if nothing is."""
    return local.missing_packages(*_PACKAGES)


class HfModel:
    """A chat model from a folder or the Hugging Face hub.

    Args:
        pretrained: a folder that transformers saved, or an id like ``Qwen/Qwen2.5-VL-7B-Instruct``.
        points: how the model writes coordinates, a name that `PointFormat.named` knows.
        resize: how the image is changed before the checkpoint's own preprocessing, a name that `Resize.named` knows;
            ``smart``, with or without numbers, always takes the numbers of Qwen's rule from the checkpoint.
        batch_size: most replies to generate in one batch; halved permanently when the memory does not suffice.
        dtype: ``auto`` (that of the checkpoint), ``float32``, ``bfloat16`` or ``float16``.
        device: ``auto`` takes the accelerator if there is one; ``balanced`` spreads the model over all of them.
        attn: the attention implementation: ``sdpa``, ``eager``, ``flash_attention_2``, ...
        peft: an adapter of peft, such as LoRA, to merge into the weights: a folder, or an id on the hub.
        repetition_penalty: penalty of tokens that were already used; 1: none.
        template: for a model without a chat template: the whole text around the image and the ``{prompt}``, e.g.
            ``<image>{prompt}``, with the image token of the model. It replaces a chat template.
        processor: a folder or an id with the tokenizer, image processor and chat template to use, for fine-tuned
            weights that were saved without them; by default those of ``pretrained``.
        trust_remote_code: run Python code that comes with the checkpoint.
        revision: commit, branch or tag of an id on the hub.
        name: name of the model in tables; by default the last part of ``pretrained``, and of ``peft`` after a plus.

    A reply ends at the end of its turn. If the tokenizer has the tokens of harmony, the format of gpt-oss, ``<|end|>``
    ends a message in the channels of thoughts, and the turn continues until ``<|return|>``. If the chat template opens
    a thought (``<think>`` and others at the end of the prompt), the text of the reply begins with that opening, to
    separate the thought from the answer; the tokens of the opening count as part of the prompt.

    Raises:
        UsageError: when an option or a package is missing, weights of the checkpoint are missing, its processor cannot
            prepare a small request, or points count pixels, the checkpoint resizes by Qwen's rule and ``resize`` is
            left out.
    """

    deterministic = True

    def __init__(
        self,
        pretrained: str | None = None,
        points: str | PointFormat | None = None,
        resize: str = "none",
        *,
        batch_size: int = 8,
        dtype: str = "auto",
        device: str = "auto",
        attn: str = "sdpa",
        peft: str | None = None,
        repetition_penalty: float = 1.0,
        template: str | None = None,
        processor: str | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        name: str | None = None,
    ) -> None:
        if pretrained is None or points is None:
            raise UsageError(
                "hf needs pretrained= and points=, the way the model writes coordinates: for example "
                "hf,pretrained=Qwen/Qwen2-VL-7B-Instruct,points=xy1000."
            )
        if batch_size < 1:
            raise UsageError(f"batch_size={batch_size} is not a number of replies; take 1 or more.")
        local.require(*_PACKAGES, *(["peft"] if peft else []))
        self.points = points if isinstance(points, PointFormat) else PointFormat.named(points)
        self.name = name or "+".join(Path(part).name for part in (pretrained, peft) if part)
        self._repetition_penalty = repetition_penalty
        self._batches = memory.Batches(batch_size)
        self._one_at_a_time = threading.Lock()
        self._source = pretrained
        source = {"revision": revision, "trust_remote_code": trust_remote_code}
        weights.refuse_adapter(pretrained, revision)
        with weights.reading(pretrained, _ADVICE):
            place = str(weights.pretrained_folder(pretrained) or pretrained)
            self._model = _load_model(place, dtype, device, attn, source)
            self._identity = _identity(place, revision)
        loaded, taken = _load_processor(processor, place, source)
        self._identity |= taken
        self._peft = peft_adapters.merge(self._model, peft) if peft else None
        self.resize = chat_processors.resize_rule(resize, loaded, pixels=self.points.unit == "pixel")
        self._processor = ChatProcessor(loaded, self._model, template, pretrained)

    @property
    def batch_size(self) -> int:
        """Most replies to generate in one batch."""
        return self._batches.size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self._batches.size = size

    def spec(self) -> dict[str, Any]:
        """Return what the replies depend on: the checkpoint by SHA-256 or commit, dtype, attention, versions."""
        return {
            "adapter": "hf",
            **self._identity,
            "peft": self._peft,
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "attn": self._model.config._attn_implementation,
            "device": self._model.device.type,
            "repetition_penalty": self._repetition_penalty,
            "template": self._processor.template,
            "image": {"format": "raw"},
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers")},
        }

    async def reply(self, request: Request) -> list[Reply]:
        """Answer one request, see `hlmat_bench.protocol.interfaces.Model.reply`."""
        return (await asyncio.to_thread(self.reply_batch, [request]))[0]

    def reply_batch(self, requests: Sequence[Request]) -> list[list[Reply]]:
        """Return for each request, in order, its ``n`` replies; at temperature 0 they are one reply, n times.

        Raises:
            RequestFailed: when the model cannot process an image or a prompt, or one request does not fit into memory.
            UsageError: when many requests were tried one at a time and none of them fits into memory.
        """
        with self._one_at_a_time:
            return reply_in_rows(requests, self._within_memory)

    def _within_memory(self, rows: Sequence[Row]) -> list[Reply]:
        """Generate one reply per row, in batches that fit into memory; all rows have the same length limit."""
        try:
            return self._batches.run(self._generate, rows)
        except memory.TooLarge as error:
            if self._batches.hopeless:
                raise UsageError(
                    f"The device ran out of memory with every request so far, one at a time: {_SMALLER}."
                ) from error
            raise RequestFailed(str(error), advice=_SMALLER) from error

    def _generate(self, rows: Sequence[Row]) -> list[Reply]:
        """Generate one reply per row in one batch; all rows have the same length limit."""
        start = time.perf_counter()
        try:
            texts, lengths = self._generated(rows)
        except HlmatError:
            raise
        except Exception as error:  # a boundary: torch and the checkpoint's own code may raise anything
            if memory.explain(error):
                raise
            raise self._failure(error, rows) from error
        seconds = (time.perf_counter() - start) / len(rows)
        return [
            Reply(text.text, tokens_in=length, tokens_out=text.tokens, seconds=seconds, finish=text.finish)
            for text, length in zip(texts, lengths, strict=True)
        ]

    def _generated(self, rows: Sequence[Row]) -> tuple[list[Text], list[int]]:
        """Generate a text for each row, and return the texts and the number of tokens of each prompt."""
        import torch

        inputs = self._processor.inputs([row.request.image for row in rows], [row.request.prompt for row in rows])
        prompts, lengths = inputs["input_ids"].tolist(), inputs["attention_mask"].sum(dim=1).tolist()
        opened = [self._processor.opened(prompt) for prompt in prompts]
        harmony = self._processor.message_end is not None
        with torch.inference_mode():
            sequences = self._model.generate(
                **inputs.to(self._model.device, dtype=self._model.dtype),
                generation_config=self._decoding(rows[0].request.max_tokens),
                logits_processor=[_Draw(rows)],
                stopping_criteria=[EndOfTurn(self._processor, opened, len(prompts[0]))] if harmony else [],
            )
        generated = sequences[:, len(prompts[0]) :].tolist()
        return [self._processor.text(*pair) for pair in zip(generated, opened, strict=True)], lengths

    def _failure(self, error: Exception, rows: Sequence[Row]) -> HlmatError:
        """Turn an error of torch, transformers or the checkpoint's code into an error of a request or of the run."""
        words = local.described(error)
        if local.lost_device(words):
            return UsageError(
                f"{local.LOST_DEVICE} ({words}): run the same command again; if it fails again, take another device=, "
                "dtype= or attn=."
            )
        if _MISMATCH.search(words) and not any(self._processor.names_image(row.request.prompt) for row in rows):
            return UsageError(
                f"{self._source} makes another number of image tokens than its network takes ({words}): write its "
                "image token once at the place of the image in template=, and take the processor of this checkpoint."
            )
        return RequestFailed(
            f"the model cannot take this request: {words}",
            advice="try dtype=float32, attn=eager, or a resize= that makes images smaller or less narrow",
        )

    def _decoding(self, max_tokens: int) -> Any:
        import transformers

        build: Any = transformers.GenerationConfig
        # do_sample=False even above temperature 0: `_Draw` turns the choice of the maximum into a sample.
        return build(
            max_new_tokens=max_tokens,
            do_sample=False,
            num_beams=1,
            temperature=1.0,
            top_k=50,
            top_p=1.0,
            repetition_penalty=self._repetition_penalty,
            eos_token_id=self._processor.turn_ends or None,
            pad_token_id=self._processor.tokenizer.pad_token_id,
        )


class _Draw:
    """A logits processor that turns the choice of the most probable token into a sample, for rows above temperature 0.

    Its `Noise` is made on the CPU, so that a sample is the same in any batch and on any device.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._temperatures = [row.request.temperature for row in rows]
        self._noise = Noise(rows)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Divide the scores (rows, vocabulary) by the temperatures and add noise, in place."""
        import torch

        for row, temperature in enumerate(self._temperatures):
            if temperature > 0:
                noise = torch.from_numpy(self._noise.draw(row, scores.shape[1])).to(scores.device)
                scores[row] = (scores[row].double() / temperature + noise).to(scores.dtype)
        return scores


def _identity(place: str, revision: str | None) -> dict[str, Any]:
    """Return the identity of a checkpoint: name and SHA-256 of a folder, or id on the hub and the loaded commit."""
    if Path(place).is_dir():
        digest = weights.sha256(Path(place), weights.CHAT_MODEL_FILES)
        return {"pretrained": Path(place).resolve().name, "sha256": digest}
    return {"pretrained": place, "commit": weights.snapshot(place, revision).name}


def _load_processor(named: str | None, place: str, source: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Load the processor; return it and its entry in `HfModel.spec`, empty if it is that of the checkpoint."""
    if named is None:
        with weights.reading(place, _PROCESSOR_ADVICE):
            return chat_processors.load(place, source), {}
    with weights.reading(named, "Name a folder with a processor's files or an id of the Hugging Face hub."):
        folder = weights.pretrained_folder(named, None)
        loaded = chat_processors.load(str(folder or named), {**source, "revision": None})
        if folder is None:
            return loaded, {"processor": {"name": named, "commit": weights.snapshot(named).name}}
        digest = weights.sha256(folder, weights.PROCESSOR_FILES)
        return loaded, {"processor": {"name": folder.resolve().name, "sha256": digest}}


def _load_model(name: str, dtype: str, device: str, attn: str, source: Mapping[str, Any]) -> Any:
    from transformers import AutoModelForImageTextToText

    model = weights.from_pretrained(
        AutoModelForImageTextToText,
        name,
        dtype=dtype if dtype == "auto" else local.dtype(dtype),
        device_map=device if device == "balanced" else str(local.device(device)),
        attn_implementation=attn,
        **source,
    )
    if model.config.is_encoder_decoder:
        raise UsageError(f"{name} is an encoder-decoder; the hf adapter needs a model that continues a chat.")
    return model.eval()


MODELS = {"hf": HfModel}
