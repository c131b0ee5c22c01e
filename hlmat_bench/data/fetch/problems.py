"""Why something could not be fetched."""

from __future__ import annotations

from hlmat_bench.core.errors import HlmatError


class AddressFailed(HlmatError):
    """An address gives no usable file; the message says why, in a few words without a full stop."""


class TryAgain(AddressFailed):
    """The same address may succeed later.

    Attributes:
        after: the seconds that its server asks to wait; None where it does not say.
    """

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


def gated(page: str) -> str:
    """Return the reason for a refusal of a gated repository, whose page is given relative to the hub's address."""
    return (
        f"its terms must be accepted first: accept them on https://huggingface.co/{page}, and set HF_TOKEN to a token "
        "of your account"
    )
