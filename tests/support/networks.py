"""What networks of torch and transformers do inside a model or a segmenter, seen through torch's own hooks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import PreTrainedModel

ENCODER = r"(VisionEncoder|VisionModel)$"
DECODER = r"MaskDecoder$"


@contextmanager
def before_passes(of: str, act: Callable[[str], object]) -> Iterator[None]:
    """Do something before each pass of the modules whose class has a name like this: to count, or to raise."""

    def hook(module: torch.nn.Module, given: Any) -> None:
        name = type(module).__name__
        if re.search(of, name):
            act(name)

    handle = register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def passes(of: str = ENCODER) -> Iterator[list[str]]:
    """Count the passes: the names of the classes, one a pass."""
    counted: list[str] = []
    with before_passes(of, counted.append):
        yield counted


@contextmanager
def chat_passes(
    before: Callable[[Mapping[str, Any]], object] | None = None, after: Callable[[Any], object] | None = None
) -> Iterator[None]:
    """Do something with what each pass of a chat model is given, and with what it gives."""

    def call(self: PreTrainedModel, *arguments: Any, **given: Any) -> Any:
        whole = self.can_generate()
        if whole and before:
            before(given)
        found = torch.nn.Module.__call__(self, *arguments, **given)
        if whole and after:
            after(found)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreTrainedModel, "__call__", call, raising=False)
        yield


def raising(error: Exception) -> Callable[[object], None]:
    """Raise this error, whatever is given."""

    def act(_: object) -> None:
        raise error

    return act
