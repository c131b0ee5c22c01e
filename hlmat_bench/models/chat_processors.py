"""The processor of a transformers chat model: requests become tensors, generated tokens become text.

It also knows how the checkpoint resizes images, which tokens end its turn, and whether its template opens a thought.
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

# What the image processors of Qwen2-VL and its successors call their least and most pixels.
_AREA = ("shortest_edge", "longest_edge")

# Ends of a turn in chat formats. A model stops at those its tokenizer knows as special tokens, beside its own.
_TURN_ENDS = ("<|im_end|>", "<end_of_turn>", "<turn|>", "<|eot_id|>", "<|end|>", "<end_of_utterance>", "<|endoftext|>")

# Harmony, the format of gpt-oss (https://cookbook.openai.com/articles/openai-harmony): <|end|> ends one message of a
# turn, <|return|> and <|call|> the turn. Models trained to close their answer with <|end|> stop there, too.
_MESSAGE_END = "<|end|>"
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_HARMONY_ENDS = ("<|return|>", "<|call|>")
_THOUGHT_CHANNELS = ("analysis", "commentary")

_TAIL = 64  # tokens that hold the opening of a thought even where each byte is one token


class Text(NamedTuple):
    """What a sequence of generated tokens says.

    Attributes:
        text: with its special tokens, without the end of the turn.
        tokens: how many were generated, the end of the turn included.
        finish: ``stop`` or ``length``.
    """

    text: str
    tokens: int
    finish: str


class ChatProcessor:
    """A processor, the text around a prompt, and the ends of a turn.

    Args:
        processor: as `load` returns it.
        model: the loaded model, whose image token and ends of a turn count.
        template: the text around the image and ``{prompt}``; None takes the chat template of the processor.
        name: what the user calls the checkpoint, for errors.

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
        """What the model takes, on the CPU: left-padded token ids, their attention mask, and the images.

        Args:
            images: uint8 (H, W, 3) RGB, one for each prompt.
            prompts: the instructions.

        Raises:
            Exception: whatever the chat template or the checkpoint's code raises.
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
        """The text that opens a thought at the end of a prompt's token ids; empty where none is opened."""
        return opened_thought(self._decoded(prompt[-_TAIL:]))

    def text(self, ids: Sequence[int], opened: str) -> Text:
        """What a reply says.

        Args:
            ids: the generated tokens; those behind the end of the turn do not count.
            opened: what `opened` returned for its prompt; the text begins with it.
        """
        end = self._end(ids, opened)
        silent = (self.tokenizer.bos_token_id, self.tokenizer.pad_token_id)
        kept = [token for token in ids[:end] if token not in silent]
        finish = "length" if end is None else "stop"
        return Text(opened + self._decoded(kept), len(ids) if end is None else end + 1, finish)

    def has_ended(self, ids: Sequence[int], opened: str) -> bool:
        """Whether the last of the generated tokens ends a message and, with it, the turn."""
        return bool(ids) and ids[-1] == self.message_end and self._ends_turn(ids[:-1], opened)

    def names_image(self, prompt: str) -> bool:
        """Whether a prompt holds an image token of the model as text, so that the count of them is wrong."""
        return any(token in self._image_tokens for token in self.tokenizer.encode(prompt, add_special_tokens=False))

    def _end(self, ids: Sequence[int], opened: str) -> int | None:
        """Where the turn ends; None where it does not."""
        for at, token in enumerate(ids):
            if token in self.turn_ends or (token == self.message_end and self._ends_turn(ids[:at], opened)):
                return at
        return None

    def _ends_turn(self, before: Sequence[int], opened: str) -> bool:
        """Whether a message's end after these tokens ends the turn: after a thought, the next message follows."""
        message = (opened + self._decoded(before)).rpartition(_MESSAGE_END)[2]
        channels = _CHANNEL.findall(message)
        return not channels or channels[-1] not in _THOUGHT_CHANNELS

    def _decoded(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def _check_template(self) -> None:
        """Prepare one small request, so that what every request would meet is said before the first."""
        if self.template is None and self._processor.chat_template is None:
            raise UsageError(
                f"{self._name} has no chat template; add template= with the text it was trained on around the image "
                f"and the prompt, for example template={self._example()}, or name the base model as processor=."
            )
        if self.template is not None and "{prompt}" not in self.template:
            raise UsageError(f"The template {self.template!r} must hold {{prompt}}, where the instruction goes.")
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
    """Stops the rows of a batch where a message ends the turn; see `ChatProcessor.has_ended`.

    Args:
        processor: of a model that writes harmony.
        opened: the opening of a thought at the end of each prompt.
        length: of the padded prompts, in tokens.
    """

    def __init__(self, processor: ChatProcessor, opened: Sequence[str], length: int) -> None:
        self._processor, self._opened, self._length = processor, opened, length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        """Whether each row has ended, bool (rows,)."""
        assert self._processor.message_end is not None
        ended = input_ids[:, -1].eq(self._processor.message_end)
        for row in ended.nonzero().flatten().tolist():
            ended[row] = self._processor.has_ended(input_ids[row, self._length :].tolist(), self._opened[row])
        return ended


def load(name: str, source: Mapping[str, Any]) -> Any:
    """The processor for images and text in a folder or on the hub, which pads on the left.

    Raises:
        UsageError: when there is none.
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
    """The rule of that name, where it is Qwen's with the numbers that the checkpoint will apply.

    Args:
        name: a name that `Resize.named` knows, or ``smart``.
        processor: of the checkpoint.
        pixels: the model's coordinates count pixels, so it matters what the checkpoint's own resizing leaves.

    Raises:
        UsageError: when there is no such rule, when the checkpoint does not resize by Qwen's, or when it does and
            coordinates count pixels and nothing is said of it.
    """
    images = processor.image_processor
    smart = _smart(images)
    if name.startswith("smart"):
        if smart is None:
            raise UsageError(f"This checkpoint does not resize by Qwen's rule, so resize={name} is wrong for it.")
        return Resize.named(smart)
    if name == "none" and pixels and getattr(images, "do_resize", False):
        if smart is not None:
            raise UsageError(
                "The points count pixels, and this checkpoint resizes each image before the model sees it: add "
                f"resize=smart, which is {smart} here."
            )
        warnings.warn(
            f"The points count pixels, and the checkpoint's own {type(images).__name__} resizes each image before the "
            "model sees it: clicks are read as pixels of the image as it was before that; add resize= if the model "
            "counts otherwise.",
            RuntimeWarning,
            stacklevel=2,
        )
    return Resize.named(name)


def _smart(images: Any) -> str | None:
    """The name of Qwen's rule with the numbers of an image processor; None where it has another rule."""
    try:
        factor, least, most = images.patch_size * images.merge_size, *map(images.size.get, _AREA)
    except (AttributeError, TypeError):
        return None
    return None if least is None or most is None else f"smart-{factor}-{least}-{most}"


def _conversation(image: Any, prompt: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": prompt}]}]


def _image_tokens(config: Any, processor: Any) -> set[int]:
    """The ids that stand for the image in a prompt; empty where neither says which."""
    named = ((config, "image_token_id"), (config, "image_token_index"), (processor, "image_token_id"))
    found = [getattr(owner, name, None) for owner, name in named]
    return {token for token in found if isinstance(token, int)}


def _is_harmony(added: Iterable[str]) -> bool:
    return any("<|channel|>" in token or "<|return|>" in token for token in added)


def _turn_ends(own: int | list[int] | None, tokenizer: Any) -> list[int]:
    """The tokens that end a reply, whatever came before."""
    added = tokenizer.get_added_vocab()
    ends = {*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id}
    harmony = _is_harmony(added)
    ends.update(added[token] for token in (*_TURN_ENDS, *(_HARMONY_ENDS if harmony else ())) if token in added)
    if harmony:
        ends.discard(added.get(_MESSAGE_END))
    return sorted(ends - {None})
