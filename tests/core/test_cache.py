"""The cache in memory: its bound, its order, its threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hlmat_bench.core.cache import Cache


def asked(cache: Cache[str, str], keys: str) -> str:
    """Ask for one key after the other and return those that the cache did not have."""
    made: list[str] = []

    def make(key: str) -> str:
        made.append(key)
        return key.upper()

    for key in keys:
        assert cache.get(key, lambda key=key: make(key)) == key.upper()  # type: ignore[misc]
    return "".join(made)


def test_the_values_used_last_are_kept() -> None:
    assert asked(Cache(2), "abacab") == "abcb"  # b was dropped for c, not a, which was used since
    assert asked(Cache(0), "aa") == "aa"
    assert asked(Cache(5, lambda value: 2), "abacab") == "abcb"


def test_a_value_too_heavy_to_be_kept_drops_no_other() -> None:
    cache: Cache[str, str] = Cache(2, lambda value: 3 if value == "H" else 1)
    assert asked(cache, "abhahb") == "abhh"


def test_threads_that_ask_for_one_key_share_one_call() -> None:
    cache: Cache[str, object] = Cache(1)
    value, calls, gate = object(), [], threading.Event()

    def slow() -> object:
        calls.append(1)
        gate.wait(5)
        return value

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(cache.get, "a", slow) for _ in range(4)]
        gate.set()
        assert all(future.result(5) is value for future in futures)
    assert len(calls) == 1


def fails(*_: object) -> int:
    raise MemoryError


def test_a_failed_call_is_raised_and_the_next_one_tries_again() -> None:
    cache: Cache[str, int] = Cache(1)
    for _ in range(2):
        with pytest.raises(MemoryError):
            cache.get("a", fails)
    assert cache.get("a", lambda: 1) == 1
    assert cache.get("a", fails) == 1


def test_a_failed_weighing_is_raised_and_the_next_call_is_not_blocked() -> None:
    weighers = [fails, lambda value: 1]
    cache: Cache[str, int] = Cache(1, lambda value: weighers.pop(0)(value))
    with pytest.raises(MemoryError):
        cache.get("a", lambda: 1)
    got: list[int] = []
    asking = threading.Thread(target=lambda: got.append(cache.get("a", lambda: 2)), daemon=True)
    asking.start()
    asking.join(5)
    assert got == [2]
    assert cache.get("a", fails) == 2
