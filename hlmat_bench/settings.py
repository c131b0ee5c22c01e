"""The settings of the protocol: everything besides model, task and segmenter that can change a score."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hlmat_bench.errors import UsageError, unknown
from hlmat_bench.prompts import DEFAULT_PROMPT

PROTOCOL_ID = "hlmat/1"
COLORS = {
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "red": (255, 0, 0),
    "yellow": (255, 255, 0),
    "magenta": (255, 0, 255),
    "cyan": (0, 255, 255),
}


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OverlaySettings(_Strict):
    """How the current mask is painted over the image.

    Attributes:
        color: RGB, 0 to 255; also accepted as a name of `COLORS`.
        alpha: opacity, 0 to 1; the paper uses 0.5.
    """

    color: tuple[int, int, int] = (0, 255, 0)
    alpha: float = Field(0.5, ge=0, le=1)

    @field_validator("color", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return COLORS.get(value, value) if isinstance(value, str) else value

    @field_validator("color")
    @classmethod
    def _in_range(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if not all(0 <= part <= 255 for part in value):
            raise ValueError("each part of a colour is 0 to 255")
        return value


class ProtocolSettings(_Strict):
    """The settings of protocol ``hlmat/1``; the defaults are the paper's where it states one.

    Attributes:
        strategy: who chooses the next action from the replies.
        budget: clicks allowed per episode.
        track: ``point`` (clicks only) or ``box+point`` (the first action may be a box).
        initial: the state before the first click: ``empty``, or ``gt-box`` (the segmenter's mask for the
            ground truth's box).
        overlay: how the mask is shown.
        jpeg: the painted image is encoded as a JPEG of this quality (1 to 100, chroma 4:2:0) and decoded again before
            the model sees it, as SegAgent's evaluator did at 75; None: the model sees the pixels as they are.
        history: the prompt also lists the clicks so far. Off: the policy sees the current mask alone.
        prompt: the instruction; `prompts.instruction` says which fields it may use.
        temperature: of the model's decoding; 0 is greedy.
        max_tokens: longest reply, in tokens.
    """

    strategy: Literal["greedy"] = "greedy"
    budget: int = Field(7, ge=1, le=1000)
    track: Literal["point", "box+point"] = "point"
    initial: Literal["empty", "gt-box"] = "empty"
    overlay: OverlaySettings = OverlaySettings()
    jpeg: int | None = Field(None, ge=1, le=100)
    history: bool = False
    prompt: str = DEFAULT_PROMPT
    temperature: float = Field(0.0, ge=0)
    max_tokens: int = Field(128, ge=1)

    @classmethod
    def build(cls, values: Mapping[str, Any]) -> ProtocolSettings:
        """From ``{"budget": 7, "overlay.color": "blue", ...}``; dots lead into a section.

        Raises:
            UsageError: for an unknown setting or a value it does not take.
        """
        nested: dict[str, Any] = {}
        for key, value in values.items():
            section, _, inner = key.partition(".")
            if inner:
                nested.setdefault(section, {})[inner] = value
            else:
                nested[key] = value
        try:
            return cls.model_validate(nested)
        except ValidationError as error:
            raise _usage_error(error) from error


def setting_names() -> list[str]:
    """The names that ``--set`` takes."""
    names = []
    for name, info in ProtocolSettings.model_fields.items():
        inner = getattr(info.annotation, "model_fields", None)
        names += [f"{name}.{key}" for key in inner] if inner else [name]
    return names


def _usage_error(error: ValidationError) -> UsageError:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return unknown("setting", name, setting_names(), f"Settings are {', '.join(setting_names())}.")
    return UsageError(f"The setting {name}={first['input']!r} does not fit: {first['msg']}.")


def digest(value: object) -> str:
    """SHA-256 (hex) of a JSON value, independent of key order and spacing."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
