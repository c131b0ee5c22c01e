"""The images that the segmenter server has open, and the states that their sessions have been in."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, TypeAlias

from hlmat_bench.core import masks
from hlmat_bench.core.types import Mask, Size
from hlmat_bench.protocol.interfaces import BatchSession, Session
from hlmat_bench.segmenters.server.requests import Call, Refused

Calls: TypeAlias = tuple[Call, ...]

STATES_KEPT = 8


class Opened:
    """An image that is open in a segmenter. A mask depends on the image, the start mask and the calls leading to it.

    A state is identified by the calls that led there. The last few states are kept, so that the next click, or another
    click from an earlier state, needs one prediction; from a state that is not kept, the calls are made again.

    Args:
        session: the segmenter's session of the image.
        size: (height, width) of the image.
    """

    def __init__(self, session: Session, size: Size) -> None:
        self.size = size
        self.batches = isinstance(session, BatchSession)
        self._session: Any = session
        self._lock = threading.Lock()
        self._start = session.snapshot()
        self._states: OrderedDict[Calls, object] = OrderedDict()
        self._now: Calls | None = ()
        self._given: masks.RLE | None = None

    def start_from(self, mask: Mask) -> masks.RLE:
        """Start from a mask, bool (H, W), and return it; to repeat this with the same mask changes nothing.

        Raises:
            Refused: 409 when the session has started already, without a mask or from another one.
        """
        given = masks.encode(mask)
        with self._lock:
            if self._given is None and self._now == () and not self._states:
                self._session.start_from(mask)
                self._given, self._start = given, self._session.snapshot()
            if self._given != given:
                raise Refused(409, "already_started", "The session has started already; open the image again.")
        return given

    def predict(self, calls: Calls) -> masks.RLE:
        """Return the mask after the last of these calls, at least one."""
        with self._lock:
            self._go_to(calls[:-1])
            return masks.encode(self._call(calls))

    def predict_each(self, calls: Calls, candidates: Sequence[Call]) -> list[masks.RLE]:
        """Return the masks of candidates with one box after these calls, from one pass; see `BatchSession`."""
        with self._lock:
            self._go_to(calls)
            found = self._session.predict_each([each.as_clicks() for each in candidates], candidates[0].box)
            return [masks.encode(mask) for mask in found]

    def _go_to(self, calls: Calls) -> None:
        """Bring the session into the state after these calls."""
        if calls == self._now:
            return
        known = next((count for count in range(len(calls), 0, -1) if calls[:count] in self._states), 0)
        self._now = None
        self._session.restore(self._states[calls[:known]] if known else self._start)
        self._now = calls[:known]
        for count in range(known + 1, len(calls) + 1):
            self._call(calls[:count])

    def _call(self, calls: Calls) -> Mask:
        """Make the last call, the others having been made, and keep the state after it."""
        self._now = None  # if this fails, the state of the session is unknown
        mask: Mask = self._session.predict(calls[-1].as_clicks(), calls[-1].box)
        self._states[calls] = self._session.snapshot()
        self._states.move_to_end(calls)
        if len(self._states) > STATES_KEPT:
            self._states.popitem(last=False)
        self._now = calls
        return mask


class Sessions:
    """Keep the open images by their ids. Not safe to use from several threads.

    Args:
        most: how many are kept; the one that was unused longest makes room for a new one.
        idle: seconds after which an unused one is dropped.
    """

    def __init__(self, most: int, idle: float) -> None:
        self.most, self.idle = most, idle
        self._kept: OrderedDict[str, tuple[Opened, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, opened: Opened) -> str:
        """Keep an open image and return its id, which cannot be guessed."""
        self.expire()
        while len(self._kept) >= self.most:
            self._kept.popitem(last=False)
        name = secrets.token_urlsafe(16)
        self._kept[name] = opened, time.monotonic()
        return name

    def get(self, name: str) -> Opened | None:
        """Return the open image of an id, which counts as used; None when there is none."""
        self.expire()
        if name not in self._kept:
            return None
        opened, _ = self._kept[name]
        self._kept[name] = opened, time.monotonic()
        self._kept.move_to_end(name)
        return opened

    def drop(self, name: str) -> bool:
        """Forget the image of an id; return False when there is none."""
        return self._kept.pop(name, None) is not None

    def expire(self) -> None:
        """Drop the images that were unused for too long."""
        before = time.monotonic() - self.idle
        while self._kept and next(iter(self._kept.values()))[1] < before:
            self._kept.popitem(last=False)
