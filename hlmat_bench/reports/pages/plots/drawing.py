"""A drawing: shapes and texts in pixels, which pages and files draw alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hlmat_bench.reports.pages.plots.figure import Point

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Shape:
    """A line through points, or an area if it is closed."""

    part: str
    points: tuple[Point, ...]
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Disc:
    """A circle."""

    part: str
    centre: Point
    radius: float
    title: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text, with the place of its baseline."""

    part: str
    at: Point
    text: str
    anchor: Anchor = "start"


@dataclass(frozen=True, slots=True)
class Group:
    """What belongs to one mark.

    Attributes:
        items: in the order of drawing.
        hue: name in `style.HUES`.
        title: tooltip, and name of the link.
        href: address; empty: none.
        key: for scripts; empty: none.
        pale: whether it is drawn pale.
    """

    items: tuple[Shape | Disc | Text, ...]
    hue: str = ""
    title: str = ""
    href: str = ""
    key: str = ""
    pale: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """Groups on a sheet of a width and a height in pixels, y downwards."""

    width: int
    height: int
    title: str
    groups: tuple[Group, ...]
