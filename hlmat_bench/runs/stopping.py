"""Ending early: what SIGINT and SIGTERM ask for, and how long work answers.

The command line handles the signals (`program`); the library never does. Work that takes long asks `current`:

- An executor begins no new episode once `Stop.requested` is true, and plays inside of `Stop.finishing`, as
  `hlmat_bench.runs.loops.run_in_own_loop` does. Its episodes are finished within `Stop.grace` seconds or dropped.
- Everything else is interrupted where it is, by the exception `Stopped`; where a library swallows that exception, the
  next `Stop.check` raises it again.

A second signal ends the process at once, and so does the end of the grace, whatever hangs: a thread of its own waits
for them, so that code that never returns to Python cannot prevent it. What was finished is on disk at any moment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

#: Seconds that one call of a segmenter or of a model may take; ``--call-timeout`` sets another number.
CALL_SECONDS = 1800.0
#: Seconds that running episodes have to end in after the first signal.
GRACE_SECONDS = 60.0
#: Seconds after the grace in which models and files are closed; then the process ends, whatever hangs.
_CLOSING_SECONDS = 20.0
#: Seconds that the interpreter has to end in once everything is done; only a thread that hangs takes longer.
_LEAVING_SECONDS = 10.0
log = logging.getLogger("hlmat_bench")
_HANDLED = (signal.SIGINT, signal.SIGTERM)
#: What a sentence about an early end adds.
KEPT = "what was finished is kept, and the same command continues from there"


class Stopped(BaseException):
    """Work ends here, because a signal asked for it.

    It is no `Exception`, so that handlers of a plug-in's or a library's errors leave it alone, and no
    ``KeyboardInterrupt``, which event loops and command-line libraries treat in their own ways.

    Attributes:
        exit_code: 130 after SIGINT, 143 after SIGTERM: 128 and the signal's number, as shells say it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class Stop:
    """Says whether the process was asked to end.

    Attributes:
        grace: seconds that running episodes have to end in.
    """

    def __init__(self, grace: float = GRACE_SECONDS) -> None:
        self.grace = grace
        self._number: int | None = None
        self._wakes: list[Callable[[], object]] = []

    @property
    def requested(self) -> bool:
        """Whether a signal came: nothing new may begin."""
        return self._number is not None

    def check(self) -> None:
        """Raise `Stopped` where a signal came."""
        if self._number is not None:
            raise Stopped(self._number)

    @contextmanager
    def finishing(self, wake: Callable[[], object]) -> Iterator[None]:
        """Let the work inside end by itself: a signal raises nothing there.

        Args:
            wake: is called at the signal, in the main thread, between any two instructions of it.
        """
        self._wakes.append(wake)
        try:
            if self.requested:
                wake()
            yield
        finally:
            self._wakes.remove(wake)

    def request(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal, see `signal.signal`; the second one ends the process elsewhere."""
        if self.requested:
            return
        self._number = number
        if not self._wakes:
            raise Stopped(number)
        _say(f"stopping: running episodes have {self.grace:g} seconds to end; a second signal stops at once.")
        for wake in self._wakes:
            wake()


_NEVER = Stop()
_current = _NEVER


def current() -> Stop:
    """Return what says whether this process was asked to end; outside of `program` it never was."""
    return _current


@contextmanager
def _signals_handled() -> Iterator[None]:
    """Handle SIGINT and SIGTERM inside, as the module says; call it in the main thread.

    A signal that the process was started to ignore (``nohup``, a shell's ``&``) stays ignored. Processes that are
    forked from here leave SIGINT, which a terminal sends to all of them, to this one.
    """
    global _current
    stop = Stop()
    before = {number: signal.getsignal(number) for number in _HANDLED}
    with _watched(stop):
        for number in _HANDLED:
            if before[number] != signal.SIG_IGN:
                signal.signal(number, stop.request)
        _current = stop
        try:
            yield
        finally:
            _current = _NEVER
            _restore(before)


@contextmanager
def program() -> Iterator[None]:
    """Be a program inside: handle signals, turn `Stopped` into an exit code, and end even where a thread hangs.

    Inside of another program it does nothing.
    """
    if _current is not _NEVER:
        yield
        return
    exit_code = 1
    try:
        with _signals_handled():
            yield
        exit_code = 0
    except SystemExit as ending:
        exit_code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        raise
    except Stopped as stopped:
        exit_code = stopped.exit_code
        _say("error: stopped.")
        raise SystemExit(exit_code) from None
    finally:
        _leave_soon(exit_code)


@contextmanager
def handlers_of_others() -> Iterator[None]:
    """Handle no signals inside, for servers, which have handlers of their own and raise each signal once more."""
    before = {number: signal.getsignal(number) for number in _HANDLED}
    wakeup = signal.set_wakeup_fd(-1)
    try:
        _restore({signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL})
        yield
    finally:
        _restore(before)
        signal.set_wakeup_fd(wakeup)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Put the handlers of SIGINT and SIGTERM back after the inside, for libraries that set their own (Ray).

    Raises:
        Stopped: when a handler of the library ended the process with the signal's number, as Ray's of SIGTERM does.
    """
    before = {number: signal.getsignal(number) for number in _HANDLED}
    try:
        yield
    except SystemExit as ending:
        if ending.code in _HANDLED:
            raise Stopped(ending.code) from None
        raise
    finally:
        _restore(before)


def give_up(what: str) -> None:
    """End this program, as something in it never returns; inside of another program only say it.

    Args:
        what: a sentence about it without a full stop.
    """
    if _current is _NEVER:
        log.warning("%s.", what)
    else:
        leave(2, f"error: {what}; {KEPT}.")


def leave(exit_code: int, sentence: str = "") -> NoReturn:
    """End the process now, whatever its threads do.

    Args:
        exit_code: of the process.
        sentence: is printed to standard error before.
    """
    if sentence:
        _say(sentence)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(exit_code)


def _leave_soon(exit_code: int) -> None:
    """End the process in a few seconds, unless it ends before: at its end, Python waits for threads that hang."""
    timer = threading.Timer(_LEAVING_SECONDS, leave, (exit_code,))
    timer.daemon = True
    timer.start()


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)


@contextmanager
def _watched(stop: Stop) -> Iterator[None]:
    """End the process at the second signal inside, or when the grace and the closing have taken too long.

    Python writes the numbers of signals into a pipe before any handler runs, also where the main thread is inside of
    C code and handlers have to wait (``signal.set_wakeup_fd``).
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    open_, owner = [True], os.getpid()

    def in_child() -> None:
        if open_ and os.getpid() != owner:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def watch() -> None:
        first = _next_signal(reader, None)
        second = _next_signal(reader, stop.grace + _CLOSING_SECONDS) if first else None
        if second:
            leave(128 + second, f"error: stopped at once; {KEPT}.")
        if first and open_:
            leave(128 + first, f"error: stopped, without what did not end in time; {KEPT}.")

    before = signal.set_wakeup_fd(writer)
    os.register_at_fork(after_in_child=in_child)
    thread = threading.Thread(target=watch, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        open_.clear()
        signal.set_wakeup_fd(before)
        os.close(writer)
        thread.join()
        os.close(reader)


def _next_signal(pipe: int, seconds: float | None) -> int | None:
    """Return the next of the handled signals; None when the pipe was closed, or when ``seconds`` brought nothing."""
    while select.select([pipe], [], [], seconds)[0]:
        data = os.read(pipe, 1)
        if not data or data[0] in _HANDLED:
            return data[0] if data else None
    return None


def _say(text: str) -> None:
    """Write a line to standard error from a handler, where Python's own buffers may be in use."""
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode("utf-8", "backslashreplace"))
