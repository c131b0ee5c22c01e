"""The public contract of a plug-in, as rules that any model or segmenter can be held against.

A rule is a function of the plug-in whose docstring says what is asked of it; it raises `Broken` with what it saw. The
rules themselves are in `testing/contract/model.py` and `testing/contract/segmenter.py`, what they share in
`testing/contract/rules.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.testing.contract import model as model_contract
from hlmat_bench.testing.contract import segmenter as segmenter_contract
from hlmat_bench.testing.contract.rules import Broken, Rule, Subject


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
    return hold(subject, model_contract.RULES if kind == "model" else segmenter_contract.RULES)


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
