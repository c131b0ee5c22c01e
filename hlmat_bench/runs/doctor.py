"""What is on this machine, and what is missing to run: packages, devices, data, weights, a server, disk, locks.

Each check stands alone: one that fails unexpectedly is a line, and the others go on. Nothing is downloaded, and no
network is used but for the server that OPENAI_BASE_URL names.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from hlmat_bench.core.content import file as content_file
from hlmat_bench.core.errors import UsageError, failure_words
from hlmat_bench.core.networks import weights
from hlmat_bench.core.text import clean, redact
from hlmat_bench.data.tasks import ENVIRONMENT, expand, load_task, task_names
from hlmat_bench.models.api.address import header_value, parts_of
from hlmat_bench.models.catalog import Catalog, ModelChoice
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.reference import find_reference
from hlmat_bench.runs.episode_log import RunLock
from hlmat_bench.runs.opening import make_segmenter, path_text
from hlmat_bench.runs.plan import RunSpec

DOCTOR_SCHEMA = "hlmat-doctor/1"
LOCK = "requirements-lock.txt"
_PACKAGE = "hlmat-bench"
_SERVER = "OPENAI_BASE_URL"
_SERVER_SECONDS = 3.0
_SERVER_BYTES = 2**20
_GIB = 2**30
_MOST_NAMES = 8

Level: TypeAlias = Literal["ok", "note", "missing"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination.

    Attributes:
        area: what was examined.
        level: ``ok``; ``note``, what may matter; ``missing``, what keeps a named task, model or segmenter from running.
        text: what was found, and what to do.
    """

    area: str
    level: Level
    text: str


Check: TypeAlias = Callable[[], Iterable[tuple[Level, str]]]


def examine(
    task: str | None = None,
    model: str | None = None,
    segmenter: str | None = None,
    data_root: str | os.PathLike[str] | None = None,
) -> list[Finding]:
    """Examine this machine, and whether a task, a model and a segmenter can run here.

    Args:
        task, model, segmenter: as `hlmat_bench.run` takes them; None: not asked for.
        data_root: the folder that holds the data sets; None: the environment's HLMAT_DATA.
    """
    server = _Server()
    checks: dict[str, Check] = {
        "Python": _python,
        "packages": _packages,
        "devices": _devices,
        "Ray": _ray,
        "data": lambda: _data(data_root),
        "weights": _weights,
        "server": server.check,
        "disk": _disk,
        "locks": _locks,
    }
    named: dict[str, Check] = {}
    if task is not None:
        named["task"] = lambda: _tasks(task, data_root)
    if model is not None:
        named["model"] = lambda: _model(model, server)
    if segmenter is not None:
        named["segmenter"] = lambda: _segmenter(segmenter)
    found = [finding for area, check in checks.items() for finding in _isolated(area, check, "note")]
    return found + [finding for area, check in named.items() for finding in _isolated(area, check, "missing")]


def _isolated(area: str, check: Check, failed: Level) -> list[Finding]:
    """Return what a check finds; one that fails is a finding of the level ``failed``."""
    try:
        return [Finding(area, level, text) for level, text in check()]
    except UsageError as error:
        return [Finding(area, failed, str(error))]
    except Exception as error:  # noqa: BLE001  (a machine that is not in order breaks any of the checks in any way)
        return [Finding(area, failed, f"this check failed ({redact(failure_words(error).partition(';')[0])})")]


def _python() -> Iterator[tuple[Level, str]]:
    version = importlib.metadata.version(_PACKAGE)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = f", {_memory() / _GIB:.0f} GiB memory" if _memory() else ""
    yield (
        "ok",
        f"hlmat-bench {version} with Python {platform.python_version()} on {platform.system()} {platform.machine()}, "
        f"{cores} cores{memory}",
    )


def _memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


# Packages


def _packages() -> Iterator[tuple[Level, str]]:
    """Compare what is installed with what the package requires, and with the versions that all tests have passed."""
    required = _required()
    here = {name: _version(name) for names in required.values() for name in names}
    if absent := [name for name in required.pop("", ()) if here[name] is None]:
        yield "note", f"Not installed: {', '.join(absent)}; run: pip install hlmat-bench"
    extras = {extra: [name for name in names if here[name] is None] for extra, names in sorted(required.items())}
    words = [f"{extra} (lacks {_names(lacks)})" if lacks else extra for extra, lacks in extras.items()]
    whole = sum(version is not None for version in here.values())
    yield "ok", f"{whole} of {len(here)} packages are installed; extras: {', '.join(words)}"
    tested = _locked()
    others = [
        f"{name} {version} (tested: {' or '.join(sorted(tested[name]))})"
        for name, version in here.items()
        if version is not None and name in tested and version.partition("+")[0] not in tested[name]
    ]
    if others:
        yield "note", f"Other versions than those of {LOCK}, which all tests have passed: {_names(others)}"
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


