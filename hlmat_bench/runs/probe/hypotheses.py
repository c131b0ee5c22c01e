"""Every way in which the two numbers of a reply can be meant, and where they point in each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core.types import Size
from hlmat_bench.points import Order, PointFormat
from hlmat_bench.points.resize import UNCHANGED, Frame, Resize

Floats: TypeAlias = NDArray[np.float64]

#: The upper numbers of the ranges that models use; 1024 is one that no point format has.
LIMITS = (1.0, 100.0, 999.0, 1000.0, 1023.0, 1024.0)

#: What a model may do with an image before it counts its pixels, besides the rules that the catalogue names.
RULES = ("square", "smart-28-3136-12845056", "smart-28-3136-1003520", "smart-32-65536-16777216")


class View(NamedTuple):
    """An image as it was asked about.

    Attributes:
        size: (height, width) of the original image.
        frame: how it was sent.
    """

    size: Size
    frame: Frame


class Layout(NamedTuple):
    """A canvas on N images.

    Attributes:
        sides: (N, 2), its width and height in its own pixels.
        upper_left, lower_right: (N, 2), where these corners are, (x, y) relative to the original image.
    """

    sides: Floats
    upper_left: Floats
    lower_right: Floats


@dataclass(frozen=True, slots=True)
class Canvas:
    """What numbers are measured on: the image as it was sent, or the original, after one more rule.

    Attributes:
        base: which of the two.
        rule: by which the model, or its service, changes it.
    """

    base: Literal["sent", "original"] = "sent"
    rule: Resize = UNCHANGED

    def lay(self, views: Sequence[View]) -> Layout:
        """How it lies on each of N images."""
        known = {view: self._on(view) for view in dict.fromkeys(views)}
        return Layout(*np.array([known[view] for view in views], dtype=float).swapaxes(0, 1))

    def __str__(self) -> str:
        image = "the image as it was sent" if self.base == "sent" else "the original image"
        if self.rule.name == "square":
            return f"{image}, padded to a square"
        return image if self.rule is UNCHANGED else f"{image}, resized by {self.rule.name}"

    def _on(self, view: View) -> tuple[tuple[float, float], ...]:
        """Its `Layout` on one image."""
        frame = self.rule.frame(view.frame.sent if self.base == "sent" else view.size)
        corners = frame.to_original(0.0, 0.0), frame.to_original(1.0, 1.0)
        if self.base == "sent":
            corners = view.frame.to_original(*corners[0]), view.frame.to_original(*corners[1])
        return (frame.sent[1], frame.sent[0]), *corners


SENT = Canvas()


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to mean two numbers.

    Attributes:
        order: which axis comes first.
        limit: the number that stands for the right or lower edge of the canvas; None: they count its pixels.
        canvas: what they are measured on.
    """

    order: Order
    limit: float | None
    canvas: Canvas = SENT

    @staticmethod
    def declared(points: PointFormat) -> Reading:
        """What a point format says."""
        return Reading(points.order, None if points.unit == "pixel" else float(points.unit[2:]))

    def places(self, numbers: Floats, views: Sequence[View]) -> Floats:
        """Where numbers point.

        Args:
            numbers: (N, 2), as they were written.
            views: the N images.

        Returns:
            (N, 2), (x, y) relative to the original image; outside [0, 1] where they point outside it.
        """
        return self.places_on(self.canvas.lay(views), numbers)

    def places_on(self, layout: Layout, numbers: Floats) -> Floats:
        """The same, for a canvas that is laid out already."""
        parts = in_order(numbers, self.order) / (layout.sides if self.limit is None else self.limit)
        return layout.upper_left + parts * (layout.lower_right - layout.upper_left)

    @property
    def unit(self) -> str:
        """The range or ``pixels``."""
        return "pixels" if self.limit is None else f"0-{self.limit:.0f}"

    def points(self) -> str | None:
        """The point format that declares it, without a syntax; None where no format has its unit."""
        if self.limit == 1024:
            return None
        return f"{self.order}pixel" if self.limit is None else f"{self.order}{self.limit:.0f}"

    def resize(self, declared: str) -> str:
        """The rule that declares its canvas, given the one that is declared now."""
        if self.canvas.rule is not UNCHANGED:
            return self.canvas.rule.name
        return declared if self.canvas.base == "sent" else UNCHANGED.name

    def __str__(self) -> str:
        return f"{self.order[0]} first, {self.unit} of {self.canvas}"


def in_order(numbers: Floats, order: Order) -> Floats:
    """Numbers as they were written, (N, 2), with x first."""
    return numbers if order == "xy" else numbers[:, ::-1]


def candidates(
    declared: Reading, numbers: Floats, views: Sequence[View], rules: Iterable[str] = ()
) -> tuple[list[Reading], Floats]:
    """All readings that differ for these answers, the declared one first, plain ones before others.

    Args:
        declared: what the model's point format says.
        numbers: (N, 2), as they were written.
        views: the N images.
        rules: names of further rules by which a model may change an image.

    Returns:
        The R readings, and where each of them points: (R, N, 2), see `Reading.places`.
    """
    found: dict[bytes, tuple[Reading, Floats]] = {}
    layouts: dict[Canvas, Layout] = {}
    for reading in (declared, *_all_readings(dict.fromkeys((*RULES, *rules)))):
        if reading.canvas not in layouts:
            layouts[reading.canvas] = reading.canvas.lay(views)
        places = reading.places_on(layouts[reading.canvas], numbers)
        found.setdefault((places.round(9) + 0.0).tobytes(), (reading, places))
    return [reading for reading, _ in found.values()], np.stack([places for _, places in found.values()])


def _all_readings(rules: Iterable[str]) -> Iterator[Reading]:
    plain = [SENT, Canvas("original")]
    squares = [Canvas(canvas.base, Resize.named("square")) for canvas in plain]
    resized = [Canvas(canvas.base, Resize.named(rule)) for canvas in plain for rule in rules]
    for order in ("xy", "yx"):
        for canvas in (*plain, *squares):
            yield from (Reading(order, limit, canvas) for limit in LIMITS)
        yield from (Reading(order, None, canvas) for canvas in (*plain, *resized))
