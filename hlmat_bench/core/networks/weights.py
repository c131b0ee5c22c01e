"""Finds the weights of networks, identifies them by their SHA-256, and reads them without running code in them.

A checkpoint is one file (``.pth``) or a folder as ``transformers`` saves it.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import textwrap
import threading
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hlmat_bench.core.content import folder as content_folder
from hlmat_bench.core.digests import sha256_of
from hlmat_bench.core.errors import UsageError, unknown
from hlmat_bench.core.networks import memory

NETWORK_FILES = ("config.json", "*.safetensors", "pytorch_model*.bin")
"""The files of a folder that define a network."""

PROCESSOR_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.py")
"""The files of a folder that define how images and text become the input of a chat model."""

CHAT_MODEL_FILES = (*NETWORK_FILES, *PROCESSOR_FILES)
"""The files of a folder that define the answers of a chat model, with its tokenizer, templates and own code."""

PACKAGE = "package:"
"""What the name of a checkpoint begins with that is a folder of hlmat-bench, next to the adapters of models."""

_WRAPPERS = ("model", "state_dict", "model_state_dict", "network", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_LEFT_BY_TRAINING = {"trainer_state.json"}
_DAMAGED = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    struct.error,
    OSError,
)

_loading = threading.Lock()


def sha256(path: Path, files: Sequence[str] = NETWORK_FILES) -> str:
    """Return the SHA-256 (hex) of a checkpoint.

    The digest of a file is that of its bytes. The digest of a folder is that of the lines that ``sha256sum`` prints
    for its files that match ``files``, sorted by name; ``cd FOLDER && sha256sum config.json *.safetensors |
    sha256sum`` gives the same value. A file is read again only when it changed; see `sha256_of`.

    Args:
        path: a file or a folder.
        files: patterns of the names of the files that count in a folder.

    Raises:
        UsageError: when the path does not exist, or the folder contains no such files.
    """
    if path.is_file():
        return sha256_of(path)
    if not path.is_dir():
        raise UsageError(f"There are no weights at {path}: no such file or folder.")
    members = _members(path, files)
    if not members:
        raise UsageError(f"The folder {path} holds no weights: none of {', '.join(files)}.")
    lines = "".join(f"{sha256_of(member)}  {member.name}\n" for member in members)
    return hashlib.sha256(lines.encode()).hexdigest()


def _members(folder: Path, files: Iterable[str]) -> list[Path]:
    found = {member for pattern in files for member in folder.glob(pattern) if member.is_file()}
    return sorted((m for m in found if m.name not in _LEFT_BY_TRAINING), key=lambda member: member.name)


def checkpoint_file(path: str | Path, *, what: str, source: str) -> Path:
    """Return the path of a checkpoint file that a user named, after a check that it is a file.

    Args:
        path: what the user wrote; ``~`` is the home folder.
        what: the network that the file should contain, e.g. ``"SAM vit_b"``.
        source: a sentence that says where to get it.

    Raises:
        UsageError: when there is no such file.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        raise UsageError(f"{file} is a folder, not the checkpoint file of {what}. {source}")
    if not file.is_file():
        raise UsageError(f"There is no checkpoint of {what} at {file}. {source}")
    return file


def pretrained_folder(name: str, config: str | None = "config.json") -> Path | None:
    """Return the folder that a user named, or None when the name is an id of the Hugging Face hub.

    Args:
        name: a folder, an id, or ``package:`` and the name of a checkpoint in hlmat-bench itself.
        config: the file that the folder must contain; None for no such check.

    Raises:
        UsageError: when the name is that of a file, or is written like a path and there is no such folder.
    """
    if (shipped := name.removeprefix(PACKAGE)) != name:
        return _shipped(shipped)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if config and not (folder / config).is_file():
            raise UsageError(f"The folder {folder} holds no {config}, so nothing that can be loaded.")
        return folder
    if folder.is_file():
        raise UsageError(f"{folder} is a file: name the folder that holds it and the model's other files.")
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise UsageError(f"There is no folder {folder}; give a folder or an id like owner/name.")
    return None


