"""The JSON of an episode, `hlmat-episode/1`, as a schema. ``docs/files.md`` says what the fields mean.

Records come from other machines and from strangers: whatever reads them may rely on what is checked here. Fields that
are not named are left alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hlmat_bench.core.errors import UsageError

Pixel: TypeAlias = Annotated[int, Field(ge=0)]
Size: TypeAlias = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)]
Box: TypeAlias = Annotated[list[int], Field(min_length=4, max_length=4)]
Amount: TypeAlias = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Rle(_Part):
    size: Size
    counts: str | list[int]


class _Click(_Part):
    kind: Literal["click"]
    positive: bool
    x: Pixel
    y: Pixel
    box: Box | None = None


class _Box(_Part):
    kind: Literal["box"]
    box: Box


class _Other(_Part):
    kind: Literal["stop", "invalid", "predict"]
    reason: str | None = None


_Action: TypeAlias = Annotated[_Click | _Box | _Other, Field(discriminator="kind")]


class _Candidate(_Part):
    action: _Action
    mask: _Rle
    iou: float
    predicted_iou: float | None
    chosen: bool
    replies: list[str]
    judgement: str | None = None
    finish: str | None = None


class _Step(_Part):
    t: Annotated[int, Field(ge=1)]
    raw: str | None
    action: _Action
    predicted_iou: float | None
    mask: _Rle
    iou: float
    seconds: dict[str, Amount]
    tokens: dict[str, Annotated[int, Field(ge=0)] | None]
    cost: Amount | None = None
    finish: str | None = None
    thought: bool = False
    candidates: list[_Candidate] = []


class _Initial(_Part):
    kind: str
    mask: _Rle | None
    iou: float
    box: Box | None = None
    raw: str | None = None
    defect: str | None = None
    band: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    in_band: bool = True


class _Episode(_Part):
    sample_id: str
    image: str
    image_id: str
    ref_id: str | None
    expression: str
    size: Size
    gt: _Rle
    ignore: _Rle | None
    initial: _Initial
    steps: list[_Step]
    selected: dict[str, Annotated[int, Field(ge=0)]]
    stop: str
    error: str | None = None
    tags: dict[str, str] = {}
    data: dict[str, str] = {}

    @model_validator(mode="after")
    def _of_one_image(self) -> Self:
        """Masks and clicks are in the image, and the steps that are selected are there."""
        height, width = self.size
        masks = [self.gt, self.ignore, self.initial.mask, *(step.mask for step in self.steps)]
        masks += [each.mask for step in self.steps for each in step.candidates]
        if any(mask.size != self.size for mask in masks if mask is not None):
            raise ValueError("a mask has another size than the image")
        actions = [step.action for step in self.steps]
        actions += [each.action for step in self.steps for each in step.candidates]
        if any(isinstance(each, _Click) and not (each.x < width and each.y < height) for each in actions):
            raise ValueError("a click is outside of the image")
        if {"final", "self", "best"} - self.selected.keys() or max(self.selected.values()) > len(self.steps):
            raise ValueError("a step that is selected is not there")
        return self


def check(value: dict[str, Any]) -> None:
    """Make sure that a JSON object is an episode.

    Raises:
        UsageError: names the sample and the first field that does not fit, not its content.
    """
    try:
        _Episode.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part)[:60] for part in first["loc"])
        what = f"{place}: {first['msg'][:200]}" if place else first["msg"][:200]
        sample = str(value.get("sample_id"))[:120]
        raise UsageError(f"The episode {sample!r} is malformed: {what}.") from None
