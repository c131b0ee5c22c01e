"""How each family of models writes a point, kept apart from the catalogue: what its entries are tested against.

Every fact here is from the families' own documentation (see docs/models.md), and no code of the package is used.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

Size = tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class Family:
    """One way to answer.

    Attributes:
        names: which catalogue entries belong to it, a regular expression.
        order: the axis written first.
        unit: the number at the right or lower edge; None counts pixels of what the model sees.
        say: from the sign and the two numbers to the reply.
        digits: decimals of a number.
        sees: from the size of what is sent to the size that the model makes of it.
        crops: it sees the middle square of what is sent.
    """

    names: str
    order: str
    unit: float | None
    say: Callable[[str, float, float], str]
    digits: int = 0
    sees: Callable[[Size], Size] = lambda size: size
    crops: bool = False

    def answer(self, sign: str, x: float, y: float, sent: Size) -> str:
        """The reply that means the point (x, y) of the image that was sent, in its pixels."""
        height, width = sent
        if self.crops:
            side = min(sent)
            x, y, height, width = x - (width - side) / 2, y - (height - side) / 2, side, side
        seen_height, seen_width = self.sees((height, width))
        u, v = x / width * (self.unit or seen_width), y / height * (self.unit or seen_height)
        first, second = (u, v) if self.order == "xy" else (v, u)
        return self.say(sign, round(first, self.digits or None), round(second, self.digits or None))

    def step(self, sent: Size) -> float:
        """How coarse its numbers are, relative to the side of the image."""
        return 0.5 * 10**-self.digits / (self.unit or min(sent))


def _text(sign: str, a: float, b: float) -> str:
    return f"{sign} point: ({a}, {b})"


def _segagent(sign: str, a: float, b: float) -> str:
    return f"Current IOU: 12, {sign} point: ({a}, {b})<|im_end|>"


def _qwen_json(sign: str, a: float, b: float) -> str:
    return f'```json\n[\n\t{{"point_2d": [{a}, {b}], "label": "{sign.lower()}"}}\n]\n```'


def _gemini_json(sign: str, a: float, b: float) -> str:
    return "```json\n" + json.dumps([{"point": [a, b], "label": sign.lower()}]) + "\n```"


def _glm(sign: str, a: float, b: float) -> str:
    thought = '<think>Perhaps {"point_2d": [3, 4], "label": "negative"}, but no.</think>'
    return f'{thought}<|begin_of_box|>{{"point_2d": [{a}, {b}], "label": "{sign.lower()}"}}<|end_of_box|>'


def _around(a: float, b: float, edge: float) -> tuple[float, ...]:
    """A box with that centre, as far as it fits."""
    half = min(40.0, a, b, edge - a, edge - b)
    return a - half, b - half, a + half, b + half


def _qwen_box(sign: str, a: float, b: float) -> str:
    left, top, right, bottom = _around(a, b, 1000)
    return f"<ref>the object</ref><box>({left:.0f},{top:.0f}),({right:.0f},{bottom:.0f})</box> {sign.lower()}"


def _internvl_box(sign: str, a: float, b: float) -> str:
    return f"<ref>the object</ref><box>[[{', '.join(f'{n:.0f}' for n in _around(a, b, 1000))}]]</box> {sign.lower()}"


def _det(sign: str, a: float, b: float) -> str:
    numbers = ", ".join(f"{n:.0f}" for n in _around(a, b, 999))
    return f"<|ref|>the object<|/ref|><|det|>[[{numbers}]]<|/det|> {sign.lower()}"


def _loc(sign: str, a: float, b: float) -> str:
    return "".join(f"<loc{n:04.0f}>" for n in _around(a, b, 1023)) + " the object"


def _molmo(sign: str, a: float, b: float) -> str:
    return f' <point x="{a}" y="{b}" alt="{sign.lower()}">{sign.lower()}</point>'


def _molmo2(sign: str, a: float, b: float) -> str:
    return f'<points coords="1 1 {a:03d} {b:03d}">{sign.lower()}</points>'


def _minicpm(sign: str, a: float, b: float) -> str:
    return f"<point>{a} {b}</point> {sign.lower()}"


def _smart(factor: int, least: int, most: int) -> Callable[[Size], Size]:
    def sees(size: Size) -> Size:
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        height, width = smart_resize(*size, factor, least, most)
        return int(height), int(width)

    return sees


def _within(longest: int, squares: int, square: int) -> Callable[[Size], Size]:
    """A service that makes an image smaller until its side and its number of whole and partial squares are allowed."""

    def fits(height: int, width: int) -> bool:
        return max(height, width) <= longest and math.ceil(height / square) * math.ceil(width / square) <= squares

    def sees(size: Size) -> Size:
        scale = 1.0
        while not fits(*(round(side * scale) for side in size)):
            scale -= 0.001
        return round(size[0] * scale), round(size[1] * scale)

    return sees


def _tiles(size: Size) -> Size:
    """Within a square of 2048, then the shorter side at most 768."""
    scale = min(1, 2048 / max(size))
    scale = min(scale, 768 / min(size))
    return round(size[0] * scale), round(size[1] * scale)


FAMILIES = (
    Family(r"segagent-qwen", "yx", 1000, _segagent),
    Family(r"segagent-llava", "yx", 1, _segagent, digits=3),
    Family(r"qwen-vl-(chat|base)", "xy", 1000, _qwen_box),
    Family(r"qwen2-vl-\d+b|ui-tars-\d+b-(sft|dpo)", "xy", 1000, _text),
    Family(r"qwen2\.5-vl-\d+b", "xy", None, _qwen_json, sees=_smart(28, 3136, 12845056)),
    Family(r"qwen3-vl-.*|qwen3\.5-.*", "xy", 1000, _qwen_json),
    Family(r"llava-1\.5-\d+b", "xy", 1, _text, digits=3, crops=True),
    Family(r"llava-onevision-[\d.]+b|smolvlm2?-.*|kimi-vl-.*", "xy", 1, _text, digits=3),
    Family(r"internvl(2\.5|3|3\.5)-.*", "xy", 1000, _internvl_box),
    Family(r"molmo-.*", "xy", 100, _molmo, digits=1),
    Family(r"molmo2-.*", "xy", 1000, _molmo2),
    Family(r"paligemma2-.*", "yx", 1023, _loc),
    Family(r"gemma[34]-.*|gemini-.*", "yx", 1000, _gemini_json),
    Family(r"glm-.*", "xy", 1000, _glm),
    Family(r"minicpm-v-.*", "xy", 1000, _minicpm),
    Family(r"deepseek-vl2.*", "xy", 999, _det),
    Family(r"ui-tars-1\.5-7b", "xy", None, _text, sees=_smart(28, 78400, 12845056)),
    Family(r"gpt-4o|gpt-4\.1|gpt-5\.1", "xy", None, _text, sees=_tiles),
    Family(r"gpt-5\.2", "xy", None, _text, sees=_within(2048, 10**9, 32)),
    Family(r"gpt-5\.4.*|gpt-5\.5", "xy", None, _text, sees=_within(6000, 10_000, 32)),
    Family(r"gpt-5\.6-.*|gpt-6.*", "xy", None, _text),
    Family(
        r"claude-(fable-5\.1|opus-(5\.5|5|4\.8|4\.7)|sonnet-(5\.5|5))", "xy", None, _text, sees=_within(2576, 4784, 28)
    ),
    Family(r"claude-(sonnet-4\.6|opus-4\.6|haiku-4\.5)", "xy", None, _text, sees=_within(1568, 1568, 28)),
)


def family_of(entry: str) -> Family:
    """The one family that an entry belongs to."""
    [family] = [family for family in FAMILIES if re.fullmatch(family.names, entry)]
    return family
