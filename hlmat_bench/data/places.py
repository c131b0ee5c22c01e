"""The places of a task's data: of the known layouts and places, the first that holds them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.plain_files import exists
from hlmat_bench.data.layouts.data_root import place_of
from hlmat_bench.data.layouts.layout_settings import SourceSettings

MOST_PLACES = 200
"""The most combinations of places of one section; each is looked for."""


@dataclass(frozen=True, slots=True)
class Place:
    """A layout under a root.

    Attributes:
        settings: the layout, and where its parts lie.
        root: the folder that relative paths start from.
        lacking: the needed files and folders that are not there.
    """

    settings: SourceSettings
    root: Path
    lacking: tuple[str, ...]


def find(sources: Sequence[SourceSettings], roots: Iterable[Path]) -> Place:
    """Return the first place that lacks nothing, in the order of the roots; else that of which most is there.

    Args:
        sources: the layouts and places that are known for a task, in their order; at least one.
        roots: folders; at least one.
    """
    nearest: Place | None = None
    most = -1
    for root in roots:
        for settings in sources:
            needed = settings.needed()
            lacking = tuple(name for name in needed if not exists(place_of(root, name)))
            if not lacking:
                return Place(settings, root, lacking)
            if len(needed) - len(lacking) > most:
                nearest, most = Place(settings, root, lacking), len(needed) - len(lacking)
    assert nearest is not None
    return nearest


def alternatives(section: dict[str, Any], layout: type[SourceSettings], where: str) -> Iterator[dict[str, Any]]:
    """Yield a section ``source`` once for each combination of the places that its lists of paths name, in their order.

    Raises:
        UsageError: when there are more than `MOST_PLACES`, or a list of paths is empty.
    """
    lists = {name: value for name, value in section.items() if isinstance(value, list) and layout.is_path(name)}
    number = math.prod(map(len, lists.values()))
    if not 1 <= number <= MOST_PLACES:
        raise UsageError(f"The section source of {where} names {number} places, not 1 to {MOST_PLACES}.")
    for chosen in itertools.product(*lists.values()):
        yield section | dict(zip(lists, chosen, strict=True))
