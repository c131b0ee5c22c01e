"""The cache in memory: its bound, its order, its threads; and the key of an image."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hlmat_bench.core.cache import Cache
from hlmat_bench.segmenters.embeddings import image_key


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (60, 100, 3), dtype=np.uint8)


def test_the_cache_keeps_the_values_used_last_within_its_bound() -> None:
    cache: Cache[int, bytes] = Cache(2500, weigh=len)
    made: list[int] = []

    def value(key: int) -> bytes:
        made.append(key)
        return bytes([key]) * 1000

    for key in (0, 1, 0, 2, 0, 1):
        assert cache.get(key, lambda key=key: value(key))[0] == key  # type: ignore[misc]
        assert cache.weight <= 2500
    assert made == [0, 1, 2, 1]  # 1 was dropped for 2, not 0, which was used since
    assert (len(cache), cache.weight) == (2, 2000)
    assert len(cache.get(3, lambda: bytes(2501))) == 2501  # too heavy to be kept, and no reason to drop others
    assert (len(cache), cache.weight) == (2, 2000)

    nothing: Cache[int, bytes] = Cache(0, weigh=len)
    made.clear()
    for _ in range(2):
        nothing.get(0, lambda: value(0))
    assert (made, len(nothing)) == ([0, 0], 0)


def test_without_weights_the_bound_is_a_number_of_values() -> None:
    cache: Cache[str, str] = Cache(2)
    for key in "abcb":
        assert cache.get(key, key.upper) == key.upper()
    assert (len(cache), cache.weight) == (2, 2)


def test_threads_that_ask_for_one_key_share_one_call() -> None:
    cache: Cache[str, np.ndarray] = Cache(1)
    image, calls, gate = picture(), [], threading.Event()

    def slow() -> np.ndarray:
        calls.append(1)
        gate.wait(5)
        return image

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(cache.get, "a", slow) for _ in range(4)]
        gate.set()
        assert all(future.result(5) is image for future in futures)
    assert len(calls) == 1


def test_threads_that_share_a_failed_call_all_learn_of_it() -> None:
    cache: Cache[str, str] = Cache(1)
    gate = threading.Event()

    def fails() -> str:
        gate.wait(5)
        raise MemoryError

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(cache.get, "a", fails) for _ in range(4)]
        gate.set()
        assert all(isinstance(future.exception(5), MemoryError) for future in futures)
    assert cache.get("a", lambda: "made") == "made"  # the next one tries again


def test_the_key_is_of_shape_and_pixels() -> None:
    image = picture()
    assert image_key(image) == image_key(image[::-1][::-1])
    others = image, image.reshape(100, 60, 3), image[:-1], image ^ 1
    assert len({image_key(other) for other in others}) == 4
