"""Small LLaVA checkpoints with onnxruntime, in batches on the CPU, without torch and transformers.

A checkpoint is a folder as transformers saves it, with two graphs that ``examples/tiny/graph.py`` writes: tower.onnx
(pictures to tokens) and decoder.onnx (one more token of a text). Both take their weights from model.safetensors.

At temperature 0 decoding takes the most probable token, otherwise it samples from the whole distribution at that
temperature, with the noise of the adapter hf: both give the same answers to the same checkpoint, up to rounding.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.core.networks import device as local
from hlmat_bench.core.networks import weights
from hlmat_bench.core.types import Image
from hlmat_bench.models.rows import Noise, Row, reply_in_rows
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol.interfaces import Reply, Request

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Floats: TypeAlias = NDArray[np.float32]

_PACKAGES = ("onnxruntime", "tokenizers", "safetensors")
_ADVICE = "Name a folder with the files of a checkpoint, among them tower.onnx and decoder.onnx (examples/tiny)."
_DECODER = "language_model."
_NOT_USED = "vision_tower.post_layernorm."  # LLaVA takes the tokens before the last norm of CLIP


def missing(name: str) -> str | None:
    """Return what is missing on this machine, in words; None if nothing is."""
    return local.missing_packages(*_PACKAGES, extra=None)


class OnnxModel:
    """A LLaVA of CLIP and Llama in a folder, with the graphs that examples/tiny/graph.py wrote.

    Args:
        pretrained: the folder, or ``package:`` and the name of a checkpoint that hlmat-bench contains.
        points: how the model writes coordinates, a name that `PointFormat.named` knows.
        resize: how the image is changed before the checkpoint's own preprocessing, a name that `Resize.named` knows.
        batch_size: most replies to generate in one batch.
        name: name of the model in tables; by default that of the folder.

    Raises:
        UsageError: when an option or a package is missing, or the folder holds no such checkpoint.
    """

    deterministic = True

    def __init__(
        self,
        pretrained: str | None = None,
        points: str | PointFormat | None = None,
        resize: str = "none",
        *,
        batch_size: int = 16,
        name: str | None = None,
    ) -> None:
        if pretrained is None or points is None:
            raise UsageError(
                "onnx needs pretrained= and points=, the way the model writes coordinates: for example "
                "onnx,pretrained=package:hlmat-tiny,points=xy1000."
            )
        if batch_size < 1:
            raise UsageError(f"batch_size={batch_size} is no number of replies; take 1 or more.")
        local.require(*_PACKAGES, extra=None)
        self.points = points if isinstance(points, PointFormat) else PointFormat.named(points)
        self.resize = Resize.named(resize)
        self.batch_size = batch_size
        folder = weights.pretrained_folder(pretrained)
        if folder is None:
            raise UsageError(f"There is no folder {pretrained}. {_ADVICE}")
        self.name = name or folder.resolve().name
        self._sha256 = weights.sha256(folder, weights.CHAT_MODEL_FILES)
        self._graphs = weights.sha256(folder, ("*.onnx",))
        with weights.reading(pretrained, _ADVICE):
            self._processor = _Processor(folder)
            self._network = _Network(folder)

    def spec(self) -> dict[str, Any]:
        """Return what the replies depend on: the checkpoint and its graphs by SHA-256, and versions."""
        return {
            "adapter": "onnx",
            "pretrained": self.name,
            "sha256": self._sha256,
            "graphs": self._graphs,
            "image": {"format": "raw"},
            "versions": {name: importlib.metadata.version(name) for name in ("onnxruntime", "tokenizers")},
        }

    async def reply(self, request: Request) -> list[Reply]:
        """Answer one request, see `hlmat_bench.protocol.interfaces.Model.reply`."""
        return (await asyncio.to_thread(self.reply_batch, [request]))[0]

    def reply_batch(self, requests: Sequence[Request]) -> list[list[Reply]]:
        """Return for each request, in order, its ``n`` replies; at temperature 0 they are one reply, n times.

        Raises:
            RequestFailed: when a prompt holds the token that stands for the image.
        """
        return reply_in_rows(requests, self._in_batches)

    def _in_batches(self, rows: Sequence[Row]) -> list[Reply]:
        batches = (rows[at : at + self.batch_size] for at in range(0, len(rows), self.batch_size))
        return [reply for batch in batches for reply in self._answered(batch)]

    def _answered(self, rows: Sequence[Row]) -> list[Reply]:
        """Generate one reply per row in one batch; all rows have the same length limit."""
        start, processor = time.perf_counter(), self._processor
        features = self._network.features(processor.pixels([row.request.image for row in rows]))
        prompts = [processor.tokens(row.request.prompt, features.shape[1]) for row in rows]
        texts = _generated(self._network, processor, prompts, features, rows)
        seconds = (time.perf_counter() - start) / len(rows)
        return [processor.reply(text, len(prompt), seconds) for prompt, text in zip(prompts, texts, strict=True)]


class _Processor:
    """What stands around the network: from a prompt to tokens, from an image to pixels, from tokens to a reply."""

    def __init__(self, folder: Path) -> None:
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        self._tokenizer = _tokenizer(folder / "tokenizer.json")
        source = (folder / "chat_template.jinja").read_text("utf-8")
        self._template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(source)
        self._images = _json(folder / "processor_config.json")["image_processor"]
        named = _json(folder / "tokenizer_config.json")
        self.image, self.pad, self.end, self._begin = (
            int(self._tokenizer.token_to_id(token))
            for token in ("<image>", named["pad_token"], named["eos_token"], named["bos_token"])
        )

    def tokens(self, prompt: str, count: int) -> list[int]:
        """Return the tokens of a prompt, with ``count`` of them for the image.

        Raises:
            RequestFailed: when the prompt holds the token that stands for the image.
        """
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        text = self._template.render(messages=[{"role": "user", "content": content}], add_generation_prompt=True)
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        if ids.count(self.image) != 1:
            raise RequestFailed("the prompt contains <image>, the token of the image", advice="change the prompt")
        at = ids.index(self.image)
        return [*ids[:at], *[self.image] * count, *ids[at + 1 :]]

    def pixels(self, images: Sequence[Image]) -> Floats:
        """Return images as the network takes them, float32 (N, 3, H, W): resized, scaled to 0 to 1, normalised."""
        from PIL import Image as Pillow

        told = self._images
        size = (told["size"]["width"], told["size"]["height"])
        pictures = [Pillow.fromarray(image) for image in images]
        shown = [one if one.size == size else one.resize(size, Pillow.Resampling(told["resample"])) for one in pictures]
        parts = np.stack([np.asarray(one) for one in shown]).astype(np.float32) * np.float32(told["rescale_factor"])
        mean, deviation = (np.array(told[name], np.float32) for name in ("image_mean", "image_std"))
        return ((parts - mean) / deviation).transpose(0, 3, 1, 2)

    def reply(self, ids: Sequence[int], prompt: int, seconds: float) -> Reply:
        """Return the reply of generated tokens, which may end with the end of the turn; ``prompt`` tokens went in."""
        ended = ids[-1:] == [self.end]
        kept = [token for token in ids if token not in (self.end, self._begin, self.pad)]
        text = self._tokenizer.decode(kept, skip_special_tokens=False)
        finish = "stop" if ended else "length"
        return Reply(text, tokens_in=prompt, tokens_out=len(ids), seconds=seconds, finish=finish)


class _Network:
    """The two graphs, with the weights of the checkpoint in float32."""

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file

        tensors = {name: tensor.astype(np.float32) for name, tensor in load_file(folder / "model.safetensors").items()}
        text = _json(folder / "config.json")["text_config"]
        decoder = {name: tensor for name, tensor in tensors.items() if name.startswith(_DECODER)}
        others = tensors.keys() - decoder.keys()
        self.embedding: Floats = tensors[f"{_DECODER}model.embed_tokens.weight"]
        self._size = int(text["head_dim"])
        self._frequencies = text["rope_parameters"]["rope_theta"] ** -(np.arange(0, self._size, 2) / self._size)
        self._tower = _session(
            folder / "tower.onnx", {name: tensors[name] for name in others if not name.startswith(_NOT_USED)}
        )
        self._decoder = _session(folder / "decoder.onnx", decoder)
        self._empty = (int(text["num_key_value_heads"]), 0, self._size)
        self._cached = [value.name for value in self._decoder.get_inputs() if value.name.startswith(("key_", "value_"))]

    def features(self, pixels: Floats) -> Floats:
        """Return the tokens of images, float32 (N, tokens, width)."""
        [features] = self._tower.run(["features"], {"pixels": pixels})
        return np.asarray(features, np.float32)

    def start(self, rows: int) -> dict[str, Floats]:
        """Return the keys and values before the first token."""
        return {name: np.zeros((rows, *self._empty), np.float32) for name in self._cached}

    def logits(self, embeds: Floats, real: NDArray[np.bool_], cache: dict[str, Floats]) -> Floats:
        """Return what follows the last of the given tokens, float32 (rows, vocabulary), and add them to the cache.

        Args:
            embeds: (rows, new, width), the new tokens.
            real: (rows, all), False where an earlier or a new token only fills a row up.
            cache: keys and values of the earlier tokens.
        """
        new, every = embeds.shape[1], real.shape[1]
        positions = np.maximum(real.cumsum(axis=1)[:, every - new :] - 1, 0)
        angles = positions[:, :, None] * self._frequencies
        at, before = np.arange(every - new, every)[:, None], np.arange(every)
        # A token that fills up sees itself: a row of nothing but -inf would become NaN, and spread.
        seen = (real[:, None, :] & (before <= at)) | (before == at)
        given = {
            "embeds": embeds,
            "mask": np.where(seen, np.float32(0), np.float32(-np.inf))[:, None],
            "cos": np.cos(angles).astype(np.float32),
            "sin": np.sin(angles).astype(np.float32),
        }
        names = ["logits", *(f"present_{name}" for name in self._cached)]
        logits, *present = self._decoder.run(names, {**given, **cache})
        cache.update(zip(self._cached, present, strict=True))
        return np.asarray(logits, np.float32)


def _generated(
    network: _Network, processor: _Processor, prompts: Sequence[list[int]], features: Floats, rows: Sequence[Row]
) -> list[list[int]]:
    """Return the generated tokens of each row, with the end of the turn where there is one."""
    longest = max(map(len, prompts))
    ids = np.array([[processor.pad] * (longest - len(prompt)) + prompt for prompt in prompts])
    real = np.arange(longest) >= np.array([[longest - len(prompt)] for prompt in prompts])
    embeds = network.embedding[ids]
    embeds[ids == processor.image] = features.reshape(-1, features.shape[2])
    cache, choose = network.start(len(rows)), _choice(rows)
    texts: list[list[int]] = [[] for _ in rows]
    open_rows = set(range(len(rows)))
    for _ in range(rows[0].request.max_tokens):
        tokens = choose(network.logits(embeds, real, cache))
        for row in sorted(open_rows):
            texts[row].append(int(tokens[row]))
        open_rows -= {row for row in open_rows if tokens[row] == processor.end}
        if not open_rows:
            break
        embeds = network.embedding[tokens][:, None]
        real = np.pad(real, ((0, 0), (0, 1)), constant_values=True)
    return texts


def _choice(rows: Sequence[Row]) -> Callable[[Floats], NDArray[np.int64]]:
    """Return the function from logits (rows, vocabulary) to the next tokens (rows,)."""
    noise, temperatures = Noise(rows), [row.request.temperature for row in rows]

    def choose(logits: Floats) -> NDArray[np.int64]:
        for row, temperature in enumerate(temperatures):
            if temperature > 0:
                logits[row] = logits[row].astype(np.float64) / temperature + noise.draw(row, logits.shape[1])
        tokens: NDArray[np.int64] = logits.argmax(axis=1)
        return tokens

    return choose


def _session(graph: Path, tensors: Mapping[str, Floats]) -> InferenceSession:
    """Load a graph with its weights, for one thread: a pass takes a millisecond, and episodes have the other cores.

    Raises:
        ValueError: when the graph takes other weights, or is damaged.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised; none are printed besides
    values: Iterable[Any] = map(onnxruntime.OrtValue.ortvalue_from_numpy, tensors.values())
    options.add_external_initializers(list(tensors), list(values))
    try:
        return onnxruntime.InferenceSession(graph.read_bytes(), options, providers=["CPUExecutionProvider"])
    except OSError:
        raise
    except Exception as error:  # onnxruntime's errors have no common class
        raise ValueError(f"{graph.name} does not fit to the weights or is damaged") from error


def _tokenizer(file: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises no other class
        raise ValueError(f"{file.name}: {error}") from error


def _json(file: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return value


MODELS = {"onnx": OnnxModel}