def _shipped(name: str) -> Path:
    place = content_folder("adapters") / "models"
    known = sorted(file.parent.name for file in place.glob("*/config.json"))
    if name not in known:
        raise unknown("checkpoint in hlmat-bench", name, known, f"There are {', '.join(known)}.")
    return place / name


def refuse_adapter(name: str, revision: str | None = None) -> None:
    """Raise `UsageError` when a folder or an id holds an adapter of peft instead of a whole model.

    A folder that contains a ``config.json`` as well as the adapter holds a whole model.
    """
    folder = Path(name).expanduser()
    if name.startswith(PACKAGE):
        return
    if folder.is_dir():
        file = folder / "adapter_config.json"
        if not file.is_file() or (folder / "config.json").is_file():
            return
    else:
        from transformers.utils.hub import cached_file

        quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
        try:
            found = cached_file(name, "adapter_config.json", revision=revision, **quiet)
        except (OSError, ValueError):  # a wrong name is reported where the model is loaded
            return
        if found is None:
            return
        file = Path(str(found))
    base = _base_model(file) or "BASE"
    raise UsageError(
        f"{name} is an adapter of peft (such as LoRA), no whole model: take pretrained={base},peft={name}."
    )


def _base_model(adapter_config: Path) -> str | None:
    """Return the name of the model that an adapter was trained on, from its configuration; None where it has none."""
    try:
        base = json.loads(adapter_config.read_text("utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return base if isinstance(base, str) and base else None


@contextmanager
def reading(name: str, advice: str = "Give a folder with the model's files.") -> Iterator[None]:
    """Turn errors about the files of a ``pretrained`` model inside a ``with`` block into `UsageError`.

    Args:
        name: the folder or id that the user gave.
        advice: a sentence that says what to do next.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except (*_DAMAGED, ImportError, StrictDataclassError, SafetensorError) as error:
        raise UsageError(_complaint(name, error, advice)) from error


def _complaint(name: str, error: Exception, advice: str) -> str:
    if memory.explain(error):
        return f"{name} does not fit into the memory of the device: take a smaller dtype or another device."
    if "trust_remote_code=True" in str(error):
        return f"{name} contains Python code: read it, and add trust_remote_code=true if you trust it."
    return f"{name} could not be loaded: {_reason(error)}. {advice}"


def from_pretrained(auto_class: Any, name: str, **options: Any) -> Any:
    """Return ``auto_class.from_pretrained(name, **options)`` after a check that the checkpoint has every weight.

    Raises:
        UsageError: when the checkpoint lacks weights, which transformers would fill with random numbers.
    """
    model, info = auto_class.from_pretrained(name, output_loading_info=True, **options)
    if lacking := sorted(map(str, info["missing_keys"])):
        raise UsageError(
            f"{name} lacks {len(lacking)} of the model's weights, for example {lacking[0]}: "
            "the checkpoint is incomplete or of another model, so get all of its files."
        )
    return model


def snapshot(name: str, revision: str | None = None) -> Path:
    """Return the folder of a ``pretrained`` model's files: the one named, or the hub's cache folder of the commit."""
    from transformers.utils.hub import cached_file

    return Path(str(cached_file(name, "config.json", revision=revision))).parent


def _reason(error: BaseException) -> str:
    said = str(error).partition(" If you were trying to load it from")[0]  # what follows is about other places
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return textwrap.shorten(" ".join(lines[:2]) or type(error).__name__, 200, placeholder="").rstrip(". ")


def load(path: Path, *, inert: Sequence[str] = ()) -> Any:
    """Return the content of a checkpoint file, tensors on the CPU; no code in it runs.

    Args:
        path: a file of torch, which is read with ``weights_only=True``, or a ``.safetensors`` file.
        inert: beginnings of dotted names, e.g. ``"isegm."``. Objects of classes and functions with such names are
            read as `Inert` objects; these classes and functions are not imported.

    Raises:
        UsageError: when the file is no checkpoint, is damaged, or contains other objects than tensors, plain values
            and inert objects.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with _inert_names(path, inert):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (*_DAMAGED, SafetensorError) as error:
        why = "it is damaged, incomplete, or holds objects other than tensors; fetch it again from its official source"
        if packages := _packages_in(path):
            why = (
                f"it holds Python objects of {packages}, and reading those would run code; take a file with "
                "only tensors from its official source"
            )
        elif member := _archived(path):
            why = f"it is an archive of {member}; unpack it, and name that file"
        raise UsageError(f"{path} is not a checkpoint that can be read safely: {why}.") from error


def _archived(path: Path) -> str:
    """Return the name of a checkpoint inside a zip archive; empty where the file is none. torch's files are, too."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, *_DAMAGED):
        return ""
    found = (n for n in names if n.endswith((".pt", ".pth", ".safetensors")) and not n.startswith("__MACOSX/"))
    return next(found, "")


def _packages_in(path: Path) -> str:
    """Return the packages, other than torch's own, whose objects a checkpoint contains; empty where this is unknown."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    try:
        names = get_unsafe_globals_in_checkpoint(path)
    except _DAMAGED:
        return ""
    found = sorted({name.partition(".")[0] for name in names if "." in name})
    return ", ".join(found[:3]) if all(name.isidentifier() for name in found) else ""


class UnwrappedTensors(NamedTuple):
    """Tensors by name, and the wrapping that was removed from them.

    Attributes:
        tensors: the tensors by name; the content as it was, where no tensors by name were found.
        wrapping: the key under which the tensors were saved, and the prefix of all their names, e.g.
            ``"model/module."``; empty where there was neither.
    """

    tensors: Any
    wrapping: str


def unwrapped(content: Any) -> UnwrappedTensors:
    """Return the tensors of a checkpoint under the names that a network uses, without the wrapping of training code.

    A training script saves them under ``model``, ``state_dict``, ``model_state_dict``, ``network`` or ``net``,
    together with the optimizer and the epoch. Names begin with ``module.`` where the network ran on several devices
    (DataParallel of torch), with ``_orig_mod.`` where it was compiled, and with ``model.`` where it is part of a module
    of Lightning. A prefix is removed once, and only where all names begin with it.

    >>> class Tensor: shape = (1,)
    >>> state = unwrapped({"model": {"module.a": Tensor(), "module.b": Tensor()}, "epoch": 3})
    >>> sorted(state.tensors), state.wrapping
    (['a', 'b'], 'model/module.')
    """
    wrapping = []
    if isinstance(content, dict) and not _is_state(content):
        held = [name for name in _WRAPPERS if _is_state(content.get(name))]
        if len(held) == 1:
            content = content[held[0]]
            wrapping.append(held[0])
    prefixes, before = list(_PREFIXES), ""
    while found := next((p for p in prefixes if _is_state(content) and all(k.startswith(p) for k in content)), None):
        content = {name.removeprefix(found): tensor for name, tensor in content.items()}
        before += found
        prefixes.remove(found)
    return UnwrappedTensors(content, "/".join([*wrapping, *([before] if before else [])]))


def _is_state(content: Any) -> bool:
    """Return whether a value is a dict of tensors by name, with at least one."""
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(name, str) and hasattr(value, "shape") for name, value in content.items())
    )


class Inert:
    """Replaces an object of a class that is not imported in a loaded checkpoint; keeps nothing of its content."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


@contextmanager
def _inert_names(path: Path, inert: Sequence[str]) -> Iterator[None]:
    """Let torch read objects of a file whose dotted names begin with one of ``inert`` as `Inert` objects."""
    if not inert:
        yield
        return
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    with _loading:  # torch's list of allowed classes is shared by all threads
        names = [name for name in get_unsafe_globals_in_checkpoint(path) if name.startswith(tuple(inert))]
        with safe_globals([(Inert, name) for name in names]):
            yield
