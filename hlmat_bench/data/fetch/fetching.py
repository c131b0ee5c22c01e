"""Downloads what a plan names, unpacks it and puts it to its place; another call continues after a break."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from hlmat_bench.core.digests import sha256_of
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.folder_lock import FolderLock
from hlmat_bench.core.text import cut
from hlmat_bench.data.fetch import download as http_files
from hlmat_bench.data.fetch.download import Remote, download
from hlmat_bench.data.fetch.entries import HUB, FetchEntry
from hlmat_bench.data.fetch.placing import put
from hlmat_bench.data.fetch.plan import Images, Part, Plan, absent_images, is_there, size_words
from hlmat_bench.data.fetch.problems import AddressFailed
from hlmat_bench.data.fetch.remotes import Remotes, image_url
from hlmat_bench.data.fetch.staging import FOLDER, Staging
from hlmat_bench.data.fetch.unpack import unpack

log = logging.getLogger("hlmat_bench")

AT_ONCE = 8
"""How many images are downloaded at the same time."""
MOST_FAILURES = 20
"""After this many images that no address gives, the others are not asked for."""

Show = Callable[[str], AbstractContextManager[Callable[[int, int], object]]]
"""Opens a display of a download by its title, and gives what tells it (done, total); 0 is an unknown total."""


def quiet(title: str) -> AbstractContextManager[Callable[[int, int], object]]:
    """Show nothing, see `Show`."""
    return nullcontext(lambda done, total: None)


def fetch(
    plan: Plan, remotes: Remotes, *, bytes_shown: Show = quiet, images_shown: Show = quiet, lock: bool = True
) -> None:
    """Download what a plan names. What is complete stays, whatever happens to the rest.

    Args:
        plan: what is downloaded.
        remotes: asks the servers.
        bytes_shown: shows the bytes of a file.
        images_shown: shows the number of images.
        lock: whether another process that fetches to the same data root is waited for.

    Raises:
        UsageError: when something cannot be downloaded from any of its addresses, unpacked or written.
    """
    folder = plan.root / FOLDER
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    waiting = f"Another process is fetching to {plan.root}; this one begins when it has ended."
    with FolderLock(plan.root, folder / ".lock", option="--data-root", used=lock, waits=lambda: log.warning(waiting)):
        for part in plan.parts:
            # Another process may have put it there, while this one waited or its user thought.
            if not all(is_there(entry, plan.root) for entry in part.entries):
                _fetch_part(plan.root, part, remotes, bytes_shown)
        for images in plan.images:
            _fetch_images(images, plan.root, remotes, images_shown)


class _NoAddress(UsageError):
    """None of the addresses of an entry gives a usable file."""


def _fetch_part(root: Path, part: Part, remotes: Remotes, shown: Show) -> None:
    """Fetch what a part names, or what may be taken instead."""
    try:
        _Fetch(root, part.entries, remotes, shown).run()
    except _NoAddress:
        if not part.instead:
            raise
        log.warning("%s comes from none of its addresses; what replaces it is fetched.", part.entries[0].name)
        for entry in part.instead:
            if not is_there(entry, root):
                _Fetch(root, (entry,), remotes, shown).run()


class _Fetch:
    """Fetches one file, one archive or the files of one folder.

    Args:
        root: the data root.
        entries: what is fetched; several are unpacked from one archive.
        remotes: asks the servers.
        shown: shows the bytes of a file.
    """

    def __init__(self, root: Path, entries: Sequence[FetchEntry], remotes: Remotes, shown: Show) -> None:
        self._root, self._remotes, self._shown = root, remotes, shown
        self._entries, self._first = entries, entries[0]
        self._staging = Staging(root, self._first)

    def run(self) -> None:
        """Try the addresses in their order.

        Raises:
            UsageError: when none gives a usable file, or something cannot be written.
        """
        if self._left_whole():
            return
        reasons = []
        for address in sorted(self._first.addresses, key=self._has_no_part):
            try:
                self._from(address)
                return
            except AddressFailed as error:
                reasons.append(f"{address}: {error}")
                log.warning("%s gives no usable file: %s.", address, error)
        raise _NoAddress(
            f"{self._first.name} could not be fetched from any address ({'; '.join(reasons)}); what is complete is "
            "kept, and the same command tries again."
        )

    def _left_whole(self) -> bool:
        """Use an archive that an earlier call downloaded and did not unpack; return whether that worked."""
        if not (self._first.unpack and self._staging.archive.is_file()):
            return False
        try:
            self._unpack()
        except AddressFailed as error:
            log.warning("The archive that an earlier call left is of no use: %s.", error)
            return False
        return True

    def _has_no_part(self, address: str) -> bool:
        remote = Remote(address, self._first.name, size=self._first.size, sha256=self._first.sha256)
        return address.startswith(HUB) or http_files.Part(self._place(remote), remote).origin is None

    def _place(self, remote: Remote) -> Path:
        if self._first.unpack:
            return self._staging.archive
        return self._staging.content(self._first) / remote.name

    def _from(self, address: str) -> None:
        for remote in self._remotes.files(address, self._first):
            path = self._place(remote)
            if _is_whole(path, remote):
                continue
            with _writing(path), self._shown(f"fetching {remote.name}") as progress:
                path.unlink(missing_ok=True)
                download(remote, path, self._remotes.http, progress)
        if self._first.unpack:
            self._unpack()
        else:
            self._finish()

    def _unpack(self) -> None:
        archive = self._staging.archive
        for entry in self._entries:
            content = self._staging.content(entry)
            try:
                with _writing(content), self._shown(f"unpacking {archive.name}") as progress:
                    shutil.rmtree(content, ignore_errors=True)
                    content.mkdir(parents=True)
                    unpack(archive, entry.unpack, content, progress)
            except AddressFailed:
                archive.unlink()
                raise
        self._finish()

    def _finish(self) -> None:
        for entry in self._entries:
            with _writing(self._root / entry.to):
                put(self._staging.content(entry), self._root / entry.to)
        self._staging.remove()


def _is_whole(path: Path, remote: Remote) -> bool:
    """Return whether an earlier call completed a file; the hub may have another since."""
    if not path.is_file() or remote.size not in (None, path.stat().st_size):
        return False
    return remote.sha256 is None or sha256_of(path) == remote.sha256


def _fetch_images(images: Images, root: Path, remotes: Remotes, shown: Show) -> None:
    """Download the images that a task's samples name and that are not there, several at once.

    Raises:
        UsageError: when some could not be downloaded; the others are there.
    """
    with _writing(root / images.entry.to):
        if images.task.missing(root):
            (root / images.entry.to).mkdir(parents=True, exist_ok=True)
    paths = absent_images(images.task, images.entry, root)
    if not paths:
        return
    stop, failed = threading.Event(), list[str]()
    with shown(f"fetching images of {images.task.name}") as progress, ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = {pool.submit(_fetch_image, path, images.entry, remotes, stop) for path in paths}
        try:
            for done, reason in enumerate(_results(waiting), start=1):
                failed += [reason] if reason else []
                progress(done, len(paths))
                if len(failed) >= MOST_FAILURES:
                    break
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    if failed:
        raise UsageError(
            f"{len(failed)} of {len(paths):,} images of {images.task.name} could not be fetched, the first as "
            f"{failed[0]}; those that came are kept, and the same command tries again."
        )


def _results(waiting: set[Future[str]]) -> Iterator[str]:
    while waiting:
        # With a time limit, so that a signal is noticed.
        done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


def _fetch_image(path: Path, entry: FetchEntry, remotes: Remotes, stop: threading.Event) -> str:
    """Download an image; return why that failed, or an empty text."""
    reasons = []
    for address in entry.addresses:
        remote = Remote(image_url(address, path.name), path.name)
        try:
            download(remote, path, remotes.http, lambda done, total: None, stop)
            return ""
        except AddressFailed as error:
            reasons.append(f"{remote.url}: {error}")
        if stop.is_set():
            break
    return "; ".join(reasons)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in a sentence that something cannot be written."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{cut(str(path))} cannot be written ({error.strerror or error}); what is complete is kept, so free some "
            "space or correct the rights, and run the same command again."
        ) from error


__all__ = ["Remotes", "fetch", "size_words"]
