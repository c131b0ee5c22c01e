"""Colours and line styles of pages and plots, stated once: `css` writes them for pages, `look` resolves them for files.

A plot is made of parts (a line, a band, the text of a tick), and what belongs together has a hue. Hues differ in
lightness, dashes or hatching as well as in colour, so that they can be told apart without seeing colours.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

#: Size of all text in plots, in CSS pixels: the size of the text of pages.
TEXT = 15
#: Distance of two lines of text.
LEADING = 18

#: Colours of pages by the name of their CSS variable: light, dark.
COLOURS = {
    "paper": ("#ffffff", "#111318"),
    "card": ("#ffffff", "#171a21"),
    "tint": ("#f6f7f9", "#1c2029"),
    "ink": ("#15171c", "#e9ebf0"),
    "soft": ("#5a6070", "#a4abba"),
    "line": ("#e3e6eb", "#2b303b"),
    "strong-line": ("#8a90a0", "#747c8e"),
    "accent": ("#2447c6", "#93b0ff"),
    "accent-soft": ("#e9eefc", "#222b45"),
    "on-accent": ("#ffffff", "#10131a"),
    "good": ("#0b6b50", "#5fd3b0"),
    "bad": ("#a8321b", "#ff9a85"),
    "warn-soft": ("#fdf3dc", "#352c15"),
    "too-much": ("#b84c00", "#ff9a4d"),
    "missing": ("#4b3cc8", "#a79bff"),
}


@dataclass(frozen=True, slots=True)
class Hue:
    """What tells one thing in a plot from another.

    Attributes:
        light, dark: its colour on light and on dark pages.
        on: colour of text on an area of this hue; the same on both.
        dash: lengths of dashes and gaps of its lines, in pixels; empty: solid.
        hatch: direction of the hatching of its areas; None: none.
    """

    light: str
    dark: str
    on: str = "#ffffff"
    dash: tuple[float, ...] = ()
    hatch: Literal["rising", "falling"] | None = None


HUES = {
    "": Hue("#15171c", "#e9ebf0"),
    "s0": Hue("#2447c6", "#93b0ff"),
    "s1": Hue("#b3480b", "#ffab70", dash=(7, 4)),
    "s2": Hue("#0b7560", "#5fd3bb", dash=(2, 3)),
    "s3": Hue("#8a3aa8", "#d9a3ee", dash=(9, 3, 2, 3)),
    "s4": Hue("#5c6470", "#b5bcc9", dash=(4, 2)),
    "spare": Hue("#5c6470", "#b5bcc9"),
    "ceiling": Hue("#5a6070", "#a4abba", dash=(6, 3)),
    "floor": Hue("#5a6070", "#a4abba", dash=(2, 3)),
    "oracle": Hue("#b84c00", "#ff9a4d", dash=(4, 3)),
    "censored": Hue("#c3c8d2", "#c3c8d2", "#15171c", hatch="rising"),
    # What a click did: green is good, warm colours are wrong clicks, violet and grey are no clicks.
    "helped": Hue("#0b7a5c", "#0b7a5c"),
    "no-effect": Hue("#9fd3c3", "#9fd3c3", "#15171c", hatch="rising"),
    "wrong-sign": Hue("#b83a08", "#b83a08"),
    "off-object": Hue("#f2994a", "#f2994a", "#15171c"),
    "already-covered": Hue("#f6d08a", "#f6d08a", "#15171c", hatch="falling"),
    "invalid-reply": Hue("#6b2d8f", "#6b2d8f"),
    "refusal": Hue("#c9a3e0", "#c9a3e0", "#15171c", hatch="rising"),
    "request-failed": Hue("#4a4f5c", "#4a4f5c"),
    "stopped": Hue("#c3c8d2", "#c3c8d2", "#15171c"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """How a part of a plot is drawn; colours are names in `COLOURS`, or ``own`` or ``on`` for those of its hue."""

    fill: str | None = None
    stroke: str | None = None
    width: float = 1.0
    opacity: float = 1.0
    bold: bool = False
    dashed: bool = False


PARTS = {
    "grid": Part(stroke="line"),
    "base": Part(stroke="strong-line"),
    "zero": Part(stroke="strong-line", width=1.5),
    "leader": Part(stroke="strong-line", width=0.8),
    "line": Part(stroke="own", width=2.2, dashed=True),
    "rule": Part(stroke="own", width=1.5, dashed=True),
    "band": Part(fill="own", opacity=0.16),
    "mark": Part(fill="own"),
    "dot": Part(fill="own", stroke="card"),
    "whisker": Part(stroke="own", width=2.2),
    "box": Part(fill="own", stroke="card"),
    "hatch": Part(stroke="on", width=1.0, opacity=0.45),
    "tick": Part(fill="soft"),
    "axis": Part(fill="soft"),
    "row": Part(fill="ink"),
    "label": Part(fill="own"),
    "lead": Part(fill="own", bold=True),
    "inside": Part(fill="on"),
}


@dataclass(frozen=True, slots=True)
class Look:
    """A part of a hue on white paper, with every colour as ``#rrggbb``; see `Part`."""

    fill: str | None
    stroke: str | None
    width: float
    opacity: float
    bold: bool
    dash: tuple[float, ...]


