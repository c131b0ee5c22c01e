"""run.json, the manifest `hlmat-run/1`: what a run is, in enough detail to repeat and compare it."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.plain_files import exists, read_bytes, replaced
from hlmat_bench.core.text import redact
from hlmat_bench.core.validation import checked
from hlmat_bench.protocol.settings import MOST_CLICKS, digest, json_text

RUN_SCHEMA = "hlmat-run/1"
MANIFEST = "run.json"
_PACKAGES = (
    "hlmat-bench",
    "numpy",
    "opencv-python-headless",
    "pycocotools",
    "pillow",
    "torch",
    "transformers",
    "segment-anything",
    "openai",
    "lmms-eval",
)
#: What must agree for a run to be continued in the same folder; `limit` may grow.
_IDENTITY = ("model", "task", "segmenter", "protocol", "points", "resize", "seed", "shard")
#: What may differ of a task: a file of a sample that is not yet played may be corrected. Episodes hold digests of the
#: files that they were played on.
_CORRECTED = ("digest", "skipped")


_MAX_BYTES = 2**24
#: How many runs of a folder are named where a run folder is expected.
_SHOWN_RUNS = 8


def _is_text(value: Any) -> Any:
    if not isinstance(value, str):  # pydantic's own check refuses the bytes of a command line that are no UTF-8
        raise ValueError("it should be a text")
    return value


_Text = Annotated[Any, AfterValidator(_is_text)]


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return number


class _Part(BaseModel):
    """What the program relies on when it reads a manifest; everything else is only shown."""

    model_config = ConfigDict(strict=True, extra="ignore")


class _Named(_Part):
    name: _Text


class _Task(_Named):
    digest: _Text
    kind: Literal["segmentation", "refinement", "filtering"] = "segmentation"
    source: dict[Any, Any] | None = None


class _Protocol(_Part):
    budget: int = Field(ge=1, le=MOST_CLICKS)
    track: Literal["point", "box+point"]
    strategy: _Text
    initial: _Text
    max_tokens: int


class _Points(_Named):
    unit: _Text


class _Manifest(_Part):
    argv: list[_Text]
    versions: dict[Any, Any]
    model: _Named
    task: _Task
    segmenter: _Named
    protocol: _Protocol
    protocol_fingerprint: _Text
    points: _Points
    resize: _Text
    seed: int
    limit: int | None
    shard: _Text | None
    samples: int | None = None
    started: _Text
    finished: _Text | None


def build(
    *,
    argv: Sequence[str],
    model: Mapping[str, Any],
    task: Mapping[str, Any],
    segmenter: Mapping[str, Any],
    protocol: Mapping[str, Any],
    points: Mapping[str, Any],
    resize: str,
    seed: int,
    limit: int | None,
    shard: str | None,
    samples: int,
    spec: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the manifest of a run that starts now."""
    return {
        "schema": RUN_SCHEMA,
        "argv": [redact(word) for word in argv],
        "spec": None if spec is None else _without_secrets(spec),
        "versions": versions(),
        "model": dict(model),
        "task": dict(task),
        "segmenter": dict(segmenter),
        "protocol": dict(protocol),
        "protocol_fingerprint": fingerprint(
            protocol=protocol, segmenter=segmenter, points=points, resize=resize, image=model.get("image")
        ),
        "points": dict(points),
        "resize": resize,
        "seed": seed,
        "limit": limit,
        "shard": shard,
        "samples": samples,
        "started": now(),
        "finished": None,
        "machine": machine(),
    }


