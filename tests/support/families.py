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
        """Return the reply that means the point (x, y) of the image that was sent, in its pixels."""
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


def _tiny(sign: str, a: float, b: float) -> str:
    return f"Current IOU: 12, {sign} point: ({a}, {b})"


def _qwen_json(sign: str, a: float, b: float) -> str:
    return f'```json\n[\n\t{{"point_2d": [{a}, {b}], "label": "{sign.lower()}"}}\n]\n```'


def _gemini_json(sign: str, a: float, b: float) -> str:
    return "```json\n" + json.dumps([{"point": [a, b], "label": sign.lower()}]) + "\n```"


def _glm(sign: str, a: float, b: float) -> str:
    thought = '<think>Perhaps {"point_2d": [3, 4], "label": "negative"}, but no.</think>'
    return f'{thought}<|begin_of_box|>{{"point_2d": [{a}, {b}], "label": "{sign.lower()}"}}<|end_of_box|>'


def _around(a: float, b: float, edge: float) -> tuple[float, ...]:
    """Make a box with that centre, as far as it fits."""
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
    """Return a service that makes an image smaller until its side and its squares, whole or not, are allowed."""

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
    Family(r"hlmat-tiny(-star)?", "xy", 1000, _tiny),
    Family("hlmat-tiny-digits", "xy", 999, _tiny),
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


@dataclass(frozen=True)
class Recorded:
    """A form of reply that a model of some entries is known to write, with values of our own.

    Attributes:
        names: which catalogue entries it is of, a regular expression.
        reply: the text.
        means: of an image of `RECORDED_SIZE`: (positive, x, y) of a click, (x0, y0, x1, y1) of a box, ``stop``, or the
            reason why it is no action.
        source: where the form, or the convention that it follows, is reported: an address or a thread.
    """

    names: str
    reply: str
    means: object
    source: str


#: (height, width): multiples of 28 and within the limits of every service, so that no rule but ``square`` changes it.
RECORDED_SIZE = (560, 840)
_ADD, _REMOVE, _BOX = (True, 420, 140), (False, 420, 140), (336, 112, 504, 168)
_SEGAGENT = (
    "https://github.com/aim-uofa/SegAgent/blob/21eca0a76a800440f3e4d8a8300b65f59f8dc782/evaltools/model_loader.py"
)
_SEGAGENT_PAPER = "https://arxiv.org/abs/2503.08625"
_QWEN_COOKBOOK = "https://github.com/QwenLM/Qwen3-VL/blob/main/cookbooks/spatial_understanding.ipynb"
_QWEN_AGENT = "https://github.com/QwenLM/Qwen3-VL/blob/main/cookbooks/computer_use.ipynb"
_INTERNVL = "https://internvl.readthedocs.io/en/latest/get_started/chat_data_format.html#grounding-detection-data"
_MOLMO = "https://github.com/allenai/molmo/blob/main/olmo/data/data_formatter.py"
_MOLMO2 = "https://github.com/allenai/molmo2/blob/main/olmo/preprocessing/point_formatter.py"
_PALIGEMMA = "https://github.com/google-research/big_vision/blob/main/big_vision/pp/proj/paligemma/segmentation.py"
_GEMINI = "https://github.com/google-gemini/cookbook/blob/main/quickstarts/Spatial_understanding.ipynb"
_OPENAI = "https://developers.openai.com/api/docs/guides/images-vision"
_CLAUDE = "https://platform.claude.com/docs/en/build-with-claude/vision-coordinates"
_UI_TARS = "https://github.com/bytedance/UI-TARS/blob/main/README_v1.md"
_GLM = "https://github.com/zai-org/GLM-V/blob/main/README.md"

