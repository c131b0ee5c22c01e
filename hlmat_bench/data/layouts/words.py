"""Turns names into words that a model can read."""

from __future__ import annotations

import re

_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_")


def words(name: str) -> str:
    """Return the words of a name in CamelCase or with underscores, in small letters; abbreviations stay.

    >>> words("StreetLamp"), words("dining table"), words("TVStand"), words("fire_truck")
    ('street lamp', 'dining table', 'TV stand', 'fire truck')
    """
    return " ".join(
        word if len(word) > 1 and word.isupper() else word.lower() for word in _BOUNDARY.sub(" ", name).split()
    )
