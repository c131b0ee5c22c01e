"""The registry of scores: what each is called and means, where scores.json has it, and which tables show it.

A new score is one function under `score` in `hlmat_bench/scores/further.py`; see docs/adding-a-score.md. It then stands
in scores.json (``further``), the table on the terminal, the report, the comparison, the scores of suites, and the
entries and pages of a leaderboard.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from hlmat_bench.scores.episode_scores import EpisodeScores
from hlmat_bench.scores.intervals import Estimate, interval_key, with_intervals

TaskKind: TypeAlias = Literal["segmentation", "refinement", "filtering"]
Measurement: TypeAlias = Callable[[EpisodeScores], float | tuple[float, float]]

#: Stands in a path for the selection rule whose mask is the run's answer.
RULE = "RULE"
CLICKED: tuple[TaskKind, ...] = ("segmentation", "refinement")


class ScoreValue(NamedTuple):
    """A score with the ends of its 95 % interval, which are None where there is none."""

    value: float
    low: float | None
    high: float | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return both ends; None where there is no interval."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def times(self, scale: float) -> ScoreValue:
        """Return the score in another unit."""
        return ScoreValue(*(None if part is None else scale * part for part in self))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Score:
    """A score, as tables and pages take it from scores.json.

    Attributes:
        key: its name for users, e.g. ``noc@85``; that of a further score is also its key in scores.json.
        title: the header of its column.
        definition: what it is, in a sentence or two.
        path: where scores.json has it.
        unit: ``share``, a number from -1 to 1, which suites show in percent; or ``number``.
        digits: how many stand after the decimal point; suites show those of a share in percent, with 2 digits.
        higher_is_better: the order in which tables sort it first.
        kinds: the tasks whose tables show it. A score for segmentation or refinement is computed for both.
        short: the title where there is little space; empty: the title.
        note: what stands below it on a page, where it has no interval.
        ratio: it is the sum of numerators over the sum of denominators; else the mean over samples.
        optional: only tables of runs whose scores.json has the section show it.
        of: its value for one sample, or its numerator and denominator there; None: `hlmat_bench.scores.scoring` has it.
    """

    key: str
    title: str
    definition: str
    path: tuple[str, ...]
    unit: Literal["share", "number"] = "share"
    digits: int = 3
    higher_is_better: bool = True
    kinds: tuple[TaskKind, ...] = CLICKED
    short: str = ""
    note: str = ""
    ratio: bool = False
    optional: bool = False
    of: Measurement | None = None

    def read(self, scores: Mapping[str, Any], rule: str) -> ScoreValue | None:
        """Return its value in scores.json, under a selection rule; None where there is none."""
        return read(scores, self.path, rule)

    def shown(self, value: float | None, *, sign: bool = False) -> str:
        """Write a value as tables and pages show it: a share in percent with one decimal; None as a dash.

        Args:
            value: in the unit of scores.json.
            sign: a value above 0 gets a plus, as a difference.
        """
        if value is None:
            return "–"
        percent = self.unit == "share"
        text = f"{100 * value if percent else value:{'+' if sign else ''},.{1 if percent else self.digits}f}"
        return (text if text.strip("+-0.,") else text.strip("+-")).replace("-", "−")

    def with_interval(self, value: ScoreValue | None, *, sign: bool = False) -> str:
        """Write a value with its interval, ``68.8 [61.5, 75.6]``; without brackets where there is none."""
        if value is None or value.interval is None:
            return self.shown(value and value.value, sign=sign)
        low, high = (self.shown(end, sign=sign) for end in value.interval)
        return f"{self.shown(value.value, sign=sign)} [{low}, {high}]"

    def has_section(self, scores: Mapping[str, Any]) -> bool:
        """Tell whether scores.json has the section that the score is in."""
        return scores.get(self.path[0]) is not None

    def missed(self, scores: Mapping[str, Any]) -> int | None:
        """Return how many samples never reach the threshold of a number of clicks; None of other scores."""
        return int(_at(scores, self.path[:-1], "")["failed"]) if self.path[-1] == "mean" else None

    def terms(self, sample: EpisodeScores) -> tuple[float, float]:
        """Return the numerator and the denominator of one sample; the denominator of a mean is 1."""
        assert self.of is not None
        value = self.of(sample)
        if isinstance(value, tuple) != self.ratio:
            raise TypeError(f"The score {self.key} has ratio={self.ratio}, but its function returns {value!r}.")
        return (float(value[0]), float(value[1])) if isinstance(value, tuple) else (float(value), 1.0)


_THRESHOLDS = ("0.80", "0.85", "0.90", "0.95")
_NOC = (
    "The clicks that a sample needs to reach an IoU of q %, on average. A sample that never gets there is a miss: "
    "that it would need more clicks than the budget is all that is known. It counts the budget, and "
    "misses are also counted separately and drawn as dashed bars."
)


def _noc(threshold: str, section: tuple[str, ...] = (), **more: Any) -> Score:
    name, path = threshold[2:], (*section, "noc", threshold, "mean")
    key = ".".join([*section, f"noc@{name}"])
    return Score(key, f"NoC@{name}", _NOC, path, unit="number", digits=2, higher_is_better=False, **more)


def _nof(threshold: str) -> Score:
    name = threshold[2:]
    definition = f"How many samples never reach an IoU of {name} % within the budget, the misses of NoC@{name}."
    path = ("noc", threshold, "failed")
    return Score(f"nof@{name}", f"NoF@{name}", definition, path, unit="number", digits=0, higher_is_better=False)


def _filtering(key: str, title: str, definition: str, **more: Any) -> Score:
    path = ("filtering", key)
    return Score(f"filtering.{key}", title, definition, path, unit="number", kinds=("filtering",), **more)


def _refinement(key: str, title: str, definition: str, *path: str, **more: Any) -> Score:
    return Score(f"refinement.{key}", title, definition, ("refinement", *path), kinds=("refinement",), **more)


def _no_target(key: str, title: str, definition: str) -> Score:
    return Score(f"no_target.{key}", title, definition, ("no_target", RULE, key), optional=True)


#: What scores.json holds, by key: always, apart from those that are optional.
STANDARD: Mapping[str, Score] = {
    score.key: score
    for score in (
        Score(
            "miou",
            "mIoU",
            "The mean IoU over samples (also gIoU). A sample is one image, one expression, one ground truth.",
            ("selection", RULE, "miou"),
        ),
        Score(
            "ciou",
            "cIoU",
            "The sum of all intersections over the sum of all unions (also oIoU): large objects count more.",
            ("selection", RULE, "ciou"),
            ratio=True,
        ),
        Score(
            "biou",
            "Boundary IoU",
            "The IoU of the two masks' inner edges, 2 % of the image's diagonal wide (Cheng et al. 2021).",
            ("selection", RULE, "biou"),
            short="BIoU",
            note="2 % of the diagonal",
        ),
        *map(_noc, _THRESHOLDS),
        *map(_nof, _THRESHOLDS),
        Score(
            "auc",
            "AUC",
            "The mean of the mIoU after 1, 2, ... clicks up to the budget, the last mask carried forward.",
            ("auc",),
            note="mean of the curve",
        ),
        _refinement("initial_miou", "initial mIoU", "The mIoU of the masks that episodes begin with.", "initial_miou"),
        _refinement("gain", "gain", "The mean difference of the IoU to that of the initial mask.", RULE, "gain"),
        _refinement(
            "worsened",
            "worsened",
            "The share of samples whose mask is worse than the initial one.",
            RULE,
            "worsened",
            higher_is_better=False,
        ),
        *(_noc(threshold, ("refinement",), kinds=("refinement",)) for threshold in ("0.80", "0.85")),
        _no_target(
            "n_acc",
            "N-acc",
            "The share of the samples without target (the image has no such object) whose answer is an empty mask.",
        ),
        _no_target("t_acc", "T-acc", "The share of the samples with a target whose answer is not an empty mask."),
        _no_target(
            "giou",
            "gIoU",
            "The mean IoU over all samples, as GRES defines it (Liu et al. 2023): a sample without target counts 1 "
            "where the answer is an empty mask, else 0. It is the mIoU.",
        ),
        _no_target(
            "ciou",
            "cIoU",
            "The sum of all intersections over the sum of all unions: a mask for a sample without target adds its "
            "pixels to the unions.",
        ),
        _no_target("target_miou", "Target mIoU", "The mean IoU over the samples that have a target."),
        _no_target("target_ciou", "Target cIoU", "The cIoU over the samples that have a target."),
        _filtering(
            "mae", "MAE", "Mean absolute error of the predicted IoU, in percent.", digits=2, higher_is_better=False
        ),
        _filtering(
            "mse",
            "MSE",
            "Mean squared error of the predicted IoU, in percent squared.",
            digits=2,
            higher_is_better=False,
        ),
        _filtering("pearson", "Pearson", "Pearson's correlation of predicted and true IoUs."),
        _filtering("spearman", "Spearman", "Spearman's correlation of predicted and true IoUs."),
    )
}

_ACCURACIES = ("no_target.n_acc", "no_target.t_acc")
#: The standard scores that each table shows, in order; further scores of the task's kind follow them.
TABLES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "terminal": {
        "segmentation": ("miou", "ciou", "noc@80", "noc@85", *_ACCURACIES),
        "refinement": (
            "refinement.initial_miou", "miou", "refinement.gain", "refinement.worsened", "refinement.noc@85",
            *_ACCURACIES,
        ),
        "filtering": ("filtering.mae", "filtering.mse", "filtering.pearson", "filtering.spearman"),
    },
    "report": {
        "segmentation": ("ciou", "biou", "noc@80", "noc@85", *_ACCURACIES),
        "refinement": (
            "refinement.gain", "refinement.worsened", "biou", "refinement.noc@80", "refinement.noc@85", *_ACCURACIES,
        ),
        "filtering": ("filtering.mae", "filtering.mse", "filtering.pearson", "filtering.spearman"),
    },
    "comparison": {
        "segmentation": ("miou", "ciou", "biou", "noc@80", "noc@85", *_ACCURACIES),
        "refinement": (
            "refinement.gain", "refinement.worsened", "refinement.initial_miou", "miou", "ciou", "refinement.noc@85",
            *_ACCURACIES,
        ),
        "filtering": ("filtering.mae", "filtering.mse", "filtering.pearson", "filtering.spearman"),
    },
    "leaderboard": {
        "segmentation": ("miou", "ciou", "noc@80", "noc@85", "biou", *_ACCURACIES),
        "refinement": ("miou", "refinement.gain", "refinement.worsened", "ciou", "refinement.noc@85", *_ACCURACIES),
    },
}  # fmt: skip

#: The scores of data sets that have samples without target, in the order of their table on a page.
NO_TARGET = [each for each in STANDARD.values() if each.path[0] == "no_target"]

_FURTHER: dict[str, Score] = {}
#: Names that stand next to the scores in downloads, comparisons and sortable tables.
_RESERVED = {
    "answer", "budget", "cost", "dollars", "failed", "id", "level", "losses", "model", "n", "n_acc", "n_images",
    "protocol_fingerprint", "rank", "rank_best", "rank_worst", "ranking", "reference", "seconds", "segmenter",
    "start", "strategy", "submitted", "submitter", "t_acc", "target", "task", "tokens_in", "tokens_out", "track",
    "weights", "wins",
}  # fmt: skip


def further() -> dict[str, Score]:
    """Return the scores that were declared with `score`, by key."""
    from hlmat_bench.scores import further as _declares  # noqa: F401  (it imports `score`, so it is read first here)

    return _FURTHER


def score(
    key: str,
    *,
    title: str,
    definition: str,
    unit: Literal["share", "number"] = "share",
    digits: int = 3,
    higher_is_better: bool = True,
    ratio: bool = False,
    kinds: tuple[TaskKind, ...] = CLICKED,
) -> Callable[[Measurement], Measurement]:
    """Declare a further score; its function takes an episode in numbers and returns its value for that sample.

    Args:
        key: its name in scores.json and for users: small letters, digits and ``_``.
        title, definition, unit, digits, higher_is_better, kinds: see `Score`.
        ratio: the function returns a numerator and a denominator, and the score is the sum of all numerators over the
            sum of all denominators; else the function returns a number, and the score is the mean over samples.

    Raises:
        ValueError: when the key is taken, or is no name.
    """
    # The names of columns that tables and downloads make of others: noc_80, miou_ci, biou_low, noc_80_missed.
    derived = re.fullmatch(r"no[cf].*|.*_(ci|low|high|missed)", key)
    taken = key in STANDARD or key in _FURTHER or key in _RESERVED or derived
    if taken or not re.fullmatch("[a-z][a-z0-9_]*", key):
        raise ValueError(
            f"{key!r} is no key for a new score: it is taken, not of small letters, digits and _, begins with noc or "
            "nof, or ends with _ci, _low, _high or _missed."
        )

    def declared(of: Measurement) -> Measurement:
        _FURTHER[key] = Score(
            key, title, definition, ("further", key, "value"), unit, digits, higher_is_better, kinds, ratio=ratio, of=of
        )
        return of

    return declared


def columns(table: str, kind: str, runs: Iterable[Mapping[str, Any]]) -> list[Score]:
    """Return the scores that a table of `TABLES` shows, further ones last.

    Args:
        table: its name.
        kind: of the task.
        runs: the scores of all runs in it, as in scores.json, which decide about optional scores.
    """
    found = list(runs)
    known = [STANDARD[key] for key in TABLES[table].get(kind, ())]
    shown = [each for each in known if not each.optional or any(each.has_section(scores) for scores in found)]
    return shown + [each for each in further().values() if kind in each.kinds]


def further_terms(sample: EpisodeScores) -> dict[str, tuple[float, float]]:
    """Return numerator and denominator of every further score that is declared for such episodes."""
    kinds = {"filtering"} if sample.predicted else set(CLICKED)
    return {key: each.terms(sample) for key, each in further().items() if kinds.intersection(each.kinds)}


def further_scores(samples: Sequence[EpisodeScores]) -> dict[str, Any]:
    """Return the section ``further`` of the scores: by key ``value``, ``ci`` and ``n``, the samples that it is over.

    The value is null where all denominators are 0.
    """
    found: dict[str, Any] = {}
    for key in further():
        chosen = [sample for sample in samples if key in sample.further]
        if not chosen:
            continue
        above, below = np.array([sample.further[key] for sample in chosen]).T
        images = [sample.image_id for sample in chosen]
        value = {"value": Estimate(above, below)} if below.any() else {"value": None, "ci": None}
        found[key] = {**with_intervals(value, images), "n": len(chosen)}
    return found


def read(scores: Mapping[str, Any], path: Sequence[str | int], rule: str) -> ScoreValue | None:
    """Return what scores.json has at a path, under a selection rule; None where there is nothing."""
    try:
        section = _at(scores, path[:-1], rule)
        value = section[path[-1]]
    except (KeyError, IndexError, TypeError):
        return None
    if value is None:
        return None
    # An interval of a single image has no width and says nothing.
    single = scores.get("n_images") == 1
    low, high = (not single and section.get(interval_key(str(path[-1])))) or (None, None)
    return ScoreValue(value, low, high)


def _at(scores: Mapping[str, Any], path: Sequence[str | int], rule: str) -> Any:
    found: Any = scores
    for part in path:
        found = found[rule if part == RULE else part]
    return found
