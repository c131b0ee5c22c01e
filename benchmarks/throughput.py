"""Measure the episodes per second of a run, through the command line.

    python -m benchmarks.throughput MODEL SEGMENTER [--episodes 96] [OPTION ...]

Plays episodes of 7 clicks of `hres_synth` with replies of 32 tokens; other options are those of ``hlmat-bench
run``. The rate is that between the first finished episodes and the last, so that the loading of weights
is no part of it: the seconds until the first episodes have a column of their own.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS = 7


def main() -> None:
    """Measure and print one line of a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None, allow_abbrev=False)
    parser.add_argument("model")
    parser.add_argument("segmenter")
    parser.add_argument("--episodes", type=int, default=96)
    given, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "hlmat_bench", "run", "--task", "hres_synth", "--out", str(out)]
        command += ["--model", given.model, "--segmenter", given.segmenter, "--limit", str(given.episodes)]
        command += ["--budget", str(STEPS), "--set", "max_tokens=32", *options]
        moments = _moments(command, out)
    if len(moments) < 2:
        sys.exit("all episodes ended at once: take more --episodes")
    loading, rate = moments[0][0], _rate(moments)
    print("| run | until the first episodes | episodes/s | requests/s |\n|---|---|---|---|")
    print(f"| {' '.join(options) or 'one process'} | {loading:.0f} s | {rate:.2f} | {STEPS * rate:.2f} |")


def _moments(command: list[str], out: Path) -> list[tuple[float, int]]:
    """Run a command; return (seconds since its start, finished episodes) for each time that there were more."""
    started, moments = time.perf_counter(), list[tuple[float, int]]()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            time.sleep(0.2)
            count = len(_finished(out))
            if count > (moments[-1][1] if moments else 0):
                moments.append((time.perf_counter() - started, count))
    if process.returncode:
        sys.exit(process.returncode)
    return moments


def _finished(out: Path) -> set[bytes]:
    """Return the samples that are recorded; one that ends before its turn may stand in two files."""
    files = (out / name for name in ("episodes.jsonl", "episodes.early.jsonl"))
    return {
        name for file in files if file.exists() for name in re.findall(rb'"sample_id": *"([^"]*)"', file.read_bytes())
    }


def _rate(moments: list[tuple[float, int]]) -> float:
    (first, before), (last, after) = moments[0], moments[-1]
    return (after - before) / (last - first)


if __name__ == "__main__":
    main()
