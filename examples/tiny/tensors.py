"""The training examples of hlmat-tiny as arrays and tensors, and the tokens of their answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from model import STEP
from states import COLOURS, GRID, KINDS, PLURALS, Example
from torch import Tensor

WORDS, PATCHES = 12, GRID * GRID
"""The longest prompt with its first token, and the tokens of a picture."""


class Examples:
    """All examples as arrays.

    Attributes:
        pictures: uint8 (N, 128, 128, 3).
        prompts: int64 (N, 12), padded on the left.
        numbers: float32 (N, 4): IoU, sign, x, y.
        cells: float16 (N, 3, 64).
        things: int8 (N, 2, 64).
    """

    def __init__(self, pictures: Any, prompts: Any, numbers: Any, cells: Any, things: Any) -> None:
        self.pictures, self.prompts, self.numbers, self.cells, self.things = pictures, prompts, numbers, cells, things

    @classmethod
    def made(cls, examples: Iterable[Example], tokenizer: Any) -> Examples:
        """Return the examples as arrays."""
        pictures, prompts, numbers, cells, things = [], [], [], [], []
        for each in examples:
            ids = [tokenizer.bos_token_id, *tokenizer.encode(each.expression, add_special_tokens=False)]
            prompts.append([tokenizer.pad_token_id] * (WORDS - len(ids)) + ids)
            pictures.append(each.picture)
            numbers.append((each.iou, each.sign, each.x, each.y))
            cells.append(each.cells)
            things.append(each.things)
        plain = np.array(prompts), np.array(numbers, np.float32)
        return cls(np.stack(pictures), *plain, np.stack(cells), np.stack(things))

    @classmethod
    def joined(cls, parts: list[Examples]) -> Examples:
        """Return the examples of several sets as one."""
        names = ("pictures", "prompts", "numbers", "cells", "things")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.numbers)


class Batch:
    """Examples as tensors, some of them mirrored with ``left`` and ``right`` exchanged."""

    def __init__(self, data: Examples, chosen: Any, swap: Tensor, generator: np.random.Generator) -> None:
        mirrored = torch.from_numpy(generator.random(len(chosen)) < 0.5)
        pictures = torch.from_numpy(data.pictures[chosen]).permute(0, 3, 1, 2)
        self.pixels = torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures).float() / 255
        self.pixels = (self.pixels - 0.5) / 0.25
        prompts = torch.from_numpy(data.prompts[chosen])
        self.prompts = torch.where(mirrored[:, None], swap[prompts], prompts)
        cells = torch.from_numpy(data.cells[chosen].astype(np.float32)).view(-1, 3, GRID, GRID)
        self.cells = torch.where(mirrored[:, None, None, None], cells.flip(3), cells).flatten(2)
        # What is shown is the object without what it lacks, and what is too much.
        self.painted = (self.cells[:, 0] - self.cells[:, 1] + self.cells[:, 2]).clamp(0, 1)
        things = torch.from_numpy(data.things[chosen].astype(np.int64)).view(-1, 2, GRID, GRID)
        self.things = torch.where(mirrored[:, None, None, None], things.flip(3), things).flatten(2)
        self.iou, sign, x, self.y = torch.from_numpy(data.numbers[chosen]).unbind(1)
        self.sign, self.x = sign.long(), torch.where(mirrored, 1 - x, x)


class Tokens:
    """The numbers of the tokens of answers, where a number is one token.

    Attributes:
        length: tokens of an answer with its end: the beginning, IoU, sign, x, y, end.
        places: which of them are the first ones of x and of y.
    """

    length, places = 6, (3, 4)

    def __init__(self, tokenizer: Any) -> None:
        one = self._one = tokenizer.convert_tokens_to_ids
        self.begin, self.end, self.answer = one("Current IOU: "), tokenizer.eos_token_id, one("<answer>")
        self.first, self.image, self.pad = tokenizer.bos_token_id, one("<image>"), tokenizer.pad_token_id
        self.signs = torch.tensor([one(", Positive point: ("), one(", Negative point: ("), one(", Finish")])
        self.kinds, self.colours = torch.tensor(one(KINDS)), torch.tensor(one(COLOURS))
        self.plurals = torch.tensor(one(PLURALS))
        self.swap = torch.arange(len(tokenizer))
        for a, b in (("left", "right"), ("leftmost", "rightmost")):
            self.swap[[one(a), one(b)]] = torch.tensor([one(b), one(a)])
        self._number()

    def _number(self) -> None:
        steps = range(0, 1001, STEP)
        self.ious = torch.tensor(self._one([str(n) for n in range(101)]))
        self.xs = torch.tensor(self._one([f"{n}, " for n in steps]))
        self.ys = torch.tensor(self._one([f"{n})" for n in steps]))

    def answers(self, batch: Batch) -> Tensor:
        """Return the answers, int64 (B, length); after the end there is padding."""
        iou = self.ious[(batch.iou * 100).round().long()]
        x, y = (table[(v * (len(table) - 1)).round().long()] for table, v in ((self.xs, batch.x), (self.ys, batch.y)))
        return self._joined(batch, iou[:, None], torch.stack([x, y], 1))

    def _joined(self, batch: Batch, iou: Tensor, click: Tensor) -> Tensor:
        count = len(iou)
        begin, end = torch.full((count, 1), self.begin), torch.full((count, 1), self.end)
        ended = torch.cat([end, torch.full_like(click, self.pad)], 1)
        tail = torch.where((batch.sign < 2)[:, None], torch.cat([click, end], 1), ended)
        return torch.cat([begin, iou, self.signs[batch.sign][:, None], tail], 1)


class Digits(Tokens):
    """The numbers of the tokens of answers, where each of three digits is a token."""

    length, places = 14, (5, 9)

    def _number(self) -> None:
        self.digits = torch.tensor(self._one([str(n) for n in range(10)]))
        self.comma, self.close = self._one(", "), self._one(")")

    def answers(self, batch: Batch) -> Tensor:
        """Return the answers, int64 (B, length), places in 0 to 999; after the end there is padding."""
        comma, close = (torch.full((len(batch.iou), 1), token) for token in (self.comma, self.close))
        x, y = (self._written((value * 999).round()) for value in (batch.x, batch.y))
        return self._joined(batch, self._written((batch.iou * 100).round()), torch.cat([x, comma, y, close], 1))

    def _written(self, number: Tensor) -> Tensor:
        return self.digits[torch.stack([number // 100 % 10, number // 10 % 10, number % 10], 1).long()]
