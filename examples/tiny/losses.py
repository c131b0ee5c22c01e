"""What hlmat-tiny learns: the tokens of its answers, and four things more that only training uses.

Of the picture's tokens, before the text is read: the words of the kind and the colour of what their patch shows, and
how much of it is painted. In the first layer: two heads look from a patch at the words that name what is in it. After
all layers: how much of a patch is in the object, lacks in the mask, or is too much in it. In the last layer: one head
looks at the patch that is clicked. Without them the same model needs many times as many examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from states import GRID
from tensors import PATCHES, WORDS, Batch, Digits, Tokens
from torch import Tensor, nn
from torch.nn import functional

SOFT = {"iou": 7.0, "place": 1.3}
"""The standard deviation of soft targets, of IoUs in per cent and of places in steps: the next number is nearly right.

That of IoUs is wide, so that the most probable number is in the middle of those that the model holds possible: a model
that was trained with 2 had a mean error of 0.080, and of 0.070 after a little more training with 7.
"""

WEIGHTS = {"exact": 1, "ends": 0.5, "iou": 1.0, "x": 1, "y": 1, "cells": 8, "look": 0.3, "kind": 0.5}
WEIGHTS |= {"digits": 6, "match": 0.5, "plural": 0.2, "colour": 0.3, "paint": 1}


class Extra(nn.Module):
    """What only training uses: the picture's tokens tell `Example.things`, and, after the text is read, `cells`.

    They tell things by the embeddings of their words, so that a picture and its description meet in the same place.
    """

    def __init__(self, embedding: nn.Embedding, tokens: Tokens) -> None:
        super().__init__()
        self.words, self.tokens = [embedding], tokens  # in a list: it is a part of the model, and not of this module
        self.cells, self.painted = nn.Linear(embedding.embedding_dim, 3), nn.Linear(embedding.embedding_dim, 1)
        self.sharpness = nn.Parameter(torch.tensor(4.0))

    def things(self, patches: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        """Return the losses of kinds, colours and paint, from the picture's tokens, per picture float (64, width)."""
        flat = torch.cat(list(patches)).float()
        seen = functional.normalize(flat, dim=1) * self.sharpness.exp()
        tables = {"kind": self.tokens.kinds, "plural": self.tokens.plurals, "colour": self.tokens.colours}
        told = {}
        for name, table in tables.items():
            words = functional.normalize(self.words[0](table), dim=1)
            wanted = batch.things[:, int(name == "colour")].flatten()
            told[name] = functional.cross_entropy(seen @ words.T, wanted, ignore_index=-1)
        paint = functional.binary_cross_entropy_with_logits(self.painted(flat).squeeze(1), batch.painted.flatten())
        return told | {"paint": paint}


def sight(model: Any, extra: Extra, batch: Batch) -> dict[str, Tensor]:
    """Return the losses of the image tower alone."""
    return extra.things(model.model.get_image_features(pixel_values=batch.pixels).pooler_output, batch)


def answering(model: Any, extra: Extra, tokens: Tokens, batch: Batch) -> dict[str, Tensor]:
    """Return the losses of the whole model."""
    answers = tokens.answers(batch)
    count = len(answers)
    image, answer = torch.full((count, PATCHES), tokens.image), torch.full((count, 1), tokens.answer)
    ids = torch.cat([batch.prompts, image, answer, answers[:, :-1]], 1)
    seen = ids != tokens.pad
    out = model.model(
        input_ids=ids,
        pixel_values=batch.pixels,
        attention_mask=seen.long(),
        position_ids=(seen.long().cumsum(1) - 1).clamp(min=0),
        output_attentions=True,
        use_cache=False,
    )
    hidden = out.last_hidden_state
    logits = model.lm_head(hidden[:, -tokens.length :]).float().log_softmax(-1)
    written = _digits if isinstance(tokens, Digits) else _numbers
    told = extra.cells(hidden[:, WORDS : WORDS + PATCHES]).float().transpose(1, 2)
    cells = functional.binary_cross_entropy_with_logits(told, batch.cells)
    # From the sign on, the next token is written by looking at the place of the click.
    rows = [WORDS + PATCHES + at for at in (tokens.places[0] - 1, *tokens.places)]
    looked = out.attentions[-1][:, 0][batch.sign < 2][:, rows, WORDS : WORDS + PATCHES].float()
    look = -(_spots(batch)[batch.sign < 2][:, None] * (looked + 1e-6).log()).sum(-1).mean()
    match = _matching(out.attentions[0], batch, tokens)
    told = {"cells": cells, "look": look, "match": match}
    return written(logits, answers, batch, tokens) | told | extra.things(out.image_hidden_states, batch)


