"""Embeddings on disk: the same masks, no second encoder pass, and files that may be damaged, shared and bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import hlmat_bench
from hlmat_bench.clicks import Click
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol import plugins
from hlmat_bench.segmenters.embeddings import EmbeddingStore, image_key
from tests.support.networks import passes
from tests.support.sam_weights import EVERY, picture, segmenter, weights_of

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
CLICKS = [Click(True, 40, 30), Click(False, 5, 5), Click(True, 70, 40)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("sams")
    return {family: weights_of(family, place / family) for family in EVERY}


def played(one: Any) -> list[torch.Tensor]:
    """Return the masks and the logits after each click, on three images."""
    made = []
    for seed in range(3):
        session = one.open(picture(seed))
        for count in (1, 2, 3):
            made += [torch.from_numpy(session.predict(CLICKS[:count], (5, 6, 70, 50))), session.snapshot()]
    return made


def same(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize("family", EVERY)
def test_masks_are_the_same_cold_and_warm_and_a_second_run_encodes_nothing(
    family: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    without = segmenter(family, folders[family])
    cold = segmenter(family, folders[family], embedding_cache=str(tmp_path))
    warm = segmenter(family, folders[family], embedding_cache=str(tmp_path), cache_mb=0)
    expected = played(without)
    with passes() as encoded:
        assert same(played(cold), expected)
        assert len(encoded) == 3
        assert same(played(warm), expected)
        assert len(encoded) == 3
    assert len(list(tmp_path.glob("*/*.safetensors"))) == 3
    assert without.spec() == cold.spec() == warm.spec()


def test_what_the_encoder_depends_on_tells_files_apart(folders: dict[str, Path], tmp_path: Path) -> None:
    def encoded(**options: Any) -> int:
        one = segmenter("sam2", folders["sam2"], embedding_cache=str(tmp_path), **options)
        with passes() as counted:
            one.open(picture())
        return len(counted)

    assert encoded() == 1
    assert encoded(feedback=False) == 0
    assert encoded(dtype="bfloat16") == 1
    assert encoded() == encoded(dtype="bfloat16") == 0


def tensors(seed: int, size: int = 1000) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"fine.0": torch.randn(1, size, generator=generator), "fine.1": torch.ones(2, 3), "whole": torch.zeros(1, 2)}


def store(folder: Path, limit: int = 1 << 30) -> EmbeddingStore:
    return EmbeddingStore(folder, {"weights": "w"}, limit, CPU)


@settings(max_examples=150)
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(0, 255))
def test_a_damaged_file_is_noticed_removed_and_made_again(where: float, flip: int) -> None:
    """One byte changed, or (flip 0) the file cut off there."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        kept, asked = store(Path(folder)), []

        def encode(image: np.ndarray) -> dict[str, torch.Tensor]:
            asked.append(1)
            return tensors(1, size=20)

        kept.get(picture(), encode)
        [path] = Path(folder).glob("*/*")
        whole = path.read_bytes()
        data = bytearray(whole)
        place = int(where * len(data))
        if flip:
            data[place] ^= flip
        else:
            del data[place:]
        path.write_bytes(data)
        for _ in range(2):
            again = kept.get(picture(), encode)
            assert same(list(again.values()), [tensors(1, size=20)[name] for name in again])
            assert again.keys() == tensors(1).keys()
        assert kept.damaged == len(told) == len(asked) - 1 <= 1
        if kept.damaged:
            assert str(path) in str(told[0].message)
            assert path.read_bytes() == whole


def test_damaged_values_are_never_given_out(tmp_path: Path) -> None:
    """A change that leaves a well-formed file: a bit of a value, the name of a tensor."""
    kept = store(tmp_path)
    kept.get(picture(), lambda image: tensors(0))
    [path] = tmp_path.glob("*/*")
    whole = path.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole.replace(b'"whole"', b'"while"')):
        path.write_bytes(damaged)
        load_file(path)
        with pytest.warns(UserWarning, match="was damaged"):
            assert "whole" in kept.get(picture(), lambda image: tensors(0))
    assert kept.damaged == 2


