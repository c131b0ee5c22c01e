"""The public contract of a plug-in, as rules that any model or segmenter can be held against.

A rule is a function of the plug-in whose docstring says what is asked of it; it raises `Broken` with what it saw. The
rules themselves are in `model_contract.py` and `segmenter_contract.py`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np

from hlmat_bench.errors import HlmatError, UsageError
from hlmat_bench.interfaces import Image, Size

Subject = TypeVar("Subject")
Rule: TypeAlias = Callable[[Subject], None]

#: Image sizes (height, width) that every plug-in meets.
SIZES: tuple[Size, ...] = ((48, 64), (64, 48), (33, 150))


class Broken(HlmatError):
    """A plug-in does not keep a rule; the message says what was seen."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one rule.

    Attributes:
        rule: what is asked, in a sentence.
        broken: what was seen instead; None where the rule is kept.
    """

    rule: str
    broken: str | None = None


def hold(subject: Subject, rules: Sequence[Rule[Subject]]) -> list[Finding]:
    """Hold a plug-in against each of the rules; where it breaks the first, what it declares, the others mean nothing.

    Raises:
        UsageError: when the plug-in says that it cannot work here.
    """
    first = Finding(_sentence(rules[0]), _broken(rules[0], subject))
    if first.broken is not None:
        return [first]
    return [first, *(Finding(_sentence(rule), _broken(rule, subject)) for rule in rules[1:])]


def check(kind: str, subject: Any) -> list[Finding]:
    """Hold a ``model`` or a ``segmenter`` against all rules of its kind; raises as `hold`."""
    from hlmat_bench import model_contract, segmenter_contract

    return hold(subject, model_contract.RULES if kind == "model" else segmenter_contract.RULES)


def picture(size: Size, seed: int = 0) -> Image:
    """A picture to ask about, uint8 (H, W, 3) RGB: a red rectangle left of the middle, on noise."""
    height, width = size
    image = np.random.default_rng(seed).integers(60, 120, (height, width, 3), dtype=np.uint8)
    image[height // 4 : height * 3 // 4, width // 8 : width // 2] = (230, 40, 30)
    return image


def describes_itself(subject: Any) -> None:
    """Its spec(), where it has one, is a JSON object, the same each time, and holds no key or token."""
    describe = getattr(subject, "spec", None)
    if describe is None:
        return
    try:
        first, second = (json.dumps(describe(), sort_keys=True, allow_nan=False) for _ in range(2))
    except (TypeError, ValueError) as error:
        raise Broken(f"spec() is no JSON: {error}") from error
    if not first.startswith("{"):
        raise Broken(f"spec() is {first[:60]}, no object")
    if first != second:
        raise Broken("spec() differs from one call to the next")
    for name, value in os.environ.items():
        if re.search(r"KEY|TOKEN|SECRET|PASSWORD", name, re.IGNORECASE) and len(value) >= 8 and value in first:
            raise Broken(f"spec() holds the value of {name}")


def _sentence(rule: Callable[[Any], None]) -> str:
    return " ".join((rule.__doc__ or rule.__name__).split())


def _broken(rule: Rule[Subject], subject: Subject) -> str | None:
    try:
        rule(subject)
    except UsageError:
        raise
    except Broken as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  (whatever a plug-in raises breaks the rule)
        return f"{type(error).__name__}: {error}"
    return None