def _without_secrets(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of a run as JSON values without keys and tokens; settings hold none."""
    texts = {key: redact(value) if isinstance(value, str) else value for key, value in spec.items()}
    plain: dict[str, Any] = json.loads(json.dumps(texts, default=str))
    return plain


def fingerprint(
    *,
    protocol: Mapping[str, Any],
    segmenter: Mapping[str, Any],
    points: Mapping[str, Any],
    resize: str,
    image: Any,
) -> str:
    """Return the protocol's fingerprint: SHA-256 of all but the model's identity and the data that can change a score.

    Args:
        protocol: its settings, the prompt's text and the decoding among them.
        segmenter: its spec.
        points: the format in which the model writes points.
        resize: the rule by which the image is changed for the model.
        image: how it is encoded for the model (``image`` in the model's description); None: not at all.
    """
    seen = {"points": points, "resize": resize, "image": image}
    return digest({"protocol": protocol, "segmenter": segmenter, **seen})


def now() -> str:
    """Return the time, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions of the installed packages that can change a result."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Return the kind of machine, without its name or its user's name."""
    return {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}


def read(folder: Path) -> dict[str, Any]:
    """Read the manifest of a run folder.

    Raises:
        UsageError: when there is none or it is damaged.
    """
    path = folder / MANIFEST
    if not exists(path):
        raise UsageError(f"{folder} is not a run folder (no {MANIFEST}){_runs_in(folder)}.")
    try:
        value = json.loads(read_bytes(path, _MAX_BYTES), parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error
    if not isinstance(value, dict) or value.get("schema") != RUN_SCHEMA:
        raise UsageError(f"{path} is not a manifest of schema {RUN_SCHEMA}.")
    checked(_Manifest.model_validate, value, lambda found: UsageError(f"{path} is damaged: {found.sentence()}."))
    return value


def _runs_in(folder: Path) -> str:
    """Return what to name instead of a folder that is not a run folder: the runs in it, where there are any."""
    try:
        runs = sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
    except OSError:
        runs = []
    if not runs:
        return "; name a folder that `hlmat-bench run` has written"
    shown = ", ".join(runs[:_SHOWN_RUNS]) + (", ..." if len(runs) > _SHOWN_RUNS else "")
    return f"; it holds {len(runs)} run{'s' if len(runs) > 1 else ''}: {shown}"


def is_finished(folder: Path) -> bool:
    """Tell whether a folder holds a run that was played to its end."""
    try:
        return read(folder).get("finished") is not None
    except UsageError:
        return False


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file whole: a reader sees the old one or the new one.

    Raises:
        UsageError: when the file cannot be written.
    """
    text = json_text(value, indent=1) + "\n"
    data = text.encode("utf-8", "backslashreplace")  # see log_lines.to_line
    try:
        with replaced(path) as file:
            file.write(data)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}); make room, or correct the rights of its folder, and run the "
            "same command again."
        ) from error


def check_same(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any], *, corrected: bool = False) -> None:
    """Make sure that a folder holds the run that is asked for.

    Args:
        folder: the run folder.
        old: its manifest.
        new: the manifest of what is asked for.
        corrected: the data as a whole may be another: each episode is bound to the files it was played on.

    Raises:
        UsageError: names the first setting that differs, with both values.
    """
    if old["task"].get("digest") == new["task"]["digest"]:
        old, new = _placeless(old), _placeless(new)
    elif corrected:
        old, new = _lasting(old), _lasting(new)
    for key in _IDENTITY:
        if old.get(key) != new[key]:
            what, before, after = first_difference(key, old.get(key), new[key])
            raise UsageError(
                f"{folder} holds another run ({what} is {before} there and {after} here); "
                "choose another --out or the same settings."
            )


def _placeless(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest without the layout and the places of its data: data of one digest may lie anywhere."""
    return {**document, "task": {key: value for key, value in document["task"].items() if key != "source"}}


def _lasting(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest without what may be corrected in the data of a run that continues."""
    task = {key: value for key, value in document["task"].items() if key not in _CORRECTED}
    if isinstance(source := task.get("source"), Mapping):
        task["source"] = {key: value for key, value in source.items() if key not in _CORRECTED}
    return {**document, "task": task}


def first_difference(name: str, old: Any, new: Any) -> tuple[str, str, str]:
    """Where two JSON values differ first: the place, with dots between keys, and the two values, shortened."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                return first_difference(f"{name}.{key}", old.get(key), new.get(key))
    return name, _short(old), _short(new)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
