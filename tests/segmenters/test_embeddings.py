"""The cache of image embeddings: its bound, its order, its threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hlmat_bench.segmenters.embeddings.memory import EmbeddingCache, image_key


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (60, 100, 3), dtype=np.uint8)


def test_the_cache_keeps_the_images_used_last_within_its_bound() -> None:
    cache: EmbeddingCache[np.ndarray] = EmbeddingCache(limit=2500)
    made: list[int] = []

    def embedding(image: np.ndarray) -> np.ndarray:
        made.append(int(image[0, 0, 0]))
        return np.full(1000, image[0, 0, 0], dtype=np.uint8)

    images = [np.full((2, 2, 3), i, dtype=np.uint8) for i in range(3)]
    for i in (0, 1, 0, 2, 0, 1):
        assert cache.get(images[i].copy(), embedding)[0] == i
        assert cache.nbytes <= 2500
    assert made == [0, 1, 2, 1]  # 1 was dropped for 2, not 0, which was used since
    assert (len(cache), cache.nbytes) == (2, 2000)

    nothing: EmbeddingCache[np.ndarray] = EmbeddingCache(limit=0)
    made.clear()
    for _ in range(2):
        nothing.get(images[0], embedding)
    assert (made, len(nothing)) == ([0, 0], 0)


def test_threads_that_ask_for_one_image_share_one_encoder_pass() -> None:
    cache: EmbeddingCache[np.ndarray] = EmbeddingCache(limit=1 << 20)
    image, calls, gate = picture(), [], threading.Event()

    def slow(image: np.ndarray) -> np.ndarray:
        calls.append(1)
        gate.wait(5)
        return image

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(cache.get, image, slow) for _ in range(4)]
        gate.set()
        assert all(future.result(5) is image for future in futures)
    assert len(calls) == 1


def test_a_failed_pass_is_tried_again() -> None:
    cache: EmbeddingCache[np.ndarray] = EmbeddingCache(limit=1 << 20)

    def fails(image: np.ndarray) -> np.ndarray:
        raise MemoryError

    with pytest.raises(MemoryError):
        cache.get(picture(), fails)
    assert cache.get(picture(), lambda image: image).shape == (60, 100, 3)


def test_the_key_is_of_shape_and_pixels() -> None:
    image = picture()
    assert image_key(image) == image_key(image[::-1][::-1])
    others = image, image.reshape(100, 60, 3), image[:-1], image ^ 1
    assert len({image_key(other) for other in others}) == 4
