"""Find an adapter of peft, such as LoRA, identify it by its SHA-256, and merge it into a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.networks import weights

ADAPTER_FILES = ("adapter_config.json", "adapter_model*")
"""The files of a folder that define an adapter."""

_ADVICE = (
    "Name a folder that peft saved or an id of the Hugging Face hub, with an adapter that was trained on this model "
    "and can be merged into its weights, as LoRA can."
)


def merge(model: Any, name: str) -> dict[str, str]:
    """Add an adapter to the weights of a transformers model, in place.

    Adapters with the weight names of transformers before version 4.52 work, too.

    Args:
        model: a loaded model.
        name: a folder that peft saved, or an id like ``owner/name``.

    Returns:
        ``name`` and ``sha256`` (see `weights.sha256`) of the adapter.

    Raises:
        UsageError: when there is no such adapter, it is damaged, belongs to another model, or cannot be merged.
    """
    with weights.reading(name, _ADVICE):
        folder = weights.pretrained_folder(name, ADAPTER_FILES[0]) or _download(name)
        found = model.load_adapter(str(folder))
        if unmatched := sorted(map(str, {*found.missing_keys, *found.unexpected_keys})):
            raise UsageError(
                f"The adapter {name} does not fit the model: {len(unmatched)} of its weights have no counterpart, "
                f"for example {unmatched[0]}; take the model that it was trained on."
            )
        _merge_layers(model)
    return {"name": Path(name).name, "sha256": weights.sha256(folder, ADAPTER_FILES)}


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, allow_patterns=list(ADAPTER_FILES)))


def _merge_layers(model: Any) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
