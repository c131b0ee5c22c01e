"""The settings of the protocol: everything besides model, task and segmenter that can change a score."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.validation import Strict, validated
from hlmat_bench.protocol.annotator_settings import AnnotatorSettings
from hlmat_bench.protocol.interfaces import Question
from hlmat_bench.protocol.prompts import DEFAULT_BOX_PROMPT, DEFAULT_PRM_PROMPT, DEFAULT_PROMPT, offering_none

PROTOCOL_ID = "hlmat/1"
MOST_CLICKS = 1000
"""The largest budget."""
COLORS = {
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "red": (255, 0, 0),
    "yellow": (255, 255, 0),
    "magenta": (255, 0, 255),
    "cyan": (0, 255, 255),
}


#: How an episode may begin, as ``--initial`` takes it. A box state is the segmenter's mask for a box.
BOX_STATES = ("gt-box", "model-box", "box-from=RUN")
MASK_STATES = ("mask-from=RUN", "masks=FOLDER", "generated", "varied=SHARES")
#: What ``varied=empty:2,points:1`` may name: each sample draws one, by these shares.
VARIED_STATES = ("empty", "gt-box", "points", "generated")
INITIAL_STATES = ("empty", *BOX_STATES, *MASK_STATES)


@dataclass(frozen=True, slots=True)
class StrategyNeeds:
    """What the settings of a run depend on in its strategy.

    Attributes:
        settings: the names of the optional settings that it uses (keys of `OPTIONAL`).
        predicted_iou: ``required``: it needs a model that predicts the IoU of masks, or a ``prm`` in the settings;
            ``asked``: a model that does not is asked for it; None: it can do without.
        most_requests: returns how many requests an episode may take with given settings, for ``--max-requests``; None:
            as many as a search that judges each candidate of each step.
    """

    settings: frozenset[str] = frozenset()
    predicted_iou: Literal["required", "asked"] | None = None
    most_requests: Callable[[ProtocolSettings], int] | None = None


#: By the names of our strategies. ``predict`` is that of tasks of the kind filtering.
NEEDS: dict[str, StrategyNeeds] = {
    "greedy": StrategyNeeds(),
    "box-only": StrategyNeeds(frozenset({"box_prompt"}), most_requests=lambda _: 1),
    "prm": StrategyNeeds(frozenset({"prm", "stop"}), "required"),
    "tree": StrategyNeeds(frozenset({"prm", "stop", "candidates"}), "required"),
    "predict": StrategyNeeds(frozenset({"prm"}), "asked"),
    "annotate": StrategyNeeds(frozenset({"annotator"}), most_requests=lambda _: 0),
    "improve": StrategyNeeds(frozenset({"annotator"}), most_requests=lambda _: 0),
}
#: Of a user's strategy that does not say what it needs.
ANY_NEEDS = StrategyNeeds(frozenset({"prm", "stop", "candidates"}))


def needs_of(strategy: str) -> StrategyNeeds:
    """Return what a strategy needs, by its name, or that with what it takes (``improve=RUN``)."""
    return NEEDS.get(strategy.partition("=")[0], ANY_NEEDS)


class OverlaySettings(Strict):
    """How the current mask is painted over the image."""

    color: tuple[int, int, int] = Field(
        (0, 255, 0),
        description="Colour of the painted mask: red, green and blue from 0 to 255, or the name green, blue, red, "
        "yellow, magenta or cyan.",
    )
    alpha: float = Field(0.5, ge=0, le=1, description="Opacity of the painted mask; the paper uses 0.5.")

    @field_validator("color", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        named = COLORS.get(value) if isinstance(value, str) else value
        if not isinstance(named, list | tuple) or len(named) != 3:
            raise ValueError(f"a colour is {', '.join(COLORS)} or three numbers from 0 to 255, such as [255, 0, 0]")
        return named

    @field_validator("color")
    @classmethod
    def _in_range(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if not all(0 <= part <= 255 for part in value):
            raise ValueError("each part of a colour is 0 to 255")
        return value


class StopSettings(Strict):
    """When a search has converged."""

    epsilon: float = Field(
        0.0,
        ge=0,
        le=1,
        description="How much the predicted IoU (0 to 1) must exceed the highest one so far to count as a rise.",
    )
    patience: int = Field(1, ge=1, description="Steps in a row without a rise after which a search ends.")


class ProtocolSettings(Strict):
    """The settings of protocol ``hlmat/1``; the defaults are the paper's where it states one.

    A setting that the strategy does not use is None, and giving it a value is an error: only what can change a score
    is in the fingerprint.
    """

    strategy: str = Field(
        "greedy",
        description="How the next action is chosen: greedy, prm (stops when the predicted IoU no longer rises), tree "
        "(tries several), box-only, or a file of your own. "
        "Tasks of the kind filtering have predict, which clicks nothing. annotate and improve=RUN make trajectories.",
    )
    candidates: int | None = Field(
        None, ge=1, le=100, description="Actions that are drawn and tried at each step of the strategy tree."
    )
    prm: Literal["reply", "ask", "oracle", "noisy"] | None = Field(
        None,
        description="Where the predicted IoU of a mask comes from. reply: the model's reply to that mask; ask: a "
        "separate question; oracle: the true IoU; noisy: the true IoU with noise. The last two are for studies. By "
        "default reply, for a model that is known to predict.",
    )
    correlation: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Correlation of the predictions of prm=noisy with the true IoU; the default is that of the paper's "
        "table 3.",
    )
    prm_prompt: str | None = Field(None, description="The question of prm=ask.")
    stop: StopSettings | None = Field(None, description="When a search has converged.")
    annotator: AnnotatorSettings | None = Field(
        None, description="The rules by which the strategies annotate and improve=RUN make trajectories."
    )
    box_prompt: str | None = Field(
        None, description="The question for the object's box, of strategy=box-only and initial=model-box."
    )
    budget: int = Field(7, ge=1, le=MOST_CLICKS, description="Clicks allowed per episode.")
    track: Literal["point", "box+point"] = Field(
        "point", description="point: clicks only; box+point: the first action may be a box."
    )
    initial: str = Field(
        "empty",
        description="The state before the first click: empty; the segmenter's mask for the box of the ground truth "
        "(gt-box), of the model (model-box) or of another run (box-from=RUN); the final mask of another run "
        "(mask-from=RUN); a PNG file (masks=FOLDER); what a refinement task makes (generated); or for each sample one "
        "of several, by their shares (varied=empty:2,points:1,generated:1).",
    )
    overlay: OverlaySettings = Field(OverlaySettings(), description="How the current mask is shown to the model.")
    jpeg: int | None = Field(
        None,
        ge=1,
        le=100,
        description="Encode the painted image as a JPEG of this quality (chroma 4:2:0) and decode it again before the "
        "model sees it, as SegAgent's evaluator did at 75; none: the model sees the pixels as they are.",
    )
    no_target: bool = Field(
        False,
        description="The object of a sample may be absent: the prompt offers the answer No object, which ends the "
        "episode with an empty mask. For tasks that have such samples.",
    )
    no_target_reply: str | None = Field(
        None,
        min_length=1,
        description="With no_target, a reply that says it besides No object and its like: of a prompt or a model with "
        "words of its own, such as [REJ].",
    )
    history: bool = Field(
        False, description="The prompt also lists the clicks so far; else the model sees the current mask alone."
    )
    prompt: str = Field(
        DEFAULT_PROMPT,
        description="The instruction of a click, with the fields {expression}, {color}, {coordinates}, {form}, "
        "{history}, {no_target}, {iou_range} and {iou_form}; @FILE reads it from a file.",
    )
    temperature: float = Field(
        0.0, ge=0, description="Temperature of the model's decoding; 0 is greedy. By default 1 with the strategy tree."
    )
    max_tokens: int = Field(128, ge=1, description="Length of the longest reply, in tokens.")

    @model_validator(mode="before")
    @classmethod
    def _as_the_strategy_needs(cls, values: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Add the defaults of the settings that are used; one that is not used must not be given."""
        strategy = values.get("strategy", "greedy")
        used = _used(values, (info.context or {}).get("needs"))
        if strategy == "box-only" and values.get("initial", "empty") != "empty":
            raise ValueError("the strategy box-only asks for a box and begins with an empty mask; leave initial out")
        for name in OPTIONAL.keys() - used:
            if values.get(name) is not None:
                raise ValueError(f"the strategy {strategy} does not use {name} here; leave it out")
        given = {name: value for name, value in values.items() if value is not None}
        usual = {"prompt": DEFAULT_PROMPT} | {name: OPTIONAL[name] for name in used}
        if given.get("no_target") is True:
            usual |= {name: offering_none(usual[name]) for name in usual.keys() & _PROMPTS}
        else:  # a model's catalogue entry may state it for all tasks
            given.pop("no_target_reply", None)
        chosen = usual | given
        if strategy == "tree" and chosen["candidates"] != 1 and not chosen.setdefault("temperature", 1.0):
            raise ValueError("the strategy tree draws different candidates, which needs a temperature above 0")
        if (strategy == "box-only" or _has_box(str(values.get("initial")))) and (
            chosen.setdefault("track", "box+point") == "point"
        ):
            raise ValueError("a run that begins with a box belongs to track=box+point; leave the track out")
        return chosen

    @field_validator("initial")
    @classmethod
    def _known_state(cls, value: str) -> str:
        if not is_state(value, INITIAL_STATES):
            raise ValueError(f"it is one of {', '.join(INITIAL_STATES)}")
        if is_state(value, ["varied=SHARES"]):
            shares_of(value)
        return value

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a manifest holds them.

        Newer settings are left out where they have their defaults, so that older manifests keep their fingerprints.
        """
        newer = ("annotator", "no_target", "no_target_reply")
        return {name: value for name, value in self.model_dump(mode="json").items() if value or name not in newer}

    def with_prm(self, prm: str, needs: StrategyNeeds | None = None) -> ProtocolSettings:
        """Return these settings with a reward model, and the defaults that belong to it."""
        return self.build(self.model_dump(exclude_none=True) | {"prm": prm}, needs)

    def most_requests(self, needs: StrategyNeeds | None = None) -> int:
        """Return how many requests an episode may take.

        Args:
            needs: of a user's strategy; None: of the strategy of that name.
        """
        if (most := (needs or needs_of(self.strategy)).most_requests) is not None:
            return most(self)
        asks = self.budget + (self.box_prompt is not None)
        if self.stop is None or self.prm in ("oracle", "noisy"):
            return asks
        if self.strategy == "prm" and self.prm == "reply":
            return asks + 1
        return asks + self.budget * (self.candidates or 1) + 1

    def templates(self) -> dict[Question, str]:
        """Return the prompt of each question."""
        return {
            "click": self.prompt,
            "iou": self.prm_prompt or DEFAULT_PRM_PROMPT,
            "box": self.box_prompt or DEFAULT_BOX_PROMPT,
        }

    @classmethod
    def build(cls, values: Mapping[str, Any], needs: StrategyNeeds | None = None) -> ProtocolSettings:
        """Return the settings of ``{"budget": 7, "overlay.color": "blue", ...}``; dots lead into a section.

        Args:
            values: by their names; what is left out has its default.
            needs: of a user's strategy that declares them; None: of the strategy of that name.

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
        return validated(cls, nested, "", what="setting", known=setting_names, context={"needs": needs})


