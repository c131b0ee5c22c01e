"""What besides the model differs between runs, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hlmat_bench.core.text import clean
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.reports.run.result import is_reference

#: What the settings of a protocol are called; others are shown by their own names.
_NAMES = {
    "id": "protocol",
    "prm": "reward model",
    "prm_prompt": "question of the reward model",
    "correlation": "correlation of the predicted IoU",
    "candidates": "candidates per step",
    "stop": "end of the search",
    "budget": "clicks per sample",
    "initial": "mask at the start",
    "history": "earlier clicks in the prompt",
    "jpeg": "JPEG quality of the image",
    "overlay": "painted mask",
    "box_prompt": "question for a box",
    "max_tokens": "longest reply (tokens)",
}
_LONGEST = 60
_ASKING = {"prompt", "jpeg", "temperature", "max_tokens", "image size for the model"}
"""Settings that only a model that is asked reads, and no reference policy."""

Rows = list[tuple[str, list[str]]]


def model_words(entrants: Sequence[Entrant]) -> str:
    """Say that all runs are of the same model; an empty text where they are not."""
    first, *others = [entrant.manifest["model"] for entrant in entrants]
    if any(other != first for other in others):
        return ""
    return f"{'Both' if len(entrants) == 2 else 'All'} runs are of the same model, {clean(str(first['name']))}."


def differing(entrants: Sequence[Entrant]) -> Rows:
    """Return the settings that differ between runs and can change a score: (name, the value of each run).

    A setting that a run does not use has the value ``not used``, and does not differ from any other.
    """
    rows = [("segmenter", _segmenters([entrant.manifest["segmenter"] for entrant in entrants]))]
    protocols = [_flat(entrant.manifest["protocol"]) for entrant in entrants]
    names = dict.fromkeys(name for protocol in protocols for name in protocol)
    rows += [(name, [value_words(protocol.get(name)) for protocol in protocols]) for name in names]
    rows.append(("image size for the model", [value_words(entrant.manifest["resize"]) for entrant in entrants]))
    asked = [not is_reference(entrant) for entrant in entrants]
    found = []
    for name, values in rows:
        used = [name not in _ASKING or one for one in asked]
        if len({value for value, one in zip(values, used, strict=True) if one}) > 1:
            shown = [value if one else "not used" for value, one in zip(values, used, strict=True)]
            found.append((clean(_NAMES.get(name, name.replace("_", " "))), shown))
    return found


def differing_words(entrants: Sequence[Entrant]) -> str:
    """Say in a sentence what differs between two runs; an empty text where nothing does.

    A text in which both differ, such as a prompt, is named but not quoted.
    """
    parts = [
        f"{name} ({' → '.join(values)})" if max(map(len, values)) <= _LONGEST else name
        for name, values in differing(entrants)
    ]
    also = "" if model_words(entrants) else "also "
    return f"These runs {also}differ in: {', '.join(parts)}." if parts else ""


def value_words(value: Any) -> str:
    """Write the value of a setting in words: ``none``, ``yes``, ``no``, numbers and texts as they are.

    >>> value_words(None), value_words(True), value_words([0, 255, 0]), value_words({"epsilon": 0.1, "patience": 2})
    ('none', 'yes', '0, 255, 0', 'epsilon 0.1, patience 2')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(str(key))} {value_words(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(value_words, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else clean(str(value), 2000)


def _flat(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with those of a group (``overlay``) one by one, where they are a group."""
    found: dict[str, Any] = {}
    for name, value in protocol.items():
        parts = {f"{_NAMES.get(name, name)}: {key}": part for key, part in value.items()} if _is_group(value) else None
        found |= parts or {name: value}
    return found


def _is_group(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value)


def _segmenters(described: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the segmenters; where these are equal but something else is not, what that is."""
    names = [clean(str(each["name"])) for each in described]
    if len(set(names)) > 1 or all(each == described[0] for each in described):
        return names
    flat = [_leaves(each) for each in described]
    keys = [
        key
        for key in dict.fromkeys(key for each in flat for key in each)
        if len({str(each.get(key)) for each in flat}) > 1
    ]
    return [
        f"{name}, {', '.join(f'{key} {value_words(each.get(key))}' for key in keys[:3])}{' …' if len(keys) > 3 else ''}"
        for name, each in zip(names, flat, strict=True)
    ]


def _leaves(value: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, part in value.items():
        name = f"{before}{clean(str(key))}"
        found |= _leaves(part, f"{name}: ") if isinstance(part, Mapping) else {name: part}
    return found
