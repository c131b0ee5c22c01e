"""Write drawings as SVG: inline for pages, where the style sheet colours them, and as files that need nothing else.

The project writes SVG itself because of the pages' content security policy (`templates.POLICY`): it forbids the inline
styles and scripts that plotting libraries write into theirs. Elements here have only attributes and classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from xml.etree import ElementTree

from markupsafe import Markup

from hlmat_bench.core.text import valid
from hlmat_bench.reports.pages.plots.drawing import Disc, Drawing, Group, Shape, Text
from hlmat_bench.reports.pages.plots.figure import Figure, Point
from hlmat_bench.reports.pages.plots.layout import layout, swatch
from hlmat_bench.reports.pages.plots.style import COLOURS, TEXT, Look, look

_FONTS = "Helvetica, Arial, 'DejaVu Sans', sans-serif"

Styled = Callable[[str, str, bool], dict[str, str]]  # (part, hue, pale) -> attributes


def inline(figure: Figure) -> Markup:
    """Return a figure for a page: a wide and a narrow drawing, of which the style sheet shows the one that fits.

    Texts are never scaled: they have the size of the page's text on every screen.
    """
    names = ("wide", "narrow")
    drawings = (layout(figure, width, legend=False) for width in figure.widths)
    return Markup("").join(_inline(drawing, name) for drawing, name in zip(drawings, names, strict=True))


def _inline(drawing: Drawing, name: str) -> Markup:
    root = _root(drawing, {"class": f"drawing {name}"})
    root.set("role", "group" if any(group.href for group in drawing.groups) else "img")
    for group in drawing.groups:
        parent = _group(root, group, {"class": f"hue {group.hue}" if group.hue else "hue"})
        for item in group.items:
            _item(parent, item, {"class": item.part})
    return _markup(root)


def legend_swatch(hue: str, *, area: bool) -> Markup:
    """Return the sample of a hue for the legend on a page."""
    drawing = Drawing(28, 14, "", (swatch(hue, 1, 7, area=area),))
    root = ElementTree.Element("svg", {"class": f"drawing swatch hue {hue}", "aria-hidden": "true"} | _size(drawing))
    for item in drawing.groups[0].items:
        _item(root, item, {"class": item.part})
    return _markup(root)


def file(figure: Figure) -> str:
    """Return a figure as an SVG file on white paper, with its own colours and common fonts.

    Its links are left out: they lead into a page, and a file stands alone.
    """
    drawing = layout(figure, figure.widths[0], legend=True)
    root = _root(drawing, {"xmlns": "http://www.w3.org/2000/svg", "font-family": _FONTS, "font-size": str(TEXT)})
    root.set("role", "img")
    ElementTree.SubElement(root, "title").text = drawing.title
    paper = {"width": "100%", "height": "100%", "fill": COLOURS["paper"][0]}
    ElementTree.SubElement(root, "rect", paper)
    for group in drawing.groups:
        if group.hue == "spare":
            continue
        parent = ElementTree.SubElement(root, "g", {"opacity": "0.5"} if group.pale else {})
        for item in group.items:
            _item(parent, item, _attributes(look(item.part, group.hue)))
    return valid(ElementTree.tostring(root, encoding="unicode")) + "\n"


def _attributes(how: Look) -> dict[str, str]:
    found = {"fill": how.fill or "none"}
    if how.stroke:
        found |= {"stroke": how.stroke, "stroke-width": f"{how.width:g}"}
    if how.dash:
        found["stroke-dasharray"] = " ".join(f"{length:g}" for length in how.dash)
    if how.opacity < 1:
        found["opacity"] = f"{how.opacity:g}"
    if how.bold:
        found["font-weight"] = "bold"
    return found


def _root(drawing: Drawing, attributes: dict[str, str]) -> ElementTree.Element:
    return ElementTree.Element("svg", attributes | _size(drawing) | {"aria-label": drawing.title})


def _size(drawing: Drawing) -> dict[str, str]:
    width, height = str(drawing.width), str(drawing.height)
    return {"width": width, "height": height, "viewBox": f"0 0 {width} {height}"}


def _group(root: ElementTree.Element, group: Group, attributes: dict[str, str]) -> ElementTree.Element:
    if group.pale:
        attributes["class"] += " pale"
    if group.key:
        attributes["data-key"] = group.key
    element = ElementTree.SubElement(root, "g", attributes)
    parent = element
    if group.href:
        parent = ElementTree.SubElement(element, "a", {"href": group.href, "aria-label": group.title})
    if group.title:
        ElementTree.SubElement(parent, "title").text = group.title
    return parent


def _item(parent: ElementTree.Element, item: Shape | Disc | Text, attributes: dict[str, str]) -> None:
    if isinstance(item, Text):
        place = {"x": _px(item.at[0]), "y": _px(item.at[1])}
        anchor = {"text-anchor": item.anchor} if item.anchor != "start" else {}
        ElementTree.SubElement(parent, "text", attributes | place | anchor).text = item.text
    elif isinstance(item, Disc):
        place = {"cx": _px(item.centre[0]), "cy": _px(item.centre[1]), "r": f"{item.radius:g}"}
        circle = ElementTree.SubElement(parent, "circle", attributes | place)
        if item.title:
            ElementTree.SubElement(circle, "title").text = item.title
    else:
        tag = "polygon" if item.closed else "polyline"
        ElementTree.SubElement(parent, tag, attributes | {"points": _points(item.points)})


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{_px(x)},{_px(y)}" for x, y in points)


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _markup(svg: ElementTree.Element) -> Markup:
    # Markup is not escaped again. That is safe: ElementTree escapes every text and attribute.
    return Markup(ElementTree.tostring(svg, encoding="unicode", short_empty_elements=False))
