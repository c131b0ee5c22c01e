"""An entry of the leaderboard, `hlmat-entry/1`: what a submitter hands in, as a strict schema.

The same classes give the JSON schema `leaderboard/entry.schema.json`, for tools that are not ours:
``python -m hlmat_bench.reports.leaderboard.entry`` prints it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from hlmat_bench.actions import REASONS
from hlmat_bench.core import validation
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import LINK_LENGTH, safe_link
from hlmat_bench.core.validation import Exact
from hlmat_bench.protocol.settings import answer_rule
from hlmat_bench.reports.leaderboard.files import MAX_TEXT, check_bounded, read_json
from hlmat_bench.scores import ratio
from hlmat_bench.scores.outcomes import STEPS

ENTRY_SCHEMA = "hlmat-entry/1"
MAX_SAMPLES = 100_000
MAX_BUDGET = 1000
SURROUNDINGS = ("versions", "device")
"""What of a segmenter's spec does not make it another segmenter."""


def _linkable(url: str) -> str:
    if safe_link(url) is None:
        raise ValueError("no address of http or https that a page may link to")
    return url


def _without_fragment(url: str) -> str:
    if "#" in url:
        raise ValueError("an address with #, after which pages add the sample; give the address of the page alone")
    return url


Name: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=120)]
ShortText: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]
LongText: TypeAlias = Annotated[str, Field(min_length=1, max_length=2000)]
Link: TypeAlias = Annotated[str, Field(pattern="^https?://", max_length=LINK_LENGTH), AfterValidator(_linkable)]
ReportLink: TypeAlias = Annotated[Link, AfterValidator(_without_fragment)]
Date: TypeAlias = Annotated[str, Field(pattern=r"^20[0-9]{2}-[01][0-9]-[0-3][0-9]$")]
Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=MAX_SAMPLES * MAX_BUDGET)]
Tokens: TypeAlias = Annotated[int, Field(ge=0, le=10**13)]
PixelCount: TypeAlias = Annotated[int, Field(ge=0, le=2**29)]
Clicks: TypeAlias = Annotated[int, Field(ge=1, le=MAX_BUDGET)]
Ends: TypeAlias = Annotated[list[Annotated[float, Field(ge=0, le=MAX_BUDGET)]], Field(min_length=2, max_length=2)]
SignedEnds: TypeAlias = Annotated[list[Annotated[float, Field(ge=-1, le=1)]], Field(min_length=2, max_length=2)]
Json: TypeAlias = Annotated[dict[str, Any], AfterValidator(check_bounded)]
SelectionRule: TypeAlias = Literal["final", "self", "best"]
Threshold: TypeAlias = Literal["0.80", "0.85", "0.90"]
StepKind: TypeAlias = Literal[tuple(STEPS)]  # type: ignore[valid-type]
StepCounts: TypeAlias = Annotated[list[Annotated[int, Field(ge=0, le=MAX_SAMPLES)]], Field(max_length=MAX_BUDGET)]
Column = Field(max_length=MAX_SAMPLES)


class Selection(Exact):
    """The scores of one mask per sample, as in scores.json."""

    miou: Share
    miou_ci: Ends
    ciou: Share
    ciou_ci: Ends
    biou: Share
    precision: Annotated[dict[str, Share], Field(max_length=20)]


class EntryNoC(Exact):
    """The number of clicks to reach an IoU; a miss counts the budget."""

    mean: Annotated[float, Field(ge=1, le=MAX_BUDGET)]
    ci: Ends
    solved: Count
    failed: Count


class CurvePoint(Exact):
    """The scores after t clicks."""

    t: Annotated[int, Field(ge=0, le=MAX_BUDGET)]
    miou: Share
    miou_ci: Ends
    ciou: Share
    biou: Share


class ClickScores(Exact):
    """What the clicks were worth."""

    total: Count
    valid: Count
    invalid: dict[Literal[REASONS], Count]  # type: ignore[valid-type]
    hit_rate: Share | None
    first_click_inside: Share | None
    mean_gain: Annotated[float, Field(ge=-1, le=1)] | None


class Cost(Exact):
    """Tokens, US dollars and seconds of the whole run; dollars are null where unknown."""

    tokens_in: Tokens
    tokens_out: Tokens
    dollars: Annotated[float, Field(ge=0, le=1e9)] | None
    seconds: Annotated[float, Field(ge=0, le=1e12)]


#: The largest share of failed episodes that an entry may have.
MOST_FAILED = 0.01


class Failures(Exact):
    """Episodes that ended because the model could not be asked, and their share of all."""

    episodes: Count = 0
    share: Share = 0.0


class Further(Exact):
    """A score of `hlmat_bench.scores.registry.further`, over n samples; null where it is not defined."""

    value: float | None
    ci: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    n: Count


