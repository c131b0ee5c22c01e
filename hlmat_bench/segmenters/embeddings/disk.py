"""Image embeddings on disk, so that a later run, or another process, encodes no image again.

One safetensors file (https://github.com/huggingface/safetensors) per encoder and image, named by the SHA-256 of both.
Files are written whole under another name and then renamed, so that processes can share the folder.
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

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.types import Image
from hlmat_bench.protocol.settings import digest
from hlmat_bench.segmenters.embeddings.memory import image_key

if TYPE_CHECKING:
    import torch

Tensors: TypeAlias = "dict[str, torch.Tensor]"

_FORMAT = "hlmat-embedding/1"
_OURS = re.compile(r"[0-9a-f]{64}/[0-9a-f]{64}\.[0-9a-f.]*(safetensors|draft)")
_PARTS = 64


class EmbeddingStore:
    """The embeddings of one encoder in a folder, which other encoders may share. Safe to use from several threads.

    Args:
        folder: where the files are; it is made.
        encoder: all that an embedding depends on besides the image, as JSON values.
        limit: bytes that all files in the folder may take; those that were used longest ago are removed.
        device: where embeddings are wanted.

    Attributes:
        damaged: files that were found damaged so far; each was removed and computed again.

    Raises:
        UsageError: when the folder cannot be made.
    """

    def __init__(self, folder: Path, encoder: Mapping[str, Any], limit: int, device: torch.device) -> None:
        self._root, self._limit, self._device = folder, limit, device
        self._folder = folder / digest({"format": _FORMAT, "encoder": encoder})
        self._lock = threading.Lock()
        self._uncounted = limit  # so that the first file makes it look what is there
        self.damaged = 0
        with self._in_use():
            self._folder.mkdir(parents=True, exist_ok=True)

    def get(self, image: Image, encode: Callable[[Image], Tensors]) -> Tensors:
        """The embedding of an image.

        Args:
            image: uint8 (H, W, 3) RGB.
            encode: makes the embedding when it is not kept: tensors of one or more axes, contiguous, on the device.

        Raises:
            UsageError: when a file cannot be read or written.
        """
        path = self._folder / f"{image_key(image).hex()}.safetensors"
        with self._in_use():
            kept = self._read(path)
        if kept is not None:
            return kept
        made = encode(image)
        with self._in_use():
            self._write(path, made)
        return made

    def _read(self, path: Path) -> Tensors | None:
        """What a file holds; None where there is none or it was damaged."""
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
            # torch maps the file after safetensors has looked at it: meanwhile another process may have made room.
            if path.exists():
                raise
            return None
        if not whole:
            path.unlink(missing_ok=True)
            with self._lock:
                self.damaged += 1
            warnings.warn(f"{path} was damaged; its image is encoded again.", stacklevel=2)
            return None
        return {name: tensor.to(self._device) for name, tensor in tensors.items()}

    def _write(self, path: Path, tensors: Tensors) -> None:
        from safetensors.torch import save

        here = {name: tensor.cpu() for name, tensor in tensors.items()}
        data = save(here, {"sha256": _checksum(here)})
        draft = path.with_suffix(f".{uuid.uuid4().hex}.draft")
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):  # another process made room: it is as if this had been kept, and removed
            draft.replace(path)
        self._make_room(len(data))

    def _make_room(self, written: int) -> None:
        """Now and then, remove the files that were used longest ago, such that the next ones stay within the limit."""
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
        """Time of last use, size and path of each file; nothing but files of ours."""
        for path in self._root.glob("*/*"):
            if _OURS.fullmatch(f"{path.parent.name}/{path.name}"):
                try:
                    stat = path.stat()
                except FileNotFoundError:  # another process removed it
                    continue
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
    """SHA-256 (hex) over the names, types, shapes and values of tensors on the CPU."""
    import torch

    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        total.update(tensor.view(torch.uint8).numpy().data)
    return total.hexdigest()
