"""Measure the requests per second of the hf adapter by batch size.

    python -m benchmarks.hf [--pretrained MODEL] [--batches 1 8 32] [--rounds 5] [--tokens 32] [--tiny]

Without ``--pretrained`` the model has the size of Qwen2.5-VL-7B and random weights, which take the same time as trained
ones. They are created on the accelerator in bfloat16 and saved to a temporary folder (17 GB), so that the adapter loads
them like any checkpoint. ``--tiny`` takes a model of 100,000 weights instead, to test this script.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.checkpoints import random_vlm
from hlmat_bench.core.networks import device
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import Request

_SIZE = (480, 640)
_PROMPT = "x" * 200  # every character is one token of the tiny tokenizer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pretrained", help="a folder or an id; default: random weights of a real size")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=32, help="length of a reply")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    if not given.pretrained and not given.tiny and device.device().type == "cpu":
        parser.error("there is no accelerator here for a model of a real size; add --tiny")
    with tempfile.TemporaryDirectory() as folder:
        name = given.pretrained or str(random_vlm(Path(folder) / "random-7b", tiny=given.tiny))
        model = plugins.find("model", "hf").factory(name, "xy1000", batch_size=max(given.batches))
    _print(_measure(model, given.batches, given.rounds, given.tokens), model.spec())


def _measure(model: Any, batches: list[int], rounds: int, tokens: int) -> dict[int, list[tuple[float, int]]]:
    """Return the seconds and generated tokens of every round by batch size; sizes alternate, after a warm-up round."""
    generator = np.random.default_rng(0)
    requests = [
        Request(generator.integers(0, 256, (*_SIZE, 3), np.uint8), _PROMPT, max_tokens=tokens)
        for _ in range(max(batches))
    ]
    found: dict[int, list[tuple[float, int]]] = {batch: [] for batch in batches}
    for number in range(rounds + 1):
        for batch, measured in found.items():
            started = time.perf_counter()
            answers = model.reply_batch(requests[:batch])
            seconds = time.perf_counter() - started
            if number:
                measured.append((seconds, sum(reply.tokens_out for replies in answers for reply in replies)))
    return found


def _print(found: dict[int, list[tuple[float, int]]], spec: dict[str, Any]) -> None:
    print(f"{spec['pretrained']} in {spec['dtype']} on {spec['device']}, attention {spec['attn']}\n")
    print("| batch | requests/s | tokens/s | seconds a batch |\n|---|---|---|---|")
    for batch, rounds in found.items():
        seconds = statistics.median(seconds for seconds, _ in rounds)
        speed = statistics.median(tokens / seconds for seconds, tokens in rounds)
        print(f"| {batch} | {batch / seconds:.2f} | {speed:.0f} | {seconds:.2f} |")


if __name__ == "__main__":
    main()
