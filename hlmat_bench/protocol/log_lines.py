"""Lines of a log: JSON objects, of which those of episodes carry a digest that shows whether they were changed.

``docs/files.md`` describes the digest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.plain_files import check_plain

_DIGEST_KEY = b',"digest":"'
_DIGEST_ALONE = re.compile(rb'":"[0-9a-f]{64}"}\n\Z')


def to_line(value: Any) -> bytes:
    """Return a JSON value as one line of a log, in UTF-8.

    Half a surrogate pair, which is no valid Unicode and cannot be encoded, becomes its JSON escape (``\\ud83d``):
    readers get the same text back.

    Raises:
        ValueError, TypeError: when it holds NaN, an infinity or an object that JSON does not know.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def with_digest(line: bytes) -> bytes:
    """Return a line with its `line_digest` as the last key, ``digest``."""
    return line.removesuffix(b"}\n") + _DIGEST_KEY + line_digest(line).encode() + b'"}\n'


def line_digest(line: bytes) -> str:
    """Return the SHA-256 (hex) of a line of a log without its end and its key ``digest``.

    Raises:
        ValueError: when the line carries another digest, so it was changed.
    """
    body, key, said = line.rpartition(_DIGEST_KEY)
    found = hashlib.sha256(body + b"}").hexdigest()
    if key and said == found.encode() + b'"}\n':
        return found
    if b'"digest"' in line:
        value = json.loads(line)  # another program may have written the line anew, with other spaces
        if "digest" in value:
            found = value.pop("digest")
            if found != line_digest(to_line(value)):
                raise ValueError("The digest of a line does not fit it.")
            return str(found)
    if _DIGEST_ALONE.search(line):
        raise ValueError("The name of a line's digest is damaged.")
    return hashlib.sha256(line.rstrip(b"\n")).hexdigest()


@dataclass(frozen=True, slots=True)
class Damaged:
    """A line of a log that is no JSON object (RFC 8259, so not NaN) of a sample, or does not fit its digest.

    Attributes:
        number: of the line, from 1.
        sample: what the line says of its sample; None where it cannot be read.
    """

    number: int
    sample: str | None

    def __str__(self) -> str:
        return f"Line {self.number}" + (f" (the sample {self.sample[:120]})" if self.sample is not None else "")


def whole_lines(path: Path) -> Iterator[bytes]:
    """Read the lines of a log, without a last one that is unfinished; a log that does not exist has none."""
    if path.is_file():
        with path.open("rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))


def read_values(
    path: Path, *, damaged: bool = False, known: Callable[[str], Any] | None = None
) -> Iterator[tuple[bytes, Any]]:
    """Read the `whole_lines` of a log of episodes, and the JSON value of each.

    Args:
        path: the log.
        damaged: give `Damaged` as the value of a line that is damaged, instead of an error.
        known: return a part of the value of the line with this `line_digest`, the sample's id included, where that is
            enough; the line is then not parsed.

    Raises:
        UsageError: when a sample stands twice, or a line is damaged.
    """
    seen: dict[str, int] = {}
    check_plain(path)
    for number, line in enumerate(whole_lines(path), 1):
        sample = None
        try:
            if known is None or (value := _part(line, known)) is None:
                value = json.loads(line, parse_constant=_no_number)
                sample = str(value["sample_id"])
                line_digest(line)
            sample = str(value["sample_id"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            found = Damaged(number, sample)
            if not damaged:
                raise UsageError(f"{found} of {path} is damaged; the run's own command plays it again.") from error
            yield line, found
            continue
        if (first := seen.setdefault(sample, number)) != number:
            raise UsageError(
                f"The sample {sample} stands twice in {path}, in the lines {first} and {number}, as if two "
                "processes had written to it; remove one of the two lines and run again."
            )
        yield line, value


def _part(line: bytes, known: Callable[[str], Any]) -> Any:
    try:
        return known(line_digest(line))
    except (ValueError, RecursionError):
        return None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")
