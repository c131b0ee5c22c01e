"""The record of an episode, `hlmat-episode/1`: what was asked, answered, clicked and masked, step by step.

`Episode` and `Step` declare the fields once: an episode is written from them and read through them. Records come from
other machines and from strangers: whatever reads them may rely on what the types here say. Fields that are not named
are left alone. ``docs/files.md`` says what the fields mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    StrictBool,
    StrictInt,
    StrictStr,
    TypeAdapter,
    WrapValidator,
    with_config,
)
from pydantic_core import core_schema
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

from hlmat_bench.actions import Action
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.masks import RLE
from hlmat_bench.core.types import Box, Size
from hlmat_bench.core.validation import Misfit, checked
from hlmat_bench.protocol.log_lines import read_values, to_line, with_digest

EPISODE_SCHEMA = "hlmat-episode/1"
EPISODES = "episodes.jsonl"


def _read_as(kind: Any) -> GetPydanticSchema:
    """Read a field as another type than it is declared with."""
    return GetPydanticSchema(lambda _, handler: handler(kind))


def _kept(value: Any, check: Callable[[Any], Any]) -> Any:
    check(value)
    return value


def _checked_as(kind: Any) -> GetPydanticSchema:
    """Check JSON values as a type and keep them as they are, so that a record is written again byte for byte."""
    return _read_as(Annotated[kind, WrapValidator(_kept)])


def _tuple_of(kind: Any, length: int) -> Any:
    """Read a list of a fixed length as a tuple, which JSON does not have."""
    return _read_as(Annotated[list[kind], Field(min_length=length, max_length=length), AfterValidator(tuple)])


def _number(words: str, least: int = -(2**63)) -> GetPydanticSchema:
    """Read a finite number, which stays an int or a float as it was written; an int must fit 64 bits."""
    whole = core_schema.int_schema(strict=True, ge=least, lt=2**63)
    part = core_schema.float_schema(strict=True, ge=least, allow_inf_nan=False)
    schema = core_schema.union_schema([whole, part], custom_error_type="number", custom_error_message=words)
    return GetPydanticSchema(lambda _, handler: schema)


_Number: TypeAlias = Annotated[float, _number("Input should be a finite number")]
_Amount: TypeAlias = Annotated[float, _number("Input should be a finite number of at least 0", least=0)]
_Count: TypeAlias = Annotated[StrictInt, Field(ge=0)]
_Length: TypeAlias = Annotated[StrictInt, Field(ge=1)]
_Corners: TypeAlias = Annotated[Box, _tuple_of(StrictInt, 4)]
_json = with_config(ConfigDict(strict=True, allow_inf_nan=False))


@_json
class _RLE(TypedDict):
    size: list[int]
    counts: str | list[int]


@_json
class _Click(TypedDict):
    kind: Literal["click"]
    positive: bool
    x: _Count
    y: _Count
    box: NotRequired[_Corners | None]
    predicted_iou: NotRequired[_Number | None]


@_json
class _Box(TypedDict):
    kind: Literal["box"]
    box: _Corners
    predicted_iou: NotRequired[_Number | None]


@_json
class _Other(TypedDict):
    kind: Literal["none", "stop", "invalid", "predict"]
    reason: NotRequired[str | None]
    predicted_iou: NotRequired[_Number | None]


_Action: TypeAlias = Annotated[_Click | _Box | _Other, Field(discriminator="kind")]


@_json
class _Candidate(TypedDict):
    action: _Action
    replies: list[str]
    mask: _RLE
    iou: _Number
    predicted_iou: _Number | None
    judgement: NotRequired[str | None]
    finish: NotRequired[str | None]
    chosen: bool


@_json
class _Initial(TypedDict):
    kind: str
    mask: _RLE | None
    iou: _Number
    box: NotRequired[_Corners | None]
    raw: NotRequired[str | None]
    defect: NotRequired[str | None]
    band: NotRequired[Annotated[list[_Number], Field(min_length=2, max_length=2)] | None]
    in_band: NotRequired[bool]


_Runs: TypeAlias = Annotated[RLE, _checked_as(_RLE)]
_Seconds: TypeAlias = dict[StrictStr, _Amount]


def _joined(step: Any) -> Any:
    """Put the predicted IoU of a step into its action: in the file it is a field of the step."""
    if not isinstance(step, dict) or not isinstance(action := step.get("action"), dict):
        return step
    if missing := {"predicted_iou", "seconds", "tokens"} - step.keys():  # a step that is made here may leave them out
        raise ValueError(f"{min(missing)} is missing")
    return {**step, "action": {**action, "predicted_iou": step["predicted_iou"]}}


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

    t: _Length
    raw: StrictStr | None
    action: Annotated[Action, _read_as(Annotated[_Action, AfterValidator(lambda fields: Action(**fields))])]
    mask: _Runs
    iou: _Number
    seconds: _Seconds = field(default_factory=dict)
    tokens: dict[StrictStr, _Count | None] = field(default_factory=dict)
    cost: _Amount | None = None
    finish: StrictStr | None = None
    thought: StrictBool = False
    candidates: Annotated[Sequence[dict[str, Any]], _read_as(tuple[Annotated[Any, _checked_as(_Candidate)], ...])] = ()

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

    def chosen_value(self) -> float | None:
        """Return what a search predicted of the mask after this step; None without a search or a prediction."""
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
        stop: why it ended: ``budget``, ``stop`` (the model's decision), ``none`` (the model said that there is
            no such object), ``stuck`` (an invalid reply that a
            deterministic model would repeat for ever), ``converged`` or ``falling`` (a search's predicted IoU), ``box``
            (the strategy wants no more than a box), or ``error``.
        error: what failed for good; or None.
        data: SHA-256 (hex) of the ``image`` file and of the ``truth`` that were used, where the source tells them.
    """

    sample_id: StrictStr
    image: StrictStr
    image_id: StrictStr
    ref_id: StrictStr | None
    expression: StrictStr
    size: Annotated[Size, _tuple_of(_Length, 2)]
    gt: _Runs
    ignore: _Runs | None
    initial: Annotated[dict[str, Any], _checked_as(_Initial)]
    steps: Annotated[Sequence[Step], _read_as(list[Annotated[Step, BeforeValidator(_joined)]])]
    selected: dict[StrictStr, _Count]
    stop: StrictStr
    error: StrictStr | None = None
    tags: dict[StrictStr, StrictStr] = field(default_factory=dict)
    data: dict[StrictStr, StrictStr] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the episode as one line of episodes.jsonl holds it: ``tags`` and ``data`` only where there are any."""
        value = {"schema": EPISODE_SCHEMA} | {name: getattr(self, name) for name in self.__slots__}
        value |= {"size": list(self.size), "steps": [step.to_json() for step in self.steps]}
        return {name: part for name, part in value.items() if part or name not in ("tags", "data")}

    @classmethod
    def from_json(cls, value: Any) -> Episode:
        """Return the episode in a JSON value; the inverse of `to_json`.

        Raises:
            UsageError: when the value is no episode of this schema; names the first field that does not fit, not its
                content.
        """
        schema = value.get("schema") if isinstance(value, dict) else None
        if schema != EPISODE_SCHEMA:
            raise UsageError(f"This is no {EPISODE_SCHEMA}: its schema is {schema!r}.")

        def refused(misfit: Misfit) -> UsageError:
            sample = str(value.get("sample_id"))[:120]
            return UsageError(f"The episode {sample!r} is malformed: {misfit.sentence()}.")

        return checked(_EPISODES.validate_python, value, refused)

    def mask_at(self, t: int) -> RLE | None:
        """Return the mask after t steps, carried forward past the last; None is the empty initial state."""
        if t == 0 or not self.steps:
            mask: RLE | None = self.initial["mask"]
            return mask
        return self.steps[min(t, len(self.steps)) - 1].mask

    def iou_at(self, t: int) -> float:
        """Return the IoU after t steps, carried forward past the last."""
        return self.steps[min(t, len(self.steps)) - 1].iou if t and self.steps else float(self.initial["iou"])


def _of_one_image(episode: Episode) -> Episode:
    """Make sure that masks and clicks are in the image, and that the steps that are selected are there."""
    height, width = episode.size
    tried = [each for step in episode.steps for each in step.candidates]
    masks = [episode.gt, episode.ignore, episode.initial["mask"], *(each["mask"] for each in tried)]
    masks += [step.mask for step in episode.steps]
    if any(mask["size"] != [height, width] for mask in masks if mask is not None):
        raise ValueError("a mask has another size than the image")
    clicks = [(step.action.x, step.action.y) for step in episode.steps]
    clicks += [(each["action"].get("x"), each["action"].get("y")) for each in tried]
    if any(x >= width or y >= height for x, y in clicks if x is not None and y is not None):
        raise ValueError("a click is outside of the image")
    if {"final", "self", "best"} - episode.selected.keys() or max(episode.selected.values()) > len(episode.steps):
        raise ValueError("a step that is selected is not there")
    return episode


_EPISODES = TypeAdapter(Annotated[Episode, AfterValidator(_of_one_image)])


def select(steps: Sequence[Step], initial: dict[str, Any]) -> dict[str, int]:
    """Return the step whose mask each selection rule takes; 0 is the initial state.

    - ``final``: the last mask.
    - ``self``: the mask with the highest predicted IoU. The prediction in reply t is about the mask before it, so
      reply t speaks for step t - 1 and the last mask has no prediction of its own; that of a step which is about a
      given mask (``predict``) is about its own mask. A search has predicted the masks of
      all its steps; what it predicted counts. An empty initial mask is no answer: step 1 stands in for it. Without any
      prediction, the last mask; also where the last action is ``none``, which rejects all masks before it, and no
      search has predicted its mask.
    - ``best``: the mask with the highest true IoU, an upper bound.

    Ties go to the earlier step.
    """
    last = len(steps)
    earliest = 0 if initial["mask"] is not None or not steps else 1
    replied = {step.t - (step.action.kind != "predict"): step.action.predicted_iou for step in steps}
    searched = {step.t: step.chosen_value() for step in steps}
    values = replied | {t: value for t, value in searched.items() if value is not None}
    predicted = {t: value for t, value in values.items() if value is not None}
    rejected = last not in predicted and bool(steps) and steps[-1].action.kind == "none"
    by_model = max(predicted, key=lambda t: (predicted[t], -t)) if predicted and not rejected else last
    ious = [initial["iou"], *(step.iou for step in steps)]
    return {"final": last, "self": max(by_model, earliest), "best": ious.index(max(ious))}


def read_episodes(path: Path) -> Iterator[Episode]:
    """Give the episodes of an episodes.jsonl one at a time; a last line that was never finished is left out.

    Raises:
        UsageError: when a line is no episode.
    """
    for _, value in read_values(path):
        yield Episode.from_json(value)


def to_record(episode: Episode) -> bytes:
    """Return an episode as a line of episodes.jsonl, which ends in its own digest.

    Raises:
        ValueError, TypeError: as `to_line` does.
    """
    return with_digest(to_line(episode.to_json()))
