"""Image embeddings on disk, so that a later run, or another process, encodes no image again.

One safetensors file (https://github.com/huggingface/safetensors) per encoder and image, named by the SHA-256 of both.
A file is written completely under another name and then renamed, so that processes can share the folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.types import Image
from hlmat_bench.protocol.settings import digest

if TYPE_CHECKING:
    import torch

Tensors: TypeAlias = "dict[str, torch.Tensor]"

_FORMAT = "hlmat-embedding/1"
_OWN_FILES = re.compile(r"[0-9a-f]{64}/[0-9a-f]{64}\.[0-9a-f.]*(safetensors|draft)")
_PARTS = 64


def image_key(image: Image) -> bytes:
    """Return the SHA-256 (32 bytes) of an image's shape and pixels."""
    key = hashlib.sha256(repr((image.shape, image.dtype.str)).encode())
    key.update(np.ascontiguousarray(image).data)
    return key.digest()


class EmbeddingStore:
    """Keep the embeddings of one encoder in a folder that other encoders may share. Safe to use from several threads.

    Args:
        folder: the folder of the files; it is made.
        encoder: all that an embedding depends on besides the image, as JSON values.
        limit: bytes that all files in the folder may take; those that were used longest ago are removed.
        device: the device on which embeddings are wanted.

    Attributes:
        damaged: the number of files that were found damaged; each was removed and computed again.

    Raises:
        UsageError: when the folder cannot be made.
    """

    def __init__(self, folder: Path, encoder: Mapping[str, Any], limit: int, device: torch.device) -> None:
        self._root, self._limit, self._device = folder, limit, device
        self._folder = folder / digest({"format": _FORMAT, "encoder": encoder})
        self._lock = threading.Lock()
        self._uncounted = limit  # the first file that is written makes the store count what is there
        self.damaged = 0
        with self._in_use():
            self._folder.mkdir(parents=True, exist_ok=True)

    def get(self, image: Image, encode: Callable[[Image], Tensors]) -> Tensors:
        """Return the embedding of an image.

        Args:
            image: uint8 (H, W, 3) RGB.
            encode: make the embedding if it is not kept: tensors of one or more axes, contiguous, on the device.

        Raises:
            UsageError: when a file cannot be read or written.
        """
        path = self._folder / f"{image_key(image).hex()}.safetensors"
        with self._in_use():
            kept = self._read(path)
        if kept is None:
            kept = encode(image)
            with self._in_use():
                self._write(path, kept)
        return kept

    def _read(self, path: Path) -> Tensors | None:
        """Return what a file holds; None if there is none or it was damaged."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                tensors: Tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
                whole = (file.metadata() or {}).get("sha256") == _checksum(tensors)
            os.utime(path)
        except FileNotFoundError:
            return None
        except SafetensorError:
            whole = False
        except RuntimeError:
            # torch maps the file after safetensors has looked at it: meanwhile another process may have removed it.
            if path.exists():
                raise
            return None
        if whole:
            return {name: tensor.to(self._device) for name, tensor in tensors.items()}
        path.unlink(missing_ok=True)
        with self._lock:
            self.damaged += 1
        warnings.warn(f"{path} was damaged; its image is encoded again.", stacklevel=2)
        return None

    def _write(self, path: Path, tensors: Tensors) -> None:
        from safetensors.torch import save

        here = {name: tensor.cpu() for name, tensor in tensors.items()}
        data = save(here, {"sha256": _checksum(here)})
        draft = path.with_suffix(f".{uuid.uuid4().hex}.draft")
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # a rename can reach the disk before the bytes do
        with suppress(FileNotFoundError):  # another process removed the draft to make room
            draft.replace(path)
        self._make_room(len(data))

    def _make_room(self, written: int) -> None:
        """Remove the files that were used longest ago, such that the next ones stay within the limit.

        The files are counted only after each 64th part of the limit was written, and that part is kept free.
        """
        with self._lock:
            self._uncounted += written
            if self._uncounted * _PARTS < self._limit:
                return
            self._uncounted = 0
            files = sorted(self._files())
            excess = sum(size for _, size, _ in files) - (self._limit - self._limit // _PARTS)
            for _, size, path in files:
                if excess <= 0:
                    break
                path.unlink(missing_ok=True)
                excess -= size

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        """Yield time of last use (ns), size and path of each file that a store wrote, and of no other file."""
        for path in self._root.glob("*/*"):
            if _OWN_FILES.fullmatch(f"{path.parent.name}/{path.name}"):
                with suppress(FileNotFoundError):  # another process removed it
                    stat = path.stat()
                    yield stat.st_mtime_ns, stat.st_size, path

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"The embedding cache in {self._root} cannot be used ({error.strerror or error}); "
                "make room there or choose another folder."
            ) from error


def _checksum(tensors: Tensors) -> str:
    """Return the SHA-256 (hex) of the names, types, shapes and values of tensors on the CPU."""
    import torch

    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        total.update(tensor.view(torch.uint8).numpy().data)
    return total.hexdigest()
