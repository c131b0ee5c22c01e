"""When failed requests end a run: a run in which nothing works must not look like one with bad scores."""

from __future__ import annotations

import re
from typing import Protocol

from hlmat_bench.core.errors import RequestFailed, UsageError

#: How many requests at the beginning of a run end it, if all fail alike.
FIRST = 3
#: How many failed requests in a row end a run; ``--max-failures`` sets another number.
IN_A_ROW = 10


class RequestWatch(Protocol):
    """Is told of every request to a model, and may end the run by an error."""

    def succeeded(self) -> None:
        """Note an answered request."""

    def failed(self, failure: RequestFailed) -> None:
        """Note a failed request."""


class FailureWatch:
    """Watches the requests of a run and ends it where nothing works.

    A run ends when its first `FIRST` requests fail alike, or when ``in_a_row`` requests fail one after the other,
    whatever they say. A request that the adapter repeated counts once.

    Args:
        model: the model's name, for the sentences.
        in_a_row: failed requests in a row that end the run, 1 or more.
        begun: episodes without a failure were recorded by an earlier call, so these requests are not its first.
    """

    def __init__(self, model: str, in_a_row: int = IN_A_ROW, *, begun: bool = False) -> None:
        self._model, self._most, self._begun = model, in_a_row, begun
        self._row: list[RequestFailed] = []
        self._worked = False

    def succeeded(self) -> None:
        """Note an answered request."""
        self._worked = True
        self._row.clear()

    def failed(self, failure: RequestFailed) -> None:
        """Note a failed request.

        Raises:
            UsageError: when it ends the run.
        """
        self._row.append(failure)
        if self._nothing_worked() and len(self._row) >= FIRST and len({_kind(each) for each in self._row}) == 1:
            raise self._end(f"The first {len(self._row)} requests to {self._model} failed alike")
        if len(self._row) >= self._most:
            raise self._end(
                f"{len(self._row)} requests in a row to {self._model} failed",
                f"; if only these samples cannot be answered, --max-failures {10 * self._most} records them",
            )

    def finish(self) -> None:
        """Note that there is nothing more to ask.

        Raises:
            UsageError: when not one request of the run was answered.
        """
        if self._row and self._nothing_worked():
            n = len(self._row)
            raise self._end(f"{f'All {n} requests' if n > 1 else 'The only request'} to {self._model} failed")

    def _nothing_worked(self) -> bool:
        return not self._begun and not self._worked

    def _end(self, what: str, more: str = "") -> UsageError:
        last = self._row[-1]
        advice = last.advice or "look into the log of the model or its server and correct the cause"
        return UsageError(
            f"{what}: {str(last).rstrip('.')}. These failures are not recorded: {advice}, and the same command "
            f"continues{more}."
        )


def _kind(failure: RequestFailed) -> str:
    """Reduce a message to what is alike in failures of one kind: without numbers and its end."""
    return re.sub(r"\d+", "#", str(failure))[:80]
