"""Looking at every sample of a task once: are all files there, whole and as many as published?"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hlmat_bench.errors import UsageError
from hlmat_bench.samples import Sample, Source
from hlmat_bench.sources.problems import DataProblem
from hlmat_bench.tasks import Task

_HINTS = {
    "empty masks": "do data.threshold and data.channel fit the mask files?",
    "size mismatches": "a mask must have the size of its image, as its orientation tag shows it",
}


@dataclass
class Problem:
    """Things of one kind that are wrong.

    Attributes:
        count: how many.
        examples: the first of them, as sentences.
    """

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class DataReport:
    """What a check found.

    Attributes:
        task: the task's name.
        counts: ``images``, ``refs`` and ``expressions`` that are there.
        expected: the published counts, those that are known.
        skipped: samples left out because their image is missing and the settings allow it.
        problems: by kind.
    """

    task: str
    counts: dict[str, int]
    expected: dict[str, int]
    skipped: int = 0
    problems: dict[str, Problem] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong and every known count is met."""
        return (
            not self.problems
            and not self.skipped
            and all(self.counts[name] == number for name, number in self.expected.items())
        )

    def text(self) -> str:
        """The report, for a terminal."""
        lines = [f"{self.task}: {'all is well' if self.ok else 'something is off'}"]
        for name, number in self.counts.items():
            published = self.expected.get(name)
            note = "" if published in (None, number) else f", but {published:,} are published"
            lines.append(f"  {name}: {number:,}{note}")
        if self.skipped:
            lines.append(f"  left out, as their image is missing: {self.skipped:,} expressions")
        for kind, problem in self.problems.items():
            hint = f" ({_HINTS[kind]})" if kind in _HINTS else ""
            lines.append(f"  {kind}: {problem.count:,}{hint}")
            lines += [f"    {example}" for example in problem.examples]
            if problem.count > len(problem.examples):
                lines.append(f"    ... and {problem.count - len(problem.examples):,} more")
        return "\n".join(lines)


def check(
    task: Task,
    data_root: str | os.PathLike[str] | None = None,
    seed: int = 0,
    *,
    overrides: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    examples: int = 5,
) -> DataReport:
    """Go through all samples once; every image is decoded once, every object's mask once.

    Args:
        task: the task.
        data_root: see `Task.source`.
        seed: see `Task.source`.
        overrides: see `Task.source`.
        progress: called with (samples done, samples in all).
        examples: how many examples of each kind of problem are kept.

    Raises:
        UsageError: when there are no samples at all: the annotations are missing or damaged.
    """
    source = task.source(data_root, seed, overrides)
    samples = source.samples()
    about: dict[str, Any] = getattr(source, "describe", dict)()
    report = DataReport(task.name, _counts(samples), _expected(task, seed), about.get("skipped", 0))
    for kind, sentence in _problems(source, samples, progress or (lambda done, total: None)):
        problem = report.problems.setdefault(kind, Problem())
        problem.count += 1
        if len(problem.examples) < examples:
            problem.examples.append(sentence)
    return report


def _expected(task: Task, seed: int) -> dict[str, int]:
    """The published counts. Those of data drawn from a seed hold for the seed 0."""
    counts: dict[str, int | None] = task.expected.model_dump()
    comparable = seed == 0 or bool(task.data.needed())
    return {name: count for name, count in counts.items() if count is not None and comparable}


def _counts(samples: Sequence[Sample]) -> dict[str, int]:
    return {
        "images": len({sample.image_id for sample in samples}),
        "refs": len({sample.ref_id or sample.id for sample in samples}),
        "expressions": len(samples),
    }


def _problems(
    source: Source, samples: Sequence[Sample], progress: Callable[[int, int], None]
) -> Iterator[tuple[str, str]]:
    """The kind of each problem, and a sentence about it."""
    times = Counter(sample.id for sample in samples)
    yield from (("duplicate ids", f"{name} stands for {n} samples.") for name, n in times.items() if n > 1)
    yield from (("empty expressions", f"{s.id} has no words.") for s in samples if not s.expression.strip())
    image: str | None = None
    readable, last = False, None
    for number, sample in enumerate(samples, start=1):
        if sample.image != image:
            image, readable = sample.image, True
            for problem in _of_image(source, sample):
                readable = False
                yield problem
        this = (sample.image, sample.ref_id or sample.id)
        if readable and this != last:
            yield from _of_truth(source, sample)
        last = this
        progress(number, len(samples))


def _of_image(source: Source, sample: Sample) -> Iterator[tuple[str, str]]:
    try:
        source.image(sample)
    except UsageError as error:
        yield _kind(error), str(error)


def _of_truth(source: Source, sample: Sample) -> Iterator[tuple[str, str]]:
    try:
        truth = source.truth(sample)
    except UsageError as error:
        yield _kind(error), str(error)
        return
    if not truth.mask.any():
        yield "empty masks", f"{sample.id} has no object."


def _kind(error: UsageError) -> str:
    return error.kind if isinstance(error, DataProblem) else DataProblem.kind
