"""Checks the samples of a task: files exist and can be read, counts are those published, masks are plausible."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Sample, Source, Truth
from hlmat_bench.data.layouts.copies import copies_named
from hlmat_bench.data.layouts.file_source import FileSource
from hlmat_bench.data.layouts.problems import DataProblem, Doubt
from hlmat_bench.data.tasks import Task

_T = TypeVar("_T")

LOOKED_INTO = 1000
"""How many different ground truths, spread over the samples, are decoded before a run; of the others, only headers."""
NEARLY_ALL = 0.9
"""A task is refused where at least this share of the ground truths is empty, or full; see also `FEW_TRUTHS`."""
FEW_TRUTHS = 3

_HINTS = {
    "empty masks": "do data.threshold and data.channel fit the mask files?",
    "size mismatches": "a mask must have the size of its image, as its orientation tag shows it",
}
_LEFT_OUT = {
    "missing": "as a file is missing",
    "unreadable": "as a file or annotation cannot be read",
    "missized": "as the mask has another size than the image",
    "unannotated": "as the segmentation or the expression is missing",
    "crowd": "as the annotation is of a crowd",
}
_NO_WAY_TO_SAY_IT = (
    "Some expressions refer to no object, and the task does not let a model say so: write no_target: true under "
    "protocol in its file."
)


@dataclass
class Problem:
    """All problems of one kind.

    Attributes:
        count: the number of problems.
        examples: the first problems, as sentences.
    """

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class DataReport:
    """The result of a check.

    Attributes:
        task: the task's name.
        counts: the numbers of ``images``, ``refs`` and ``expressions``.
        expected: the published counts, as far as they are known.
        copies: sentences that name the known copy which the data are; several where it can be each of them.
        skipped: how many samples are left out, by kind; see `layouts.layout_settings.KINDS`.
        without_object: how many expressions refer to no object, as their annotations say.
        problems: what is wrong, by kind.
        warnings: what may be wrong, by kind.
    """

    task: str
    counts: dict[str, int]
    expected: dict[str, int]
    copies: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    without_object: int = 0
    problems: dict[str, Problem] = field(default_factory=dict)
    warnings: dict[str, Problem] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether there are no problems, only crowds are left out, and all known counts are those published."""
        return (
            not self.problems
            and self.skipped.keys() <= {"crowd"}
            and all(self.counts[name] == number for name, number in self.expected.items())
        )

    def text(self) -> str:
        """Return the report as text for a terminal."""
        well = "all is well, but read the warnings" if self.warnings else "all is well"
        lines = [f"{self.task}: {well if self.ok else 'there are problems'}"]
        lines += [f"  this is {sentence}" for sentence in self.copies]
        for name, number in self.counts.items():
            published = self.expected.get(name)
            note = "" if published in (None, number) else f", but {published:,} are published"
            lines.append(f"  {name}: {number:,}{note}")
        if self.without_object:
            lines.append(f"  of these, expressions for no object: {self.without_object:,}")
        for kind, number in self.skipped.items():
            lines.append(f"  left out, {_LEFT_OUT[kind]}: {number:,} expressions")
        for before, found in (("", self.problems), ("warning: ", self.warnings)):
            for kind, problem in found.items():
                hint = f" ({_HINTS[kind]})" if kind in _HINTS else ""
                lines.append(f"  {before}{kind}: {problem.count:,}{hint}")
                lines += [f"    {example}" for example in problem.examples]
                if problem.count > len(problem.examples):
                    lines.append(f"    ... and {problem.count - len(problem.examples):,} more")
        return "\n".join(lines)

    def add(self, doubt: Doubt, examples: int) -> None:
        """Count a doubt, and keep its sentence if fewer than ``examples`` sentences of its kind are kept."""
        problem = (self.problems if doubt.severe else self.warnings).setdefault(doubt.kind, Problem())
        problem.count += 1
        if len(problem.examples) < examples:
            problem.examples.append(doubt.sentence)


def check(
    task: Task,
    data_root: str | os.PathLike[str] | None = None,
    seed: int = 0,
    *,
    overrides: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    examples: int = 5,
) -> DataReport:
    """Check all samples; decode every image once and every object's mask once.

    Args:
        task: the task.
        data_root: see `Task.source`.
        seed: see `Task.source`.
        overrides: see `Task.source`.
        progress: called with (samples done, samples in total).
        examples: how many examples are kept per kind of problem.

    Raises:
        UsageError: when there are no samples, because the annotations are missing or damaged.
    """
    source = task.source(data_root, seed, overrides)
    samples = source.samples()
    about: dict[str, Any] = getattr(source, "describe", dict)()
    without = sum(map(source.has_no_object, samples)) if isinstance(source, FileSource) else 0
    copies = [f"{copy.name}: {copy.about} ({copy.source})" for copy in copies_named(about.get("copy", ""))]
    report = DataReport(task.name, _counts(samples), _expected(task, seed), copies, about.get("skipped", {}), without)
    if without and not task.protocol.get("no_target"):
        report.add(Doubt("expressions for no object", _NO_WAY_TO_SAY_IT), examples)
    for doubt in _problems(source, samples, progress or (lambda done, total: None)):
        report.add(doubt, examples)
    return report


def _expected(task: Task, seed: int) -> dict[str, int]:
    """Return the published counts; those of data that is drawn from a seed are valid only for the seed 0."""
    counts: dict[str, int | None] = task.expected.model_dump()
    comparable = seed == 0 or task.reads_files
    return {name: count for name, count in counts.items() if count is not None and comparable}


