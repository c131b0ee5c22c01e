"""How fast trajectories are exported, and how much memory that takes.

    python -m benchmarks.exports [--episodes 2000]

Trajectories of 7 clicks on images of 640 x 480 pixels, 20 on each, as in `benchmarks.trajectories`, are exported as PNG
and JPEG files, in parquet, and without paint. Memory is the process's greatest resident size in the first of these,
after a tenth of the trajectories and at the end.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import hlmat_bench
from benchmarks.trajectories import DISCS, Memory, write_task
from hlmat_bench.training.export.exporting import ExportSettings, export

EXPORTS = {
    "ms-swift, png": ExportSettings("ms-swift"),
    "ms-swift, jpg": ExportSettings("ms-swift", image_format="jpg"),
    "trl, jpg": ExportSettings("trl", image_format="jpg"),
    "ms-swift, without paint": ExportSettings("ms-swift", lazy=True),
    "segagent": ExportSettings("segagent"),
}


def main() -> None:
    """Make trajectories, export them, and print times and sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        task, tool = write_task(folder, options.episodes), folder / "discs.py"
        tool.write_text(DISCS)
        run = hlmat_bench.run("oracle", str(task), str(tool), strategy="annotate", out=folder / "run")
        for name, settings in EXPORTS.items():
            began, memory, out = time.perf_counter(), Memory(), folder / name
            made = export([run.folder], out, settings, tasks=[str(task)], protected=[], progress=memory)
            seconds = time.perf_counter() - began
            size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
            examples = made["counts"]["examples train"]
            print(f"{name}: {seconds:.1f} s, {examples / seconds:.0f} examples/s, {size:.0f} MB, "
                  f"memory {memory.tenth:.0f} -> {memory.now():.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
