"""Trains hlmat-tiny on pictures and answers: supervised fine-tuning of a LLaVA with 1.5 million parameters on a CPU.

    python examples/tiny/train.py --runs runs/tiny/annotator --out runs/tiny/sft

First the image tower alone learns to see, and then the whole model learns to answer; the tower continues to learn
slowly, because otherwise it would forget what it sees. Hidden matrices are trained by Muon
(https://kellerjordan.github.io/posts/muon/), the others by AdamW.
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
from losses import WEIGHTS, Extra, answering, sight
from model import build_model, build_processor
from states import of_markers, of_trajectories, without_segmenter
from tensors import Batch, Digits, Examples, Tokens
from torch import Tensor, nn

from hlmat_bench.data.tasks import load_task
from hlmat_bench.protocol.records import EPISODES

BATCH = 48
SLOW = 0.05
"""The share of the learning rate that the image tower has while the whole model learns."""
Losses: TypeAlias = Callable[[Batch], dict[str, Tensor]]


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


def train(modules: Sequence[nn.Module], losses: Losses, data: Examples, swap: Tensor, given: Schedule) -> None:
    """Train the modules for the number of passes over the examples that the schedule says."""
    generator = np.random.default_rng(given.seed)
    total = int(len(data) * given.passes) // BATCH
    if not total:
        return
    optimizers = _optimizers(modules, given)
    schedulers = [torch.optim.lr_scheduler.LambdaLR(one, partial(_level, total)) for one in optimizers]
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


def _optimizers(modules: Sequence[nn.Module], given: Schedule) -> list[torch.optim.Optimizer]:
    """Return Muon for hidden matrices and AdamW for the others, each with the image tower as a group of its own."""
    named = [pair for module in modules for pair in module.named_parameters()]
    ends = ("embed", "cells", "painted")

    def groups(rate: float, *, hidden: bool) -> list[dict[str, Any]]:
        mine = [(n, p) for n, p in named if (p.ndim == 2 and not any(end in n for end in ends)) == hidden]
        tower = [p for name, p in mine if "vision_tower" in name]
        others = [p for name, p in mine if "vision_tower" not in name]
        return [{"params": others, "lr": rate}, {"params": tower, "lr": rate * given.tower}]

    return [
        torch.optim.Muon(groups(given.rate, hidden=True), weight_decay=0.1),
        torch.optim.AdamW(groups(given.rate / 5, hidden=False), weight_decay=0),
    ]


def _level(total: int, step: int) -> float:
    """Return the share of the learning rate: it rises for 100 steps, and falls to 0 in the second half."""
    return min((step + 1) / 100, 1, 2 * (1 - step / total))


def examples(given: argparse.Namespace, tokenizer: Any) -> Examples:
    """Return the examples: those without a segmenter, from a file where it has been made before, and those of runs."""
    source = load_task("synth_easy_train").source(overrides={"count": given.scenes})
    if not (given.scenes_file and given.scenes_file.exists()):
        drawn = without_segmenter(source, given.enough)
        base = Examples.made(chain(drawn, of_markers(range(1000, 1000 + given.markers))), tokenizer)
        if given.scenes_file:
            np.savez(given.scenes_file, **vars(base))
    else:
        base = Examples(**np.load(given.scenes_file))
    played = [Examples.made(of_trajectories(folder, given.enough), tokenizer) for folder in given.runs]
    print(f"{len(base)} examples without a segmenter, {[len(part) for part in played]} of runs", flush=True)
    return Examples.joined([base, *played])


def manifest(given: argparse.Namespace, data: Examples, seconds: float) -> dict[str, Any]:
    """Return how a checkpoint was made, in JSON values; of folders only the names, which are the same everywhere."""

    def sha256(file: Path) -> str:
        return hashlib.sha256(file.read_bytes()).hexdigest()

    def plain(value: Any) -> Any:
        return value.name if isinstance(value, Path) else value

    return {
        "options": {name: plain(value) for name, value in vars(given).items() if name != "runs"},
        "examples": len(data),
        "seconds": round(seconds),
        "start": sha256(given.start / "model.safetensors") if given.start else None,
        "runs": {folder.name: sha256(folder / EPISODES) for folder in given.runs},
        "versions": {name: importlib.metadata.version(name) for name in ("hlmat-bench", "torch", "transformers")},
    }


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", nargs="*", type=Path, default=[], help="trajectories: run folders")
    parser.add_argument("--scenes", type=int, default=20_000, help="samples whose states need no segmenter")
    parser.add_argument("--scenes-file", type=Path, help="keep these states here, for the next training")
    parser.add_argument("--markers", type=int, default=40, help="sets of 32 questions about markers")
    parser.add_argument("--sight", type=float, default=2.0, help="passes in which only the image tower learns")
    parser.add_argument("--passes", type=float, default=4.0, help="passes in which the whole model learns")
    parser.add_argument("--rate", type=float, default=0.015, help="learning rate of Muon; AdamW has a fifth of it")
    parser.add_argument("--enough", type=float, default=0.9, help="the IoU from which on the answer is the end")
    parser.add_argument("--digits", action="store_true", help="each digit is a token; points are xy999")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0: as many as it has cores")
    parser.add_argument("--start", type=Path, help="a checkpoint to continue from, instead of random weights")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Train, and save the checkpoint."""
    given, begun = options(), time.monotonic()
    if given.threads:
        torch.set_num_threads(given.threads)
    processor = build_processor(digits=given.digits)
    model = build_model(processor, given.seed)
    if given.start:
        model = type(model).from_pretrained(given.start, dtype=torch.float32)
    # The attention of the language model is trained, which the other ways do not return; on a CPU, the gradients of so
    # short a sequence are also found sooner.
    model.set_attn_implementation("eager")
    data, tokens = examples(given, processor.tokenizer), (Digits if given.digits else Tokens)(processor.tokenizer)
    torch.manual_seed(given.seed)
    extra = Extra(model.get_input_embeddings(), tokens)
    stages = [
        (partial(sight, model, extra), Schedule(given.sight, given.rate, 1.0, given.seed)),
        (partial(answering, model, extra, tokens), Schedule(given.passes, given.rate, SLOW, given.seed)),
    ]
    for losses, schedule in stages:
        train([model, extra], losses, data, tokens.swap, schedule)
    model.save_pretrained(given.out)
    processor.save_pretrained(given.out)
    told = manifest(given, data, time.monotonic() - begun)
    (given.out / "training.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
