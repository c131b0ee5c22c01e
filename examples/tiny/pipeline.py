"""Makes hlmat-tiny from nothing by one command: trajectories, training, rollouts, StaR+, and training again.

    python examples/tiny/pipeline.py --out runs/tiny

Each stage is a command that is printed before it runs. The same command again continues: a stage whose result is there
is left out, and `hlmat-bench` continues what was interrupted. With ``--grpo`` the last checkpoint is also trained by
GRPO in the environment (examples/grpo_trl.py).
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TASK, SEGMENTER, ENOUGH = "synth_easy_train", "graphcut", "0.9"
ASKED = ["--set", 'prompt="{expression}"', "--set", "max_tokens=16"]


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    Attributes:
        trajectories: episodes of the annotator.
        scenes: samples whose states need no segmenter.
        markers: sets of 32 questions about markers.
        passes: over all examples, in the first training.
        rollouts: episodes that the model plays and StaR+ improves.
        more: passes of the second training.
    """

    trajectories: int
    scenes: int
    markers: int
    passes: float
    rollouts: int
    more: float


FULL = Sizes(6000, 20_000, 40, 4.0, 3000, 1.5)
QUICK = Sizes(20, 60, 1, 1.0, 10, 1.0)


def model(folder: Path) -> str:
    """Return the model of a checkpoint's folder for the command line."""
    return f"hf,pretrained={folder},points=xy1000,resize=stretch-128x128,dtype=float32"


def stages(out: Path, sizes: Sizes, seed: int, workers: int) -> list[tuple[Path | None, list[str]]]:
    """Return the commands in their order, each with the file that says that it is done (None: it knows by itself)."""
    annotator, sft, star = out / "annotator", out / "sft", out / "star"
    rollouts, improved, scenes = out / "rollouts", out / "improved", out / "scenes.npz"
    bench, script = [sys.executable, "-m", "hlmat_bench"], [sys.executable, str(HERE / "train.py"), "--seed", str(seed)]
    many = ["--workers", str(workers)] if workers > 1 else []
    # Trajectories begin with an empty mask, with the segmenter's mask of random points, or with an imperfect one.
    started = ["--initial", "empty:3,points:3,generated:1", "--spread", "0.2", "--stop-iou", "0.93", "--max-steps", "4"]
    generate = ["--task", TASK, "--segmenter", SEGMENTER, "--limit", str(sizes.trajectories), *started, *many]
    learn = [
        "--scenes",
        str(sizes.scenes),
        "--markers",
        str(sizes.markers),
        "--scenes-file",
        str(scenes),
        "--enough",
        ENOUGH,
    ]
    played = ["--task", TASK, "--segmenter", SEGMENTER, "--limit", str(sizes.rollouts), "--seed", str(seed + 1)]
    bigger = ["--runs", str(annotator), str(improved), "--start", str(sft), "--sight", "0", "--rate", "0.008"]
    return [
        (None, [*bench, "trajectories", "generate", *generate, "--seed", str(seed), "--out", str(annotator)]),
        (sft, [*script, *learn, "--runs", str(annotator), "--passes", str(sizes.passes), "--out", str(sft)]),
        (None, [*bench, "run", "--model", model(sft), *ASKED, *played, "--budget", "4", "--out", str(rollouts)]),
        (None, [*bench, "trajectories", "improve", str(rollouts), "--stop-iou", "0.93", *many, "--out", str(improved)]),
        (star, [*script, *learn, *bigger, "--passes", str(sizes.more), "--out", str(star)]),
    ]


def grpo(out: Path, steps: int) -> list[str]:
    """Return the command that trains the last checkpoint by GRPO."""
    asked = ["--resize", "stretch-128x128", "--prompt", "{expression}", "--task", TASK, "--samples", "200"]
    script = [sys.executable, str(HERE.parent / "grpo_trl.py"), "--model", str(out / "star")]
    return [*script, *asked, "--steps", str(steps), "--out", str(out / "grpo")]


def main() -> None:
    """Read the command line and run all stages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="a few examples only, to see that all stages work")
    parser.add_argument("--grpo", type=int, default=0, metavar="STEPS", help="steps of GRPO at the end")
    given = parser.parse_args()
    commands = stages(given.out, QUICK if given.quick else FULL, given.seed, given.workers)
    if given.grpo:
        commands.append((None, grpo(given.out, given.grpo)))
    for done, command in commands:
        if done is not None and (done / "config.json").exists():
            continue
        print(shlex.join(command), flush=True)
        if code := subprocess.run(command, check=False).returncode:
            sys.exit(code)


if __name__ == "__main__":
    main()
