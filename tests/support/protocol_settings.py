"""Every setting of the protocol, for tests over all of them."""

from __future__ import annotations

TREE: dict[str, object] = {"strategy": "tree", "prm": "reply"}
ANNOTATE: dict[str, object] = {"strategy": "annotate"}

#: For each setting the settings it is used with, and a value that is not the default.
OTHERS: dict[str, tuple[dict[str, object], object]] = {
    "strategy": (TREE, "prm"),
    "candidates": (TREE, 3),
    "prm": (TREE, "oracle"),
    "correlation": (TREE | {"prm": "noisy"}, 0.3),
    "prm_prompt": (TREE | {"prm": "ask"}, "How good?"),
    "stop.epsilon": (TREE, 0.1),
    "stop.patience": (TREE, 3),
    "box_prompt": ({"strategy": "box-only", "track": "box+point"}, "Where?"),
    "annotator.stop_iou": (ANNOTATE, 0.05),
    "annotator.min_gain": (ANNOTATE, -0.3),
    "annotator.spread": (ANNOTATE, 0.8),
    "annotator.tries": (ANNOTATE | {"annotator.spread": 1}, 30),
    "budget": ({}, 9),
    "track": ({}, "box+point"),
    "initial": ({}, "gt-box"),
    "overlay.color": ({}, "red"),
    "overlay.alpha": ({}, 0.25),
    "jpeg": ({}, 75),
    "no_target": ({}, True),
    "no_target_reply": ({"no_target": True}, "[REJ]"),
    "history": ({}, True),
    "prompt": ({}, "Click {expression}."),
    "temperature": ({}, 0.7),
    "max_tokens": ({}, 64),
}