def look(part: str, hue: str) -> Look:
    """Return how files draw a part of a plot."""
    how, own = PARTS[part], HUES[hue]
    colours = {name: light for name, (light, _) in COLOURS.items()} | {"own": own.light, "on": own.on}
    fill, stroke = (colours[name] if name else None for name in (how.fill, how.stroke))
    return Look(fill, stroke, how.width, how.opacity, how.bold, own.dash if how.dashed else ())


def css() -> str:
    """Return the style sheet of colours and plots, for light and dark pages."""
    lines = [
        "/* Written by hlmat_bench/reports/pages/plots/style.py: colours of pages, parts and hues of plots. */",
        ":root {",
    ]
    lines += [f"  --{name}: light-dark({light}, {dark});" for name, (light, dark) in COLOURS.items()]
    lines += [f"  --{name}: light-dark({hue.light}, {hue.dark});" for name, hue in HUES.items() if name]
    lines += ["}", ".drawing { --own: var(--ink); }", f".drawing text {{ font-size: {TEXT}px; }}"]
    for name, hue in HUES.items():
        if name:
            lines.append(f".hue.{name} {{ --own: var(--{name}); --on: {hue.on}; }}")
        if hue.dash:
            dashed = ", ".join(f".hue.{name} .{part}" for part, how in PARTS.items() if how.dashed)
            lines.append(f"{dashed} {{ stroke-dasharray: {' '.join(f'{length:g}' for length in hue.dash)}; }}")
    lines += [f".drawing .{name} {{ {_rules(part)} }}" for name, part in PARTS.items()]
    return "\n".join(lines) + "\n"


def _rules(part: Part) -> str:
    rules = [f"fill: {f'var(--{part.fill})' if part.fill else 'none'}"]
    if part.stroke:
        rules += [f"stroke: var(--{part.stroke})", f"stroke-width: {part.width:g}px"]
    if part.opacity < 1:
        rules.append(f"opacity: {part.opacity:g}")
    if part.bold:
        rules.append("font-weight: 650")
    return "; ".join(rules)


# Widths of letters in ems, a little above those of common sans-serif fonts, so that a text never needs more room.
_NARROW, _MEDIUM, _BROAD = frozenset("ijl.,:;'|!I"), frozenset(" ()[]{}frt-/\\·"), frozenset("mwMW%@…—")


def text_width(text: str, *, bold: bool = False) -> float:
    """Return how wide a text of size `TEXT` may be, in pixels, for the fonts that pages and files use."""
    return sum(map(_letter_width, text)) * TEXT * (1.16 if bold else 1.0)


def _letter_width(letter: str) -> float:
    if letter in _NARROW:
        return 0.32
    if letter in _MEDIUM:
        return 0.42
    if letter in _BROAD:
        return 0.98
    if unicodedata.combining(letter):
        return 0.0
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.05
    return 0.7 if letter.isupper() else 0.62


def shorten(text: str, room: float, *, bold: bool = False) -> str:
    """Return a text, cut with an ellipsis so that it fits into a number of pixels."""
    if text_width(text, bold=bold) <= room:
        return text
    while text and text_width(text + "…", bold=bold) > room:
        text = text[:-1]
    return text.rstrip() + "…"


def wrap(text: str, room: float, most: int = 3) -> list[str]:
    """Return a text as at most ``most`` lines that fit into a number of pixels; the last one is cut where needed."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer) > room and len(lines) < most:
            lines.append(word)
        else:
            lines[-1] = longer
    return [shorten(line, room) for line in lines]
