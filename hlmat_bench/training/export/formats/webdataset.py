"""Shards of WebDataset: tar files in which the files of one example stand together under one name.

The form is that of https://github.com/webdataset/webdataset and of the loader ``webdataset`` of `datasets`. Equal
examples give equal bytes: the members have no times and no owners.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from contextlib import ExitStack

from hlmat_bench.core.plain_files import replaced
from hlmat_bench.training.export.writing import Example, Format, Target, Trajectory, Writer, json_bytes


class WebDataset(Writer):
    """``SPLIT-000000.tar``, ...; an example is an image and a JSON file with prompt and answer."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._shards = {split: _Shards(split, target) for split in target.splits}

    def add(self, trajectory: Trajectory, examples: Sequence[Example]) -> None:
        """See `Writer.add`."""
        for example in examples:
            about = {"prompt": example.prompt, "answer": example.answer, **trajectory.origin(example)}
            assert isinstance(example.image, bytes)
            self._shards[trajectory.split].add(example.image, json_bytes(about))

    def finish(self) -> None:
        """See `Writer.finish`."""
        for shards in self._shards.values():
            shards.finish()


class _Shards:
    """The shards of one split; each appears when it is whole."""

    def __init__(self, split: str, target: Target) -> None:
        self._split, self._target = split, target
        self._written = self._opened = 0
        self._open: tarfile.TarFile | None = None
        self._stack = target.stack.enter_context(ExitStack())

    def add(self, picture: bytes, about: bytes) -> None:
        if self._open is None or self._written % self._target.shard_size == 0:
            self._next()
        key = f"{self._written:09d}"
        self._member(f"{key}.{self._target.pictures.suffix}", picture)
        self._member(f"{key}.json", about)
        self._written += 1

    def finish(self) -> None:
        """End the last shard, and remove the shards of an earlier export that had more."""
        if self._open is None:
            self._next()
        self._stack.close()
        for path in self._target.folder.glob(f"{self._split}-[0-9]*.tar"):
            if int(path.stem.rpartition("-")[2]) >= self._opened:
                path.unlink()

    def _next(self) -> None:
        self._stack.close()
        path = self._target.folder / f"{self._split}-{self._opened:06d}.tar"
        file = self._stack.enter_context(replaced(path))
        self._opened += 1
        tar = tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115  (the stack closes it)
        self._open = self._stack.enter_context(tar)

    def _member(self, name: str, data: bytes) -> None:
        assert self._open is not None
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._open.addfile(member, io.BytesIO(data))


FORMATS = {"webdataset": Format(WebDataset, "WebDataset: tar files of images and JSON", "bytes")}
