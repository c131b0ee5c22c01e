"""A cache of image embeddings with a bound on its memory, shared by all sessions of a segmenter."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

import numpy as np

from hlmat_bench.core.types import Image


class HasBytes(Protocol):
    """An array or a tensor."""

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        ...


E = TypeVar("E", bound=HasBytes)


def image_key(image: Image) -> bytes:
    """A key (SHA-256, 32 bytes) that equal images share: of the shape and the pixels."""
    digest = hashlib.sha256(repr((image.shape, image.dtype.str)).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


class EmbeddingCache(Generic[E]):
    """The embeddings used last, as many as fit in ``limit`` bytes. Safe to use from several threads.

    Args:
        limit: bytes of embeddings that are kept; 0 keeps none.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, E] = OrderedDict()
        self._under_way: dict[bytes, Future[E]] = {}
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes that the kept embeddings take."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, image: Image, encode: Callable[[Image], E]) -> E:
        """The embedding of an image; threads that ask for the same image at once share one encoder pass.

        Args:
            image: uint8 (H, W, 3) RGB.
            encode: makes the embedding when it is not kept; what it raises is raised here.
        """
        key = image_key(image)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            future = self._under_way.get(key)
            first = future is None
            if future is None:
                future = self._under_way[key] = Future()
        if first:
            self._encode(key, image, encode, future)
        return future.result()

    def _encode(self, key: bytes, image: Image, encode: Callable[[Image], E], future: Future[E]) -> None:
        try:
            embedding = encode(image)
        except BaseException as error:
            with self._lock:
                del self._under_way[key]
            future.set_exception(error)
            raise
        with self._lock:
            del self._under_way[key]
            self._keep(key, embedding)
        future.set_result(embedding)

    def _keep(self, key: bytes, embedding: E) -> None:
        if embedding.nbytes > self.limit:
            return
        self._kept[key] = embedding
        self._bytes += embedding.nbytes
        while self._bytes > self.limit:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.nbytes
