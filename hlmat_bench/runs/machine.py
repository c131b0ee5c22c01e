"""What is on this machine: Python, packages, GPUs, Ray, disk and its locks.

Each function yields what it finds, as pairs of a level and a sentence: see `hlmat_bench.runs.doctor`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from hlmat_bench.core.content import file as content_file
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import clean, redact
from hlmat_bench.runs.run_lock import RunLock

LOCK = "requirements-lock.txt"
GIB = 2**30
_PACKAGE = "hlmat-bench"
_MOST_NAMES = 8

#: ``ok``; ``note``, what may matter; ``missing``, what keeps a named task, model or segmenter from running.
Level: TypeAlias = Literal["ok", "note", "missing"]


def listed(names: Iterable[str]) -> str:
    """Join names; after the first of them only the number of the others is given."""
    every = list(names)
    rest = len(every) - _MOST_NAMES
    return ", ".join(every[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def python() -> Iterator[tuple[Level, str]]:
    """Name the versions of hlmat-bench, Python and the system, the cores and the memory."""
    version = importlib.metadata.version(_PACKAGE)
    memory = f", {_memory() / GIB:.0f} GiB memory" if _memory() else ""
    yield (
        "ok",
        f"hlmat-bench {version} with Python {platform.python_version()} on {platform.system()} {platform.machine()}, "
        f"{cores()} cores{memory}",
    )


def _memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Packages


def packages() -> Iterator[tuple[Level, str]]:
    """Compare what is installed with what the package requires, and with the versions that all tests have passed."""
    required = _required()
    here = {name: _version(name) for names in required.values() for name in names}
    if absent := [name for name in required.pop("", ()) if here[name] is None]:
        yield "note", f"Not installed: {', '.join(absent)}; run: pip install hlmat-bench"
    extras = {extra: [name for name in names if here[name] is None] for extra, names in sorted(required.items())}
    words = [f"{extra} (lacks {listed(lacks)})" if lacks else extra for extra, lacks in extras.items()]
    whole = sum(version is not None for version in here.values())
    yield "ok", f"{whole} of {len(here)} packages are installed; extras: {', '.join(words)}"
    tested = _locked()
    others = [
        f"{name} {version} (tested: {' or '.join(sorted(tested[name]))})"
        for name, version in here.items()
        if version is not None and name in tested and version.partition("+")[0] not in tested[name]
    ]
    if others:
        yield "note", f"Other versions than those of {LOCK}, which all tests have passed: {listed(others)}"
    else:
        yield "ok", f"all versions are those of {LOCK}, which all tests have passed"


def _required() -> dict[str, list[str]]:
    """Return the names of the packages that each extra requires on this system; the base installation is ``""``."""
    found: dict[str, list[str]] = {}
    for line in importlib.metadata.requires(_PACKAGE) or ():
        name = _normal(re.split(r"[^\w.-]", line, maxsplit=1)[0])
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        elsewhere = "platform" in line.partition(";")[2] and _version(name) is None
        if name != _PACKAGE and not elsewhere and not (extra and extra[1] in ("all", "dev", "docs")):
            found.setdefault(extra[1] if extra else "", []).append(name)
    return found


def _locked() -> dict[str, set[str]]:
    """Return the versions in the list of tested packages; one package may have several, for different systems."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", content_file(LOCK).read_text("utf-8"), re.MULTILINE):
        found.setdefault(_normal(name), set()).add(version.partition("+")[0])
    return found


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# Devices


def devices() -> Iterator[tuple[Level, str]]:
    """Name the GPUs. torch is imported only where there is a device to ask it about: that takes seconds."""
    cards = list(_nvidia())
    yield from (("ok", card) for card in cards)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        yield "note", f"CUDA_VISIBLE_DEVICES={hidden!r} limits which GPUs are used"
    build = _cuda_of_torch()
    if _version("torch") is None:
        yield "ok", "torch is not installed: models behind an API and the segmenter graphcut need none"
    elif cards or Path("/dev/kfd").exists() or sys.platform == "darwin":
        yield _asked_of_torch(build)
    else:
        yield "ok", f"no GPU: networks run on the CPU (torch {_version('torch')} is built for {build})"


def _nvidia() -> Iterator[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return
    query = "--query-gpu=index,name,memory.total,memory.free,driver_version"
    ran = subprocess.run(
        [program, query, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=20, check=False
    )
    for line in ran.stdout.splitlines() if ran.returncode == 0 else ():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 5 and parts[2].isdecimal() and parts[3].isdecimal():
            total, free = (int(part) / 1024 for part in parts[2:4])
            yield f"GPU {parts[0]}: {parts[1]}, {free:.0f} of {total:.0f} GiB memory free, driver {parts[4]}"


def _cuda_of_torch() -> str:
    """Return what torch was built for, read from its file of versions."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return "nothing"
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    found = dict(re.findall(r"^(cuda|hip)\b[^=]*= '([^']+)'", text, re.MULTILINE))
    return ", ".join(f"{name.upper()} {version}" for name, version in found.items()) or "the CPU alone"


def _asked_of_torch(build: str) -> tuple[Level, str]:
    import torch

    if torch.cuda.is_available():
        return "ok", f"torch {torch.__version__}, built for {build}, uses {torch.cuda.device_count()} GPUs"
    if torch.backends.mps.is_available():
        return "ok", f"torch {torch.__version__} uses the GPU of this Mac (mps)"
    return "note", (
        f"torch {torch.__version__}, built for {build}, finds no GPU that it can use: install a build for this driver "
        "(https://pytorch.org), or networks run on the CPU"
    )


def ray() -> Iterator[tuple[Level, str]]:
    """Say whether Ray is installed and whether there is a cluster; connects to none."""
    if (version := _version("ray")) is None:
        yield (
            "ok",
            "not installed: runs play in one process; pip install 'hlmat-bench[ray]' for several GPUs or machines",
        )
        return
    yield "ok", f"Ray {version}; {_cluster()}"


def _cluster() -> str:
    """Say where a cluster is, as ``address="auto"`` finds it: by RAY_ADDRESS, or the file that ``ray start`` leaves."""
    if address := os.environ.get("RAY_ADDRESS"):
        return f"RAY_ADDRESS names the cluster at {clean(redact(address))}"
    note = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    if note.is_file():
        return f"a cluster was started on this machine, at {clean(note.read_text(encoding='utf-8'))}"
    return "no cluster was started on this machine, and RAY_ADDRESS names none"


# Disk


def _runs_folder() -> Path:
    """Return the folder of runs, or the nearest one above it that exists."""
    wanted = Path("runs").resolve()
    return next(folder for folder in (wanted, *wanted.parents) if folder.is_dir())


def disk() -> Iterator[tuple[Level, str]]:
    """Say how much of the disk of the folder of runs is free."""
    folder = _runs_folder()
    usage = shutil.disk_usage(folder)
    words = f"{usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB are free under {folder}"
    yield ("note", f"{words}: little for a long run") if usage.free < GIB else ("ok", words)


def locks() -> Iterator[tuple[Level, str]]:
    """Say whether the folder of runs can be written and locked."""
    folder = _runs_folder()
    try:
        with tempfile.TemporaryDirectory(prefix=".hlmat-doctor-", dir=folder) as trial, RunLock(Path(trial)):
            pass
    except OSError as error:
        yield "note", f"{folder} cannot be written ({error.strerror}): run elsewhere, or give --out"
    except UsageError:
        yield (
            "note",
            f"the file system of {folder} has no locks that work: give --out on another disk, or add --no-lock",
        )
    else:
        yield "ok", f"the file system of {folder} has locks"