RECORDED = (
    Recorded("hlmat-tiny.*", "Current IOU: 0, Positive point: (500, 250)", _ADD, "examples/tiny/tensors.py"),
    Recorded("hlmat-tiny.*", "Current IOU: 81, Negative point: (500, 250)", _REMOVE, "examples/tiny/tensors.py"),
    Recorded("hlmat-tiny.*", "Current IOU: 97, Finish", "stop", "examples/tiny/tensors.py"),
    Recorded("segagent-qwen", "Current IOU: 0, Positive point: (250, 500)", _ADD, _SEGAGENT),
    Recorded("segagent-qwen", "Current IOU: 81, Negative point: (250, 500)<|im_end|>", _REMOVE, _SEGAGENT),
    Recorded("segagent-qwen", "<ref>the mug</ref><box>(333,333),(666,666)</box>", (280, 186, 560, 373), _SEGAGENT),
    Recorded("segagent-llava", "Current mIoU: 0, Positive point: (0.25, 0.5)", _ADD, _SEGAGENT_PAPER),
    Recorded("segagent-llava", "Current mIoU: 64, Negative point: (0.250, 0.500)", _REMOVE, _SEGAGENT_PAPER),
    Recorded("segagent-llava", "Positive point: (0.25,0.5)</s>", _ADD, _SEGAGENT_PAPER),
    Recorded("qwen-vl-.*", "<ref>mug</ref><box>(400,200),(600,300)</box>", _BOX, "QwenLM/Qwen-VL README"),
    Recorded("qwen-vl-.*", "<box>(400,200),(600,300)</box> negative<|endoftext|>", _REMOVE, "QwenLM/Qwen3-VL#189"),
    Recorded(
        "qwen-vl-.*", "<ref>mug</ref><box>(400,200),(600,300)</box> positive<|im_end|>", _ADD, "QwenLM/Qwen-VL#67"
    ),
    Recorded(
        "qwen2-vl-.*",
        "<|object_ref_start|>mug<|object_ref_end|><|box_start|>(400,200),(600,300)<|box_end|><|im_end|>",
        _BOX,
        "QwenLM/Qwen3-VL#9",
    ),
    Recorded("qwen2-vl-.*", "<|box_start|>(400, 200), (600, 300)<|box_end|> negative", _REMOVE, "QwenLM/Qwen3-VL#762"),
    Recorded("qwen2-vl-.*", "<|box_start|>(500,250)<|box_end|>", _ADD, "QwenLM/Qwen3-VL#663"),
    Recorded(
        r"qwen2\.5-vl-.*",
        '```json\n[\n\t{"bbox_2d": [336, 112, 504, 168], "label": "mug"}\n]\n```',
        _BOX,
        _QWEN_COOKBOOK,
    ),
    Recorded(r"qwen2\.5-vl-.*", '[{"point_2d": [420, 140], "label": "mug"}]', _ADD, "QwenLM/Qwen3-VL#733"),
    Recorded(
        r"qwen2\.5-vl-.*",
        '<tool_call>\n{"name": "computer_use", "arguments": {"action": "left_click", "coordinate": [420, 140]}}\n'
        "</tool_call>",
        _ADD,
        _QWEN_AGENT,
    ),
    Recorded(
        r"qwen3-vl-.*|qwen3\.5-.*", '```json\n[{"point_2d": [500, 250], "label": "mug"}]\n```', _ADD, _QWEN_COOKBOOK
    ),
    Recorded(
        r"qwen3-vl-.*|qwen3\.5-.*",
        '{"point_2d": [[500, 250], [510, 260]], "label": "mug"}',
        _ADD,
        "QwenLM/Qwen3-VL#961",
    ),
    Recorded(
        r"qwen3-vl-.*|qwen3\.5-.*",
        '<tool_call>\n{"name": "click", "arguments": {"coordinate": [500, 250]}}\n</tool_call>',
        _ADD,
        "QwenLM/Qwen3-VL#1521",
    ),
    Recorded(
        r"qwen3\.5-.*",
        'Thinking Process: {"point_2d": [1, 1]}?</think>\n\n{"point_2d": [500, 250], "label": "negative"}',
        _REMOVE,
        "vllm-project/vllm#34684",
    ),
    Recorded(r"llava-1\.5-.*", "[0.40, 0.30, 0.60, 0.50]", (336, 112, 504, 280), "haotian-liu/LLaVA#606"),
    Recorded(r"llava-1\.5-.*", "The object is located at [0.40, 0.30, 0.60, 0.50].", "parse", "haotian-liu/LLaVA#863"),
    Recorded(r"llava-1\.5-.*", "Positive point: (0.5, 0.5)</s>", (True, 420, 280), "haotian-liu/LLaVA#822"),
    Recorded("llava-onevision-.*", "[0.40, 0.20, 0.60, 0.30]", _BOX, "haotian-liu/LLaVA#606"),
    Recorded(
        "llava-onevision-.*", "Negative point: (0.5, 0.25)<|im_end|>", _REMOVE, "EvolvingLMMs-Lab/LLaVA-OneVision-2#39"
    ),
    Recorded(
        "llava-onevision-.*", "The mug is at the coordinates given.", "parse", "EvolvingLMMs-Lab/LLaVA-OneVision-2#39"
    ),
    Recorded("internvl.*", "<ref>mug</ref><box>[[400, 200, 600, 300]]</box>", _BOX, _INTERNVL),
    Recorded(
        "internvl.*", "<box>[[400, 200, 600, 300], [10, 10, 20, 20]]</box> positive", _ADD, "OpenGVLab/InternVL#606"
    ),
    Recorded("internvl.*", "mug[[400, 200, 600, 300]]<|im_end|>", "parse", "OpenGVLab/InternVL#1016"),
    Recorded(
        "internvl3.5-20b-a4b",
        "<|channel|>analysis<|message|><box>[[1, 1, 9, 9]]</box>?<|end|><|start|>assistant<|channel|>final<|message|>"
        "<ref>mug</ref><box>[[400, 200, 600, 300]]</box> negative<|return|>",
        _REMOVE,
        "ml-explore/mlx-lm#1867",
    ),
    Recorded("molmo-.*", ' <point x="50.0" y="25.0" alt="mug">mug</point>', _ADD, _MOLMO),
    Recorded("molmo-.*", ' <points x1="50.0" y1="25.0" x2="9.5" y2="8.0" alt="mugs">mugs</points>', _ADD, _MOLMO),
    Recorded(
        "molmo-.*",
        'Counting the <points x1="50.0" y1="25.0" x2="9.5" y2="8.0" alt="mugs">mugs</points> shows a total of 2.',
        _ADD,
        "modelscope/ms-swift#2143",
    ),
    Recorded("molmo2-.*", '<points coords="1 1 500 250">mug</points>', _ADD, _MOLMO2),
    Recorded("molmo2-.*", '<points coords="1 1 500 250 2 910 800">mugs</points>', _ADD, _MOLMO2),
    Recorded("molmo2-.*", '<points coords="1 1 500 250">negative</points><|im_end|>', _REMOVE, _MOLMO2),
    Recorded("paligemma2-.*", "<loc0256><loc0384><loc0512><loc0640> mug", (315, 140, 526, 280), _PALIGEMMA),
    Recorded(
        "paligemma2-.*",
        "<loc0001><loc0001><loc0009><loc0009> cup ; <loc0256><loc0384><loc0512><loc0640> mug<eos>",
        (315, 140, 526, 280),
        _PALIGEMMA,
    ),
    Recorded("paligemma2-.*", "<eos>", "empty", "vllm-project/vllm#7115"),
    Recorded("gemma3-.*|gemini-.*", '```json\n[{"box_2d": [200, 400, 300, 600], "label": "mug"}]\n```', _BOX, _GEMINI),
    Recorded("gemma3-.*|gemini-.*", '[{"point": [250, 500], "label": "mug"}]', _ADD, "simonw/tools#110"),
    Recorded(
        "gemma3-.*",
        '```json\n[{"point": [250, 500], "label": "negative"}]\n```<end_of_turn>',
        _REMOVE,
        "https://huggingface.co/google/gemma-3-4b-it/discussions/38",
    ),
    Recorded("gemini-.*", 'thought\n{"point": [1, 1]}?\n[{"point": [250, 500]}]', "parse", "livekit/agents#6942"),
    Recorded(
        "gemma4-.*",
        '```json\n[{"box_2d": [200, 400, 300, 600], "label": "mug"}]\n```<turn|>',
        _BOX,
        "https://huggingface.co/blog/gemma4",
    ),
    Recorded(
        "gemma4-.*",
        '<|channel>thought\n{"point": [1, 1]}?\n<channel|>{"point": [250, 500]}',
        _ADD,
        "Blaizzy/mlx-vlm#899",
    ),
    Recorded("gemma4-.*", "<|channel>thought\n<channel|>Finish<turn|>", "stop", "mattn/tensai#249"),
    Recorded("smolvlm.*", "click(x=0.5, y=0.25)", _ADD, "https://huggingface.co/blog/smol2operator"),
    Recorded("smolvlm.*", "Positive point: (0.5, 0.25)<end_of_utterance>", _ADD, "https://huggingface.co/blog/smolvlm"),
    Recorded("smolvlm.*", " Finish.<end_of_utterance>", "stop", "https://huggingface.co/blog/smolvlm"),
    Recorded("kimi-vl-.*", "pyautogui.click(x=0.5, y=0.25)", _ADD, "MoonshotAI/Kimi-VL#22"),
    Recorded(
        "kimi-vl-.*", "◁think▷(x=0.1, y=0.1)?◁/think▷Negative point: (x=0.5, y=0.25)", _REMOVE, "MoonshotAI/Kimi-VL#22"
    ),
    Recorded("kimi-vl-.*", "[0.4, 0.2, 0.6, 0.3]", _BOX, "MoonshotAI/Kimi-VL#56"),
    Recorded("glm-.*", "<think>On it.</think><answer><|begin_of_box|>[[500,250]]<|end_of_box|></answer>", _ADD, _GLM),
    Recorded("glm-.*", "The mug is at <|begin_of_box|>[[400,200,600,300]]<|end_of_box|>.", _BOX, "zai-org/GLM-V#112"),
    Recorded("glm-.*", "<|begin_of_box|>[[400,200,600,300]]<|end_of_box|> negative", _REMOVE, "zai-org/GLM-V#114"),
    Recorded("minicpm-v-.*", "<box>400 200 600 300</box>", _BOX, "OpenBMB/MiniCPM-V#982"),
    Recorded("minicpm-v-.*", "<point>500 250</point>", _ADD, "OpenBMB/MiniCPM-V#185"),
    Recorded(
        "minicpm-v-.*", "<ref>mug</ref><box>400 200 600 300</box> negative", _REMOVE, "OpenSQZ/MiniCPM-V-CookBook#39"
    ),
    Recorded(
        "deepseek-vl2.*",
        "<|ref|>mug<|/ref|><|det|>[[400, 200, 599, 300]]<|/det|> positive<｜end▁of▁sentence｜>",
        _ADD,
        "deepseek-ai/DeepSeek-VL2#123",
    ),
    Recorded(
        "deepseek-vl2.*",
        "<|det|>[[400, 200, 599, 300], [1, 1, 9, 9]]<|/det|> negative",
        _REMOVE,
        "deepseek-ai/DeepSeek-VL2#100",
    ),
    Recorded(
        "deepseek-vl2.*", "<|ref|>mug<|/ref|><|det|>[[533, 132, 457]]<|/det|>", "parse", "deepseek-ai/DeepSeek-VL2#96"
    ),
    Recorded(
        r"ui-tars-\d+b-.*",
        "Thought: The mug (1,1) is there.\nAction: click(start_box='<|box_start|>(500,250)<|box_end|>')",
        _ADD,
        _UI_TARS,
    ),
    Recorded(r"ui-tars-\d+b-.*", "Action: click(start_box='(500,250)')", _ADD, "vllm-project/vllm#27636"),
    Recorded("ui-tars-.*", "Action: click(start_box='=')", "parse", "bytedance/UI-TARS#78"),
    Recorded("ui-tars-.*", "Thought: All is covered.\nAction: finished(content='done')", "stop", _UI_TARS),
    Recorded(r"ui-tars-1\.5-7b", "click(start_box='<|box_start|>(420,140)<|box_end|>')", _ADD, "bytedance/UI-TARS#183"),
    Recorded("gpt-.*", "Positive point: (420, 140)", _ADD, _OPENAI),
    Recorded(
        "gpt-.*",
        "I'm sorry, but I can't identify people in images.",
        "refusal",
        "https://openai.com/index/gpt-4v-system-card",
    ),
    Recorded("gpt-.*", "**Answer:** Negative point: (420, 140)", _REMOVE, "OthersideAI/self-operating-computer#102"),
    Recorded(
        "claude-.*", "Looking at the image, the handle is not covered.\n\nPositive point: (420, 140)", _ADD, _CLAUDE
    ),
    Recorded("claude-.*", "Negative point: (420.0, 140.0)", _REMOVE, "AidenAI-IO/aiden-firmware#665"),
    Recorded("claude-.*", "The mask now covers the mug.\n\nFinish", "stop", "domdomegg/computer-use-mcp#35"),
)


def family_of(entry: str) -> Family:
    """Return the one family that an entry belongs to."""
    [family] = [family for family in FAMILIES if re.fullmatch(family.names, entry)]
    return family
