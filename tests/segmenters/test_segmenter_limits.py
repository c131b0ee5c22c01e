"""Segmenters at their limits: images of one pixel a side, memory that does not suffice, and errors of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hlmat_bench.clicks import Click
from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.core.networks.memory import explain
from hlmat_bench.protocol import plugins
from hlmat_bench.segmenters.sam.preprocessing import InputSquare
from hlmat_bench.testing import TINY_SAM, tiny_sam, tiny_simpleclick
from tests.support.networks import DECODER, ENCODER, before_passes, raising
from tests.support.refusals import refused
from tests.support.sam_weights import LATER, segmenter, weights_of

pytestmark = pytest.mark.slow

Sam = plugins.find("segmenter", f"{folder('adapters') / 'segmenters' / 'sam.py'}:sam").factory.func  # type: ignore[attr-defined]
EVERY = ("sam", "official sam", *LATER, "simpleclick", "graphcut")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("weights")
    return {name: build(name, place) for name in EVERY}


def build(name: str, place: Path) -> Any:
    if name == "graphcut":
        return plugins.build("segmenter", name, {})
    if name == "simpleclick":
        return plugins.build("segmenter", name, {"checkpoint": str(tiny_simpleclick(place)), "device": "cpu"})
    if name == "official sam":
        return Sam(TINY_SAM, checkpoint=str(tiny_sam(place / "official").checkpoint), device="cpu")
    return segmenter(name, weights_of(name, place / name))


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 1000)])
@pytest.mark.parametrize("name", EVERY)
def test_images_of_one_pixel_a_side_get_masks(name: str, size: tuple[int, int], made: dict[str, Any]) -> None:
    height, width = size
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    session = made[name].open(image)
    clicks = [Click(True, 0, 0), Click(True, width - 1, height - 1), Click(False, width // 2, height // 2)]
    for count in range(1, 4):
        mask = session.predict(clicks[:count])
        assert (mask.shape, mask.dtype) == (size, np.bool_)
    if made[name].accepts_box:
        assert session.predict(clicks, (0, 0, width, height)).shape == size
    if hasattr(session, "predict_each"):
        assert [mask.shape for mask in session.predict_each([clicks[:1], clicks[1:]])] == [size, size]
    given = np.zeros(size, bool)
    given[: (height + 1) // 2, : (width + 1) // 2] = True
    started = made[name].open(image)
    started.start_from(given)
    assert started.predict(clicks).shape == size


def test_the_shorter_side_of_a_padded_image_has_a_pixel() -> None:
    frame = InputSquare(1024, stretched=False, resizer="pillow")
    assert frame.inner((1, 3000)) == (1, 1024)
    assert frame.inner((3000, 1)) == (1024, 1)
    assert frame.inner((600, 800)) == (768, 1024)  # 600 * 1024 / 800


# Memory and other errors

NETWORKS = f"{ENCODER}|{DECODER}|^SimpleClickNetwork$"


@pytest.mark.parametrize("name", ["sam", "samhq", "sam2", "simpleclick"])
def test_memory_that_does_not_suffice_is_told_with_what_helps(name: str, made: dict[str, Any]) -> None:
    image, clicks = np.full((40, 60, 3), hash(name) % 255, np.uint8), [Click(True, 3, 3)]
    opened = made[name].open(image)
    calls = [lambda: made[name].open(255 - image).predict(clicks), lambda: opened.predict(clicks)]
    if hasattr(opened, "predict_each"):
        calls.append(lambda: opened.predict_each([clicks]))
    starved = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    for call in calls:
        with before_passes(NETWORKS, raising(starved)):
            message = refused(call)
        assert "The memory does not suffice (CUDA out of memory. Tried to allocate 2.00 GiB): take" in message
        assert all(part in message for part in ("dtype=", "cache_mb=", "--concurrency", "device="))
    lost = RuntimeError("CUDA error: an illegal memory access was encountered\nmore lines")
    with before_passes(NETWORKS, raising(lost)):
        assert "failed in torch (RuntimeError: CUDA error: an illegal memory access" in refused(calls[1])
    assert opened.predict(clicks).shape == (40, 60)


def numpys() -> Exception:
    """Return what numpy raises for an array that no memory holds."""
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 60, np.uint8)
    return caught.value


class OutOfMemoryError(RuntimeError):
    """As torch names its own; torch is not needed to tell."""


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("HIP out of memory"),
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        numpys(),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported asynchronously"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"
        ),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
        Exception("OpenCV(4.10) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"),
    ],
)
def test_errors_of_memory_are_told_apart_without_importing_what_raised_them(error: Exception) -> None:
    said = explain(error)
    assert said is not None
    assert said.startswith("The memory does not suffice")
    assert "\n" not in said
    assert said.endswith("device=.")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        ValueError("memory"),
        UsageError("The server is out of memory."),
        RequestFailed("out of memory"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_none_of_memory(error: BaseException) -> None:
    assert explain(error) is None
