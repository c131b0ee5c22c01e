"""`hlmat-bench probe`: check whether a model writes coordinates in its declared point format.

The model is asked, as in a run, for markers at known positions. Its answers are compared with these positions, under
the declared format and under all others. The result is a report: no run reads it, and it changes no format.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.core.samples import Sample
from hlmat_bench.core.text import redact, valid
from hlmat_bench.data.layouts.image_files import ImageReader
from hlmat_bench.models.catalog import Catalog, ModelChoice
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol.interfaces import Model, traits
from hlmat_bench.protocol.observation import Observation, RequestBuilder
from hlmat_bench.protocol.policies import ModelPolicy
from hlmat_bench.protocol.prompts import check_template
from hlmat_bench.protocol.reference import REFERENCES
from hlmat_bench.protocol.settings import ProtocolSettings
from hlmat_bench.runs import stopping
from hlmat_bench.runs.batching import RequestBatcher, suitable_concurrency
from hlmat_bench.runs.executors import Progress
from hlmat_bench.runs.failures import FailureWatch
from hlmat_bench.runs.loops import all_or_none, run_in_own_loop
from hlmat_bench.runs.probe.diagnosis import FEWEST, Diagnosis, ProbeAnswer, diagnose
from hlmat_bench.runs.probe.fitting import NEAR
from hlmat_bench.runs.probe.markers import MarkerQuestion, write_images
from hlmat_bench.runs.probe.picture import write_picture
from hlmat_bench.runs.probe.sentences import sentences

SCHEMA = "hlmat-probe/1"
SAMPLES = 32


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """The result of a probe.

    Attributes:
        model: the argument ``model`` without keys.
        points: declared point format of the model.
        resize: name of its declared resize rule.
        seed: seed of the images.
        questions: the questions.
        answers: the answers, in the order of the questions.
        failures: per question, the error of its request; None if it did not fail.
        diagnosis: what the answers show about the format.
        folder: folder with the images, picture.png and probe.json.
    """

    model: str
    points: PointFormat
    resize: str
    seed: int
    questions: tuple[MarkerQuestion, ...]
    answers: tuple[ProbeAnswer, ...]
    failures: tuple[str | None, ...]
    diagnosis: Diagnosis
    folder: Path

    HEADERS: ClassVar = ("image", "asked", "read", "median error", "of the diagonal", f"within {NEAR * 100:.0f} %")

    @property
    def ok(self) -> bool:
        """Whether the declared format fits."""
        return self.diagnosis.status == "fits"

    @property
    def picture(self) -> Path:
        """Path of the picture that shows markers and answers."""
        return self.folder / "picture.png"

    @property
    def replies(self) -> Path:
        """Path of the file with the values of `to_json`."""
        return self.folder / "probe.json"

    def sentences(self) -> list[str]:
        """Return the verdict and its evidence, one sentence or two per line."""
        lines = sentences(self.diagnosis, self.answers, self.points)
        first = next((failure for failure in self.failures if failure is not None), None)
        return lines if first is None else [*lines, f"The first failure: {first}"]

    def heading(self) -> str:
        """Return one line that names the model, its declared format, and the numbers of markers and images."""
        asked, images = len(self.questions), len({question.image for question in self.questions})
        declared = f"{self.points.order[0]} first, {self.points.unit}, syntax {self.points.syntax}"
        return f"{self.model}: declared {declared}; resize {self.resize}; {asked} markers on {images} images"

    def rows(self) -> list[tuple[str, ...]]:
        """Return the errors under the declared format, one row per image and one for all, with columns `HEADERS`."""
        names = [question.image.stem.partition("-")[2] for question in self.questions]
        groups = {name: [i for i, other in enumerate(names) if other == name] for name in names}
        return [*(self._row(name, group) for name, group in groups.items()), self._row("all", range(len(names)))]

    def to_json(self) -> dict[str, Any]:
        """Return the whole report as JSON values; positions are (x, y) in pixels of the original image."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "points": dataclasses.asdict(self.points),
            "resize": self.resize,
            "seed": self.seed,
            "sentences": self.sentences(),
            "diagnosis": self.diagnosis.to_json(),
            "answers": [self._answer(number) for number in range(len(self.questions))],
        }

    def _row(self, name: str, group: Iterable[int]) -> tuple[str, ...]:
        numbers = list(group)
        errors = {number: error for number in numbers if (error := self._error(number)) is not None}
        if not errors:
            return (name, str(len(numbers)), "0", "", "", "")
        shares = [error / float(np.hypot(*self.answers[number].size)) for number, error in errors.items()]
        near = float(np.mean(np.array(shares) <= NEAR))
        median, share = float(np.median(list(errors.values()))), float(np.median(shares))
        counts = name, str(len(numbers)), str(len(errors))
        return (*counts, f"{median:.1f} px", f"{share * 100:.2g} %", f"{near * 100:.0f} %")

    def _error(self, number: int) -> float | None:
        return self.diagnosis.errors[number] if self.diagnosis.errors else None

    def _answer(self, number: int) -> dict[str, Any]:
        question, answer, pair = self.questions[number], self.answers[number], self.diagnosis.pairs[number]
        spots = {"declared": self.diagnosis.declared_spots, "found": self.diagnosis.found_spots}
        return {
            "id": question.id,
            "image": question.image.name,
            "size": list(answer.size),
            "sent": list(answer.frame.sent),
            "expression": question.expression,
            "target": list(question.target),
            "raw": answer.reply,
            "failure": self.failures[number],
            "numbers": None if pair is None else [pair.first, pair.second],
            "syntax": None if pair is None else pair.syntax,
            **{name: list(spot) if where and (spot := where[number]) else None for name, where in spots.items()},
            "error": self._error(number),
        }


