"""Check models and segmenters against the public contract of plug-ins.

A rule is a function of the plug-in that raises `Broken` if the plug-in breaks it. Its docstring is shown to users: an
instruction to the plug-in. The rules are in `testing/contract/model.py` and `testing/contract/segmenter.py`, their
common parts in `testing/contract/rules.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.testing.contract import model as model_contract
from hlmat_bench.testing.contract import segmenter as segmenter_contract
from hlmat_bench.testing.contract.rules import Broken, Rule


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one rule.

    Attributes:
        rule: the rule in a sentence.
        broken: what the plug-in did instead; None if it keeps the rule.
    """

    rule: str
    broken: str | None = None


def check(kind: str, subject: Any) -> list[Finding]:
    """Check a plug-in against all rules of its kind, ``model`` or ``segmenter``.

    If it breaks the first rule, which is about its declarations, the other rules are not checked.

    Raises:
        UsageError: when the plug-in says that it cannot work on this machine.
    """
    rules: tuple[Rule[Any], ...] = model_contract.RULES if kind == "model" else segmenter_contract.RULES
    findings = [_finding(rules[0], subject)]
    return findings if findings[0].broken else findings + [_finding(rule, subject) for rule in rules[1:]]


def _finding(rule: Rule[Any], subject: Any) -> Finding:
    return Finding(" ".join((rule.__doc__ or rule.__name__).split()), _broken(rule, subject))


def _broken(rule: Rule[Any], subject: Any) -> str | None:
    try:
        rule(subject)
    except UsageError:
        raise
    except Broken as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  (any error of a plug-in breaks the rule)
        return f"{type(error).__name__}: {error}"
    return None
