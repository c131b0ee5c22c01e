"""The section ``fetch`` of a task file: which files make up the data, and where they are downloaded from."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator, model_validator

from hlmat_bench.core.validation import Strict

HUB = "hub:"
_WILD = re.compile(r"[*?\[]")
_NAME = "{name}"


class FetchEntry(Strict):
    """One file, one archive, the files of a folder of the hub, or the images that a task's samples name.

    Attributes:
        addresses: the field ``from``: where it can be downloaded, tried in this order. An address begins with
            ``https://`` or ``http://``, or is ``hub:OWNER/REPO[@REVISION]/PATH`` for a data set of the Hugging Face
            hub, and ``hub:models/OWNER/REPO...`` for a file that lies in a repository of a model. The path in a
            repository may have wildcards, as in ``data/*.parquet``. An address with ``{name}`` stands for the images
            that the task's samples name.
        to: the folder for it, relative to the data root.
        size: of the file, in bytes; of images, of one of them on average.
        sha256: of the file, in hexadecimal digits.
        unpack: for an archive (zip, tar, tar.gz, tar.bz2, tar.xz): which of its files are unpacked. A pattern such as
            ``DIS-VD/im/*`` fits at any depth of the archive; the folders before its first part are left out, and ``*``
            stands for several folders, too. The archive itself is removed.
        unpacked: the size of what is unpacked, in bytes.
        instead: what is fetched where none of the addresses gives a usable file: the same data in another form.
    """

    addresses: tuple[str, ...] = Field(alias="from", min_length=1)
    to: str = "."
    size: int | None = Field(None, ge=1)
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    unpack: tuple[str, ...] = ()
    unpacked: int | None = Field(None, ge=1)
    instead: tuple[FetchEntry, ...] = ()

    @field_validator("addresses", "unpack", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("addresses")
    @classmethod
    def _known_schemes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            if not address.startswith((HUB, "https://", "http://")):
                raise ValueError("an address begins with https://, http:// or hub:")
            if not address.startswith(HUB) and not _host(address):
                raise ValueError("an address names a server, as https://SERVER/PATH does")
            if not unquote(address).isprintable():
                raise ValueError("an address has printable letters only")
        return value

    @field_validator("to", "unpack")
    @classmethod
    def _inside_the_root(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for name in [value] if isinstance(value, str) else value:
            path = PurePosixPath(name)
            if not name or path.is_absolute() or ".." in path.parts or "\\" in name:
                raise ValueError("give a path inside the data root, with slashes")
        return value

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if len({_NAME in address for address in self.addresses}) > 1:
            raise ValueError(f"all addresses of an entry have {_NAME}, or none has")
        if self.per_image and (self.unpack or self.sha256 or self.instead):
            raise ValueError(f"an entry with {_NAME} has no unpack, sha256 and instead")
        if any(entry.instead or entry.per_image for entry in self.instead):
            raise ValueError(f"an entry under instead has no instead and no {_NAME}")
        if self.unpack and not all(map(self.given, self.unpack)):
            raise ValueError("a pattern of unpack begins with a folder, or else `to` names a folder")
        if self.several and (self.unpack or self.size or self.sha256 or self.to == "."):
            raise ValueError("an entry of several files has a folder `to`, and no unpack, size and sha256")
        return self

    @property
    def per_image(self) -> bool:
        """Whether it stands for the images that a task's samples name."""
        return _NAME in self.addresses[0]

    @property
    def several(self) -> bool:
        """Whether it stands for all files of a folder of the hub that fit a pattern."""
        return any(address.startswith(HUB) and _WILD.search(address) for address in self.addresses)

    @property
    def name(self) -> str:
        """The file's name: the last part of its first address."""
        first = self.addresses[0]
        path = first if first.startswith(HUB) else unquote(urlsplit(first).path)
        name = PurePosixPath(path).name
        return "file" if name in ("", "..") else name

    def given(self, pattern: str) -> str:
        """Return what a pattern of ``unpack`` unpacks: a file or folder, relative to the data root; else an empty text.

        >>> FetchEntry(**{"from": "https://a.org/b.zip", "to": "c", "unpack": "d/*.png"}).given("d/*.png")
        'c/d'
        """
        parts: list[str] = []
        for part in PurePosixPath(pattern).parts:
            if _WILD.search(part):
                break
            parts.append(part)
        path = PurePosixPath(self.to, *parts).as_posix()
        return "" if path == "." else path

    def gives(self) -> list[str]:
        """Return the files and folders that are there when it is complete, relative to the data root."""
        if self.unpack:
            return [self.given(pattern) for pattern in self.unpack]
        return [self.to] if self.several or self.per_image else [PurePosixPath(self.to, self.name).as_posix()]


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