def probe(
    model: str,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    concurrency: int | None = None,
    batch_size: int | None = None,
    catalog: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> ProbeReport:
    """Ask a model for markers at known positions and diagnose how it writes coordinates.

    Args:
        model: a name with options or a file, as in `hlmat_bench.run`.
        samples: number of markers to ask for, at least 8; there are four on each image.
        seed: seed of the images.
        out: folder for images, picture and replies; None: ``runs/probe__MODEL``.
        concurrency: most requests in flight; None: what suits the model.
        batch_size: requests per batch of a local model; None: that of the model.
        catalog: a file with more models.
        settings: protocol settings that affect a first click, and ``points``, a point format that replaces the declared
            one.
        progress: called with (number of answers, number of questions).

    Raises:
        UsageError: for mistakes that the caller can correct. Failed requests are counted in the report instead.
    """
    given = dict(settings or {})
    points = given.pop("points", None)
    known = Catalog.load(catalog)
    choice = known.choose(model)
    _check(choice, samples)
    protocol = ProtocolSettings.build(dict(choice.settings) | given)
    check_template(protocol.prompt)
    asked: Model = choice.make()
    declared = PointFormat.named(str(points)) if points else asked.points
    folder = Path(out) if out else Path("runs") / f"probe__{_as_name(redact(model))}"
    questions = _questions(folder, samples, seed)
    interview = _Interview(asked, declared, protocol, seed, questions, progress)
    workers = concurrency or suitable_concurrency(asked, batch_size)
    run_in_own_loop(interview.hold(workers, batch_size))
    answers = tuple(interview.answers[question.id] for question in questions)
    resize = traits(asked).resize.name
    failures = tuple(interview.failures.get(question.id) for question in questions)
    diagnosis = diagnose(answers, declared, resize, rules=known.resize_rules())
    report = ProbeReport(redact(model), declared, resize, seed, tuple(questions), answers, failures, diagnosis, folder)
    write_picture(report.picture, questions, diagnosis)
    text = json.dumps(report.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    report.replies.write_text(valid(text) + "\n", encoding="utf-8")
    return report


class _Interview:
    """All questions to a model, asked with the policy and the request batcher of a run."""

    def __init__(
        self,
        model: Model,
        points: PointFormat,
        settings: ProtocolSettings,
        seed: int,
        questions: Sequence[MarkerQuestion],
        progress: Progress | None,
    ) -> None:
        self.answers: dict[str, ProbeAnswer] = {}
        self.failures: dict[str, str] = {}
        self._model, self._points, self._settings, self._seed = model, points, settings, seed
        self._questions, self._progress = questions, progress
        self._reader = ImageReader()

    async def hold(self, workers: int, batch_size: int | None) -> None:
        """Fill `answers` and `failures`."""
        remaining = iter(self._questions)
        watch = FailureWatch.of_requests(self._model.name)
        batcher = RequestBatcher(self._model, batch_size=batch_size, concurrency=workers, watch=watch)

        async def worker() -> None:
            for question in remaining:
                if stopping.current().requested:
                    return
                with batcher.episode():
                    await self._ask(question, batcher, pool)
                if self._progress:
                    self._progress(len(self.answers), len(self._questions))

        async with AsyncExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(2, "pixels"))
            stack.push_async_callback(batcher.close)
            await all_or_none([worker() for _ in range(min(workers, len(self._questions)))])

    async def _ask(self, question: MarkerQuestion, batcher: RequestBatcher, pool: ThreadPoolExecutor) -> None:
        image = await asyncio.get_running_loop().run_in_executor(pool, self._reader.image, question.image)
        sample = Sample(question.id, question.image.name, question.image.stem, question.expression)
        resize = traits(self._model).resize
        builder = RequestBuilder(sample, image, self._settings, self._points, resize, self._seed)
        policy = ModelPolicy(builder, batcher.reply, deterministic=True, pool=pool)
        size = (image.shape[0], image.shape[1])
        reply = None
        try:
            [first] = await policy.ask(Observation(np.zeros(size, bool), (), 1), 1)
            reply = first.text
        except RequestFailed as error:
            self.failures[question.id] = str(error)
        self.answers[question.id] = ProbeAnswer(question.target, size, builder.frame, reply)


def _check(choice: ModelChoice, samples: int) -> None:
    if choice.plugin in REFERENCES:
        raise UsageError(
            f"A probe finds out how models write coordinates, but {choice.plugin} is a reference that always writes "
            "pixels; `hlmat-bench models` lists the models."
        )
    if samples < FEWEST:
        raise UsageError(f"A probe needs at least {FEWEST} samples to tell conventions apart, not {samples}.")


def _as_name(model: str) -> str:
    return re.sub(r"[^\w.=-]+", "-", model).strip("-.")[-80:]


def _questions(folder: Path, samples: int, seed: int) -> list[MarkerQuestion]:
    try:
        return write_images(folder / "images", samples, seed)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror}); choose another --out.") from error
