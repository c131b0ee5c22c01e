"""EfficientSAM: masks are those of the authors' network, which is shown the first six points and no negative click."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hlmat_bench
from hlmat_bench.clicks import Click
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.types import Box
from hlmat_bench.protocol import plugins
from hlmat_bench.testing import contract
from tests.support.original_weights import FOLDER, hollow, picture, seeded, shapes_of
from tests.support.refusals import refused

pytestmark = pytest.mark.slow

REDUCED = "reduced_efficient_sam.pt"
SQUARE, WIDE = picture(1024), picture(90)[:60]

# What the authors' network was given: an image, positive clicks (x, y) and a box. Of more than six points, a box being
# the first two, it takes the first six.
ROW = [(x, 40 + x // 2) for x in range(100, 900, 100)]
ASKED: dict[str, tuple[np.ndarray, list[tuple[int, int]], Box | None]] = {
    "click": (SQUARE, [(512, 378)], None),
    "clicks": (SQUARE, [(512, 378), (716, 716)], None),
    "box": (SQUARE, [], (307, 235, 696, 542)),
    "box_and_click": (SQUARE, [(512, 337)], (256, 204, 768, 583)),
    "eight": (SQUARE, ROW, None),
    "box_and_eight": (SQUARE, ROW, (256, 204, 768, 583)),
    "wide": (WIDE, [(40, 22), (62, 50)], (20, 10, 70, 55)),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("efficientsam") / REDUCED, seeded(shapes_of(REDUCED)))


@pytest.fixture(scope="module")
def segmenter(file: Path) -> Any:
    return made("efficientsam", file)


def written(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    torch.save({"model": tensors}, path)
    return path


def made(name: str, file: Path, **options: Any) -> Any:
    return plugins.build("segmenter", name, {"checkpoint": str(file), "device": "cpu", **options})


def positive(points: list[tuple[int, int]]) -> list[Click]:
    return [Click(True, x, y) for x, y in points]


@pytest.mark.parametrize("name", ASKED)
def test_masks_are_those_of_the_authors_network(name: str, segmenter: Any) -> None:
    answers = np.load(FOLDER / "answers.npz")
    image, points, box = ASKED[name]
    session = segmenter.open(image)
    mask = session.predict(positive(points), box)
    logits = session.snapshot()[0, 0, ::8, ::8].numpy()
    # Rounding differs by up to 2e-4 of logits up to 0.3; in double precision, by 1e-13.
    np.testing.assert_allclose(logits, answers[f"efficientsam_{name}"], atol=5e-4, rtol=0)
    assert abs(int(mask.sum()) - int(answers[f"efficientsam_{name}_pixels"])) <= 5e-4 * mask.size


def test_the_contract_is_kept(segmenter: Any) -> None:
    assert [found for found in contract.check("segmenter", segmenter) if found.broken] == []


def test_a_negative_click_changes_no_mask(segmenter: Any) -> None:
    away, inside = Click(False, 70, 20), Click(True, 30, 30)
    session = segmenter.open(WIDE)
    assert not session.predict([away]).any()
    mask = session.predict([away, inside])
    np.testing.assert_array_equal(mask, session.predict([inside]))
    np.testing.assert_array_equal(session.predict([inside, away]), mask)
    assert not np.array_equal(mask, session.predict([inside, Click(True, away.x, away.y)]))
    for box in (None, (5, 5, 60, 40)):
        candidates: list[list[Click]] = [[away], [inside, away], [away, away, inside], [inside, Click(True, 10, 50)]]
        for clicks, found in zip(candidates, session.predict_each(candidates, box), strict=True):
            assert np.count_nonzero(found != session.predict(clicks, box)) <= 1e-4 * found.size


def test_a_run_says_that_negative_clicks_are_not_shown(
    file: Path, task: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hlmat_bench.run("empty", task, f"efficientsam,checkpoint={file},device=cpu", out=tmp_path, limit=1)
    assert "efficientsam is shown no negative clicks" in caplog.text


@pytest.mark.parametrize(("box", "most"), [(None, 6), ((5, 5, 60, 40), 4)])
def test_the_first_six_points_count(box: Box | None, most: int, segmenter: Any) -> None:
    session, clicks = segmenter.open(WIDE), positive([(9 * i, 7 * i) for i in range(1, 9)])
    masks = [session.predict(clicks[:count], box).tobytes() for count in range(1, len(clicks) + 1)]
    assert len(set(masks[:most])) == most
    assert set(masks[most - 1 :]) == {masks[most - 1]}


def test_what_the_network_is_not_shown_is_in_the_spec_and_in_the_list(segmenter: Any) -> None:
    spec = segmenter.spec()
    assert (spec["negative_clicks"], spec["most_points"], spec["logit_feedback"]) == (False, 6, False)
    assert (spec["original_file"], spec["unwrapped"]) == ("an EfficientSAM", "model")
    for name in ("efficientsam", "efficientsam_t", "efficientsam_s"):
        facts = plugins.find("segmenter", name).facts
        assert facts is not None
        assert facts.box
        assert not any((facts.negative_clicks, facts.previous_logits, facts.start_mask))
    with pytest.raises(UsageError, match="takes no mask"):
        segmenter.open(WIDE).start_from(np.ones((60, 90), np.bool_))


def test_features_on_disk_give_the_same_masks(file: Path, segmenter: Any, tmp_path: Path) -> None:
    expected = segmenter.open(WIDE).predict(positive([(30, 30)]))
    for _ in range(2):
        kept = made("efficientsam", file, embedding_cache=str(tmp_path / "kept"))
        np.testing.assert_array_equal(kept.open(WIDE).predict(positive([(30, 30)])), expected)


def wider(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return shapes | {"image_encoder.patch_embed.proj.bias": (100,)}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (wider, "an EfficientSAM of no official size, which cannot be read"),
        (lambda shapes: shapes | {"image_encoder.patch_embed.proj.bias": ()}, "of no official size"),
        (lambda shapes: shapes | {"image_encoder.pos_embed": (1, 4097, 64)}, "for example image_encoder.pos_embed."),
    ],
)
def test_a_file_of_another_network_is_refused(change: Callable[[Any], Any], complaint: str, tmp_path: Path) -> None:
    path = written(tmp_path / "odd.pt", hollow(change(shapes_of(REDUCED))))
    assert complaint in refused(lambda: made("efficientsam", path))


def test_a_file_of_another_size_is_named(file: Path) -> None:
    assert "name the segmenter efficientsam." in refused(lambda: made("efficientsam_t", file))


def test_an_archive_of_a_checkpoint_is_named(file: Path, tmp_path: Path) -> None:
    """The authors publish the larger of their files as an archive."""
    with zipfile.ZipFile(tmp_path / "efficient_sam_vits.pt.zip", "w") as archive:
        archive.writestr("__MACOSX/._efficient_sam_vits.pt", b"")
        archive.write(file, "efficient_sam_vits.pt")
    message = refused(lambda: made("efficientsam_s", tmp_path / "efficient_sam_vits.pt.zip"))
    assert message.endswith("it is an archive of efficient_sam_vits.pt; unpack it, and name that file.")


def test_options_of_other_networks_are_refused(file: Path) -> None:
    for option in ({"feedback": True}, {"pretrained": "owner/name"}):
        assert next(iter(option)) in refused(lambda option=option: made("efficientsam_t", file, **option))  # type: ignore[misc]
    message = refused(lambda: plugins.build("segmenter", "efficientsam_s", {}))
    assert "efficient_sam_vits.pt (linked from github.com/yformer/EfficientSAM), as checkpoint=" in message
