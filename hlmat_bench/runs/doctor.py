"""What is missing to run, on this machine or for a named task, model or segmenter: data, weights, a server.

Each check stands alone: one that fails unexpectedly is a line, and the others continue. Nothing is downloaded, and no
network is used but for the server that OPENAI_BASE_URL names. `hlmat_bench.runs.machine` looks at the machine itself.
"""

from __future__ import annotations

import functools
import json
import os
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from hlmat_bench.core.errors import UsageError, failure_words
from hlmat_bench.core.networks import weights
from hlmat_bench.core.text import clean, redact
from hlmat_bench.data.tasks import ENVIRONMENT, expand, load_task, task_names
from hlmat_bench.models.api.address import header_value, parts_of
from hlmat_bench.models.catalog import Catalog, ModelChoice
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.reference import find_reference
from hlmat_bench.runs import machine
from hlmat_bench.runs.machine import GIB, Level, listed
from hlmat_bench.runs.opening import make_segmenter, path_text
from hlmat_bench.runs.plan import RunSpec

DOCTOR_SCHEMA = "hlmat-doctor/1"
_SERVER = "OPENAI_BASE_URL"
_SERVER_SECONDS = 3.0
_SERVER_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One line of the examination.

    Attributes:
        area: what was examined.
        level: how serious it is, see `Level`.
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
) -> list[DoctorFinding]:
    """Examine this machine, and whether a task, a model and a segmenter can run here.

    Args:
        task, model, segmenter: as `hlmat_bench.run` takes them; None: not asked for.
        data_root: the folder that holds the data sets; None: the environment's HLMAT_DATA.
    """
    server = functools.cache(_server)
    checks: dict[str, Check] = {
        "Python": machine.python,
        "packages": machine.packages,
        "devices": machine.devices,
        "Ray": machine.ray,
        "data": lambda: _data(data_root),
        "weights": _weights,
        "server": lambda: [server()],
        "disk": machine.disk,
        "locks": machine.locks,
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


def _isolated(area: str, check: Check, failed: Level) -> list[DoctorFinding]:
    """Return what a check finds; one that fails is a finding of the level ``failed``."""
    try:
        return [DoctorFinding(area, level, text) for level, text in check()]
    except UsageError as error:
        return [DoctorFinding(area, failed, str(error))]
    except Exception as error:  # noqa: BLE001  (a machine that is not in order breaks any of the checks in any way)
        return [DoctorFinding(area, failed, f"this check failed ({redact(failure_words(error).partition(';')[0])})")]


# Data and weights


def _data(data_root: str | os.PathLike[str] | None) -> Iterator[tuple[Level, str]]:
    root = data_root or os.environ.get(ENVIRONMENT)
    if root is None:
        yield "note", f"no folder of data sets is named: --data-root, or the environment variable {ENVIRONMENT}"
    elif not Path(root).is_dir():
        yield "note", f"{root} is not a folder: correct --data-root or {ENVIRONMENT}"
    else:
        inside = sorted(path.name for path in Path(root).iterdir())
        yield "ok", f"{root} holds {listed(inside) if inside else 'nothing'}"
    complete = [name for name in task_names() if load_task(name).missing(root) is None]
    words = f"{len(complete)} of {len(task_names())} tasks have their files here: {listed(complete)}"
    yield "ok", f"{words}; `hlmat-bench tasks` says what the others lack"


def _weights() -> Iterator[tuple[Level, str]]:
    wanted = {entry.weights(): None for entry in Catalog.load().models.values() if entry.adapter == "hf"}
    segmenters = plugins.available("segmenter").values()
    wanted |= {plugin.facts.weights: None for plugin in segmenters if plugin.facts is not None}
    found = [name for name in wanted if "/" in name and _cached(name) is not None]
    words = listed(found) if found else "none of the weights that models and segmenters name"
    yield "ok", f"the cache of Hugging Face ({_hub_cache()}) holds {words}"
    lacking = [plugin.name for plugin in segmenters if plugin.missing]
    if lacking:
        yield "note", f"packages are missing for the segmenters {listed(lacking)}; `hlmat-bench segmenters` says which"


def _hub_cache() -> Path:
    """Return the folder in which huggingface_hub keeps weights (its documentation, environment variables)."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def _cached(name: str) -> Path | None:
    """Return the folder with the files of an id of the hub; None where they were not downloaded."""
    snapshots = _hub_cache() / f"models--{name.replace('/', '--')}" / "snapshots"
    return next(snapshots.iterdir(), None) if snapshots.is_dir() else None


# The server


def _server() -> tuple[Level, str]:
    """Ask the server that OPENAI_BASE_URL names for its models."""
    if not (url := os.environ.get(_SERVER)):
        return "ok", f"{_SERVER} is not set"
    found: list[DoctorFinding] = []
    # A thread of its own: a name server that does not answer cannot be interrupted otherwise.
    asking = threading.Thread(
        target=lambda: found.extend(_isolated("server", lambda: [_answer(url)], "note")), daemon=True
    )
    asking.start()
    asking.join(_SERVER_SECONDS + 1)
    if not found:
        return "note", f"{_SERVER}: no answer within {_SERVER_SECONDS:.0f} s"
    return found[0].level, found[0].text


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
    return f"{len(names)} models ({listed(names)})"


# What is named


def _tasks(name: str, data_root: str | os.PathLike[str] | None) -> Iterator[tuple[Level, str]]:
    """Read the data of a task, or of each task of a group, and look at a part of their files."""
    for each in expand(name):
        try:
            data = RunSpec(model="oracle", task=each, data_root=path_text(data_root)).open_data()
            yield "ok", f"{each} has {len(data.samples)} samples here"
        except UsageError as error:
            yield "missing", str(error)


def _model(name: str, server: Callable[[], tuple[Level, str]]) -> Iterator[tuple[Level, str]]:
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


def _of_server(shown: str, choice: ModelChoice, server: Callable[[], tuple[Level, str]]) -> tuple[Level, str]:
    choice.make()  # checks the address and the key, and connects to nothing
    if "base_url" in choice.options:
        return "ok", f"the options of {shown} are in order; the server in base_url= was not asked"
    level, text = server()
    if level != "ok":
        return "missing", text
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
    words = f"{size / GIB:.1f} GiB" if size > GIB / 10 else f"{size / 2**20:.0f} MiB"
    return "ok", f"{name} is here, {words}"


def _segmenter(spec: str) -> Iterator[tuple[Level, str]]:
    """Make a segmenter, which loads its weights; what a run would download is not loaded."""
    _, given = plugins.prepared("segmenter", *plugins.parse_spec(spec))
    if pretrained := given.get("pretrained"):
        found = _found_weights(str(pretrained))
        yield found
        if found[0] != "ok":
            return
    yield "ok", f"{make_segmenter(spec).name} is loaded and ready"
