"""Any image-text-to-text chat model of transformers, in batches on this machine.

Decoding is plain: at temperature 0 the most probable token, otherwise a draw from the whole distribution at that
temperature. Whatever sampling a checkpoint's own generation config asks for is left out. A draw depends on the
request's seed and the reply's number alone, never on the batch it is in.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import itertools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hlmat_bench import local, memory, peft_adapters, weights
from hlmat_bench.errors import RequestFailed, UsageError
from hlmat_bench.framing import Resize
from hlmat_bench.interfaces import Reply, Request
from hlmat_bench.points import PointFormat

if TYPE_CHECKING:
    import torch

_PACKAGES = ("torch", "torchvision", "transformers", "accelerate", "safetensors")
_ADVICE = "Name a folder that transformers saved or an id of the Hugging Face hub; a gated one needs `hf auth login`."

# What the image processors of Qwen2-VL and its successors call their least and most pixels.
_AREA = ("shortest_edge", "longest_edge")

# Ends of a turn in chat formats. A model stops at those its tokenizer knows as special tokens, beside its own.
_TURN_ENDS = ("<|im_end|>", "<end_of_turn>", "<turn|>", "<|eot_id|>", "<|end|>", "<end_of_utterance>", "<|endoftext|>")


def missing(name: str) -> str | None:
    """What a local model lacks here; None when it lacks nothing."""
    return local.missing_packages(*_PACKAGES)


class _Row(NamedTuple):
    """One reply to be generated: the n-th to the request at that place."""

    at: int
    n: int
    request: Request


class HfModel:
    """A chat model from a folder or the Hugging Face hub.

    Args:
        pretrained: a folder that transformers saved, or an id like ``Qwen/Qwen2.5-VL-7B-Instruct``.
        points: how it writes coordinates, a name that `PointFormat.named` knows.
        resize: how the image is changed before the checkpoint's own preprocessing, a name that `Resize.named` knows;
            ``smart`` takes the numbers of Qwen's rule from the checkpoint, and so do smart rules with numbers.
        batch_size: most replies that are generated at once; halved for good where the memory does not suffice.
        dtype: ``auto`` takes the checkpoint's own; ``float32``, ``bfloat16`` or ``float16``.
        device: ``auto`` takes the accelerator if there is one; ``balanced`` spreads the model over all of them.
        attn: the attention code: ``sdpa``, ``eager``, ``flash_attention_2``, ...
        peft: an adapter of peft, such as LoRA, that is merged into the weights: a folder, or an id on the hub.
        repetition_penalty: 1 is none.
        template: for a model without a chat template: the whole text around the image and the ``{prompt}``, e.g.
            ``<image>{prompt}``, with the image token of the model. Given, it replaces a chat template.
        trust_remote_code: run Python code that comes with the checkpoint.
        revision: of an id on the hub: a commit, branch or tag.
        name: what to call it in tables; by default the last part of ``pretrained``, and of ``peft`` after a plus.

    Raises:
        UsageError: when an option or a package is missing, or the checkpoint cannot be loaded whole.
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
            raise UsageError(f"batch_size={batch_size} is no number of replies; take 1 or more.")
        local.require(*_PACKAGES, *(["peft"] if peft else []))
        self.points = points if isinstance(points, PointFormat) else PointFormat.named(points)
        self.name = name or "+".join(Path(part).name for part in (pretrained, peft) if part)
        self._repetition_penalty = repetition_penalty
        self._batches = memory.Batches(batch_size)
        self._one_at_a_time = threading.Lock()
        source = {"revision": revision, "trust_remote_code": trust_remote_code}
        with weights.reading(pretrained, _ADVICE):
            place = str(weights.pretrained_folder(pretrained) or pretrained)
            self._model = _load_model(place, dtype, device, attn, source)
            self._processor = _load_processor(place, source)
            self._identity = _identity(place, revision)
        self._peft = peft_adapters.merge(self._model, peft) if peft else None
        self.resize = _resize(resize, self._processor)
        self._tokenizer = self._processor.tokenizer
        self._template = _check_template(self._processor, template, pretrained)
        self._stops = _stops(self._model, self._tokenizer)

    @property
    def batch_size(self) -> int:
        """Most replies that are generated at once."""
        return self._batches.size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self._batches.size = size

    def spec(self) -> dict[str, Any]:
        """What the answers depend on: the checkpoint by SHA-256 or commit, number type, attention, versions."""
        return {
            "adapter": "hf",
            **self._identity,
            "peft": self._peft,
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "attn": self._model.config._attn_implementation,
            "device": self._model.device.type,
            "repetition_penalty": self._repetition_penalty,
            "template": self._template,
            "image": {"format": "raw"},
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers")},
        }

    async def reply(self, request: Request) -> list[Reply]:
        """See `hlmat_bench.interfaces.Model.reply`."""
        return (await asyncio.to_thread(self.reply_batch, [request]))[0]

    def reply_batch(self, requests: Sequence[Request]) -> list[list[Reply]]:
        """For each request, in order, its ``n`` replies; at temperature 0 they are one reply, n times.

        Raises:
            RequestFailed: when the model cannot take an image or a prompt, or the memory does not hold one request.
            UsageError: when the memory has held none of many.
        """
        rows = [
            _Row(at, n, request)
            for at, request in enumerate(requests)
            for n in range(request.n if request.temperature > 0 else 1)
        ]
        replies: dict[tuple[int, int], Reply] = {}
        with self._one_at_a_time:
            for group in _groups(rows):
                for row, reply in zip(group, self._within_memory(group), strict=True):
                    replies[row.at, row.n] = reply
        return [
            [replies[at, n if request.temperature > 0 else 0] for n in range(request.n)]
            for at, request in enumerate(requests)
        ]

    def _within_memory(self, rows: Sequence[_Row]) -> list[Reply]:
        """One reply per row, in batches that fit; the rows have the same length limit."""
        try:
            return self._batches.run(self._generate, rows)
        except memory.TooLarge as error:
            if self._batches.hopeless:
                raise UsageError(
                    "The device ran out of memory with every request so far, one at a time: take smaller images, "
                    "a smaller dtype, or device=balanced where there are several devices."
                ) from error
            raise RequestFailed(str(error)) from error

    def _generate(self, rows: Sequence[_Row]) -> list[Reply]:
        """One reply per row, in one call; the rows have the same length limit."""
        import torch

        start = time.perf_counter()
        try:
            inputs = self._inputs(rows)
            with torch.inference_mode():
                sequences = self._model.generate(
                    **inputs,
                    generation_config=self._decoding(rows[0].request.max_tokens),
                    logits_processor=[_Draw(rows)],
                )
        except ValueError as error:
            raise RequestFailed(f"the model cannot take this request: {error}"[:300]) from error
        texts = [self._read(ids) for ids in sequences[:, inputs["input_ids"].shape[1] :].tolist()]
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        seconds = (time.perf_counter() - start) / len(rows)
        return [
            Reply(text, tokens_in=length, tokens_out=count, seconds=seconds, finish=finish)
            for (text, count, finish), length in zip(texts, lengths, strict=True)
        ]

    def _inputs(self, rows: Sequence[_Row]) -> Any:
        """What the model takes: left-padded token ids, their attention mask, and the images."""
        from PIL import Image as Pillow

        images = [Pillow.fromarray(row.request.image) for row in rows]
        prompts = [row.request.prompt for row in rows]
        padding = {"padding": True, "padding_side": "left"}
        if self._template is None:
            inputs = self._processor.apply_chat_template(
                [_conversation(*pair) for pair in zip(images, prompts, strict=True)],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs=padding,
            )
        else:
            texts = [self._template.replace("{prompt}", prompt) for prompt in prompts]
            inputs = self._processor(text=texts, images=[[image] for image in images], return_tensors="pt", **padding)
        return inputs.to(self._model.device, dtype=self._model.dtype)

    def _decoding(self, max_tokens: int) -> Any:
        import transformers

        build: Any = transformers.GenerationConfig
        return build(
            max_new_tokens=max_tokens,
            do_sample=False,
            num_beams=1,
            temperature=1.0,
            top_k=50,
            top_p=1.0,
            repetition_penalty=self._repetition_penalty,
            eos_token_id=self._stops,
            pad_token_id=self._tokenizer.pad_token_id,
        )

    def _read(self, ids: list[int]) -> tuple[str, int, str]:
        """The text before the end of the turn with its other special tokens, how many tokens it took, why it ended."""
        end = next((at for at, token in enumerate(ids) if token in self._stops), len(ids))
        silent = (self._tokenizer.bos_token_id, self._tokenizer.pad_token_id)
        kept = [token for token in ids[:end] if token not in silent]
        text = self._tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text, min(end + 1, len(ids)), "stop" if end < len(ids) else "length"


