"""Train a vision-language model to click, by GRPO with TRL: one reply to one state, rewarded by the gain of IoU.

    python examples/grpo_trl.py
    python examples/grpo_trl.py --model Qwen/Qwen3-VL-2B-Instruct --segmenter sam_b --samples 200 --steps 500

The first command trains a tiny checkpoint with random weights for two steps on a CPU: it shows that all parts work, and
nothing is learned. The second one is for a GPU. The states are those of an annotator that knows the ground truth, so
that the model learns to begin masks and to correct them. It needs hlmat-bench[local,train].
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import GRPOConfig, GRPOTrainer

import hlmat_bench
from hlmat_bench.testing import tiny_vlm
from hlmat_bench.training import reward, rows, snapshots


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a checkpoint of transformers; without it, a tiny one with random weights")
    parser.add_argument("--points", default="xy1000", help="how the model writes a point, see docs/points.md")
    parser.add_argument("--resize", help="how images are changed before the model sees them, see docs/points.md")
    parser.add_argument("--prompt", help="what the model is asked, with the field {expression}")
    parser.add_argument("--task", default="hres_synth")
    parser.add_argument("--segmenter", default="graphcut")
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--out", default="grpo", help="the folder of the trained checkpoint, where --model is given")
    parser.add_argument("--rewards", default="gain", help="gain, ibis-agent or medsam-agent")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        train(options, Path(folder))


def train(options: argparse.Namespace, folder: Path) -> None:
    """Make states from an annotator's run, and train on them."""
    run = hlmat_bench.run(
        "oracle", options.task, options.segmenter, limit=options.samples, budget=3, out=folder / "annotator"
    )
    asked = {"segmenter": options.segmenter, "points": options.points, "rewards": options.rewards}
    asked |= {"settings": {"prompt": options.prompt}} if options.prompt else {}
    resize = options.resize or ("none" if options.model else "fit-long128")
    states = list(snapshots(run, resize=resize, **asked))
    checkpoint = options.model or tiny_vlm(folder / "tiny", "qwen3_vl", says=["Positive point: (500, 500)"])
    gpu = torch.cuda.is_available()
    trainer = GRPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(checkpoint, dtype="bfloat16" if gpu else "float32"),
        processing_class=AutoProcessor.from_pretrained(checkpoint),
        train_dataset=Dataset.from_list(list(rows(states))),
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=options.out if options.model else str(folder / "grpo"),
            max_steps=options.steps,
            per_device_train_batch_size=8 if gpu else 2,
            num_generations=8 if gpu else 2,
            max_completion_length=64 if gpu else 8,
            bf16=gpu,
            use_cpu=not gpu,
            logging_steps=1,
            report_to=[],
        ),
    )
    trainer.train()


if __name__ == "__main__":
    main()
