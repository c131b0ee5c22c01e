"""What a user is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hlmat_bench.core.errors import UsageError


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message
