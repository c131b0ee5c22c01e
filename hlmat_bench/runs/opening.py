"""From the names in a `RunSpec` to its parts: settings, segmenter, what the manifest says of the data."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Sample, Source
from hlmat_bench.core.text import redact
from hlmat_bench.data.tasks import Task
from hlmat_bench.models.catalog import ModelChoice
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import Segmenter, accepts_mask
from hlmat_bench.protocol.prompts import check_template
from hlmat_bench.protocol.settings import MASK_STATES, NEEDS, ProtocolSettings, is_state
from hlmat_bench.protocol.strategies import find_strategy
from hlmat_bench.runs import task_kinds

log = logging.getLogger("hlmat_bench")


def digests_of(source: Source, sample: Sample) -> Mapping[str, str]:
    """Return the digests of a sample's files, where the source tells them; see `Source`."""
    tell: Callable[[Sample], Mapping[str, str]] | None = getattr(source, "digests", None)
    return tell(sample) if tell is not None else {}


def check_segmenter(segmenter: Segmenter, settings: ProtocolSettings, *, needs_box: bool) -> None:
    """Refuse a segmenter that does not take what it will be given; say so where it is not shown negative clicks.

    Raises:
        UsageError: says what it lacks.
    """
    if (needs_box or settings.track == "box+point") and not segmenter.accepts_box:
        raise UsageError(
            f"The segmenter {segmenter.name} takes no boxes, which this run needs; use one that does, such as sam_b."
        )
    if is_state(settings.initial, MASK_STATES) and not accepts_mask(segmenter):
        raise UsageError(
            f"The segmenter {segmenter.name} cannot start from a given mask, which this run needs; use one that can, "
            "such as graphcut (`hlmat-bench segmenters` lists them)."
        )
    if plugins.spec_of(segmenter, "segmenter").get("negative_clicks") is False:
        log.warning("%s is shown no negative clicks: they change no mask, but count for the budget.", segmenter.name)


def make_segmenter(spec: str, embedding_cache: str | os.PathLike[str] | None = None) -> Segmenter:
    """Return the segmenter of ``name,key=value,...``, with a folder for what its encoder makes of images.

    Raises:
        UsageError: when it cannot be made, or takes no such folder.
    """
    name, options = plugins.parse_spec(spec)
    if embedding_cache is not None:
        if not plugins.takes("segmenter", name, "embedding_cache"):
            raise UsageError(
                f"--embedding-cache is for segmenters that encode an image once, such as sam_b; {name} does not, so "
                "leave it out."
            )
        options["embedding_cache"] = os.fspath(embedding_cache)
    segmenter: Segmenter = plugins.build("segmenter", name, options)
    plugins.check_made("segmenter", segmenter, {"name": str, "accepts_box": bool}, "open", "spec")
    return segmenter


def path_text(path: str | os.PathLike[str] | None) -> str | None:
    """Return a path as `RunSpec` holds it; None stays None."""
    return None if path is None else os.fspath(path)


def split_settings(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """Return the settings of the protocol, those of the data (``data.``, which is cut off), and the point format."""
    data = {key[5:]: value for key, value in settings.items() if key.startswith("data.")}
    protocol = {key: value for key, value in settings.items() if not key.startswith("data.")}
    return protocol, data, protocol.pop("points", None)


def settings_for(model: ModelChoice, task: Task, given: Mapping[str, Any], budget: int | None) -> ProtocolSettings:
    """Return the settings: the task's defaults, replaced by what the model was trained with, and by the user's.

    Raises:
        UsageError: when they do not fit together.
    """
    boxes: dict[str, Any] = {"track": "box+point"} if model.plugin == "gt-box" else {}
    defaults = {**boxes, **task_kinds.DEFAULTS[task.kind], **task.protocol, **model.settings}
    chosen = {name: value for name, value in {**given, "budget": budget}.items() if value is not None}
    strategy = str(chosen.get("strategy", "greedy"))
    ours = strategy.partition("=")[0] in NEEDS
    settings = ProtocolSettings.build(defaults | chosen, None if ours else find_strategy(strategy).needs)
    if "no_target_reply" in chosen and not settings.no_target:
        raise UsageError(
            f"The object of {task.name} is always there; leave no_target_reply out, or set no_target=true."
        )
    task_kinds.check(task, settings)
    for template in settings.templates().values():
        check_template(template)
    return settings


def task_spec(task: Task, source: Source) -> dict[str, Any]:
    """Return what the manifest says of a task and its data."""
    describe = getattr(source, "describe", dict)
    return {
        "name": task.name,
        "version": task.version,
        "group": task.group,
        "kind": task.kind,
        "revision": task.revision,
        "digest": source.digest(),
        "source": describe(),
        **task.masks_made(),
    }


def folder_name(
    model: str,
    task: str,
    segmenter: str,
    strategy: str | None = None,
    initial: str | None = None,
    shard: str | None = None,
) -> str:
    """Return the name of a run's folder where none is given, without keys and tokens."""
    parts = [redact(model), task, segmenter]
    parts += [part for part in (strategy, initial) if part not in (None, "greedy", "empty")]
    parts += [f"shard {shard}"] if shard else []
    return "__".join(re.sub(r"[^\w.=-]+", "-", part).strip("-.")[-80:] for part in parts)