#: The settings that are prompts.
_PROMPTS = frozenset({"prompt", "prm_prompt", "box_prompt"})
#: The settings that only some strategies use.
OPTIONAL: dict[str, Any] = {
    "candidates": 4,
    "prm": None,
    "correlation": 0.9,
    "prm_prompt": DEFAULT_PRM_PROMPT,
    "stop": {},
    "box_prompt": DEFAULT_BOX_PROMPT,
    "annotator": {},
}


def _used(values: Mapping[str, Any], needs: StrategyNeeds | None = None) -> set[str]:
    """Return the optional settings that can change a score together with these values."""
    needs = needs or needs_of(values.get("strategy", "greedy"))
    used = {"noisy": {"correlation"}, "ask": {"prm_prompt"}}.get(str(values.get("prm")), set()) | needs.settings
    return used | ({"box_prompt"} if values.get("initial") == "model-box" else set())


def applying(given: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some settings, given for many runs, that a run with these values of its own can use.

    >>> applying({"prm": "ask", "overlay.color": "red"}, {"strategy": "greedy"})
    {'overlay.color': 'red'}
    """
    kept = dict(given)
    while unused := {name.partition(".")[0] for name in kept} & (OPTIONAL.keys() - _used({**values, **kept})):
        kept = {name: value for name, value in kept.items() if name.partition(".")[0] not in unused}
    return kept


def _has_box(initial: str) -> bool:
    """Tell whether some episodes begin with a box."""
    return is_state(initial, BOX_STATES) or (is_state(initial, ["varied=SHARES"]) and "gt-box" in shares_of(initial))


def is_state(initial: Any, states: Sequence[str]) -> bool:
    """Tell whether an initial state is one of these. Where it takes a run or a folder, that must be named."""
    kind, named, place = str(initial).partition("=")
    return any(state.partition("=")[:2] == (kind, named) and bool(named) == bool(place) for state in states)


def shares_of(initial: str) -> dict[str, float]:
    """Return the shares, which sum to 1, of the states that ``varied=empty:2,points:1`` names.

    Raises:
        ValueError: when it has another form.

    >>> shares_of("varied=empty:3,gt-box")
    {'empty': 0.75, 'gt-box': 0.25}
    """
    given = [part.partition(":") for part in initial.partition("=")[2].split(",")]
    try:
        shares = {name.strip(): float(share or 1) for name, _, share in given}
    except ValueError:
        shares = {}
    known = shares.keys() <= set(VARIED_STATES) and len(shares) == len(given)
    if not known or not all(0 < share < math.inf for share in shares.values()):
        raise ValueError(f"varied= takes some of {', '.join(VARIED_STATES)}, each with a share, as in empty:2,points:1")
    return {name: share / math.fsum(shares.values()) for name, share in shares.items()}


def answer_rule(protocol: Mapping[str, Any]) -> str:
    """Return the selection rule whose mask is a run's answer: of a search the best by prediction, else the last.

    Args:
        protocol: the settings, as in the manifest.
    """
    return "self" if protocol.get("prm") else "final"


def setting_names() -> list[str]:
    """Return the names that ``--set`` takes."""
    names = []
    for name, info in ProtocolSettings.model_fields.items():
        sections = [part for part in (info.annotation, *get_args(info.annotation)) if hasattr(part, "model_fields")]
        names += [f"{name}.{key}" for key in sections[0].model_fields] if sections else [name]
    return names


def json_text(value: object, **options: Any) -> str:
    """Return a value as JSON (RFC 8259); options are those of `json.dumps`.

    Raises:
        UsageError: when it holds NaN, an infinity, or an object that JSON does not know.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, **options)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"A value of this run cannot be written as JSON ({error}): what spec() of a plug-in returns must hold only "
            "texts, finite numbers of Python, lists and dicts."
        ) from error


def digest(value: object) -> str:
    """Return the SHA-256 (hex) of a JSON value, independent of key order and spacing."""
    text = json_text(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
