"""Replies as models and servers really send them: what each means, and that nothing in doubt is ever a click."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.actions import parse, write
from hlmat_bench.clicks import Click
from hlmat_bench.points import PointFormat
from hlmat_bench.points.syntaxes import SYNTAXES

SIZE = (480, 640)
#: The middle of a picture's width and the upper quarter of its height, in `SIZE`.
ADD, REMOVE = (True, 320, 120), (False, 320, 120)


def _is(form: str, reply: str, wanted: object) -> None:
    action = parse(reply, PointFormat.named(form), SIZE)
    got: object = tuple(action.click) if action.kind == "click" else action.reason or action.kind
    assert got == wanted, (form, reply, action)


THOUGHTS = [
    ("yx1000-json", '<|channel>thought\n{"point": [100, 100], "label": "positive"}?\n<channel|>Finish', "stop"),
    ("yx1000-json", '<|channel>thought\n<channel|>{"point": [250, 500], "label": "positive"}', ADD),
    ("yx1000-json", 'thought\n{"point": [100, 100], "label": "positive"}?\nFinish', "parse"),
    ("yx1000-json", 'thought\n```json\n[{"point": [250, 500], "label": "negative"}]\n```', REMOVE),
    ("xy1000", "<unused94>thought\nPositive point: (1, 1)?<unused95>Negative point: (500, 250)", REMOVE),
    ("xy1000", "<unused94>thought\nPositive point: (1, 1)? Perhaps", "parse"),
    ("xy1000", "[THINK]Positive point: (1, 1)[/THINK]Negative point: (500, 250)", REMOVE),
    ("xy1000", "[THINK]Positive point: (1, 1)", "parse"),
    ("xy1000", "Positive point: (1, 1)[/THINK]Finish", "stop"),
    ("xy1000", "<seed:think>Positive point: (1, 1)</seed:think>Negative point: (500, 250)", REMOVE),
    ("xy1000", "<reasoning>Positive point: (1, 1)</reasoning>\nFinish", "stop"),
    ("xy1000", "<thinking>Positive point: (1, 1)</thinking><answer>Negative point: (500, 250)</answer>", REMOVE),
    ("xy1000", "<|begin_of_thought|>Positive point: (1, 1)<|end_of_thought|>Finish", "stop"),
    ("xy1000", "<|START_THINKING|>Positive point: (1, 1)<|END_THINKING|>Finish", "stop"),
    ("xy1000", "◁think▷Positive point: (1, 1)", "parse"),
    ("xy1000-json", '<think>{"point": [1, 1]}<think>{"point": [2, 2]}</think>{"point": [3, 3]}</think>Finish', "stop"),
    ("xy1000-json", '<answer>{"point": [1, 1]}</answer> No: <answer>{"point": [500, 250]}</answer>', ADD),
    ("xy1000-json", 'Draft: {"point": [1, 1]}\nFinal answer: {"point": [500, 250], "label": "positive"}', ADD),
    ("xy1000", "Thought: maybe Positive point: (1, 1)\nAction: wait()", "parse"),
    (
        "xy1000-box",
        "<|channel|>analysis<|message|><box>(1,1)</box> positive?<|end|><|start|>assistant<|channel|>final<|message|>"
        "<box>[[400, 200, 600, 300]]</box> negative<|return|>",
        REMOVE,
    ),
    ("xy1000-box", "<|channel|>analysis<|message|><box>(500,250)</box> positive", "parse"),
    ("xy1000-box", "<|channel|>commentary to=functions.click<|message|><box>(500,250)</box> positive<|call|>", "parse"),
    ("xy1000-box", "<box>(1,1)</box>?<|end|><|start|>assistant<|channel|>final<|message|>Finish<|return|>", "stop"),
    ("xy1000-json", '<|channel|>final <|constrain|>json<|message|>{"point": [500, 250], "label": "positive"}', ADD),
    ("xy1000", "analysisMaybe Positive point: (1, 1).assistantfinalNegative point: (500, 250)", REMOVE),
    ("xy1000", "analysisMaybe Positive point: (500, 250) is on it.", "parse"),
    ("xy1000", "Thinking...\nPositive point: (1, 1)\n...done thinking.\nFinish", "stop"),
    ("xy1000", '<details type="reasoning">\n> Positive point: (1, 1)\n</details>\nFinish', "stop"),
    ("xy1000", "Reasoning: Positive point: (1, 1) would be wrong.\n**Answer**: Finish", "stop"),
    ("xy1000", "A Positive point: (1, 1) is not needed.\nFinish", "parse"),
    ("xy1000-json", 'Not {"point": [1, 1]}.\nAnswer: {"point": [500, 250], "label": "negative"}', REMOVE),
]

SIGNS = [
    *[("xy1000-json", f'{{"point_2d": [500, 250], "label": {label}}}', wanted) for label, wanted in (
        ("1", ADD), ("0", REMOVE), ("-1", REMOVE), ('"1"', ADD), ('"0"', REMOVE), ('"-1"', REMOVE), ("7", "parse"),
        ('"foreground"', ADD), ('"background"', REMOVE), ('"fg"', ADD), ('"bg"', REMOVE), ('"pos"', ADD),
        ('"neg"', REMOVE), ('"+"', ADD), ('"-"', REMOVE), ('"include"', ADD), ('"exclude"', REMOVE), ('"add"', ADD),
        ('"remove"', REMOVE), ('"positive_point"', ADD), ('"negative_point"', REMOVE), ('"NEGATIVE"', REMOVE),
        ('"Negative click."', REMOVE), ('"not negative"', "parse"), ('"non-positive"', "parse"), ('"the dog"', ADD),
        ('"the dog in the background"', ADD), ('"正"', ADD), ('"负"', REMOVE), ('"正点"', ADD), ('"负样本点"', REMOVE),
        ('"前景"', ADD), ('"背景"', REMOVE), ('"positivo"', ADD), ('"negativo"', REMOVE), ('"négatif"', REMOVE),
        ('"positive or negative"', "parse"), ("true", ADD), ("false", REMOVE),
    )],
    *[("xy1000-json", f'{{"point_2d": [500, 250], {field}}}', wanted) for field, wanted in (
        ('"is_positive": true', ADD), ('"is_positive": false', REMOVE), ('"isPositive": false', REMOVE),
        ('"positive": 0', REMOVE), ('"positive": 1', ADD), ('"positive": "false"', REMOVE),
        ('"positive": "no"', REMOVE),
        ('"positive": "maybe"', "parse"), ('"positive": null', ADD), ('"negative": false', ADD),
        ('"negative": true', REMOVE), ('"negative": null', "parse"), ('"is_foreground": false', REMOVE),
        ('"background": true', REMOVE), ('"sign": "unsure"', "parse"),
        ('"sign": "?"', "parse"), ('"positive": -1', "parse"), ('"type": "neutral"', "parse"),
        ('"type": "point"', ADD), ('"type": "point", "label": "negative"', REMOVE), ('"action": "left_click"', ADD),
        ('"action": "right_click"', "parse"), ('"polarity": "-"', REMOVE), ('"kind": "subtract"', REMOVE),
        ('"type": "positive", "label": "negative"', "parse"), ('"labels": [0]', REMOVE), ('"sign": -1', REMOVE),
        ('"label": "dog", "note": "not a negative one"', "parse"),
    )],
    ("xy1000-json", '{"type": "negative", "point": {"x": 500, "y": 250}}', REMOVE),
    ("xy1000-json", '{"negative_point": [500, 250]}', REMOVE),
    ("xy1000-json", '{"positive_points": [], "negative_points": [[500, 250]]}', REMOVE),
    ("xy1000-json", '{"negative": {"x": 500, "y": 250}}', REMOVE),
    ("xy1000-json", '{"points": [[500, 250], [1, 1]], "labels": [0, 1]}', REMOVE),
    ("xy1000-json", '[{"point": [500, 250], "label": "dog"}, {"point": [1, 1], "label": "negative"}]', "parse"),
    ("xy1000-json", '{"point_2d": [500, 250]} negative', REMOVE),
    ("xy1000-json", 'This is not a negative click: {"point_2d": [500, 250]}', "parse"),
    ("xy1000-point", "<point>500 250</point> background", REMOVE),
    ("xy1000-point", "<point>500 250</point> (exclude)", REMOVE),
    ("xy1000-point", "<point>500 250</point> -", REMOVE),
    ("xy1000-point", "<point>500 250</point> 0", REMOVE),
    ("xy1000-point", "<point>500 250</point> +", ADD),
    ("xy1000-point", "<point>500 250</point> not negative", "parse"),
    ("xy1000-point", "It should exclude the wall in the background: <point>500 250</point>", "parse"),
    ("xy1000-point", "<point>500 250</point> negativo", REMOVE),
    ("xy1000-point", "<point>500 250</point> 负", REMOVE),
    ("xy100-point", '<point x="50" y="25" alt="background">background</point>', REMOVE),
    ("xy100-point", '<point x="50" y="25" alt="the dog in the background">the dog in the background</point>', ADD),
    ("xy100-point", '<point x="50" y="25" label="0">dog</point>', REMOVE),
    ("xy1000-points", '<points coords="1 1 500 250">background</points>', REMOVE),
    ("xy1000-box", "<ref>the negative film</ref><box>(400,200),(600,300)</box> positive", ADD),
    ("xy1000-box", "<ref>sky</ref><box>(400,200),(600,300)</box> foreground", ADD),
    ("xy1000-det", "<|ref|>background<|/ref|><|det|>[[400, 200, 599, 300]]<|/det|> positive", ADD),
    ("yx1023-loc", "<loc0256><loc0512> remove", REMOVE),
    ("xy1000", "Not a positive point: (500, 250)", "parse"),
    ("xy1000", "Neither a positive nor a negative point: (500, 250)", "parse"),
    ("xy1000", "Positive point: (500, 250) or Negative point: (500, 250)", "parse"),
    ("xy1000-json", '{"point_2d": [500, 250], "role": "background"}', REMOVE),
    ("xy1000-json", '{"point_2d": [500, 250], "operation": "subtract"}', REMOVE),
    ("xy1000-json", '{"point_2d": [500, 250], "text": "exclude"}', REMOVE),
    ("xy1000-json", '{"point_2d": [500, 250], "click": "negative"}', REMOVE),
    ("xy1000-point", "<point>500 250</point>\nLabel: 0", REMOVE),
    ("xy1000-box", "<box>(500,250)</box>, sign: -", REMOVE),
    ("xy100-point", '<point x="50" y="25" alt="negative point on the sky">sky</point>', REMOVE),
    ("xy1000", "Background point: (500, 250)", REMOVE),
    ("xy1000", "negative_point: (500, 250)", REMOVE),
    ("xy1000", "It is positive. (500, 250) is the middle.", "parse"),
]  # fmt: skip

FORMS = [
    ("xy1000", "Action: click(start_box='(500,250)')", ADD),
    ("xy1000", "Action: click(start_box='<|box_start|>(500,250)<|box_end|>')", ADD),
    ("xy1000", "Thought: it is there (1,1).\nAction: click(start_box='(500, 250)')<|im_end|>", ADD),
    ("xy1000", "Thought: a negative click on the wall.\nAction: click(start_box='(500,250)')", REMOVE),
    ("xy1000", "Action: click(start_box='(400,200,600,300)')", ADD),
    ("xy1000", "Action: click(point='<point>500 250</point>')", ADD),
    ("xy1000", "Positive point: <|box_start|>(500,250)<|box_end|>", ADD),
    ("xy1000", "Negative point: <point>500 250</point>", REMOVE),
    ("xy1000", 'Negative point: {"x": 500, "y": 250}', REMOVE),
    ("xy1000-json", "<|begin_of_box|>(500, 250)<|end_of_box|>", ADD),
    ("xy1000-json", "<|begin_of_box|>{500, 250}<|end_of_box|> negative", REMOVE),
    ("xy1000-json", '{"point_2d": [0, 0], "label": "finish"}', "parse"),
    ("xy1000-json", '{"point_2d": null, "label": "finish"}', "stop"),
    ("xy1000-json", '{"point_2d": [500, 250], "label": "negtive"}', "parse"),
    ("xy1000-json", '{"point_2d": [500, 250], "label": "false positive"}', "parse"),
    ("xy1000", "Finish<end_of_utterance>", "stop"),
    ("xy1000", "Negative point: (500, 250)<turn|>", REMOVE),
    ("xy1000", "Action: right_single(start_box='(500,250)')", "parse"),
    ("xy1000", "Action: click(start_box='=')", "parse"),
    ("xy1000", "Action: drag(start_box='(500,250)', end_box='(1,1)')", "parse"),
    ("xy1000", "Action: finished(content='done')", "stop"),
    ("xy1000", "Thought: it is covered.\nAction: finished()", "stop"),
    ("xy1", "pyautogui.click(x=0.5, y=0.25)", ADD),
    ("yx1", "pyautogui.click(x=0.5, y=0.25)", ADD),
    ("xy1", "pyautogui.click(x=0.5, y=0.25, button='right')", "parse"),
    ("xy1000", "<|box_start|>(500,250)<|box_end|>", ADD),
    (
        "xy1000",
        "<|object_ref_start|>the negative<|object_ref_end|><|box_start|>(400,200),(600,300)<|box_end|> positive",
        ADD,
    ),
    ("xy1000", "<|object_ref_start|>dog<|object_ref_end|><|box_start|>(400,200),(600,300)<|box_end|><|im_end|>", "box"),
    ("xy1000-box", "<|box_start|>(500,250)<|box_end|> negative", REMOVE),
    ("xy1000-box", "<box>[[400, 200, 600, 300], [10, 10, 20, 20]]</box> positive", ADD),
    ("xy1000-box", "<box>(400,200),(600,300),(10,10),(20,20)</box> positive", ADD),
    ("xy1000-box", "<box>[[220, <box>[[400, 200, 600, 300]]</box> positive", ADD),
    ("xy1000-box", "<box>[[400, 200], [600, 300]]</box> positive", ADD),
    ("xy1000-box", "<box>[[400, 200, 600, 300], [10, 10, 20]]</box> positive", "parse"),
    ("xy999-det", "<|det|>[[400, 200, 599, 300], [1, 1, 9, 9]]<|/det|> positive", ADD),
    ("xy999-det", "<|det|>[[220, <|ref|>car<|/ref|><|det|>[[400, 200, 599, 300]]<|/det|> positive", ADD),
    ("xy999-det", "<|ref|>car<|/ref|><|det|>[[533, 132, 457]]<|/det|>", "parse"),
    ("xy999-det", "<|det|>[[0, 50, 55, 99999]]<|/det|>", "out_of_bounds"),
    ("xy999-det", "Finish<｜end▁of▁sentence｜>", "stop"),
    ("xy999-det", "<｜end▁of▁sentence｜>", "empty"),
    ("xy1000-json", "<|begin_of_box|>[500, 250]<|end_of_box|>", ADD),
    ("xy1000-json", "<|begin_of_box|>[[500, 250]]<|end_of_box|> negative", REMOVE),
    ("xy1000-json", "The wall is at <|begin_of_box|>[[400, 200, 600, 300]]<|end_of_box|>.", "box"),
    ("xy1000-json", "<|begin_of_box|>[[400, 200, 600, 300]]<|end_of_box|> positive", ADD),
    ("xy1000-json", "<|begin_of_box|>Finish<|end_of_box|>", "stop"),
    ("xy1000-json", "[500, 250]", ADD),
    ("xy1000-json", "As shown in [3, 4], the dog is left of the wall.", "parse"),
    ("xy1000-json", '{"point_2d": [[500, 250], [510, 260]], "label": "positive"}', ADD),
    ("xy1000-json", '[{"point_2d": [[[500, 250]]], "label": "negative"}]', REMOVE),
    ("xy1000-json", '{"bbox_2d": [[400, 200], [600, 300]], "label": "positive"}', ADD),
    (
        "xy1000-json",
        '{"name": "click", "arguments": "{\\"point_2d\\": [500, 250], \\"label\\": \\"negative\\"}"}',
        REMOVE,
    ),
    (
        "xy1000-json",
        '<tool_call>{"name": "computer", "arguments": {"action": "left_click", "coordinate": [500, 250]}}</tool_call>',
        ADD,
    ),
    ("xy1000-json", '{"name": "finish", "arguments": {}}', "stop"),
    ("xy1000-json", '{"name": "computer_use", "arguments": {"action": "terminate", "status": "success"}}', "stop"),
    ("xy1000-json", '{"result": [500, 250]}', "parse"),
    ("xy1", "Positive point: (x=0.5, y=0.25)", ADD),
    ("yx1", "Positive point: (x=0.5, y=0.25)", ADD),
    ("xy1", "Negative point: (y: 0.25, x: 0.5)", REMOVE),
    ("xy1", "Positive point: (x=0.5, 0.25)", "parse"),
    ("xy1000-point", "<box>400 200 600 300</box> positive", ADD),
    ("xy1000-point", "<ref>dog</ref><box>400 200 600 300</box>", "box"),
    ("xy1000-point", "<point>[500, 250]</point> positive", ADD),
    ("xy1000-point", "<point>(500, 250)</point> positive", ADD),
    ("xy1000-point", "<point>x=500, y=250</point> positive", ADD),
    ("xy100-point", "<point y='25.0' x='50.0' alt='dog'/>", ADD),
]

NEAR = [
    *[("xy1000-json", text, wanted) for text, wanted in (
        ('{"point_2d": [500, 250], "label": "positive",}', ADD),
        ('{"point_2d": [500, 250,], "label": "negative"}', REMOVE),
        ('{"point_2d": [500, 250], // the ear, not "negative"\n "label": "positive"}', ADD),
        ('{"point_2d": [500, 250], /* ear */ "label": "positive" # why\n}', ADD),
        ('{"point_2d": (500, 250), "label": "positive"}', ADD),
        ("{'point_2d': [500, 250], 'label': 'negative'}", REMOVE),
        ("{'point_2d': [500, 250], 'label': 'the man\\'s dog'}", ADD),
        ('"point_2d": [500, 250], "label": "negative"', REMOVE),
        ('{"point_2d": [500, 250], "label": "negative"', REMOVE),
        ('{"point_2d": [500, 250]', "parse"),
        ('{"point_2d": [500, 250], "lab', "parse"),
        ('{"point_2d": [500, 250, "label": "positive"}', ADD),
        ('{{"point_2d": [500, 250], "label": "positive"}}', ADD),
        ('{point_2d: [500, 250], label: "negative"}', REMOVE),
        ('{"point_2d": ["500", "250"], "label": "positive"}', ADD),
        ('{"x": "500", "y": "250", "label": "negative"}', REMOVE),
        ('{"point_2d": "500, 250", "label": "positive"}', ADD),
        ('{"point_2d": "(500, 250)", "label": "positive"}', ADD),
        ('{"point_2d": "50%, 25%", "label": "positive"}', "parse"),
        ('｛"point_2d"：［500，250］，"label"："negative"｝', REMOVE),
        ('{“point_2d”: [500, 250], “label”: “positive”}', ADD),
        ('{"Point_2D": [500, 250], "Label": "Positive"}', ADD),
        ('{"point_2d": [500, 250, 1], "label": "positive"}', "parse"),
        ('[{"point_2d": [500, 250], "label": "positive"}, {"point_2d": [1, 1], "lab', ADD),
        ('Sure! [it\'s easy]\n```json\n{"point_2d": [500, 250], "label": "positive"}\n```', ADD),
    )],
    *[("xy1000", text, wanted) for text, wanted in (
        ("Positive point: 500, 250", ADD), ("Positive point at (500, 250)", ADD), ("Positive points: (500, 250)", ADD),
        ("Positive point: [[500, 250]]", ADD), ("Positive point: (500 250)", ADD),
        ("Negative point: (500, 250", REMOVE), ("Negative point: 500, 250.", REMOVE),
        ("Positive point：（500，250）", ADD), ("Positive point: （５００，２５０）", ADD),
        ("**Negative point:** (500, 250)", REMOVE), ("Positive point is at (500, 250).", ADD),
        ("Negative point: `(500, 250)`", REMOVE), ("$\\boxed{Negative point: (500, 250)}$", REMOVE),
        ("Negative: (500, 250)", REMOVE), ("Positive point: (500; 250)", ADD), ("Positive click = [500, 250]", ADD),
        ("positive point 1: (500, 250)", ADD), ("正点：（500，250）", ADD), ("负点击：（500，250）", REMOVE),
        ("Punto negativo: (500, 250)", REMOVE), ("- Positive point: (500, 250)", ADD),
        ("\ufeffPositive\u00a0point:\u200b (500, 250)", ADD), ("Positive point: (500, 250)<|eot_id|>", ADD),
        ("Positive point: (1,000, 250)", "parse"), ("Positive point: 500, 250, 600", "parse"),
        ("Positive point: (400, 200, 600, 300)", "parse"), ("Positive point: -5, 20", "out_of_bounds"),
        ("Positive point: (50%, 25%)", "parse"), ("Positive point: (500px, 250px)", "parse"),
        ("Positive point: none", "parse"), ("Positive point: not (500, 250)", "parse"),
        ("Positive point: (0,5, 0,25)", "parse"),
    )],
    ("xypixel", "Positive point: (320 px, 120px)", ADD),
    ("xypixel", "Positive point: (320 pixels, 120 pixels)", ADD),
    ("xy100", "Positive point: (50%, 25%)", ADD),
    ("xy100", "Negative point: (50 %, 25.0 %)", REMOVE),
    ("xy100-json", '{"point_2d": ["50%", "25%"], "label": "positive"}', ADD),
    ("xy100-point", '<point x="50%" y="25%" alt="dog">dog</point>', ADD),
    ("xy1000-point", '<point x="50%" y="25%" alt="dog">dog</point>', "parse"),
]  # fmt: skip

STOPS = [
    *[("xy1000", text, "stop") for text in (
        "Finish. The mask covers the object.", "Answer: Finish", "Finish。", "<answer>Finish</answer>",
        '{"answer": "Finish"}', "STOP", "No more clicks needed", "No further clicks are needed.", "DONE!",
        "The mask covers the object.\n\nFinish", "**Finish**", "`Finish`", '"Finish"', "\\boxed{Finish}",
        "$\\boxed{\\text{Finish}}$", "The final answer is: Finish", "Finish()", "完成", "Fertig.", "Terminado",
        "Current IOU: 95%\nFinish", "Finish<|im_end|>", "Finish<|endoftext|>", "Finish<end_of_turn>", "Finish</s>",
        "Finish\n\nThe mask covers the dog.", "Action: Finish", "(Finish)", "[Finish]", "结束。",
        "回答：完成", "```\nFinish\n```", "Completed",
    )],
    *[("xy1000", text, "parse") for text in (
        "Finish the ear first.", "Finish, but the ear is missing.", "Do not finish yet.", "Finish?", "Unfinished.",
        "Stop sign.", "The dog is done eating.", "Done. Now the ear should follow.",
    )],
    ("xy1000-json", '{"answer": "Finish"}', "stop"),
    ("xy1000-json", '{"finish": true}', "stop"),
    ("xy1000-json", '{"done": false, "point_2d": [500, 250], "label": "positive"}', ADD),
    ("xy1000-json", '{"done": true, "point_2d": [500, 250], "label": "positive"}', "parse"),
    ("xy1000-json", '```json\n{"action": "finish"}\n```', "stop"),
]  # fmt: skip

REFUSALS = [
    ("xy1000", text, "refusal")
    for text in (
        "I cannot see the image.", "I'm unable to view images.", "Lo siento, no puedo ayudar.",
        "抱歉，我无法识别图像中的人。",
        "Es tut mir leid, das kann ich nicht.", "Je suis désolé, je ne peux pas.", "Desculpe, não posso ajudar.",
        "申し訳ありませんが、お手伝いできません。", "As an AI, I have no eyes.",
        "Sorry, but that is not something I do.",
        "I apologize, this is against the rules.", "I won't identify people.",
    )
]  # fmt: skip


@pytest.mark.parametrize(("form", "reply", "wanted"), [*THOUGHTS, *SIGNS, *FORMS, *NEAR, *STOPS, *REFUSALS])
def test_a_reply_means(form: str, reply: str, wanted: object) -> None:
    _is(form, reply, wanted)


#: What models and servers put around an answer, which changes nothing of it.
DECORATIONS = [
    "{}", " \n{}\n", "**{}**", "```\n{}\n```", "<answer>{}</answer>", "Answer: {}", "Final answer: {}", "{}<|im_end|>",
    "{}</s>", "{}<｜end▁of▁sentence｜>",
    "<think>Positive? Negative? (1, 1)</think>{}", "◁think▷<point>1 1</point>◁/think▷{}",
    "Current IOU: 74, {}", "\ufeff{}\u200b",
    "<|channel|>analysis<|message|>x<|end|><|channel|>final<|message|>{}<|return|>",
    "The final answer is: {}", "{}\n\nThis improves the mask.", "[THINK]positive[/THINK]{}",
]  # fmt: skip


@given(
    syntax=st.sampled_from(sorted(set(SYNTAXES) - {"segagent", "loc"})),
    positive=st.booleans(),
    x=st.integers(0, 639),
    y=st.integers(0, 479),
    decoration=st.sampled_from(DECORATIONS),
)
def test_what_stands_around_a_written_click_never_changes_it(
    syntax: str, positive: bool, x: int, y: int, decoration: str
) -> None:
    form, click = PointFormat.named(f"xypixel-{syntax}"), Click(positive, x, y)
    action = parse(decoration.replace("{}", write(click, form, SIZE)), form, SIZE)
    assert (action.kind, action.kind == "click" and action.click) == ("click", click)


_MANGLE = {
    "json": [(", ", ","), ('"', "'"), ("}", ",}"), ("[", "("), ("{", ""), ("}", ""), ("]", "],"),
             ("point_2d", "point")],
    "text": [("(", "["), ("(", ""), (",", ""), (": ", " at "), (" point", " points"), ("point", "click"), ("(", "（")],
    "point": [("<point>", "<point> ["), (" ", ", "), ("</point>", "]</point>"), (" negative", ": negative click")],
    "box": [("(", "[["), (")", "]]"), ("(", ""), (",", ", ")],
}  # fmt: skip


@given(st.sampled_from(sorted(_MANGLE)), st.booleans(), st.data())
def test_a_near_miss_is_the_click_or_no_action(syntax: str, positive: bool, data: st.DataObject) -> None:
    """However the asked form is mangled, no reply becomes another click than the one that was meant."""
    form, click = PointFormat.named(f"xypixel-{syntax}"), Click(positive, 320, 120)
    text = write(click, form, SIZE)
    for old, new in data.draw(st.lists(st.sampled_from(_MANGLE[syntax]), max_size=4)):
        text = text.replace(old, new)
    action = parse(text, form, SIZE)
    assert action.kind == "invalid" or action.click == click, text


LONG = 200_000


@pytest.mark.slow
@pytest.mark.parametrize("syntax", sorted(SYNTAXES))
@pytest.mark.parametrize(
    "part",
    [
        "[", "{", "(", '"', "'", '{"point": [', '"a": ', "/*", "#", "<point ", "<box>", "<|det|>", "<loc0001>",
        "<think>",
        "</think>", "[/THINK]", "<|channel|>final", "assistantfinal", "Positive point: ", "positive not ", "click(",
        "1, ",
        "Current IOU: ", "no more ", "Action:", " ", "\n", "＜", "正", "-", "9", '\\"',
    ],
)  # fmt: skip
def test_long_replies_of_one_piece_are_read(syntax: str, part: str) -> None:
    """A reading that takes time in the square of the length would not end here."""
    action = parse(part * (LONG // len(part)), PointFormat.named(f"xy1000-{syntax}"), SIZE)
    assert action.kind in ("invalid", "click", "box")