class NoTargetSelection(Exact):
    """The scores of GRES of one mask per sample; those over samples with a target are null where there are none."""

    n_acc: Share
    n_acc_ci: Ends
    unanswered: Count
    t_acc: Share | None
    t_acc_ci: Ends | None
    giou: Share
    giou_ci: Ends
    ciou: Share
    ciou_ci: Ends
    target_miou: Share | None
    target_miou_ci: Ends | None
    target_ciou: Share | None
    target_ciou_ci: Ends | None
    target_biou: Share | None
    target_precision: Annotated[dict[str, Share], Field(max_length=20)] | None


class NoTarget(Exact):
    """The scores of a data set with samples without target, by selection rule; n samples have none."""

    n: Annotated[int, Field(ge=1, le=MAX_SAMPLES)]
    targets: Count
    final: NoTargetSelection
    self_: NoTargetSelection = Field(alias="self")
    best: NoTargetSelection


class Refined(Exact):
    """What the clicks made of the masks that episodes begin with, by one mask per sample; see docs/files.md."""

    miou: Share
    miou_ci: Ends
    gain: Annotated[float, Field(ge=-1, le=1)]
    gain_ci: SignedEnds
    worsened: Share
    worsened_ci: Ends


class RefinedNoC(EntryNoC):
    """Clicks from the initial mask on: a sample that begins at the IoU needs none."""

    mean: Annotated[float, Field(ge=0, le=MAX_BUDGET)]


class Refinement(Exact):
    """The scores of a refinement task, where masks are given."""

    initial_miou: Share
    initial_miou_ci: Ends
    final: Refined
    self_: Refined = Field(alias="self")
    best: Refined
    noc: dict[Threshold, RefinedNoC]


class Scores(Exact):
    """What the leaderboard takes of scores.json (`hlmat-scores/1`).

    Attributes:
        refinement: only of refinement tasks; entries of earlier versions have none.
        steps: per kind of step (see `hlmat_bench.scores.outcomes.STEPS`) how many there were at click 1, 2, ... of the
            budget; entries of earlier versions have none.
    """

    n: Annotated[int, Field(ge=1, le=MAX_SAMPLES)]
    n_images: Annotated[int, Field(ge=1, le=MAX_SAMPLES)]
    n_refs: Annotated[int, Field(ge=1, le=MAX_SAMPLES)]
    budget: Clicks
    track: Literal["point", "box+point"]
    selection: dict[SelectionRule, Selection]
    noc: dict[Threshold, EntryNoC]
    curve: Annotated[list[CurvePoint], Field(min_length=2, max_length=MAX_BUDGET + 1)]
    auc: Share
    clicks: ClickScores
    cost: Cost
    failures: Failures = Failures()
    no_target: NoTarget | None = Field(None, exclude_if=lambda found: found is None)
    further: Annotated[dict[Name, Further], Field(max_length=50)] = Field({}, exclude_if=lambda found: not found)
    refinement: Refinement | None = Field(None, exclude_if=lambda found: found is None)
    steps: dict[StepKind, StepCounts] | None = Field(None, exclude_if=lambda found: found is None)


class TaskFacts(Exact):
    """Which task, and which data.

    Attributes:
        digest: over names, expressions and annotations.
        masks: how a refinement task makes the masks that its episodes begin with; null of others.
    """

    name: Name
    version: Annotated[int, Field(ge=1, le=10_000)]
    group: Name
    kind: Literal["segmentation", "refinement"]
    revision: Annotated[str, Field(max_length=500)]
    digest: Annotated[str, Field(max_length=200)]
    source: Json
    masks: Json | None = None


class Manifest(Exact):
    """The run's manifest (`hlmat-run/1`), without folders of the submitter's machine."""

    argv: Annotated[list[Annotated[str, Field(max_length=MAX_TEXT)]], Field(max_length=200)]
    versions: Annotated[dict[ShortText, ShortText], Field(max_length=100)]
    model: Json
    task: TaskFacts
    segmenter: Json
    protocol: Json
    protocol_fingerprint: Sha256
    points: Json
    resize: ShortText
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    limit: Annotated[int, Field(ge=1, le=2**31)] | None
    started: ShortText
    finished: ShortText

    @model_validator(mode="after")
    def _named(self) -> Self:
        wanted = {"model": ("name",), "segmenter": ("name",), "protocol": ("id", "strategy", "initial", "track")}
        for part, keys in wanted.items():
            for key in keys:
                value = getattr(self, part).get(key)
                if not isinstance(value, str) or not 0 < len(value) <= 200:
                    raise ValueError(f"{part}.{key} should be a text of 1 to 200 characters")
        budget = self.protocol.get("budget")
        if type(budget) is not int or not 0 < budget <= MAX_BUDGET:
            raise ValueError(f"protocol.budget should be a number from 1 to {MAX_BUDGET}")
        return self

    @property
    def selection(self) -> SelectionRule:
        """Return which mask of an episode is the answer; see `hlmat_bench.protocol.settings.answer_rule`."""
        return "self" if answer_rule(self.protocol) == "self" else "final"