def _digits(logits: Tensor, answers: Tensor, batch: Batch, tokens: Tokens) -> dict[str, Tensor]:
    """Return the loss of all tokens of the answers."""
    target = answers.masked_fill(answers == tokens.pad, -100)
    return {"digits": functional.nll_loss(logits.flatten(0, 1), target.flatten(), ignore_index=-100)}


def _numbers(logits: Tensor, answers: Tensor, batch: Batch, tokens: Tokens) -> dict[str, Tensor]:
    """Return the losses of the tokens of the answers; those of numbers have soft targets."""
    target, clicks = answers.masked_fill(answers == tokens.pad, -100), batch.sign < 2
    exact = functional.nll_loss(logits[:, [0, 2, 5]].flatten(0, 1), target[:, [0, 2, 5]].flatten(), ignore_index=-100)
    ends = functional.nll_loss(logits[~clicks, 3], target[~clicks, 3]) if (~clicks).any() else exact * 0
    iou = _soft(logits[:, 1, tokens.ious], batch.iou * 100, SOFT["iou"])
    x, y = (
        _soft(logits[clicks, at][:, table], value[clicks] * (len(table) - 1), SOFT["place"])
        for at, table, value in ((3, tokens.xs, batch.x), (4, tokens.ys, batch.y))
    )
    return {"exact": exact, "ends": ends, "iou": iou, "x": x, "y": y}


def _matching(attention: Tensor, batch: Batch, tokens: Tokens) -> Tensor:
    """Return how little two heads of the first layer let a patch look at the words that name what is in it.

    Where no word does, it is to look at the first token of the prompt.
    """
    losses = []
    for head, (names, at) in enumerate((((tokens.kinds, tokens.plurals), 0), ((tokens.colours,), 1)), 1):
        seen = batch.things[:, at]
        named = torch.stack([batch.prompts[:, None] == table[seen.clamp(min=0)][:, :, None] for table in names]).any(0)
        wanted = torch.where(named.any(2, keepdim=True), named, (batch.prompts == tokens.first)[:, None])
        looked = attention[:, head, WORDS : WORDS + PATCHES, :WORDS].float()
        losses.append(-((looked * wanted).sum(2) + 1e-6).log()[seen >= 0].mean())
    return torch.stack(losses).mean()


def _soft(logs: Tensor, value: Tensor, spread: float) -> Tensor:
    """Return the cross entropy to a normal distribution over the numbers of a table."""
    at = torch.arange(logs.shape[1])
    target = torch.softmax(-((at - value[:, None]) ** 2) / (2 * spread**2), 1)
    return -(target * logs).sum(1).mean() - (-(target * target.clamp(min=1e-9).log()).sum(1).mean())


def _spots(batch: Batch) -> Tensor:
    """Return which patches are near the click, float32 (B, 64) with sum 1."""
    middle = (torch.arange(GRID) + 0.5) / GRID
    near = [torch.softmax(-((middle - value[:, None]) ** 2) * GRID**2 / 0.5, 1) for value in (batch.y, batch.x)]
    return (near[0][:, :, None] * near[1][:, None]).flatten(1)
