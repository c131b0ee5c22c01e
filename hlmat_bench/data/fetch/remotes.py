"""Asks servers which files an address stands for, and how large they are."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from hlmat_bench.data.fetch import hub
from hlmat_bench.data.fetch.download import Remote
from hlmat_bench.data.fetch.entries import HUB, FetchEntry
from hlmat_bench.data.fetch.problems import AddressFailed

if TYPE_CHECKING:
    import httpx2


class Remotes:
    """The files that addresses stand for; the hub is asked once for each address.

    Args:
        http: the client.
    """

    def __init__(self, http: httpx2.Client) -> None:
        self.http = http
        self._found: dict[str, list[Remote]] = {}

    def files(self, address: str, entry: FetchEntry) -> list[Remote]:
        """Return the files that an address of an entry stands for, one unless it is a pattern.

        Raises:
            AddressFailed: when there is none, or it is not the file that the entry describes.
        """
        if not address.startswith(HUB):
            return [Remote(address, entry.name, size=entry.size, sha256=entry.sha256)]
        if address not in self._found:
            self._found[address] = hub.find(address)
        if entry.several:
            return self._found[address]
        (one,) = self._found[address]
        for what, told, found in (("size", entry.size, one.size), ("SHA-256", entry.sha256, one.sha256)):
            if told is not None and found is not None and told != found:
                raise AddressFailed(f"the file there has the {what} {found}, not {told}")
        return [Remote(one.url, entry.name, one.headers, one.size, one.sha256 or entry.sha256)]

    def size(self, entry: FetchEntry) -> int | None:
        """Return the size of what an entry downloads, in bytes; None where no server says it."""
        if entry.size is not None:
            return entry.size
        for address in entry.addresses:
            try:
                sizes = [self._size(remote) for remote in self.files(address, entry)]
            except AddressFailed:
                continue
            if all(sizes):
                return sum(filter(None, sizes))
        return None

    def _size(self, remote: Remote) -> int | None:
        if remote.size is not None:
            return remote.size
        import httpx2

        try:
            answer = self.http.head(remote.url, headers={"Accept-Encoding": "identity"})
        except (httpx2.HTTPError, httpx2.InvalidURL):
            return None
        length = answer.headers.get("Content-Length", "")
        return int(length) or None if answer.status_code == 200 and length.isdecimal() else None


def image_url(address: str, name: str) -> str:
    """Return the address of an image: ``{name}`` is replaced by its name."""
    return address.replace("{name}", quote(name))
