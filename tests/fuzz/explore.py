"""Looks for findings with atheris, guided by which lines of the package an input reaches: ``make fuzz``.

What a reader cannot stand is written into ``corpus/TARGET/``, whose files all tests read from then on.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

CORPUS = Path(__file__).with_name("corpus")
MOST_MEGABYTES, MOST_SECONDS = 200, 10
"""What an input may take, besides what the program takes without it."""


def explore(name: str, seconds: int, seeds_folder: Path) -> None:
    """Try inputs of one target until one is a finding or the time is over; never returns."""
    import atheris

    with atheris.instrument_imports(include=["hlmat_bench"], enable_loader_override=False):
        from tests.fuzz.mutations import mutate
        from tests.fuzz.targets import TARGETS

    target = next(each for each in TARGETS if each.name == name)
    seeds = list(target.seeds())
    for number, seed in enumerate(seeds):
        target(seed)  # what is read once and kept is no input's memory
        (seeds_folder / str(number)).write_bytes(seed)

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        if seed % 2:
            return bytes(atheris.Mutate(data, max_size))
        return mutate(seeds, target.form, Random(seed))[:max_size]

    used = _peak()

    def read(data: bytes) -> None:
        target(data)
        if _peak() > used + MOST_MEGABYTES:  # libFuzzer looks once a second, and blames the input of that moment
            raise MemoryError(f"{_peak() - used} MB")

    found = CORPUS / name
    found.mkdir(parents=True, exist_ok=True)
    options = {
        "max_total_time": seconds,
        "timeout": MOST_SECONDS,
        "rss_limit_mb": used + 4 * MOST_MEGABYTES,
        "max_len": 2**16,
        "artifact_prefix": f"{found}/",
        "print_final_stats": 1,
        "verbosity": 0,
    }
    arguments = [f"-{key}={value}" for key, value in options.items()]
    atheris.Setup([sys.argv[0], *arguments, str(seeds_folder), str(found)], read, custom_mutator=mutated)
    atheris.Fuzz()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> int:
    """Explore the targets that are named, each in a process of its own; return 1 where there was a finding."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("targets", nargs="*", help="names of targets (none: all)")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        explore(options.targets[0], options.seconds, options.folder)
    from tests.fuzz.targets import TARGETS

    failed = []
    for name in options.targets or [target.name for target in TARGETS]:
        print(f"== {name}", flush=True)  # noqa: T201
        with tempfile.TemporaryDirectory(prefix="hlmat-fuzz-") as folder:
            seeds = Path(folder) / "seeds"
            seeds.mkdir()
            command = [sys.executable, "-m", "tests.fuzz.explore", name, "--seconds", str(options.seconds)]
            ended = subprocess.run([*command, "--in", str(seeds)], env=os.environ | {"TMPDIR": folder}, check=False)
        if ended.returncode:
            failed.append(name)
    if failed:
        print(f"Findings, in {CORPUS}: {', '.join(failed)}")  # noqa: T201
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
