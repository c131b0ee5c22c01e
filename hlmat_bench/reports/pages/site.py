"""Write a folder of pages completely or not at all, with the checksums of its files."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path, PurePosixPath
from types import TracebackType

from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import valid
from hlmat_bench.reports.pages.plots.style import css

SUMS = "SHA256SUMS"
SHARED = ("base.css", "theme.js", "hl.js", "frame.js", "mark.svg")


class Site:
    """A context manager that writes a folder of pages.

    The pages are written to a temporary folder and moved to their place at the end of the ``with`` block, so that
    readers see either the old or the new pages. Equal files give equal folders.

    Args:
        out: the folder. An existing folder of pages, recognised by its file `SUMS`, is replaced.

    Raises:
        UsageError: when the folder contains anything else, or cannot be written.
    """

    def __init__(self, out: Path) -> None:
        self.out = out.resolve()
        self._draft = self.out.with_name(f".{self.out.name}.draft")
        self._sums: dict[str, str] = {}

    def __enter__(self) -> Site:
        if self.out.exists() and not self._replaceable():
            raise UsageError(f"{self.out} contains other files than pages; choose another folder with --out.")
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
            name: path of the file in the folder, with slashes.
            data: bytes, or a text, which is written as UTF-8; see `valid` for what UTF-8 cannot encode.

        Raises:
            UsageError: when the file cannot be written.
            ValueError: when the path leads out of the folder or was written before.
        """
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or name in self._sums:
            raise ValueError(f"{name!r} is no new file in the folder")
        content = valid(data).encode() if isinstance(data, str) else data
        try:
            (self._draft / path).parent.mkdir(parents=True, exist_ok=True)
            (self._draft / path).write_bytes(content)
        except OSError as error:
            raise self._unwritable(error) from error
        self._sums[name] = hashlib.sha256(content).hexdigest()

    def assets(self, *names: str) -> None:
        """Write the style sheet of colours and plots, and copy the named files, by default all, from ``assets/``.

        They come from the content folders `reports` and `leaderboard`. What the frame of every page needs (`SHARED`) is
        always among them.
        """
        for content in ("reports", "leaderboard"):
            for path in sorted((folder(content) / "assets").glob("*")):
                if not names or path.name in (*names, *SHARED):
                    self.write(f"assets/{path.name}", path.read_bytes())
        self.write("assets/colours.css", css())

    def _replaceable(self) -> bool:
        return self.out.is_dir() and ((self.out / SUMS).is_file() or not any(self.out.iterdir()))

    def _unwritable(self, error: OSError) -> UsageError:
        return UsageError(f"{self.out} cannot be written ({error.strerror}); choose another folder with --out.")