def test_files_used_longest_ago_make_room_and_others_files_stay(tmp_path: Path) -> None:
    own = tmp_path / ("a" * 64) / "notes.txt"
    for file in (tmp_path / "photo.png", tmp_path / "images" / "photo.png", own):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(100_000))
    left = tmp_path / ("0" * 64) / f"{'1' * 64}.{'2' * 32}.draft"  # of a process that was killed
    left.parent.mkdir()
    left.write_bytes(bytes(3000))
    os.utime(left, (1, 1))
    kept, asked = store(tmp_path, limit=14_000), []

    def get(seed: int) -> None:
        kept.get(picture(seed), lambda image: asked.append(seed) or tensors(seed))
        for number, path in enumerate(
            sorted(tmp_path.glob("*/*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
        ):
            os.utime(path, ns=(10**9 * (number + 10), 10**9 * (number + 10)))  # clocks may be coarse

    for seed in (0, 1, 0, 2, 3, 0, 1):
        get(seed)
        assert sum(path.stat().st_size for path in tmp_path.glob("*/*[!g]") if path != own) <= 14_000
    assert asked == [0, 1, 2, 3, 1]  # 1 went for 3, not 0, which was used since
    assert not left.exists()
    assert own.exists()
    assert len(list(tmp_path.rglob("photo.png"))) == 2

    assert same(list(store(tmp_path / "tiny", limit=10).get(picture(), tensors_of).values()), list(tensors(5).values()))
    assert not list((tmp_path / "tiny").glob("*/*"))


def tensors_of(image: np.ndarray) -> dict[str, torch.Tensor]:
    return tensors(5)


SHARING = """
import sys, warnings
import numpy as np, torch
from pathlib import Path
from hlmat_bench.segmenters.embeddings import EmbeddingStore

warnings.simplefilter("error")
store = EmbeddingStore(Path(sys.argv[1]), {}, 40_000, torch.device("cpu"))
for turn in range(300):
    number = (turn * int(sys.argv[2])) % 17
    image = np.full((4, 4, 3), number, np.uint8)
    made = store.get(image, lambda image: {"value": torch.full((1000,), float(number))})
    assert torch.equal(made["value"], torch.full((1000,), float(number)))
assert store.damaged == 0
"""


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    """Reading, writing and removing the same files at once, with room for half of them."""
    command = [sys.executable, "-c", SHARING, str(tmp_path)]
    both = [subprocess.Popen([*command, str(step)], stderr=subprocess.PIPE, text=True) for step in (3, 5)]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    files = list(tmp_path.glob("*/*"))
    assert all(file.suffix == ".safetensors" for file in files)
    assert sum(file.stat().st_size for file in files) <= 45_000


def test_a_run_keeps_them_where_the_flag_says(task: str, folders: dict[str, Path], tmp_path: Path) -> None:
    spec = f"sam,pretrained={folders['sam']},device=cpu"
    for name in ("cold", "warm"):
        hlmat_bench.run("center", task, spec, out=tmp_path / name, limit=6, embedding_cache=tmp_path / "cache")
    plain = hlmat_bench.run("center", task, spec, out=tmp_path / "plain", limit=6)
    expected = [[step.mask for step in episode.steps] for episode in plain.episodes()]
    for name in ("cold", "warm"):
        run = hlmat_bench.Run(tmp_path / name)
        assert [[step.mask for step in episode.steps] for episode in run.episodes()] == expected
        assert run.manifest["protocol_fingerprint"] == plain.manifest["protocol_fingerprint"]
    assert len(list((tmp_path / "cache").glob("*/*"))) == 3


def test_what_a_user_can_get_wrong(task: str, folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--embedding-cache is for segmenters that encode .* graphcut does not"):
        hlmat_bench.run("empty", task, "graphcut", out=tmp_path / "run", embedding_cache=tmp_path)
    file = tmp_path / "file"
    file.touch()
    sam = f"sam,pretrained={folders['sam']}"
    for options, complaint in {
        f"embedding_cache={file}": "cannot be used",
        "embedding_cache_gb=0": "not a number of gigabytes",
        "embedding_cache_gb=much": "should be a number",
    }.items():
        with pytest.raises(UsageError, match=complaint):
            plugins.make("segmenter", f"{sam},{options}")


def test_the_key_is_of_shape_and_pixels() -> None:
    image = picture()
    assert image_key(image) == image_key(image[::-1][::-1])
    others = image, image.reshape(100, 60, 3), image[:-1], image ^ 1
    assert len({image_key(other) for other in others}) == 4
