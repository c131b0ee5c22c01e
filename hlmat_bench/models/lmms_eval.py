"""Requests and replies in the forms of lmms-eval, for its models in this project and for this project's tasks in it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hlmat_bench.core.errors import RequestFailed
from hlmat_bench.core.networks import weights
from hlmat_bench.protocol.interfaces import Reply, Request

#: The beginning of the text that lmms-eval's API models return for a failed request (models/chat/openai.py).
FAILED = "[LMMS_EVAL_REQUEST_FAILED"

_SECRET = re.compile(r"(key|token|secret|password)$", re.IGNORECASE)
_WEIGHTS = ("pretrained", "model", "model_version", "model_name", "model_path", "model_id")


def generation_kwargs(request: Request) -> dict[str, Any]:
    """Return lmms-eval's ``generation_kwargs`` for a request: without stop words, sampling from all tokens."""
    return {
        "until": [],
        "max_new_tokens": request.max_tokens,
        "temperature": request.temperature,
        "do_sample": request.temperature > 0,
        "top_p": 1.0,
        "num_beams": 1,
    }


def secrets(options: Mapping[str, Any]) -> list[str]:
    """Return the keys and tokens in a model's options and in the environment: servers repeat them in their errors."""
    found = [str(value) for name, value in {**os.environ, **options}.items() if _SECRET.search(name)]
    return [value for value in found if len(value) >= 8]


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """Replace each secret in an error's text by ``***``, and return at most 300 characters."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text[:300]


def read(output: Any, secrets: Sequence[str], seconds: float = 0.0) -> Reply:
    """Return the reply in the output of ``generate_until`` for one request.

    Args:
        output: a text, a ``GenerationResult``, or a text with counts.
        secrets: words that no error may show.
        seconds: time of the request.

    Raises:
        RequestFailed: when the output is no text, or the text by which lmms-eval reports a failure.
    """
    from lmms_eval.api.instance import unwrap_generation_output

    text, counts = unwrap_generation_output(output)
    if output is None or not isinstance(text, str):
        raise RequestFailed(
            without_secrets(f"lmms-eval returned {output!r} instead of a text", secrets),
            advice="ask the model with lmms-eval's own command first, or take its other class with force_simple=true",
        )
    if text.startswith(FAILED):
        raise RequestFailed(
            without_secrets(text, secrets),
            advice="check the options of the service: its address, the model's name and the key",
        )
    return Reply(
        text,
        tokens_in=counts.input_tokens if counts else None,
        tokens_out=counts.output_tokens if counts else None,
        seconds=seconds,
    )


def seed_draws(requests: Sequence[Request], n: int) -> None:
    """Seed torch for the n-th replies to these requests if they are sampled: lmms-eval's models accept no seed."""
    if requests[0].temperature == 0:
        return
    import torch

    text = "/".join([*(f"{request.seed}.{request.t}" for request in requests), str(n)])
    torch.manual_seed(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big"))


def label(name: str, options: Mapping[str, Any]) -> str:
    """Return a model's name for tables: the last part of its checkpoint's name, or its name in lmms-eval."""
    return next((Path(str(options[key])).name for key in _WEIGHTS if options.get(key)), name)


def describe(name: str, kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that the replies depend on, for the manifest, without the values of keys and tokens.

    Args:
        name: name of the model in lmms-eval's registry.
        kind: which of the model's two classes: ``simple`` or ``chat``.
        options: options of the class.
    """
    return {
        "adapter": "lmms",
        "model": name,
        "class": kind,
        "options": {key: _identity(key, value) for key, value in options.items()},
        "image": {"format": f"as lmms-eval's {kind} model {name} encodes it"},
        "versions": {package: importlib.metadata.version(package) for package in ("lmms-eval", "torch")},
    }


def _identity(key: str, value: Any) -> Any:
    """Return an option's value for the manifest: ``***`` for a secret, name and SHA-256 for a folder of weights."""
    if _SECRET.search(key):
        return "***"
    if key in _WEIGHTS and (folder := Path(str(value))).is_dir():
        return {"folder": folder.resolve().name, "sha256": weights.sha256(folder, weights.CHAT_MODEL_FILES)}
    return value
