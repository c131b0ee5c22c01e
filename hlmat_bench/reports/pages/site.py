"""A folder of pages: written whole, with the checksums of its files."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path, PurePosixPath
from types import TracebackType

from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import UsageError

SUMS = "SHA256SUMS"


class Site:
    """A folder of pages being written.

    It is written beside its place and moved there at the end of the ``with`` block, so that a reader sees the old
    pages or the new ones. Equal files make equal folders: nothing but names and contents is written.

    Args:
        out: the folder. One of pages that is there is replaced; `SUMS` tells it from others.

    Raises:
        UsageError: when something else is there, or it cannot be written.
    """

    def __init__(self, out: Path) -> None:
        self.out = out.resolve()
        self._draft = self.out.with_name(f".{self.out.name}.draft")
        self._sums: dict[str, str] = {}

    def __enter__(self) -> Site:
        if self.out.exists() and not self._replaceable():
            raise UsageError(f"{self.out} holds something else than pages; choose another folder with --out.")
        try:
            shutil.rmtree(self._draft, ignore_errors=True)
            self._draft.mkdir(parents=True)
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            shutil.rmtree(self._draft, ignore_errors=True)
            return
        lines = [f"{digest}  {name}\n" for name, digest in sorted(self._sums.items())]
        self.write(SUMS, "".join(lines))
        try:
            if self.out.exists():
                shutil.rmtree(self.out)
            self._draft.rename(self.out)
        except OSError as failure:
            raise self._unwritable(failure) from failure

    def write(self, name: str, data: bytes | str) -> None:
        """Write a file.

        Args:
            name: its path in the folder, with slashes.
            data: bytes, or a text for UTF-8.

        Raises:
            UsageError: when it cannot be written.
            ValueError: when the name leads out of the folder or is there already.
        """
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or name in self._sums:
            raise ValueError(f"{name!r} is no new file in the folder")
        content = data.encode() if isinstance(data, str) else data
        try:
            (self._draft / path).parent.mkdir(parents=True, exist_ok=True)
            (self._draft / path).write_bytes(content)
        except OSError as error:
            raise self._unwritable(error) from error
        self._sums[name] = hashlib.sha256(content).hexdigest()

    def assets(self, *names: str) -> None:
        """Copy files of ``assets/`` of the content folders `reports` and `leaderboard`: all of them, or those named."""
        for content in ("reports", "leaderboard"):
            for path in sorted((folder(content) / "assets").glob("*")):
                if not names or path.name in names:
                    self.write(f"assets/{path.name}", path.read_bytes())

    def _replaceable(self) -> bool:
        return self.out.is_dir() and ((self.out / SUMS).is_file() or not any(self.out.iterdir()))

    def _unwritable(self, error: OSError) -> UsageError:
        return UsageError(f"{self.out} cannot be written ({error.strerror}); choose another folder with --out.")
