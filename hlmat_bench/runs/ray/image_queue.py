"""The images that are still to be played, and which worker's death is whose fault."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count, groupby

from hlmat_bench.core.samples import Sample
from hlmat_bench.runs.writer import RunWriter

#: How often an image may be under way in a worker that dies. After that it is recorded as failed.
MOST_DEATHS = 3


@dataclass(eq=False)
class Image:
    """The samples of one image that a worker plays, in one run.

    Attributes:
        run: the run's number.
        left: the samples whose episodes have not arrived yet.
        ticket: names the image in the worker's events.
        began: what `RunWriter.begin` returned when it was taken.
        deaths: how many workers in a row died while they played it, without finishing an episode of it.
    """

    run: int
    left: dict[str, Sample]
    ticket: int
    began: int = 0
    deaths: int = 0


@dataclass(eq=False)
class ImageQueue:
    """Deals out whole images, so that the expressions of one image share its encoding.

    An image whose worker died is a suspect. It is played again alone, so that the next death tells whose fault it is.

    Attributes:
        writers: of the runs.
        limited: a limit of the call allows no further episode.
    """

    writers: Sequence[RunWriter]
    limited: bool = False
    _waiting: deque[Image] = field(default_factory=deque)
    _suspects: deque[Image] = field(default_factory=deque)
    _out: set[Image] = field(default_factory=set)

    def __post_init__(self) -> None:
        todo = [{sample.id for sample in writer.todo()} for writer in self.writers]
        self._tickets = count()
        for _, group in groupby(self.writers[0].data.samples, key=lambda sample: sample.image_id):
            samples = list(group)
            for run, wanted in enumerate(todo):
                if left := {sample.id: sample for sample in samples if sample.id in wanted}:
                    self._waiting.append(Image(run, left, next(self._tickets)))

    @property
    def finished(self) -> bool:
        """Whether nothing is under way and nothing more will be dealt out."""
        return not self._out and (self.limited or not (self._waiting or self._suspects))

    def take(self, holding: Iterable[Image]) -> Image | None:
        """Return an image for a worker; None where there is none for it now.

        Args:
            holding: the images that the worker plays already.
        """
        held = list(holding)
        if any(image.deaths for image in held):
            return None
        waiting = self._suspects if self._suspects and not held else self._waiting
        if not waiting:
            return None
        image = waiting[0]
        meter = self.writers[image.run].meter
        begun = [sample_id for sample_id in image.left if meter.begin(sample_id)]
        self.limited = not begun
        if not begun:
            return None
        waiting.popleft()
        if rest := {key: sample for key, sample in image.left.items() if key not in begun}:
            waiting.appendleft(Image(image.run, rest, next(self._tickets), deaths=image.deaths))
            image.left = {key: image.left[key] for key in begun}
        image.began = self.writers[image.run].begin()
        self._out.add(image)
        return image

    def played(self, image: Image, sample_id: str) -> None:
        """Note that an episode of an image has arrived."""
        del image.left[sample_id]
        image.deaths = 0
        self.writers[image.run].meter.end(sample_id)

    def ended(self, image: Image) -> None:
        """Note that a worker plays nothing more of an image; what is left of it is not played in this call."""
        self._out.discard(image)
        for sample_id in image.left:
            self.writers[image.run].meter.end(sample_id)

    def lost(self, images: Iterable[Image], *, suspected: bool) -> None:
        """Take back the images that a worker held when it died.

        Args:
            images: what it held.
            suspected: one of them may be the cause; False where its whole machine went away.
        """
        for image in images:
            self.ended(image)
            if not image.left:
                continue
            image.deaths += suspected
            (self._suspects if image.deaths else self._waiting).appendleft(image)
