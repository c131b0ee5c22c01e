"""Conventions: what the two numbers of a reply can mean, and where they point under each convention."""

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

#: The upper limits of the ranges that models use; no point format has 1024.
LIMITS = (1.0, 100.0, 999.0, 1000.0, 1023.0, 1024.0)

#: Resize rules that a model may apply before it counts pixels, in addition to those of the catalogue.
RULES = ("square", "smart-28-3136-12845056", "smart-28-3136-1003520", "smart-32-65536-16777216")


class SentImage(NamedTuple):
    """The size of an image and its transformation before it was sent.

    Attributes:
        size: (height, width) of the original image.
        frame: the transformation.
    """

    size: Size
    frame: Frame


class Layout(NamedTuple):
    """The size and position of a canvas on N images.

    Attributes:
        sides: (N, 2), width and height of the canvas in its own pixels.
        upper_left, lower_right: (N, 2), corners of the canvas, (x, y) as fractions of the original image's sides.
    """

    sides: Floats
    upper_left: Floats
    lower_right: Floats


@dataclass(frozen=True, slots=True)
class Canvas:
    """The rectangle on which coordinates are measured: the sent or the original image, after one more resize rule.

    Attributes:
        base: the sent or the original image.
        rule: resize rule that the model, or its service, applies to it.
    """

    base: Literal["sent", "original"] = "sent"
    rule: Resize = UNCHANGED

    def layout(self, images: Sequence[SentImage]) -> Layout:
        """Return the size and position of the canvas on N images."""
        known = {image: self._on(image) for image in dict.fromkeys(images)}
        return Layout(*np.array([known[image] for image in images], dtype=float).swapaxes(0, 1))

    def __str__(self) -> str:
        image = "the image as it was sent" if self.base == "sent" else "the original image"
        if self.rule.name == "square":
            return f"{image}, padded to a square"
        return image if self.rule is UNCHANGED else f"{image}, resized by {self.rule.name}"

    def _on(self, image: SentImage) -> tuple[tuple[float, float], ...]:
        """Return the three fields of `Layout` for one image."""
        frame = self.rule.frame(image.frame.sent if self.base == "sent" else image.size)
        corners = frame.to_original(0.0, 0.0), frame.to_original(1.0, 1.0)
        if self.base == "sent":
            corners = image.frame.to_original(*corners[0]), image.frame.to_original(*corners[1])
        return (frame.sent[1], frame.sent[0]), *corners


SENT = Canvas()


@dataclass(frozen=True, slots=True)
class Convention:
    """A meaning of two numbers.

    Attributes:
        order: the order of the axes.
        limit: the number for the right or lower edge of the canvas; None: the numbers count pixels of the canvas.
        canvas: the rectangle on which the numbers are measured.
    """

    order: Order
    limit: float | None
    canvas: Canvas = SENT

    @staticmethod
    def declared(points: PointFormat) -> Convention:
        """Return the convention of a point format."""
        return Convention(points.order, None if points.unit == "pixel" else float(points.unit[2:]))

    def places(self, numbers: Floats, images: Sequence[SentImage]) -> Floats:
        """Return the positions to which numbers point.

        Args:
            numbers: (N, 2), in the order in which they were written.
            images: the N images.

        Returns:
            (N, 2), (x, y) as fractions of the original image's sides; outside [0, 1] for positions outside the image.
        """
        return self.places_on(self.canvas.layout(images), numbers)

    def places_on(self, layout: Layout, numbers: Floats) -> Floats:
        """Return what `places` returns, given the layout of the canvas, which several conventions share."""
        parts = in_order(numbers, self.order) / (layout.sides if self.limit is None else self.limit)
        return layout.upper_left + parts * (layout.lower_right - layout.upper_left)

    @property
    def unit(self) -> str:
        """The range, such as ``0-1000``, or ``pixels``."""
        return "pixels" if self.limit is None else f"0-{self.limit:.0f}"

    def points(self) -> str | None:
        """Return the name of the point format with this convention, without a syntax; None if there is none."""
        if self.limit == 1024:
            return None
        return f"{self.order}pixel" if self.limit is None else f"{self.order}{self.limit:.0f}"

    def resize(self, declared: str) -> str:
        """Return the name of the resize rule that declares this canvas, given the rule that is declared now."""
        if self.canvas.rule is not UNCHANGED:
            return self.canvas.rule.name
        return declared if self.canvas.base == "sent" else UNCHANGED.name

    def __str__(self) -> str:
        return f"{self.order[0]} first, {self.unit} of {self.canvas}"


def in_order(numbers: Floats, order: Order) -> Floats:
    """Reorder numbers (N, 2) that were written in this order to (x, y)."""
    return numbers if order == "xy" else numbers[:, ::-1]


def candidates(
    declared: Convention, numbers: Floats, images: Sequence[SentImage], rules: Iterable[str] = ()
) -> tuple[list[Convention], Floats]:
    """Return all conventions that differ for these answers, the declared one first, simple ones before others.

    Args:
        declared: the convention of the model's point format.
        numbers: (N, 2), in the order in which they were written.
        images: the N images.
        rules: names of further resize rules that a model may apply.

    Returns:
        The R conventions, and the positions under each of them, (R, N, 2), see `Convention.places`.
    """
    # Conventions with the same positions for all answers cannot be distinguished: only the first of them is kept.
    found: dict[bytes, tuple[Convention, Floats]] = {}
    layouts: dict[Canvas, Layout] = {}
    for convention in (declared, *_all_conventions(dict.fromkeys((*RULES, *rules)))):
        if convention.canvas not in layouts:
            layouts[convention.canvas] = convention.canvas.layout(images)
        places = convention.places_on(layouts[convention.canvas], numbers)
        found.setdefault((places.round(9) + 0.0).tobytes(), (convention, places))
    return [convention for convention, _ in found.values()], np.stack([places for _, places in found.values()])


def _all_conventions(rules: Iterable[str]) -> Iterator[Convention]:
    plain = [SENT, Canvas("original")]
    squares = [Canvas(canvas.base, Resize.named("square")) for canvas in plain]
    resized = [Canvas(canvas.base, Resize.named(rule)) for canvas in plain for rule in rules]
    for order in ("xy", "yx"):
        for canvas in (*plain, *squares):
            yield from (Convention(order, limit, canvas) for limit in LIMITS)
        yield from (Convention(order, None, canvas) for canvas in (*plain, *resized))