class _Draw:
    """Turns the choice of the most probable token into a draw, for the rows with a temperature.

    Adding Gumbel noise to log-probabilities makes their maximum a sample of the distribution (Gumbel 1954;
    Maddison et al., arXiv 1411.0030). The noise of a row comes from its own generator, on the CPU: the draw is the
    same in any batch and on any device.
    """

    def __init__(self, rows: Sequence[_Row]) -> None:
        import torch

        self._temperatures = [row.request.temperature for row in rows]
        self._generators = [torch.Generator().manual_seed(_seed(row)) for row in rows]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores (rows, vocabulary), with noise."""
        import torch

        for row, (temperature, generator) in enumerate(zip(self._temperatures, self._generators, strict=True)):
            if temperature > 0:
                wait = torch.empty(scores.shape[1], dtype=torch.float64).exponential_(generator=generator)
                scores[row] = (scores[row].double() / temperature - wait.log().to(scores.device)).to(scores.dtype)
        return scores


def _seed(row: _Row) -> int:
    return int.from_bytes(hashlib.blake2b(f"{row.request.seed}/{row.n}".encode(), digest_size=7).digest(), "big")


def _groups(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """The rows in groups that share a length limit."""
    return (list(group) for _, group in itertools.groupby(sorted(rows, key=_limit), key=_limit))


def _limit(row: _Row) -> int:
    return row.request.max_tokens


def _conversation(image: Any, prompt: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": prompt}]}]


def _identity(place: str, revision: str | None) -> dict[str, Any]:
    """A folder by its name and SHA-256, an id of the hub with the commit that was loaded."""
    if Path(place).is_dir():
        digest = weights.sha256(Path(place), weights.CHAT_MODEL_FILES)
        return {"pretrained": Path(place).resolve().name, "sha256": digest}
    return {"pretrained": place, "commit": weights.snapshot(place, revision).name}


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
        raise UsageError(f"{name} is an encoder-decoder, and the hf adapter takes models that continue a chat.")
    return model.eval()


def _load_processor(name: str, source: Mapping[str, Any]) -> Any:
    import transformers

    auto_class: Any = transformers.AutoProcessor
    processor = auto_class.from_pretrained(name, **source)
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or not hasattr(processor, "image_processor"):
        raise UsageError(f"{name} has no processor for images and text, so it is no vision-language chat model.")
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return processor


def _resize(name: str, processor: Any) -> Resize:
    """The rule of that name, where it is Qwen's with the numbers that the checkpoint will apply.

    Raises:
        UsageError: when there is no such rule, or the checkpoint does not resize by Qwen's.
    """
    if not name.startswith("smart"):
        return Resize.named(name)
    images = processor.image_processor
    try:
        factor, least, most = images.patch_size * images.merge_size, *map(images.size.get, _AREA)
    except AttributeError as error:
        raise UsageError(
            f"This checkpoint does not resize by Qwen's rule, so resize={name} is wrong for it."
        ) from error
    return Resize.named(f"smart-{factor}-{least}-{most}")


def _check_template(processor: Any, template: str | None, name: str) -> str | None:
    """The template that was given; None where the processor's own chat template serves."""
    if template is None and processor.chat_template is None:
        token = getattr(processor, "image_token", "<image>")
        raise UsageError(
            f"{name} has no chat template; add template= with the text it was trained on around the image and the "
            f"prompt, for example template={token}{{prompt}}"
        )
    if template is not None and "{prompt}" not in template:
        raise UsageError(f"The template {template!r} must hold {{prompt}}, where the instruction goes.")
    return template


def _stops(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a reply."""
    own = model.generation_config.eos_token_id
    added = tokenizer.get_added_vocab()
    stops = {*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id}
    stops.update(added[token] for token in _TURN_ENDS if token in added)
    return sorted(stops - {None})


MODELS = {"hf": HfModel}
