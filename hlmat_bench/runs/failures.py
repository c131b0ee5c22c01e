"""When failed requests end a run: a run in which nothing works must not look like one with bad scores."""

from __future__ import annotations

import re
from typing import Protocol

from hlmat_bench.core.errors import Failed, PluginFailed, UsageError

#: How many requests at the beginning of a run end it, if all fail alike.
FIRST = 3
#: How many failed requests in a row end a run; ``--max-failures`` sets another number.
IN_A_ROW = 10
_ADVICE = "look into the log of the model or its server and correct the cause"


class NothingWorks(UsageError):
    """A run ends because what it does fails again and again.

    Attributes:
        traceback: of a plug-in's last exception; empty where there was none.
    """

    traceback = ""


class RequestWatch(Protocol):
    """Is told of every request to a model, and may end the run by an error."""

    def succeeded(self) -> None:
        """Note an answered request."""

    def failed(self, failure: Failed) -> None:
        """Note a failed request."""


class FailureWatch:
    """Watches the requests of a run, or its episodes, and ends it where nothing works.

    A run ends when its first `FIRST` requests fail alike, or when ``in_a_row`` requests fail one after the other,
    whatever they say. A request that the adapter repeated counts once.

    Args:
        of: what is watched: ``("request", " to m")``.
        in_a_row: failures in a row that end the run, 1 or more.
        begun: episodes without a failure were recorded by an earlier call, so these requests are not its first.
        advice: what the user can do where a failure does not say it.
    """

    def __init__(
        self, of: tuple[str, str], in_a_row: int = IN_A_ROW, *, begun: bool = False, advice: str = _ADVICE
    ) -> None:
        (self._noun, self._of), self._most, self._begun, self._advice = of, in_a_row, begun, advice
        self._row: list[Failed] = []
        self._worked = False

    @classmethod
    def of_requests(cls, model: str, in_a_row: int = IN_A_ROW, *, begun: bool = False) -> FailureWatch:
        """Return a watch of the requests to a model."""
        return cls(("request", f" to {model}"), in_a_row, begun=begun)

    @classmethod
    def of_episodes(cls, in_a_row: int = IN_A_ROW, *, begun: bool = False) -> FailureWatch:
        """Return a watch of a run's episodes, for its segmenter and its strategy."""
        return cls(("episode", ""), in_a_row, begun=begun, advice="correct the cause")

    def succeeded(self) -> None:
        """Note a request that was answered, or an episode without a failure."""
        self._worked = True
        self._row.clear()

    def failed(self, failure: Failed) -> None:
        """Note a failure.

        Raises:
            NothingWorks: when it ends the run.
        """
        self._row.append(failure)
        if self._nothing_worked() and len(self._row) >= FIRST and len({_kind(each) for each in self._row}) == 1:
            raise self._end(f"The first {len(self._row)} {self._noun}s{self._of} failed alike")
        if len(self._row) >= self._most:
            raise self._end(
                f"{len(self._row)} {self._noun}s in a row{self._of} failed",
                f"; if only these samples cannot be answered, --max-failures {10 * self._most} records them",
            )

    def finish(self) -> None:
        """Note that there is nothing more to ask.

        Raises:
            NothingWorks: when not one request of the run was answered.
        """
        if self._row and self._nothing_worked():
            n = len(self._row)
            raise self._end(f"{f'All {n} {self._noun}s' if n > 1 else f'The only {self._noun}'}{self._of} failed")

    def _nothing_worked(self) -> bool:
        return not self._begun and not self._worked

    def _end(self, what: str, more: str = "") -> NothingWorks:
        last = self._row[-1]
        ended = NothingWorks(
            f"{what}: {str(last).rstrip('.')}. These failures are not recorded: {last.advice or self._advice}, and the "
            f"same command continues{more}."
        )
        ended.traceback = last.traceback if isinstance(last, PluginFailed) else ""
        return ended


def _kind(failure: Failed) -> str:
    """Reduce a message to what is alike in failures of one kind: without numbers and its end."""
    return re.sub(r"\d+", "#", failure.kind or str(failure))[:80]