def _names(names: Iterable[str]) -> str:
    """Join names; after some of them only the number of the others is given."""
    listed = list(names)
    rest = len(listed) - _MOST_NAMES
    return ", ".join(listed[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


# Devices


def _devices() -> Iterator[tuple[Level, str]]:
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


def _ray() -> Iterator[tuple[Level, str]]:
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


# Data and weights


def _data(data_root: str | os.PathLike[str] | None) -> Iterator[tuple[Level, str]]:
    root = data_root or os.environ.get(ENVIRONMENT)
    if root is None:
        yield "note", f"no folder of data sets is named: --data-root, or the environment variable {ENVIRONMENT}"
    elif not Path(root).is_dir():
        yield "note", f"{root} is no folder: correct --data-root or {ENVIRONMENT}"
    else:
        inside = sorted(path.name for path in Path(root).iterdir())
        yield "ok", f"{root} holds {_names(inside) if inside else 'nothing'}"
    complete = [name for name in task_names() if load_task(name).missing(root) is None]
    words = f"{len(complete)} of {len(task_names())} tasks have their files here: {_names(complete)}"
    yield "ok", f"{words}; `hlmat-bench tasks` says what the others lack"


def _weights() -> Iterator[tuple[Level, str]]:
    wanted = {entry.weights(): None for entry in Catalog.load().models.values() if entry.adapter == "hf"}
    segmenters = plugins.available("segmenter").values()
    wanted |= {plugin.facts.weights: None for plugin in segmenters if plugin.facts is not None}
    found = [name for name in wanted if "/" in name and _cached(name) is not None]
    words = _names(found) if found else "none of the weights that models and segmenters name"
    yield "ok", f"the cache of Hugging Face ({_hub_cache()}) holds {words}"
    lacking = [plugin.name for plugin in segmenters if plugin.missing]
    if lacking:
        yield "note", f"packages are missing for the segmenters {_names(lacking)}; `hlmat-bench segmenters` says which"


def _hub_cache() -> Path:
    """Return the folder in which huggingface_hub keeps weights (its documentation, environment variables)."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def _cached(name: str) -> Path | None:
    """Return the folder with the files of an id of the hub; None where they were not downloaded."""
    snapshots = _hub_cache() / f"models--{name.replace('/', '--')}" / "snapshots"
    return next(snapshots.iterdir(), None) if snapshots.is_dir() else None


# The server


class _Server:
    """The server that OPENAI_BASE_URL names; it is asked once for its models, with a time-out.

    Attributes:
        refused: why it cannot be used; None where it answers or is not named.
    """

    def __init__(self) -> None:
        self.refused: str | None = None

    def check(self) -> Iterator[tuple[Level, str]]:
        """Ask the server, and say what it answers."""
        if not (url := os.environ.get(_SERVER)):
            yield "ok", f"{_SERVER} is not set"
            return
        found: list[tuple[Level, str]] = []
        # A thread of its own: a name server that does not answer cannot be interrupted otherwise.
        asking = threading.Thread(target=lambda: found.extend(_isolated_answer(url)), daemon=True)
        asking.start()
        asking.join(_SERVER_SECONDS + 1)
        level, text = found[0] if found else ("note", f"{_SERVER}: no answer within {_SERVER_SECONDS:.0f} s")
        self.refused = None if level == "ok" else text
        yield level, text


def _isolated_answer(url: str) -> Iterator[tuple[Level, str]]:
    for finding in _isolated("server", lambda: [_answer(url)], "note"):
        yield finding.level, finding.text


def _answer(url: str) -> tuple[Level, str]:
    import httpx2

    parts, _ = parts_of(url, _SERVER)
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    path = parts.path.rstrip("/").removesuffix("/chat/completions") + "/models"
    key = header_value(os.environ.get("OPENAI_API_KEY", ""), "the key in OPENAI_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with (
            httpx2.Client(timeout=_SERVER_SECONDS, follow_redirects=False) as client,
            client.stream("GET", parts._replace(path=path, fragment="").geturl(), headers=headers) as response,
        ):
            body, until = b"", time.monotonic() + _SERVER_SECONDS
            for part in response.iter_bytes():
                body += part
                if len(body) > _SERVER_BYTES or time.monotonic() > until:
                    break
    except httpx2.HTTPError as error:
        return "note", f"{shown} does not answer ({type(error).__name__}): start the server, or correct {_SERVER}"
    if response.status_code in (401, 403):
        return (
            "note",
            f"{shown} refuses the key (status {response.status_code}): set OPENAI_API_KEY to one that it knows",
        )
    if response.status_code != httpx2.codes.OK:
        return "note", f"{shown} answers GET /models with status {response.status_code}; a run may work all the same"
    return "ok", f"{shown} answers: {_models_of(body)}"


def _models_of(body: bytes) -> str:
    """Return the names in a list of models (https://platform.openai.com/docs/api-reference/models/list)."""
    try:
        names = [clean(redact(str(model["id"])), 80) for model in json.loads(body)["data"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return "its list of models cannot be read"
    return f"{len(names)} models ({_names(names)})"


# Disk


def _runs_folder() -> Path:
    """Return the folder of runs, or the nearest one above it that exists."""
    wanted = Path("runs").resolve()
    return next(folder for folder in (wanted, *wanted.parents) if folder.is_dir())


def _disk() -> Iterator[tuple[Level, str]]:
    folder = _runs_folder()
    usage = shutil.disk_usage(folder)
    words = f"{usage.free / _GIB:.1f} of {usage.total / _GIB:.1f} GiB are free under {folder}"
    yield ("note", f"{words}: little for a long run") if usage.free < _GIB else ("ok", words)


def _locks() -> Iterator[tuple[Level, str]]:
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


# What is named


def _tasks(name: str, data_root: str | os.PathLike[str] | None) -> Iterator[tuple[Level, str]]:
    """Read the data of a task, or of each task of a group, and look at a part of their files."""
    for each in expand(name):
        try:
            data = RunSpec(model="oracle", task=each, data_root=path_text(data_root)).open_data()
            yield "ok", f"{each} has {len(data.samples)} samples here"
        except UsageError as error:
            yield "missing", str(error)


def _model(name: str, server: _Server) -> Iterator[tuple[Level, str]]:
    """Find what a model needs, without loading it: a network may take minutes."""
    shown, choice = redact(name), Catalog.load().choose(name)
    if find_reference(choice.plugin, choice.options):
        yield "ok", f"{shown} needs nothing"
        return
    plugin, options = plugins.prepared("model", choice.plugin, choice.options, others=choice.others)
    if plugin.name == "openai":
        yield _of_server(shown, choice, server)
    elif plugin.name == "command":
        yield _of_program(options)
    else:
        yield from _of_weights(shown, options)


def _of_server(shown: str, choice: ModelChoice, server: _Server) -> tuple[Level, str]:
    choice.make()  # checks the address and the key, and connects to nothing
    if "base_url" in choice.options:
        return "ok", f"the options of {shown} are in order; the server in base_url= was not asked"
    if server.refused is not None:
        return "missing", server.refused
    return "ok", f"the options of {shown} are in order"


def _of_program(options: Mapping[str, Any]) -> tuple[Level, str]:
    words = shlex.split(str(options.get("run") or ""))
    if not words or shutil.which(words[0]) is None:
        return "missing", f"there is no program {words[0] if words else ''!r}: correct run=, or install it"
    return "ok", f"the program {words[0]} is here; `hlmat-bench check` tries it"


def _of_weights(shown: str, options: Mapping[str, Any]) -> Iterator[tuple[Level, str]]:
    named = [str(options[key]) for key in ("pretrained", "peft", "processor") if options.get(key)]
    for name in named:
        yield _found_weights(name)
    if not named:
        yield "ok", f"the packages of {shown} are here; `hlmat-bench check` loads and tries it"


def _found_weights(name: str) -> tuple[Level, str]:
    """Find a folder or an id of the hub.

    Raises:
        UsageError: when the name is that of a folder that is not there.
    """
    folder = weights.pretrained_folder(name, None) or _cached(name)
    if folder is None:
        return "note", f"{name} is not in {_hub_cache()}: a run will download it, which needs a network"
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    return "ok", f"{name} is here, {size / _GIB:.1f} GiB"


def _segmenter(spec: str) -> Iterator[tuple[Level, str]]:
    """Make a segmenter, which loads its weights; what a run would download is not loaded."""
    _, given = plugins.prepared("segmenter", *plugins.parse_spec(spec))
    if pretrained := given.get("pretrained"):
        found = _found_weights(str(pretrained))
        yield found
        if found[0] != "ok":
            return
    yield "ok", f"{make_segmenter(spec).name} is loaded and ready"
