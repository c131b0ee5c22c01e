"""A run whose model is asked by another program: our engine in a thread, its questions taken one by one.

lmms-eval drives its models itself and asks a task, after each reply, what to ask next. Here the run goes on as always,
and its model passes each question to whoever calls `RelayedRun.question`.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hlmat_bench.models import lmms_eval as convention
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol.interfaces import Reply, Request
from hlmat_bench.runs.run_folder import Run


@dataclass(frozen=True, slots=True)
class Question:
    """A request that waits for an answer.

    Attributes:
        request: what is asked.
        n: which of the request's replies this is, from 0.
        answer: gets what lmms-eval's model returned, in the run's event loop.
    """

    request: Request
    n: int
    answer: asyncio.Future[Any]


class RelayModel:
    """A model that puts its questions into a queue and waits for the answers, one at a time.

    Args:
        name: what to call it.
        points: how it writes coordinates.
        resize: how the image is changed before it is handed over.
        spec: what the answers depend on.
        secrets: what must not be in an error.
    """

    concurrency = 1

    def __init__(
        self, name: str, points: PointFormat, resize: Resize, spec: dict[str, Any], secrets: Sequence[str]
    ) -> None:
        self.name, self.points, self.resize = name, points, resize
        self.questions: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self._spec, self._secrets = spec, secrets

    def spec(self) -> dict[str, Any]:
        """What the answers depend on."""
        return self._spec

    async def reply(self, request: Request) -> list[Reply]:
        """See `hlmat_bench.protocol.interfaces.Model.reply`."""
        replies = []
        for n in range(request.n):
            question = Question(request, n, asyncio.get_running_loop().create_future())
            self.questions.put(question)
            replies.append(convention.read(await question.answer, self._secrets))
        return replies


class RelayedRun:
    """A run in a thread of its own, for a caller that takes its questions and brings the answers.

    Args:
        model: the run's model.
        play: plays the whole run with that model.
    """

    def __init__(self, model: RelayModel, play: Callable[[RelayModel], Run]) -> None:
        self._model, self._play = model, play
        self._thread = threading.Thread(target=self._work, name="hlmat-run", daemon=True)
        self._pending: Question | None = None
        self._result: Run | BaseException | None = None

    def question(self, sample_id: str) -> Question | None:
        """The next question about a sample; None when its episode is over, now or in an earlier run.

        Samples come in their order, so a question about another one means that this one is over.

        Raises:
            UsageError: when the run ended with it.
        """
        if self._thread.ident is None:
            self._thread.start()
        if self._pending is None and self._result is None:
            self._pending = self._model.questions.get()
        if isinstance(self._result, BaseException):
            raise self._result
        pending = self._pending
        return pending if pending is not None and pending.request.sample_id == sample_id else None

    def answer(self, output: Any) -> None:
        """What the model said to the question that was taken last."""
        question, self._pending = self._pending, None
        assert question is not None
        question.answer.get_loop().call_soon_threadsafe(question.answer.set_result, output)

    def result(self) -> Run:
        """The finished run, once there is no question left."""
        assert isinstance(self._result, Run)
        return self._result

    def _work(self) -> None:
        try:
            self._result = self._play(self._model)
        except BaseException as error:  # noqa: BLE001  (raised again in the caller's thread)
            self._result = error
        finally:
            self._model.questions.put(None)
