"""The SAM authors' own files: each is recognised by its tensors, and masks are those of the authors' networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from hlmat_bench.clicks import Click
from hlmat_bench.protocol import plugins
from hlmat_bench.segmenters.sam import original_files
from hlmat_bench.segmenters.sam.families import VARIANTS
from tests.support.original_weights import FOLDER, hollow, picture, prompts, seeded, shapes_of
from tests.support.refusals import refused

pytestmark = pytest.mark.slow

# The names that the authors give to their files, and the segmenters that take them.
OFFICIAL = {
    **{f"sam_hq_vit_{size}.pth": f"samhq_{size}" for size in "blh"},
    **{
        f"{release}_hiera_{size}.pt": f"{release}_{letter}"
        for release in ("sam2", "sam2.1")
        for letter, size in (("t", "tiny"), ("s", "small"), ("b", "base_plus"), ("l", "large"))
    },
    "edgetam.pt": "edgetam",
    "mobile_sam.pt": "mobilesam",
    "efficient_sam_vitt.pt": "efficientsam_t",
    "efficient_sam_vits.pt": "efficientsam_s",
    "sam3.pt": "sam3",
}
RECORDED = {
    "samhq": ("reduced_sam_hq.pth", "samhq", 128),
    "sam2": ("sam2.1_hiera_tiny.pt", "sam2.1_t", 1024),
    "edgetam": ("edgetam.pt", "edgetam", 1024),
    "mobilesam": ("mobile_sam.pt", "mobilesam", 1024),
}


def written(folder: Path, file: str, tensors: dict[str, torch.Tensor]) -> Path:
    """Write tensors as the authors do: those of the networks for videos and of EfficientSAM under ``model``."""
    inside = file.startswith(("sam2", "edgetam", "sam3", "efficient_sam"))
    torch.save({"model": tensors} if inside else tensors, folder / file)
    return folder / file


def made(name: str, file: Path, **options: Any) -> Any:
    return plugins.build("segmenter", name, {"checkpoint": str(file), "device": "cpu", **options})


def complaint(name: str, file: Path) -> str:
    return refused(lambda: made(name, file))


# The answers of the authors' networks


@pytest.mark.parametrize("family", RECORDED)
def test_masks_are_those_of_the_authors_network(family: str, tmp_path: Path) -> None:
    file, name, side = RECORDED[family]
    answers = np.load(FOLDER / "answers.npz")
    one = made(name, written(tmp_path, file, seeded(shapes_of(file))))
    session = one.open(picture(side))
    for step, prompt in enumerate(prompts(side)):
        if step != 1:  # the second prompt continues from the first
            session.restore(None)
        mask = session.predict([Click(bool(label), x, y) for label, x, y in prompt["clicks"]], prompt["box"])
        expected = answers[f"{family}_{step}"]
        logits = session.snapshot()[0, 0].numpy()
        stride = logits.shape[0] // expected.shape[0]
        np.testing.assert_allclose(logits[::stride, ::stride], expected, atol=1e-4, rtol=0)
        assert abs(int(mask.sum()) - int(answers[f"{family}_{step}_pixels"])) <= 1e-4 * mask.size


def test_candidates_of_a_sam_hq_get_the_masks_they_get_alone(tmp_path: Path) -> None:
    file, name, side = RECORDED["samhq"]
    one = made(name, written(tmp_path, file, seeded(shapes_of(file))))
    session = one.open(picture(side))
    candidates = [[Click(x % 2 == 0, x, 50)] for x in range(10, 120, 9)]
    together = session.predict_each(candidates)
    for clicks, mask in zip(candidates, together, strict=True):
        session.restore(None)
        assert np.count_nonzero(session.predict(clicks) != mask) <= 1e-4 * mask.size


# Which file is which


@pytest.mark.parametrize("file", OFFICIAL)
def test_each_official_file_is_named_to_the_segmenters_of_other_files(file: str, tmp_path: Path) -> None:
    path = written(tmp_path, file, hollow(shapes_of(file)))
    for name in ("samhq_b", "sam2_t", "sam2.1_l", "sam3", "edgetam", "mobilesam", "efficientsam_t", "sam_b"):
        if name != OFFICIAL[file]:
            message = complaint(name, path)
            assert f"checkpoint= of {OFFICIAL[file]}." in message or f"name the segmenter {OFFICIAL[file]}." in message


@pytest.mark.parametrize(
    "file",
    ["sam_hq_vit_b.pth", "sam2.1_hiera_large.pt", "edgetam.pt", "mobile_sam.pt", "efficient_sam_vitt.pt", "sam3.pt"],
)
def test_every_tensor_must_have_its_place_and_every_place_its_tensor(file: str, tmp_path: Path) -> None:
    shapes = shapes_of(file)
    name = OFFICIAL[file]
    one = next(key for key in shapes if key.endswith("mask_decoder.mask_tokens.weight"))
    for changed in (
        {key: shape for key, shape in shapes.items() if key != one},
        shapes | {one: (3, 256)},
        shapes | {f"{one.rpartition('.')[0]}.more": (1,)},
    ):
        message = complaint(name, written(tmp_path, file, hollow(changed)))
        assert "1 of its tensors are missing, left over or of another shape" in message
        assert "mask_tokens" in message


def test_a_size_that_no_author_published_is_refused(tmp_path: Path) -> None:
    shapes = shapes_of("sam2.1_hiera_tiny.pt")
    fewer = {name: shape for name, shape in shapes.items() if ".blocks.11." not in name}
    path = written(tmp_path, "sam2.pt", hollow(fewer))
    assert "a SAM 2.1 of no official size" in complaint("sam2", path)
    assert "a SAM 2.1 other than sam2.1_t: name the segmenter sam2." in complaint("sam2.1_t", path)


@settings(max_examples=40)
@given(data=st.data())
def test_a_file_with_a_tensor_of_another_shape_is_refused_in_a_sentence(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shapes = shapes_of("reduced_sam_hq.pth")
    name = data.draw(st.sampled_from(sorted(shapes)))
    shape = data.draw(st.lists(st.integers(0, 40), max_size=4).map(tuple).filter(lambda one: one != shapes[name]))
    path = written(tmp_path_factory.mktemp("odd"), "odd.pth", hollow(shapes | {name: shape}))
    assert str(path) in complaint("samhq", path)


# Other forms of the same weights


def test_the_folder_of_transformers_with_the_same_weights_gives_the_same_masks(tmp_path: Path) -> None:
    file, name, side = RECORDED["samhq"]
    path = written(tmp_path, file, seeded(shapes_of(file)))
    original_files.load(VARIANTS[name], str(path)).model.save_pretrained(tmp_path / "saved")
    saved = plugins.build("segmenter", name, {"pretrained": str(tmp_path / "saved"), "device": "cpu"})
    sessions = [one.open(picture(side)) for one in (made(name, path), saved)]
    for clicks in ([Click(True, 60, 50)], [Click(True, 60, 50), Click(False, 10, 20)]):
        np.testing.assert_array_equal(*(session.predict(clicks) for session in sessions))


def test_a_file_of_safetensors_with_half_numbers_and_no_part_for_videos_is_read(tmp_path: Path) -> None:
    file, name, side = RECORDED["edgetam"]
    tensors = seeded(shapes_of(file))
    whole = made(name, written(tmp_path, file, tensors))
    halves = {
        key: tensor.half() if tensor.is_floating_point() else tensor
        for key, tensor in tensors.items()
        if not key.startswith(("memory_", "spatial_perceiver.", "obj_ptr"))
    }
    save_file(halves, tmp_path / "half.safetensors")
    other = made(name, tmp_path / "half.safetensors")
    assert other.spec()["original_file"] == whole.spec()["original_file"] == "an EdgeTAM"
    assert "unwrapped" not in other.spec()
    sessions = [one.open(picture(side)) for one in (whole, other)]
    for session in sessions:
        session.predict([Click(True, 512, 400)])
    torch.testing.assert_close(*(session.snapshot() for session in sessions), atol=0.01, rtol=0)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors" * 10)
    for name in ("samhq_b", "sam2.1_t", "sam3", "edgetam", "mobilesam"):
        assert "is not a checkpoint of" in complaint(name, tmp_path / "other.pt")
        assert "can be read safely" in complaint(name, tmp_path / "broken.safetensors")
        assert "There is no checkpoint of" in complaint(name, tmp_path / "absent.pt")
        assert "not both" in refused(lambda name=name: made(name, tmp_path / "a.pt", pretrained="b"))  # type: ignore[misc]
    assert "transformers" not in refused(lambda: plugins.build("segmenter", "mobilesam", {}))
    assert "takes checkpoint=" in refused(lambda: plugins.build("segmenter", "mobilesam", {"pretrained": "a/b"}))
