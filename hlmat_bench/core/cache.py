"""A cache of values in memory that threads share."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Keep the values that were used last. Safe to use from several threads.

    Args:
        limit: the most that all kept values may weigh together; 0 keeps none.
        weigh: return the weight of a value; without it, a value weighs 1.
    """

    def __init__(self, limit: int, weigh: Callable[[V], int] = lambda value: 1) -> None:
        self.limit = limit
        self._weigh = weigh
        self._lock = threading.Lock()
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._under_way: dict[K, Future[V]] = {}
        self._weight = 0

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of a key.

        Args:
            key: what the value is kept under.
            make: make the value if it is not kept. Threads that ask for one key at the same time share one call, and
                raise what it raises; the next one calls again.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            future = self._under_way.get(key)
            first = future is None
            if future is None:
                future = self._under_way[key] = Future()
        if first:
            self._make(key, make, future)
        return future.result()

    def _make(self, key: K, make: Callable[[], V], future: Future[V]) -> None:
        try:
            value = make()
            weight = self._weigh(value)
        except BaseException as error:  # noqa: BLE001  (after an interrupt, too, no thread may wait for ever)
            with self._lock:
                del self._under_way[key]
            future.set_exception(error)
            return
        with self._lock:
            del self._under_way[key]
            if weight <= self.limit:
                self._kept[key] = value
                self._weight += weight
            while self._weight > self.limit:
                self._weight -= self._weigh(self._kept.popitem(last=False)[1])
        future.set_result(value)
