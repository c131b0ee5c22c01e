"""The record of an episode, `hlmat-episode/1`: what was asked, answered, clicked and masked, step by step."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hlmat_bench.actions import Action
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.masks import RLE
from hlmat_bench.core.types import Size
from hlmat_bench.protocol import record_schema

EPISODE_SCHEMA = "hlmat-episode/1"
EPISODES = "episodes.jsonl"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an episode.

    Attributes:
        t: its number, from 1.
        raw: the model's reply, unchanged; None where the request failed.
        action: what it was read as; `predicted_iou` is about the mask *before* this step, in a ``predict`` about its
            own.
        mask: the mask after this step.
        iou: of that mask with the ground truth, ignored pixels left out.
        seconds: wall time spent in the ``model``, the ``segmenter`` and the ``harness``.
        tokens: ``in`` and ``out``, of all replies of the step; None where the model does not say.
        cost: of these replies in US dollars; None where unknown.
        finish: why the reply ended, as in `Reply`.
        thought: the service returned thoughts in a field of their own, as in `Reply`.
        candidates: what a search tried for this step: see `hlmat_bench.protocol.search`.
    """

    t: int
    raw: str | None
    action: Action
    mask: RLE
    iou: float
    seconds: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int | None] = field(default_factory=dict)
    cost: float | None = None
    finish: str | None = None
    thought: bool = False
    candidates: Sequence[dict[str, Any]] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the step as it stands in episodes.jsonl: ``cost``, ``finish``, ``thought`` and ``candidates`` only
        where they say something."""
        value: dict[str, Any] = {
            "t": self.t,
            "raw": self.raw,
            "action": self.action.to_json(),
            "predicted_iou": self.action.predicted_iou,
            "mask": self.mask,
            "iou": self.iou,
            "seconds": self.seconds,
            "tokens": self.tokens,
        }
        if self.cost is not None:
            value["cost"] = self.cost
        if self.finish not in (None, "stop"):
            value["finish"] = self.finish
        if self.thought:
            value["thought"] = True
        if self.candidates:
            value["candidates"] = list(self.candidates)
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Step:
        """The inverse of `to_json`."""
        action = dict(value["action"])
        if "box" in action:
            action["box"] = tuple(action["box"])
        return cls(
            t=value["t"],
            raw=value["raw"],
            action=Action(**action, predicted_iou=value["predicted_iou"]),
            mask=value["mask"],
            iou=value["iou"],
            seconds=value["seconds"],
            tokens=value["tokens"],
            cost=value.get("cost"),
            finish=value.get("finish"),
            thought=value.get("thought", False),
            candidates=tuple(value.get("candidates", ())),
        )

    def chosen_value(self) -> float | None:
        """What a search predicted of the mask after this step; None where there was none, or no prediction."""
        return next((each["predicted_iou"] for each in self.candidates if each["chosen"]), None)


@dataclass(frozen=True, slots=True)
class Episode:
    """One sample played to its end.

    Attributes:
        sample_id, image, image_id, ref_id, expression, tags: as in the `Sample`.
        size: (height, width).
        gt: the ground-truth mask.
        ignore: pixels that no score counts; or None.
        initial: ``kind`` (a name of `settings.INITIAL_STATES`), ``mask`` (None when empty), ``iou``, and what made it:
            see `hlmat_bench.protocol.initial`.
        steps: what happened.
        selected: per selection rule the step whose mask is taken (0 = the initial state): see `select`.
        stop: why it ended: ``budget``, ``stop`` (the model's decision), ``stuck`` (an invalid reply that a
            deterministic model would repeat for ever), ``converged`` or ``falling`` (a search's predicted IoU), ``box``
            (the strategy wants no more than a box), or ``error``.
        error: what failed for good; or None.
        data: SHA-256 (hex) of the ``image`` file and of the ``truth`` that were used, where the source tells them.
    """

    sample_id: str
    image: str
    image_id: str
    ref_id: str | None
    expression: str
    size: Size
    gt: RLE
    ignore: RLE | None
    initial: dict[str, Any]
    steps: Sequence[Step]
    selected: dict[str, int]
    stop: str
    error: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the episode as one line of episodes.jsonl holds it: ``tags`` and ``data`` only where there are any."""
        value = {
            "schema": EPISODE_SCHEMA,
            "sample_id": self.sample_id,
            "image": self.image,
            "image_id": self.image_id,
            "ref_id": self.ref_id,
            "expression": self.expression,
            "size": list(self.size),
            "gt": self.gt,
            "ignore": self.ignore,
            "initial": self.initial,
            "steps": [step.to_json() for step in self.steps],
            "selected": self.selected,
            "stop": self.stop,
            "error": self.error,
        }
        return value | {name: part for name, part in (("tags", self.tags), ("data", self.data)) if part}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Episode:
        """The inverse of `to_json`.

        Raises:
            UsageError: when the value is no episode of this schema.
        """
        schema = value.get("schema") if isinstance(value, dict) else None
        if schema != EPISODE_SCHEMA:
            raise UsageError(f"This is no {EPISODE_SCHEMA}: its schema is {schema!r}.")
        record_schema.check(value)
        fields = {field.name: value[field.name] for field in dataclasses.fields(cls) if field.name in value}
        fields["steps"] = [Step.from_json(step) for step in value["steps"]]
        fields["size"] = (value["size"][0], value["size"][1])
        return cls(**fields)

    def mask_at(self, t: int) -> RLE | None:
        """The mask after t steps, carried forward past the last; None is the empty initial state."""
        if t == 0 or not self.steps:
            mask: RLE | None = self.initial["mask"]
            return mask
        return self.steps[min(t, len(self.steps)) - 1].mask

    def iou_at(self, t: int) -> float:
        """The IoU after t steps, carried forward past the last."""
        return self.steps[min(t, len(self.steps)) - 1].iou if t and self.steps else float(self.initial["iou"])


def select(steps: Sequence[Step], initial: dict[str, Any]) -> dict[str, int]:
    """Which step's mask each selection rule takes; 0 is the initial state.

    - ``final``: the last mask.
    - ``self``: the mask with the highest predicted IoU. The prediction in reply t is about the mask before it, so
      reply t speaks for step t - 1 and the last mask has no prediction of its own; that of a step which is about a
      given mask (``predict``) is about its own mask. A search has predicted the masks of
      all its steps; what it predicted counts. An empty initial mask is no answer: step 1 stands in for it. Without any
      prediction, the last mask.
    - ``best``: the mask with the highest true IoU, an upper bound.

    Ties go to the earlier step.
    """
    last = len(steps)
    earliest = 0 if initial["mask"] is not None or not steps else 1
    replied = {step.t - (step.action.kind != "predict"): step.action.predicted_iou for step in steps}
    searched = {step.t: step.chosen_value() for step in steps}
    values = replied | {t: value for t, value in searched.items() if value is not None}
    predicted = {t: value for t, value in values.items() if value is not None}
    by_model = max(predicted, key=lambda t: (predicted[t], -t)) if predicted else last
    ious = [initial["iou"], *(step.iou for step in steps)]
    return {"final": last, "self": max(by_model, earliest), "best": ious.index(max(ious))}


def read_episodes(path: Path) -> Iterator[Episode]:
    """The episodes of an episodes.jsonl, one at a time; a last line that was never finished is left out.

    Raises:
        UsageError: when a line is no episode.
    """
    for _, value in read_values(path):
        yield Episode.from_json(value)


def to_line(value: Any) -> bytes:
    """Return a JSON value as one line of a log, in UTF-8.

    Half a surrogate pair, which is no valid Unicode and cannot be encoded, becomes its JSON escape (``\\ud83d``):
    readers get the same text back.

    Raises:
        ValueError, TypeError: when it holds NaN, an infinity or an object that JSON does not know.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def read_values(path: Path) -> Iterator[tuple[bytes, Any]]:
    """Read the lines of a log of episodes as they stand and as JSON values, without a last line that is unfinished.

    Raises:
        UsageError: when a line is no JSON object (RFC 8259, so not NaN), or a sample stands twice.
    """
    seen: dict[str, int] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                value = json.loads(line, parse_constant=_no_number)
                sample = str(value["sample_id"])
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise UsageError(f"Line {number} of {path} is damaged; remove that line and run again.") from error
            if (first := seen.setdefault(sample, number)) != number:
                raise UsageError(
                    f"The sample {sample} stands twice in {path}, in the lines {first} and {number}, as if two "
                    "processes had written to it; remove one of the two lines and run again."
                )
            yield line, value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