def _counts(samples: Sequence[Sample]) -> dict[str, int]:
    return {
        "images": len({sample.image_id for sample in samples}),
        "refs": len({sample.ref_id or sample.id for sample in samples}),
        "expressions": len(samples),
    }


def _problems(source: Source, samples: Sequence[Sample], progress: Callable[[int, int], None]) -> Iterator[Doubt]:
    """Yield what is wrong with the samples, and what may be wrong."""
    times = Counter(sample.id for sample in samples)
    yield from (Doubt("duplicate ids", f"{name} stands for {n} samples.", True) for name, n in times.items() if n > 1)
    yield from (Doubt("empty expressions", f"{s.id} has no words.", True) for s in samples if not s.expression.strip())
    if isinstance(source, FileSource):
        yield from source.notes()
    image: str | None = None
    readable, seen = False, set[Hashable]()
    for number, sample in enumerate(samples, start=1):
        if sample.image != image:
            image, seen = sample.image, set()
            problem = _of_image(source, sample)
            readable = problem is None
            yield from () if problem is None else (problem,)
        this = _truth_key(source, sample)
        if readable and this not in seen:
            yield from _of_truth(source, sample)
        seen.add(this)
        progress(number, len(samples))


def _truth_key(source: Source, sample: Sample) -> Hashable:
    """Return a value that is equal for two samples if they have the same ground truth."""
    if isinstance(source, FileSource):
        return source.truth_key(sample)
    return sample.image, sample.ref_id or sample.id


def _of_image(source: Source, sample: Sample) -> Doubt | None:
    try:
        source.image(sample)
    except UsageError as error:
        return Doubt(_kind(error), str(error), severe=True)
    return None


def _of_truth(source: Source, sample: Sample) -> Iterator[Doubt]:
    try:
        truth = source.truth(sample)
        advice = source.advice(sample) if isinstance(source, FileSource) and _is_blank(truth) else ""
    except UsageError as error:
        yield Doubt(_kind(error), str(error), severe=True)
        return
    if isinstance(source, FileSource) and source.has_no_object(sample):
        return
    if not truth.mask.any():
        yield Doubt("empty masks", f"{sample.id} has no object{advice}.", severe=True)
    elif truth.mask.all():
        yield Doubt("full masks", f"The object of {sample.id} is the whole image{advice}.")
    if isinstance(source, FileSource):
        yield from source.doubts(sample, truth)


def _kind(error: UsageError) -> str:
    return error.kind if isinstance(error, DataProblem) else DataProblem.kind


def look(source: Source, samples: Sequence[Sample]) -> None:
    """Check the ground truths of the samples to play, before the first request to a model.

    For all different ground truths, check that the files of the mask and the image exist and that their headers have
    the same size. Decode `LOOKED_INTO` of the ground truths, spread over the samples, but none that is empty because
    its annotation says that there is no object. Samples that are no files are not checked.

    Args:
        source: the samples' source.
        samples: the samples to play.

    Raises:
        UsageError: when a sample cannot be played; when nearly all (`NEARLY_ALL`) ground truths are certainly drawn
            wrong; when nearly all are empty or nearly all are full, if there are `FEW_TRUTHS` or more or their files
            contain several values, unless ``data.allow_empty`` allows it.
    """
    if not isinstance(source, FileSource):
        return
    different = {source.truth_key(sample): sample for sample in reversed(samples)}
    looked_at = list(reversed(different.values()))
    for sample in looked_at:
        _named(source.check_headers, sample)
    drawn = [sample for sample in looked_at if not source.has_no_object(sample)]
    chosen = drawn[:: -(-len(drawn) // LOOKED_INTO) or 1]
    blank: dict[bool, list[Sample]] = {False: [], True: []}
    wrong: list[Doubt] = []
    for sample in chosen:
        truth = _named(source.truth, sample)
        if _is_blank(truth):
            blank[bool(truth.mask.all())].append(sample)
        wrong += [doubt for doubt in source.doubts(sample, truth) if doubt.sure][:1]  # a union has one for each part
    if len(wrong) >= NEARLY_ALL * len(chosen) > 0:
        raise UsageError(wrong[0].sentence)
    for full, found in blank.items():
        if len(found) >= NEARLY_ALL * len(chosen) > 0 and not source.may_be_empty():
            _refuse_blank(source, found, len(chosen), "full" if full else "empty")


def _named(read: Callable[[Sample], _T], sample: Sample) -> _T:
    """Return ``read(sample)``; add the sample's id to the message of an error."""
    try:
        return read(sample)
    except DataProblem as error:
        if sample.id in str(error):
            raise
        raise type(error)(f"The sample {sample.id} cannot be played: {error}") from error


def _refuse_blank(source: FileSource, found: Sequence[Sample], total: int, what: str) -> None:
    """Raise `UsageError` for blank ground truths, unless there are few and their files have only one value."""
    first, advice = next(((sample, said) for sample in found if (said := source.advice(sample))), (found[0], ""))
    if not advice and total < FEW_TRUTHS:
        return
    raise UsageError(
        f"The masks of {len(found)} of {total} samples are {what}, {first.id} among them"
        f"{advice or '; correct the masks'}; if that is right, --set data.allow_empty=true."
    )


def _is_blank(truth: Truth) -> bool:
    return not truth.mask.any() or bool(truth.mask.all())
