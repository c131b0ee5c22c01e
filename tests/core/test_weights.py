"""Weights by their hash, and what there is to run networks with."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
import torch

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.networks import device, weights


def test_the_hash_of_a_folder_is_what_sha256sum_prints(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(bytes(range(256)) * 9000)
    (tmp_path / "README.md").write_text("does not count")
    command = f"cd {tmp_path} && sha256sum config.json model.safetensors | sha256sum"
    printed = subprocess.check_output(command, shell=True, text=True)
    assert weights.sha256(tmp_path) == printed.split()[0]


def test_a_changed_file_gets_a_new_hash(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    for content in (b"one", b"three"):
        file.write_bytes(content)
        assert weights.sha256(file) == hashlib.sha256(content).hexdigest()
    with pytest.raises(UsageError, match="no weights"):
        weights.sha256(tmp_path / "absent")
    with pytest.raises(UsageError, match="no weights"):
        weights.sha256(tmp_path)


def test_a_change_that_leaves_size_and_time_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")
    first, stat = weights.sha256(file), file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert first == hashlib.sha256(b"one").hexdigest()
    assert weights.sha256(file) == hashlib.sha256(b"two").hexdigest()


def test_what_training_leaves_behind_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = weights.sha256(tmp_path, weights.CHAT_MODEL_FILES)
    for name in ("trainer_state.json", "optimizer.pt", "training_args.bin", "README.md"):
        (tmp_path / name).write_text("x")
    assert weights.sha256(tmp_path, weights.CHAT_MODEL_FILES) == before
    for name in ("chat_template.jinja", "tokenizer.json", "model-00001-of-00002.safetensors"):
        (tmp_path / name).write_text("x")
        changed = weights.sha256(tmp_path, weights.CHAT_MODEL_FILES)
        assert changed != before
        before = changed


def test_a_model_that_the_device_does_not_hold_is_told_to_the_user() -> None:
    sentence = "^large-model does not fit into the memory of the device: take a smaller"
    with pytest.raises(UsageError, match=sentence), weights.reading("large-model"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.missing_packages("numpy") is None
    sentence = device.missing_packages("numpy", "no_such_package_a", "no_such_package_b")
    assert sentence is not None
    assert "no_such_package_a, no_such_package_b are not installed" in sentence
    assert "pip install 'hlmat-bench[local]'" in sentence
    with pytest.raises(UsageError, match="no_such_package_a is not installed"):
        device.require("no_such_package_a")


def test_a_file_given_as_a_folder_is_told_to_the_user(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(UsageError, match=r"model\.safetensors is a file: name the folder"):
        weights.pretrained_folder(str(file))
