"""Measure the gain of a stopping rule and of tree search without a trained model: figure 4 and table 2 of the paper.

    python benchmarks/strategies.py --out FOLDER [--limit 200] [--patience 7]

The clicks come from the oracle, a third of them moved to a random pixel; the reward model is the true IoU with noise.
The task is `hres_synth`, the segmenter `graphcut`. The runs stay in the folder, and the same command continues them.
The mIoU is that of the answer: the last mask of fixed steps, the mask with the highest predicted IoU of a search.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import hlmat_bench
from hlmat_bench.protocol.records import Episode, select
from hlmat_bench.scores.intervals import bootstrap_difference

MODEL, BUDGET = "oracle,misplaced=0.3333", 7
Values = NDArray[np.float64]


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--patience", type=int, nargs="*", default=[1, 3, BUDGET])
    options = parser.parse_args()
    fixed = _played(options.out / "greedy", options.limit)
    print(f"{len(fixed)} samples, {MODEL}, at most {BUDGET} steps")
    print(f"fixed steps: mIoU {_ious(fixed, BUDGET).mean():.3f}")
    for correlation in (0.9, 0.0):
        for patience in options.patience:
            _compare(options.out, options.limit, fixed, correlation, patience)
    _by_steps(fixed, _search(options.out, options.limit, "prm", 0.9, max(options.patience)))


def _compare(out: Path, limit: int, fixed: Sequence[Episode], correlation: float, patience: int) -> None:
    prm, tree = (_search(out, limit, strategy, correlation, patience) for strategy in ("prm", "tree"))
    steps = [sum(len(episode.steps) for episode in played) / len(played) for played in (prm, tree)]
    print(f"correlation {correlation}, patience {patience}")
    print(f"  prm   mIoU {_ious(prm, BUDGET).mean():.3f}, {steps[0]:.1f} steps; over fixed {_difference(prm, fixed)}")
    print(f"  tree  mIoU {_ious(tree, BUDGET).mean():.3f}, {steps[1]:.1f} steps; over prm   {_difference(tree, prm)}")


def _by_steps(fixed: Sequence[Episode], searched: Sequence[Episode]) -> None:
    """Print table 2; the result for a smaller budget is read from the first steps of a run with a larger one."""
    by_steps = {t: (_ious(fixed, t), _ious(searched, t)) for t in range(1, BUDGET + 1)}
    best = max(by_steps, key=lambda t: float(by_steps[t][0].mean()))
    print("steps       " + "".join(f"{t:8}" for t in by_steps))
    for name, which in (("without stop", 0), ("with stop", 1)):
        print(f"{name:12}" + "".join(f"{values[which].mean():8.3f}" for values in by_steps.values()))
    images = [episode.image_id for episode in fixed]
    print(
        f"with stop, over the best fixed number ({best}): {_interval(by_steps[BUDGET][1], by_steps[best][0], images)}"
    )


def _search(out: Path, limit: int, strategy: str, correlation: float, patience: int) -> list[Episode]:
    settings = {"prm": "noisy", "correlation": correlation, "stop.patience": patience}
    return _played(out / f"{strategy}-{correlation}-{patience}", limit, strategy, settings)


def _played(
    out: Path, limit: int, strategy: str = "greedy", settings: dict[str, object] | None = None
) -> list[Episode]:
    run = hlmat_bench.run(
        MODEL, "hres_synth", strategy=strategy, budget=BUDGET, limit=limit, settings=settings, out=out
    )
    return list(run.episodes())


def _ious(episodes: Sequence[Episode], budget: int) -> Values:
    """Return the IoU of each answer after ``budget`` steps: best by prediction in searches, else last."""
    values = []
    for episode in episodes:
        steps = episode.steps[:budget]
        rule = "self" if any(step.candidates for step in episode.steps) else "final"
        values.append(episode.iou_at(select(steps, episode.initial)[rule]))
    return np.array(values)


def _difference(ours: Sequence[Episode], theirs: Sequence[Episode]) -> str:
    return _interval(_ious(ours, BUDGET), _ious(theirs, BUDGET), [episode.image_id for episode in ours])


def _interval(ours: Values, theirs: Values, images: Sequence[str]) -> str:
    """Return the paired difference with its 95 % interval by image."""
    ones = np.ones(len(ours))
    low, high = bootstrap_difference((ours, ones), (theirs, ones), images)
    return f"{(ours - theirs).mean():+.3f} [{low[0]:+.3f}, {high[0]:+.3f}]"


if __name__ == "__main__":
    main()
