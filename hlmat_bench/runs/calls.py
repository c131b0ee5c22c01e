"""Threads in which plug-ins are called: each call has a time limit, and none is waited for at the end of a process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from hlmat_bench.core.errors import CallTimedOut
from hlmat_bench.runs.stopping import CALL_SECONDS

#: How many times within its limit a call is looked at.
LOOKS = 20

P = ParamSpec("P")
T = TypeVar("T")


class CallThreads(Executor):
    """Worker threads, each of whose calls has a time limit; a thread that exceeds it is replaced by a new one.

    The future of a call that exceeds the limit has the exception `CallTimedOut`. Its thread cannot be stopped; it is a
    daemon, so that a process ends without it. What is no ``Exception`` (``SystemExit``) becomes a ``RuntimeError``.

    Args:
        count: most calls at once.
        name: of the threads.
        limit: seconds that a call may take from when it begins; None: no limit.
    """

    def __init__(self, count: int, name: str, limit: float | None = CALL_SECONDS) -> None:
        self._count, self._name = count, name
        self._limit = threading.TIMEOUT_MAX if limit is None else limit
        lock = threading.RLock()
        self._more, self._left = threading.Condition(lock), threading.Condition(lock)
        self._waiting = deque[_Call]()
        self._threads: dict[threading.Thread, _Call | None] = {}
        self._watched = self._closed = False

    def submit(self, work: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> Future[T]:
        """Call a function in a thread, see `Executor.submit`."""
        call = _Call(partial(work, *arguments, **named))
        with self._more:
            if self._closed:
                raise RuntimeError("These threads are closed.")
            self._waiting.append(call)
            self._start_one()
            self._more.notify()
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, see `Executor.shutdown`; a thread that exceeds its limit is not waited for."""
        with self._more:
            self._closed = True
            while cancel_futures and self._waiting:
                self._waiting.popleft().future.cancel()
            self._more.notify_all()
            self._left.notify_all()
            if wait:
                self._left.wait_for(lambda: not self._threads)

    def _start_one(self) -> None:
        """Start a thread where there are more calls than threads without one."""
        idle = sum(call is None for call in self._threads.values())
        if len(self._waiting) <= idle or len(self._threads) >= self._count:
            return
        thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
        self._threads[thread] = None
        thread.start()
        if not self._watched:
            self._watched = True
            threading.Thread(target=self._watch, name=f"{self._name}-watch", daemon=True).start()

    def _serve(self) -> None:
        me = threading.current_thread()
        while (call := self._next(me)) is not None:
            tell = call.made()
            with self._more:
                if me not in self._threads:
                    return  # the call was given up, and another thread has taken this one's place
                self._threads[me] = None
            tell()
            del call, tell  # a result must not stay alive while this thread waits

    def _next(self, me: threading.Thread) -> _Call | None:
        with self._more:
            while True:
                self._more.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    del self._threads[me]
                    self._left.notify_all()
                    return None
                call = self._waiting.popleft()
                if call.future.set_running_or_notify_cancel():
                    self._threads[me] = call
                    return call

    def _watch(self) -> None:
        with self._more:
            while self._threads or not self._closed:
                notified = self._left.wait(self._limit / LOOKS)
                for thread, call in list(self._threads.items()):
                    # Looks are counted, not seconds: a process that was suspended meanwhile has not exceeded a limit.
                    if call is not None and not notified:
                        call.looks += 1
                    if call is not None and call.looks > LOOKS:
                        del self._threads[thread]
                        call.future.set_exception(CallTimedOut(self._limit))
                        self._start_one()
                        self._left.notify_all()


class _Call:
    """A call of a function, and the future of its result."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work, self.future, self.looks = work, Future[Any](), 0

    def made(self) -> Callable[[], None]:
        """Make the call and return a function that tells its result to the future."""
        try:
            return partial(self.future.set_result, self.work())
        except BaseException as error:  # noqa: BLE001  (told to whoever waits; asyncio ends a loop where it is no Exception)
            odd = not isinstance(error, Exception) or isinstance(error, StopIteration)
            said = RuntimeError(f"{type(error).__name__} {error}".rstrip()) if odd else error
            said.__cause__ = said.__cause__ or (error if odd else None)
            return partial(self.future.set_exception, said)


class UnjoinedThreads(ThreadPoolExecutor):
    """Threads for ``asyncio.to_thread`` that an event loop does not wait for when it ends."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; see `Executor.shutdown`."""
        super().shutdown(wait=False, cancel_futures=cancel_futures)
