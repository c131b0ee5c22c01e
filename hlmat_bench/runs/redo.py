"""Play some samples of a run again, into the same run folder; what they were stays in history.jsonl."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from hlmat_bench.core.errors import UsageError, unknown
from hlmat_bench.core.validation import checked
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.interfaces import Model
from hlmat_bench.protocol.log_lines import Damaged, read_values, whole_lines
from hlmat_bench.protocol.records import EPISODES
from hlmat_bench.protocol.settings import answer_rule
from hlmat_bench.runs import redo_log
from hlmat_bench.runs.episode_log import EARLY, HISTORY
from hlmat_bench.runs.execution import Execution
from hlmat_bench.runs.plan import RunSpec
from hlmat_bench.runs.redo_log import Again
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.tally import recorded_iou

log = logging.getLogger("hlmat_bench")

_CONDITION = re.compile(r"([A-Za-z_][\w.]*)\s*(!=|<=|>=|=|<|>)\s*(.*)", re.DOTALL)
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq, "!=": operator.ne
}  # fmt: skip
_TEXTS = ("sample_id", "image_id", "image", "ref_id", "expression", "stop", "error", "reason")
_NUMBERS = ("iou", "steps")
#: The longest description of a choice in a manifest.
_LONGEST_WHY = 500


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on a recorded episode: ``stop=error``, ``iou<0.5``, ``tags.kind=thin``, ``error=*timed out*``.

    Attributes:
        field: a text (a key of episodes.jsonl, ``tags.NAME``, or ``reason``, that of any invalid reply), or a number:
            ``iou``, the recorded IoU of the answer, or ``steps``, how many there are.
        sign: ``=`` or ``!=``; for numbers also ``<``, ``<=``, ``>``, ``>=``.
        value: what it is compared with; in a text, ``*`` stands for any characters.
    """

    field: str
    sign: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition.

        Raises:
            UsageError: when it is none.
        """
        if (found := _CONDITION.fullmatch(text.strip())) is None:
            raise UsageError(f"--where must look like stop=error or iou<0.5, not {text!r}.")
        condition = cls(*found.groups())
        if condition.field in _NUMBERS:
            _number(condition)
        elif condition.field not in _TEXTS and not condition.field.startswith("tags."):
            hint = f"Fields are {', '.join((*_TEXTS, *_NUMBERS))} and tags.NAME."
            raise unknown("field", condition.field, (*_TEXTS, *_NUMBERS), hint)
        elif condition.sign not in ("=", "!="):
            raise UsageError(f"--where {text}: {condition.field} is a text, so compare it with = or !=.")
        return condition

    def __str__(self) -> str:
        return f"{self.field}{self.sign}{self.value}"

    def holds(self, record: Mapping[str, Any], rule: str) -> bool:
        """Tell whether an episode fulfils it.

        Args:
            record: the episode, as episodes.jsonl holds it.
            rule: the selection rule whose mask is the answer.
        """
        if self.field in _NUMBERS:
            found = recorded_iou(record, rule) if self.field == "iou" else len(record["steps"])
            return _ORDER[self.sign](found, _number(self))
        pattern = re.escape(self.value).replace(r"\*", ".*")
        matched = any(re.fullmatch(pattern, text, re.DOTALL) for text in _texts(record, self.field))
        return matched == (self.sign == "=")


@dataclass(frozen=True)
class Choice:
    """Which episodes are played again.

    Attributes:
        failed: those that failed.
        samples: those of these samples.
        where: those that fulfil all of these conditions.
    """

    failed: bool = False
    samples: Sequence[str] = ()
    where: Sequence[Condition] = ()

    @cached_property
    def _named(self) -> frozenset[str]:
        return frozenset(self.samples)

    def why(self) -> str:
        """Return the choice as options of the command line, for the manifest."""
        words = ["--failed"] * self.failed + [f"--sample {each}" for each in self.samples]
        text = " ".join([*words, *(f"--where {each}" for each in self.where)])
        digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
        return text if len(text) <= _LONGEST_WHY else f"{text[:_LONGEST_WHY]}... (SHA-256 {digest})"

    def takes(self, record: Mapping[str, Any], rule: str) -> bool:
        """Tell whether an episode is chosen: by any of the options."""
        return (
            (self.failed and record["stop"] == "error")
            or record["sample_id"] in self._named
            or (bool(self.where) and all(each.holds(record, rule) for each in self.where))
        )


def redo(
    folder: Path,
    choice: Choice,
    how: Execution | None = None,
    *,
    model: str | Model | None = None,
    segmenter: str | None = None,
    task: str | None = None,
    data_root: str | None = None,
) -> Run:
    """Play chosen episodes of a run again, into the same folder, and score the run.

    The old records move to history.jsonl, and run.json lists under ``redone`` what was done. A call that was killed
    continues with the same arguments; `hlmat_bench.runs.run.run` completes the run, too. Samples that were never
    played stay so.

    Args:
        folder: the run folder.
        choice: which episodes.
        how: how they are played.
        model, segmenter, task, data_root: in place of what run.json says, where that is not enough: a key is not
            recorded, a file has moved.

    Raises:
        UsageError: for what the caller can correct; the episodes that were set aside are in history.jsonl.
    """
    document = manifest.read(folder)
    again = _again(folder, document, choice)
    if not again.samples:
        log.warning("No episode of %s fits %s: nothing is played again.", folder, again.why)
        return Run(folder)
    named, made = (model, None) if isinstance(model, str) else (None, model)
    given = {"model": named, "segmenter": segmenter, "task": task, "data_root": data_root}
    spec = recorded_spec(folder, document, {key: value for key, value in given.items() if value})
    _check_keys(folder, spec, made)
    log.warning(
        "%s is opened with --model %s --segmenter %s --task %s; where one of them is elsewhere now, give it again.",
        folder,
        spec.model,
        spec.segmenter,
        spec.task,
    )
    return (how or Execution()).play(spec, folder, model=made, argv=document["argv"], again=again)


def _again(folder: Path, document: dict[str, Any], choice: Choice) -> Again:
    """Return the samples to play: what the choice takes, and what an earlier call has set aside and not yet played."""
    if not (choice.failed or choice.samples or choice.where):
        raise UsageError("Say what to play again: --failed, --sample ID or --where FIELD=VALUE.")
    entry = redo_log.unfinished(document, choice.why())
    continues = entry is not None and entry["moved"]
    rule, there, chosen = answer_rule(document["protocol"]), set[str](), set[str]()
    for record in _records(folder / EPISODES, folder / EARLY):
        there.add(record["sample_id"])
        try:
            if not continues and choice.takes(record, rule):
                chosen.add(record["sample_id"])
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(
                f"The episode {record['sample_id']!r} of {folder} is malformed; remove its line."
            ) from error
    left = _samples(folder / HISTORY) - there
    if lost := [each for each in choice.samples if each not in there | left]:
        raise UsageError(
            f"{folder} holds no episode of the sample {lost[0]}; the run's own command plays what is missing."
        )
    return Again(frozenset(chosen | left), choice.why(), len(chosen or left))


def _records(*paths: Path) -> Iterator[dict[str, Any]]:
    for path in paths:
        if path.exists():
            yield from (value for _, value in read_values(path, damaged=True) if not isinstance(value, Damaged))


def _samples(path: Path) -> set[str]:
    """Return the samples of the history, where one may stand several times."""
    found = set[str]()
    for line in whole_lines(path):
        with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
            found.add(str(json.loads(line)["sample_id"]))
    return found


def _check_keys(folder: Path, spec: RunSpec, model: Model | None) -> None:
    """Refuse a model or a segmenter that was opened with a key, which is not recorded."""
    for name in ("model", "segmenter"):
        if "***" in getattr(spec, name) and model is None:
            raise UsageError(
                f"{folder} records no keys, and its {name} was opened with one: give it again with --{name}, or set "
                "the variable of key_env= and leave the key out."
            )


def recorded_spec(folder: Path, document: Mapping[str, Any], given: Mapping[str, Any]) -> RunSpec:
    """Return how the run was opened, with what is given in its place."""
    if document.get("spec") is None:
        raise UsageError(
            f"{folder} was played by an older version of hlmat-bench, which does not record how a run is opened; only "
            "the run's own command can continue it."
        )
    recorded = checked(
        TypeAdapter(RunSpec).validate_python,
        document["spec"],
        lambda misfit: UsageError(f"spec in {folder / manifest.MANIFEST} is damaged: {misfit.sentence()}."),
    )
    return replace(recorded, limit=document["limit"], shard=document["shard"], **given)


def _number(condition: Condition) -> float:
    try:
        return float(condition.value)
    except ValueError:
        raise UsageError(f"--where {condition}: {condition.field} is a number, so compare it with a number.") from None


def _texts(record: Mapping[str, Any], field: str) -> list[str]:
    if field == "reason":
        return [str(step["action"].get("reason")) for step in record["steps"] if step["action"]["kind"] == "invalid"]
    name, _, tag = field.partition(".")
    value = (record.get("tags") or {}).get(tag) if tag else record.get(name)
    return [] if value is None else [str(value)]