class Samples(Exact):
    """One row per sample, as columns: enough to compare entries sample by sample, and to locate what was changed.

    Attributes:
        id, image_id: which sample.
        intersection, union: pixels of the answer's mask with the ground truth, ignored pixels left out.
        target: pixels of the ground truth, ignored ones left out; only where a sample has none.
        first: per threshold the first click after which the IoU reaches it; null for a miss.
        marks: the start of the digests of the episode's head and of each of its steps, 8 hex digits each.
    """

    id: Annotated[list[ShortText], Column]
    image_id: Annotated[list[ShortText], Column]
    intersection: Annotated[list[PixelCount], Column]
    union: Annotated[list[PixelCount], Column]
    first: dict[Literal["0.80", "0.85"], Annotated[list[Clicks | None], Column]]
    marks: Annotated[list[Annotated[str, Field(pattern=r"^([0-9a-f]{8})+$", max_length=8 * (MAX_BUDGET + 1))]], Column]
    target: Annotated[list[PixelCount], Column] | None = Field(None, exclude_if=lambda column: column is None)

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        columns: list[list[Any]] = [
            self.id,
            self.image_id,
            self.intersection,
            self.union,
            self.marks,
            *self.first.values(),
            *([] if self.target is None else [self.target]),
        ]
        if len(self.first) != 2 or len({len(column) for column in columns}) != 1 or not self.id:
            raise ValueError("the columns differ in length, are empty, or one is missing")
        if len(set(self.id)) != len(self.id):
            raise ValueError("a sample stands twice")
        if any(above > below for above, below in zip(self.intersection, self.union, strict=True)):
            raise ValueError("an intersection is larger than its union")
        return self

    def ious(self) -> NDArray[np.float64]:
        """Return the IoU of every sample's answer, float64 (n,)."""
        return np.array([ratio(*pair) for pair in zip(self.intersection, self.union, strict=True)])


class BoardEntry(Exact):
    """An entry.

    Attributes:
        id: names the file, ``ID.json``.
        title: the model, as the table shows it.
        submitter: who hands it in.
        submitted: the day.
        training_data: what the model was trained on, in the submitter's words; whether the task's images are in it.
        weights: whether the model's weights can be had.
        links: to a paper, code, the run's folder.
        trained_on_task: whether images of the task's data set were in the training data; None: not declared.
        report: the published report of the run, whose samples the entry's page links to; None: not published.
        episodes_sha256: over all episodes, times left out; see `hlmat_bench.reports.leaderboard.digests`.
    """

    schema_id: Literal["hlmat-entry/1"] = Field(alias="schema")
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=100)]
    title: Annotated[str, Field(min_length=1, max_length=120)]
    submitter: Annotated[str, Field(min_length=1, max_length=120)]
    submitted: Date
    training_data: LongText
    weights: Literal["open", "closed"]
    links: Annotated[list[Link], Field(max_length=5)]
    manifest: Manifest
    scores: Scores
    episodes_sha256: Sha256
    samples: Samples
    trained_on_task: bool | None = Field(None, exclude_if=lambda found: found is None)
    report: ReportLink | None = Field(None, exclude_if=lambda found: found is None)

    @property
    def answer(self) -> Selection:
        """Return the scores of the masks that are the model's answers."""
        return self.scores.selection[self.manifest.selection]


Model = TypeVar("Model", bound=Exact)


def read_entry(path: Path) -> BoardEntry:
    """Read the entry in a file, which is named after it.

    Raises:
        UsageError: when the file is no entry; see `files.read_json` for what is refused before it is looked into.
    """
    entry = checked(BoardEntry, read_json(path), path.name)
    if path.name != f"{entry.id}.json":
        raise UsageError(f"{path.name} holds the entry {entry.id!r}; name it {entry.id}.json.")
    return entry


def checked(model: type[Model], value: Mapping[str, Any], where: str, extra: Literal["ignore"] | None = None) -> Model:
    """Return the value as an object of a schema; with ``extra="ignore"`` it may have other fields as well.

    Raises:
        UsageError: names the first field that does not fit, never its content.
    """
    return validation.checked(
        lambda given: model.model_validate(given, extra=extra),
        value,
        lambda misfit: UsageError(f"{where}: {misfit.sentence('the whole')}."),
    )


def lasting(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a segmenter's spec without versions and device, which do not make it another segmenter."""
    return {key: value for key, value in spec.items() if key not in SURROUNDINGS}


def json_schema() -> str:
    """Return the JSON schema of an entry, as `leaderboard/entry.schema.json` holds it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **BoardEntry.model_json_schema()}
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    print(json_schema(), end="")  # noqa: T201
