"""Trains hlmat-tiny on pictures and answers: supervised fine-tuning of a LLaVA with 1.5 million parameters on a CPU.

    python examples/tiny/train.py --runs runs/tiny/trajectories --out runs/tiny/sft

Besides the tokens of the answer, two things are learned that only training uses: each of the picture's tokens tells
what of its patch is in the object, lacks in the mask, or is too much in it; and one head of the last layer looks at the
patch that is clicked. Hidden matrices are trained by Muon (https://kellerjordan.github.io/posts/muon/), the others by
AdamW; positions and IoUs have soft targets, because the next number is nearly as right.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from model import build_model, build_processor
from states import GRID, of_markers, of_trajectories, without_segmenter
from tensors import PATCHES, TOKENS, WORDS, Batch, Examples, Tokens
from torch import Tensor, nn
from torch.nn import functional

from hlmat_bench.data.tasks import load_task
from hlmat_bench.protocol.records import EPISODES

BATCH = 48
Losses: TypeAlias = Callable[["Batch"], dict[str, Tensor]]
SOFT = {"iou": 2.0, "place": 1.3}
"""The standard deviation of soft targets: of IoUs in per cent, of positions in steps."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast is trained.

    Attributes:
        passes: over the examples.
        rate: the learning rate of Muon; AdamW has a fifth of it.
        tower: the share of the rate that the image tower has.
        seed: of the order of examples.
    """

    passes: float
    rate: float
    tower: float
    seed: int


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
    logits = model.lm_head(hidden[:, -TOKENS:]).float().log_softmax(-1)
    target = answers.masked_fill(answers == tokens.pad, -100)
    clicks = batch.sign < 2
    exact = functional.nll_loss(logits[:, [0, 2, 5]].flatten(0, 1), target[:, [0, 2, 5]].flatten(), ignore_index=-100)
    ends = functional.nll_loss(logits[~clicks, 3], target[~clicks, 3]) if (~clicks).any() else exact * 0
    iou = _soft(logits[:, 1, tokens.ious], batch.iou * 100, SOFT["iou"])
    x, y = (
        _soft(logits[clicks, at][:, table], value[clicks] * (len(table) - 1), SOFT["place"])
        for at, table, value in ((3, tokens.xs, batch.x), (4, tokens.ys, batch.y))
    )
    told = extra.cells(hidden[:, WORDS : WORDS + PATCHES]).float().transpose(1, 2)
    cells = functional.binary_cross_entropy_with_logits(told, batch.cells)
    looked = out.attentions[-1][clicks, 0, -TOKENS + 2 : -TOKENS + 4, WORDS : WORDS + PATCHES].float()
    look = -(_spots(batch)[clicks][:, None] * (looked + 1e-6).log()).sum(-1).mean()
    match = _matching(out.attentions[0], batch, tokens)
    told = {"exact": exact, "ends": ends, "iou": iou, "x": x, "y": y, "cells": cells, "look": look, "match": match}
    return told | extra.things(out.image_hidden_states, batch)


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


WEIGHTS = {"exact": 1, "ends": 0.5, "iou": 0.3, "x": 1, "y": 1, "cells": 8, "look": 0.3, "kind": 0.5}
WEIGHTS |= {"match": 0.5, "plural": 0.2, "colour": 0.3, "paint": 1}


def train(modules: Sequence[nn.Module], losses: Losses, data: Examples, swap: Tensor, given: Schedule) -> None:
    """Train the modules until so many passes over the examples are done."""
    generator = np.random.default_rng(given.seed)
    named = [pair for module in modules for pair in module.named_parameters()]
    hidden = {
        name
        for name, p in named
        if p.ndim == 2 and "embed" not in name and "cells" not in name and "painted" not in name
    }

    def groups(muon: bool, rate: float) -> list[dict[str, Any]]:
        kinds: dict[bool, list[Any]] = {False: [], True: []}
        for name, p in named:
            if (name in hidden) == muon:
                kinds["vision_tower" in name].append(p)
        return [{"params": kinds[False], "lr": rate}, {"params": kinds[True], "lr": rate * given.tower}]

    optimizers = [
        torch.optim.Muon(groups(True, given.rate), weight_decay=0.1),
        torch.optim.AdamW(groups(False, given.rate / 5), weight_decay=0),
    ]
    total = int(len(data) * given.passes) // BATCH
    level = partial(_level, total)
    schedulers = [torch.optim.lr_scheduler.LambdaLR(one, level) for one in optimizers]
    order = chain.from_iterable(generator.permutation(len(data)) for _ in count())
    begun = time.monotonic()
    for step in range(total):
        batch = Batch(data, np.fromiter(order, np.int64, BATCH), swap, generator)
        with torch.autocast("cpu", torch.bfloat16):
            parts = losses(batch)
            loss = sum(WEIGHTS[name] * part for name, part in parts.items())
        loss.backward()
        for one in [*optimizers, *schedulers]:
            one.step()
        for module in modules:
            module.zero_grad()
        if step % 200 == 0 or step == total - 1:
            said = " ".join(f"{name} {part.item():.3f}" for name, part in parts.items())
            print(f"{step}/{total} {time.monotonic() - begun:.0f}s {said}", flush=True)


def _level(total: int, step: int) -> float:
    """Return the share of the learning rate: it rises for 100 steps, and falls to 0 in the second half."""
    return min((step + 1) / 100, 1, 2 * (1 - step / total))


def examples(given: argparse.Namespace, tokenizer: Any) -> Examples:
    """Return the examples: those without a segmenter, from a file where it has been made before, and those of runs."""
    begun, source = time.monotonic(), load_task("synth_easy_train").source(overrides={"count": given.scenes})
    if not (given.scenes_file and given.scenes_file.exists()):
        drawn = without_segmenter(source, given.enough)
        base = Examples.made(chain(drawn, of_markers(range(1000, 1000 + given.markers))), tokenizer)
        if given.scenes_file:
            np.savez(given.scenes_file, **vars(base))
    else:
        base = Examples(**np.load(given.scenes_file))
    played = [Examples.made(of_trajectories(folder, given.enough), tokenizer) for folder in given.runs]
    data = Examples.joined([base, *(part for part in played for _ in range(given.repeat))])
    print(
        f"{len(base)} examples without a segmenter, {[len(p) for p in played]} of runs, {time.monotonic() - begun:.0f}s"
    )
    return data


def _plain(value: Any) -> Any:
    """Return an option as JSON has it; of folders only the name, because the places are of one machine."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.name if isinstance(value, Path) else value


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> None:
    """Read the command line, train, and save the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", nargs="*", type=Path, default=[], help="trajectories: run folders")
    parser.add_argument("--scenes", type=int, default=24_000, help="samples whose states need no segmenter")
    parser.add_argument("--scenes-file", type=Path, help="keep these states here, for the next training")
    parser.add_argument("--markers", type=int, default=60, help="sets of 32 questions about markers")
    parser.add_argument("--repeat", type=int, default=1, help="how often the states of runs are taken in a pass")
    parser.add_argument("--sight", type=float, default=2.0, help="passes in which only the image tower learns")
    parser.add_argument("--passes", type=float, default=3.0, help="passes in which the whole model learns")
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--enough", type=float, default=0.9, help="the IoU from which on the answer is the end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0: as many as it has cores")
    parser.add_argument("--start", type=Path, help="a checkpoint to go on from, instead of random weights")
    parser.add_argument("--out", type=Path, required=True)
    given, begun = parser.parse_args(), time.monotonic()
    if given.threads:
        torch.set_num_threads(given.threads)
    processor = build_processor()
    model = build_model(processor, given.seed)
    if given.start:
        model = type(model).from_pretrained(given.start, dtype=torch.float32)
    model.set_attn_implementation({"text_config": "eager", "vision_config": "sdpa"})
    data = examples(given, processor.tokenizer)
    torch.manual_seed(given.seed)
    tokens = Tokens(processor.tokenizer)
    extra = Extra(model.get_input_embeddings(), tokens)
    if given.sight:
        losses = partial(sight, model, extra)
        train([model, extra], losses, data, tokens.swap, Schedule(given.sight, given.rate, 1.0, given.seed))
        model.save_pretrained(given.out / "sight")
    losses = partial(answering, model, extra, tokens)
    train([model, extra], losses, data, tokens.swap, Schedule(given.passes, given.rate, 0.05, given.seed))
    model.save_pretrained(given.out)
    processor.save_pretrained(given.out)
    told = {"options": {name: _plain(value) for name, value in vars(given).items()}, "examples": len(data)}
    told["seconds"] = round(time.monotonic() - begun)
    told["start"] = (
        hashlib.sha256((given.start / "model.safetensors").read_bytes()).hexdigest() if given.start else None
    )
    told["runs"] = {folder.name: hashlib.sha256((folder / EPISODES).read_bytes()).hexdigest() for folder in given.runs}
    told["versions"] = {name: importlib.metadata.version(name) for name in ("hlmat-bench", "torch", "transformers")}
    (given.out / "training.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
