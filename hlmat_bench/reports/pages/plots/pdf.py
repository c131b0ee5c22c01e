"""Write drawings as PDF, with reportlab: pure Python, and equal figures give equal bytes.

The fonts are reportlab's Bitstream Vera, and only the letters used are embedded, as journals ask. A letter that they do
not have is written as a question mark; the SVG file and the pgfplots source have all letters.
"""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING

from hlmat_bench.reports.pages.plots.drawing import Disc, Shape, Text
from hlmat_bench.reports.pages.plots.figure import Figure
from hlmat_bench.reports.pages.plots.layout import layout
from hlmat_bench.reports.pages.plots.style import TEXT, look, text_width

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

#: Points per CSS pixel.
_SCALE = 0.75


def file(figure: Figure) -> bytes:
    """Return a figure as a PDF of one page that has the drawing's size; the same as its SVG file."""
    from reportlab.pdfgen.canvas import Canvas

    drawing = layout(figure, figure.widths[0], legend=True)
    data = io.BytesIO()
    size = (drawing.width * _SCALE, drawing.height * _SCALE)
    canvas = Canvas(data, pagesize=size, invariant=1, pageCompression=1)
    canvas.setTitle(drawing.title)
    canvas.scale(_SCALE, _SCALE)
    canvas.translate(0, drawing.height)
    canvas.setLineJoin(1)
    for group in drawing.groups:
        if group.hue == "spare":
            continue
        for item in group.items:
            _item(canvas, item, group.hue, 0.5 if group.pale else 1.0)
    canvas.save()
    return data.getvalue()


def _item(canvas: Canvas, item: Shape | Disc | Text, hue: str, opacity: float) -> None:
    how = look(item.part, hue)
    if how.fill:
        canvas.setFillColor(how.fill, alpha=how.opacity * opacity)
    if how.stroke:
        canvas.setStrokeColor(how.stroke, alpha=how.opacity * opacity)
        canvas.setLineWidth(how.width)
        canvas.setDash(list(how.dash))
    drawn = {"fill": int(how.fill is not None), "stroke": int(how.stroke is not None)}
    if isinstance(item, Text):
        _text(canvas, item, bold=how.bold)
    elif isinstance(item, Disc):
        canvas.circle(item.centre[0], -item.centre[1], item.radius, **drawn)
    else:
        path = canvas.beginPath()
        path.moveTo(item.points[0][0], -item.points[0][1])
        for x, y in item.points[1:]:
            path.lineTo(x, -y)
        if item.closed:
            path.close()
        canvas.drawPath(path, **drawn)


def _text(canvas: Canvas, item: Text, *, bold: bool) -> None:
    regular, strong, letters = _fonts()
    text = "".join(letter if ord(letter) in letters else "?" for letter in item.text)
    font = strong if bold else regular
    wide = canvas.stringWidth(text, font, TEXT)
    # Vera is a broad font: where a text needs more room than the drawing has for it, it is set a little smaller.
    size = TEXT * min(1.0, text_width(item.text, bold=bold) / wide) if wide else TEXT
    canvas.setFont(font, size)
    draw = {"start": canvas.drawString, "middle": canvas.drawCentredString, "end": canvas.drawRightString}
    draw[item.anchor](item.at[0], -item.at[1], text)


@cache
def _fonts() -> tuple[str, str, frozenset[int]]:
    """Register the fonts, and return their names and the letters that both have."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    regular, bold = TTFont("Vera", "Vera.ttf"), TTFont("VeraBd", "VeraBd.ttf")
    pdfmetrics.registerFont(regular)
    pdfmetrics.registerFont(bold)
    return "Vera", "VeraBd", frozenset(regular.face.charToGlyph) & frozenset(bold.face.charToGlyph)
