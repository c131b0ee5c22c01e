"""Clicks, and the oracle that knows where the next one should go."""

from __future__ import annotations

from typing import NamedTuple


class Click(NamedTuple):
    """A click on the original image: x to the right, y down, in pixels, origin at the top left."""

    positive: bool
    x: int
    y: int
