"""What lmms-eval's models are told and what they answer, the same in both directions."""

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

#: How the text begins that lmms-eval's API models return for a request that failed for good (models/chat/openai.py).
FAILED = "[LMMS_EVAL_REQUEST_FAILED"

_SECRET = re.compile(r"(key|token|secret|password)$", re.IGNORECASE)
_WEIGHTS = ("pretrained", "model", "model_version", "model_name", "model_path", "model_id")


def generation_kwargs(request: Request) -> dict[str, Any]:
    """lmms-eval's ``generation_kwargs`` for a request: nothing cuts a reply short, and draws are from all tokens."""
    return {
        "until": [],
        "max_new_tokens": request.max_tokens,
        "temperature": request.temperature,
        "do_sample": request.temperature > 0,
        "top_p": 1.0,
        "num_beams": 1,
    }


def secrets(options: Mapping[str, Any]) -> list[str]:
    """The keys and tokens among a model's options and in the environment: servers repeat them in their errors."""
    found = [str(value) for name, value in {**os.environ, **options}.items() if _SECRET.search(name)]
    return [value for value in found if len(value) >= 8]


def blot(text: str, secrets: Sequence[str]) -> str:
    """An error's text without keys and tokens, in 300 characters at most."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text[:300]


def read(output: Any, secrets: Sequence[str], seconds: float = 0.0) -> Reply:
    """What ``generate_until`` returned for one request: a text, a ``GenerationResult``, or a text with counts.

    Args:
        output: what it returned.
        secrets: what must not be in an error.
        seconds: what the request took.

    Raises:
        RequestFailed: when it is no text, or the text by which lmms-eval reports a failure.
    """
    from lmms_eval.api.instance import unwrap_generation_output

    text, counts = unwrap_generation_output(output)
    if output is None or not isinstance(text, str):
        raise RequestFailed(
            blot(f"lmms-eval returned {output!r} instead of a text", secrets),
            advice="ask the model with lmms-eval's own command first, or take its other class with force_simple=true",
        )
    if text.startswith(FAILED):
        raise RequestFailed(
            blot(text, secrets), advice="check the options of the service: its address, the model's name and the key"
        )
    return Reply(
        text,
        tokens_in=counts.input_tokens if counts else None,
        tokens_out=counts.output_tokens if counts else None,
        seconds=seconds,
    )


def seed_draws(requests: Sequence[Request], n: int) -> None:
    """Seed torch for the n-th replies to these requests, where they are drawn: lmms-eval's models take no seed."""
    if requests[0].temperature == 0:
        return
    import torch

    text = "/".join([*(f"{request.seed}.{request.t}" for request in requests), str(n)])
    torch.manual_seed(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big"))


def label(name: str, options: Mapping[str, Any]) -> str:
    """What to call a model in tables: the last part of its checkpoint's name, or its name in lmms-eval."""
    return next((Path(str(options[key])).name for key in _WEIGHTS if options.get(key)), name)


def describe(name: str, kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What the answers depend on, for the manifest; values of keys and tokens are left out.

    Args:
        name: in lmms-eval's registry.
        kind: ``simple`` or ``chat``: which of the model's two classes.
        options: the class's own.
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
    """A folder of weights by its name and SHA-256, a secret not at all, anything else as it is."""
    if _SECRET.search(key):
        return "***"
    if key in _WEIGHTS and (folder := Path(str(value))).is_dir():
        return {"folder": folder.resolve().name, "sha256": weights.sha256(folder, weights.CHAT_MODEL_FILES)}
    return value
