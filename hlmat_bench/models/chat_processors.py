"""The processor of a transformers chat model: from requests to tensors, and from generated tokens to text.

It also reads from the checkpoint how it resizes images, which tokens end its turn, and whether its chat template opens
a thought.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.networks import device
from hlmat_bench.core.types import Image
from hlmat_bench.points.answers import opened_thought
from hlmat_bench.points.resize import Resize

if TYPE_CHECKING:
    import torch

# The names of the least and the most pixels of an image in the image processors of Qwen2-VL and its successors.
_AREA = ("shortest_edge", "longest_edge")

# Ends of a turn in chat formats. In addition to its own, a model stops at those that are special tokens of its
# tokenizer.
_TURN_ENDS = ("<|im_end|>", "<end_of_turn>", "<turn|>", "<|eot_id|>", "<|end|>", "<end_of_utterance>", "<|endoftext|>")

# Harmony, the format of gpt-oss (https://cookbook.openai.com/articles/openai-harmony): <|end|> ends one message of a
# turn, <|return|> and <|call|> end the turn. Models that were trained to end their answer with <|end|> also stop there.
_MESSAGE_END = "<|end|>"
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_HARMONY_ENDS = ("<|return|>", "<|call|>")
_THOUGHT_CHANNELS = ("analysis", "commentary")

_TAIL = 160  # tokens: enough for the opening of a thought with attributes, even if every byte is a token


class Text(NamedTuple):
    """A decoded reply.

    Attributes:
        text: the text with its special tokens, without the end of the turn.
        tokens: the number of generated tokens, including the end of the turn.
        finish: ``stop`` or ``length``.
    """

    text: str
    tokens: int
    finish: str


class ChatProcessor:
    """A processor of transformers, the text around a prompt, and the ends of a turn.

    Args:
        processor: the result of `load`.
        model: the loaded model; its image token and its ends of a turn are used.
        template: the text around the image and ``{prompt}``; None: the chat template of the processor.
        name: the user's name of the checkpoint, for errors.

    Raises:
        UsageError: when the template is missing, raises an error, or has no place for the image or the prompt.
    """

    def __init__(self, processor: Any, model: Any, template: str | None, name: str) -> None:
        self.tokenizer = processor.tokenizer
        self.template = template
        self._processor, self._name = processor, name
        self._image_tokens = _image_tokens(model.config, processor)
        self._check_template()
        self.turn_ends = _turn_ends(model.generation_config.eos_token_id, self.tokenizer)
        added = self.tokenizer.get_added_vocab()
        self.message_end: int | None = added.get(_MESSAGE_END) if _is_harmony(added) else None

    def inputs(self, images: Sequence[Image], prompts: Sequence[str]) -> Any:
        """Return the model's inputs on the CPU: left-padded token ids, their attention mask, and the images.

        Args:
            images: uint8 (H, W, 3) RGB, one for each prompt.
            prompts: the instructions.

        Raises:
            Exception: any error of the chat template or of the checkpoint's code.
        """
        from PIL import Image as Pillow

        pictures = [Pillow.fromarray(image) for image in images]
        padding = {"padding": True, "padding_side": "left"}
        if self.template is None:
            return self._processor.apply_chat_template(
                [_conversation(*pair) for pair in zip(pictures, prompts, strict=True)],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs=padding,
            )
        texts = [self.template.replace("{prompt}", prompt) for prompt in prompts]
        return self._processor(text=texts, images=[[image] for image in pictures], return_tensors="pt", **padding)

    def opened(self, prompt: Sequence[int]) -> str:
        """Return the text at the end of a prompt's token ids that opens a thought; empty if none does."""
        return opened_thought(self._decoded(prompt[-_TAIL:]))

    def text(self, ids: Sequence[int], opened: str) -> Text:
        """Decode a reply.

        Args:
            ids: the generated tokens; those after the end of the turn are ignored.
            opened: the result of `opened` for the prompt; the text begins with it.
        """
        end = self._end(ids, opened)
        silent = (self.tokenizer.bos_token_id, self.tokenizer.pad_token_id)
        kept = [token for token in ids[:end] if token not in silent]
        finish = "length" if end is None else "stop"
        return Text(opened + self._decoded(kept), len(ids) if end is None else end + 1, finish)

    def has_ended(self, ids: Sequence[int], opened: str) -> bool:
        """Tell whether the last generated token is the end of a message that also ends the turn."""
        return bool(ids) and ids[-1] == self.message_end and self._ends_turn(ids[:-1], opened)

    def names_image(self, prompt: str) -> bool:
        """Tell whether the text of a prompt contains an image token of the model, which makes their number wrong."""
        return any(token in self._image_tokens for token in self.tokenizer.encode(prompt, add_special_tokens=False))

    def _end(self, ids: Sequence[int], opened: str) -> int | None:
        """Return the index of the token that ends the turn; None without one."""
        for at, token in enumerate(ids):
            if token in self.turn_ends or (token == self.message_end and self._ends_turn(ids[:at], opened)):
                return at
        return None

    def _ends_turn(self, before: Sequence[int], opened: str) -> bool:
        """Tell whether the end of a message after these tokens ends the turn: after a thought, the turn continues."""
        message = (opened + self._decoded(before)).rpartition(_MESSAGE_END)[2]
        channels = _CHANNEL.findall(message)
        return not channels or channels[-1] not in _THOUGHT_CHANNELS

    def _decoded(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def _check_template(self) -> None:
        """Prepare one small request, so that a fault that all requests would meet is reported before the run."""
        if self.template is None and self._processor.chat_template is None:
            raise UsageError(
                f"{self._name} has no chat template; add template= with the text it was trained on around the image "
                f"and the prompt, for example template={self._example()}, or name the base model as processor=."
            )
        if self.template is not None and "{prompt}" not in self.template:
            raise UsageError(f"The template {self.template!r} must contain {{prompt}} at the place of the instruction.")
        try:
            ids = self.inputs([np.full((224, 224, 3), 127, np.uint8)], ["Click."])["input_ids"]
        except Exception as error:  # a boundary: the template and the code are the checkpoint's
            raise UsageError(
                f"{self._what()} cannot prepare a request: {device.described(error)}. {self._advice()}"
            ) from error
        if self._image_tokens and not any(token in self._image_tokens for token in ids.flatten().tolist()):
            raise UsageError(f"{self._what()} has no place for the image. {self._advice()}")

    def _what(self) -> str:
        if self.template is None:
            return f"The chat template of {self._name}"
        return f"The template {self.template!r} with the processor of {self._name}"

    def _advice(self) -> str:
        if self.template is None:
            return f"Correct it, or add template= with the text that the model was trained on, as {self._example()}."
        return f"Write the model's own image token once, as in template={self._example()}."

    def _example(self) -> str:
        token = getattr(self._processor, "boi_token", None) or getattr(self._processor, "image_token", "<image>")
        return f"{token}{{prompt}}"


class EndOfTurn:
    """A stopping criterion of transformers for messages that end the turn; see `ChatProcessor.has_ended`.

    Args:
        processor: the processor of a model that writes harmony.
        opened: the result of `ChatProcessor.opened` for each prompt of the batch.
        length: length of the padded prompts, in tokens.
    """

    def __init__(self, processor: ChatProcessor, opened: Sequence[str], length: int) -> None:
        self._processor, self._opened, self._length = processor, opened, length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        """Return for each row whether its turn has ended, bool (rows,)."""
        assert self._processor.message_end is not None
        ended = input_ids[:, -1].eq(self._processor.message_end)
        for row in ended.nonzero().flatten().tolist():
            ended[row] = self._processor.has_ended(input_ids[row, self._length :].tolist(), self._opened[row])
        return ended


def load(name: str, source: Mapping[str, Any]) -> Any:
    """Load the processor for images and text of a folder or an id of the hub, and let it pad on the left.

    Args:
        name: the folder or the id.
        source: keyword arguments of ``from_pretrained``.

    Raises:
        UsageError: when there is no such processor.
    """
    import transformers

    auto_class: Any = transformers.AutoProcessor
    processor = auto_class.from_pretrained(name, **source)
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or not hasattr(processor, "image_processor"):
        raise UsageError(
            f"{name} has no processor for images and text: copy the processor's files of the base model into its "
            "folder, or name the base model as processor=."
        )
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return processor


def resize_rule(name: str, processor: Any, *, pixels: bool) -> Resize:
    """Return a resize rule; Qwen's rule gets the numbers that the checkpoint applies.

    Args:
        name: a name that `Resize.named` knows, or ``smart``.
        processor: the processor of the checkpoint.
        pixels: True if the model's coordinates count pixels, so that they depend on the checkpoint's own resizing.

    Raises:
        UsageError: when there is no such rule, when ``smart`` is given for a checkpoint that does not resize by Qwen's
            rule, or when it does so, coordinates count pixels and ``none`` is given.
    """
    images = processor.image_processor
    smart = _smart(images)
    if name.startswith("smart"):
        if smart is None:
            raise UsageError(
                f"This checkpoint does not resize by Qwen's rule, so resize={name} is wrong for it; leave resize= "
                "out, or name another rule."
            )
        return Resize.named(smart)
    if name == "none" and pixels and getattr(images, "do_resize", False):
        if smart is not None:
            raise UsageError(
                "The points count pixels, and this checkpoint resizes each image before the model sees it: add "
                f"resize=smart, which is {smart} here."
            )
        warnings.warn(
            f"The points count pixels, and the checkpoint's own {type(images).__name__} resizes each image before the "
            "model sees it: clicks are read as pixels of the image before that resizing; add resize= if the model "
            "counts pixels of another image.",
            RuntimeWarning,
            stacklevel=2,
        )
    return Resize.named(name)


def _smart(images: Any) -> str | None:
    """Return the name of Qwen's rule with the numbers of an image processor; None if it has another rule."""
    try:
        factor, least, most = images.patch_size * images.merge_size, *map(images.size.get, _AREA)
    except (AttributeError, TypeError):
        return None
    return None if least is None or most is None else f"smart-{factor}-{least}-{most}"


def _conversation(image: Any, prompt: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": prompt}]}]


def _image_tokens(config: Any, processor: Any) -> set[int]:
    """Return the ids of the tokens that represent the image; empty if neither config nor processor names them."""
    named = ((config, "image_token_id"), (config, "image_token_index"), (processor, "image_token_id"))
    found = [getattr(owner, name, None) for owner, name in named]
    return {token for token in found if isinstance(token, int)}


def _is_harmony(added: Iterable[str]) -> bool:
    return any("<|channel|>" in token or "<|return|>" in token for token in added)


def _turn_ends(own: int | list[int] | None, tokenizer: Any) -> list[int]:
    """Return the ids of the tokens that end a reply in any context, sorted."""
    added = tokenizer.get_added_vocab()
    ends = {*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id}
    harmony = _is_harmony(added)
    ends.update(added[token] for token in (*_TURN_ENDS, *(_HARMONY_ENDS if harmony else ())) if token in added)
    if harmony:
        ends.discard(added.get(_MESSAGE_END))
    return sorted(ends - {None})
