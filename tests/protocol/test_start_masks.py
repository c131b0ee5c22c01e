"""Sessions that start from a given mask: the same masks in every way, and those of the networks called directly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch.nn.functional import interpolate

from hlmat_bench.clicks import Click
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import BatchSession, RefiningSession, accepts_mask
from hlmat_bench.segmenters.sam.families import EDGETAM, SAM
from hlmat_bench.segmenters.sam.official import build
from hlmat_bench.testing import TINY_SAM, DiscSegmenter, tiny_sam, tiny_simpleclick
from tests.support.sam_weights import EVERY, LATER, Plain, segmenter, weights_of
from tests.support.segmenter_servers import picture, served

pytestmark = pytest.mark.slow

IMAGE = picture(2, 60, 100)
CLICKS = [Click(True, 40, 30), Click(False, 70, 12), Click(True, 80, 50), Click(False, 20, 40)]
ALL = ("discs", "graphcut", "simpleclick", *EVERY)


def given(height: int = 60, width: int = 100) -> np.ndarray:
    """Make a block and a spot away from it."""
    mask = np.zeros((height, width), np.bool_)
    mask[height // 4 : height * 3 // 4, width // 8 : width * 4 // 9] = True
    mask[: height // 5, width * 3 // 4 : width * 7 // 8] = True
    return mask


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("sams")
    return {family: weights_of(family, place / family) for family in EVERY}


@pytest.fixture(scope="module")
def made(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tiny_simpleclick(tmp_path_factory.mktemp("simpleclick"))
    options = {"checkpoint": str(file), "device": "cpu", "input_size": 224}
    return {
        "discs": DiscSegmenter(9),
        "graphcut": plugins.make("segmenter", "graphcut"),
        "simpleclick": plugins.build("segmenter", "simpleclick", options),
        **{family: segmenter(family, folder) for family, folder in folders.items()},
    }


def started(tool: Any, mask: np.ndarray, image: np.ndarray = IMAGE) -> Any:
    assert accepts_mask(tool)
    session = tool.open(image)
    assert isinstance(session, RefiningSession)
    session.start_from(mask)
    return session


def played(session: Any) -> list[np.ndarray]:
    return [session.predict(CLICKS[:count]).copy() for count in range(1, len(CLICKS) + 1)]


def same(seen: list[np.ndarray], expected: list[np.ndarray], share: float = 1e-4) -> None:
    for one, other in zip(seen, expected, strict=True):
        assert np.count_nonzero(one != other) <= share * one.size


# Every segmenter


@pytest.mark.parametrize("name", ALL)
def test_the_masks_are_the_same_in_every_way(name: str, made: dict[str, Any]) -> None:
    """Alone, over a server that forgets its sessions, after clicks that are taken back, as candidates."""
    tool, mask = made[name], given()
    alone = played(started(tool, mask))
    assert any((one != other).any() for one, other in zip(alone, played(tool.open(IMAGE)), strict=True))

    session = started(tool, mask)
    for count in range(1, len(CLICKS) + 1):
        state = session.snapshot()
        session.predict([*CLICKS[: count - 1], Click(True, 99, 59)])
        session.restore(state)
        if isinstance(session, BatchSession):
            same(session.predict_each([CLICKS[:count], CLICKS[:count]]), [alone[count - 1]] * 2)
        same([session.predict(CLICKS[:count])], [alone[count - 1]])

    with served(tool) as server:
        session = started(server.client(), mask)
        far = []
        for count in range(1, len(CLICKS) + 1):
            server.expire()
            far.append(session.predict(CLICKS[:count]))
        same(far, alone)
        assert server.statuses.count(404) == len(CLICKS)


@pytest.mark.parametrize("name", ALL)
def test_an_empty_mask_is_the_same_as_none(name: str, made: dict[str, Any]) -> None:
    tool = made[name]
    same(played(started(tool, np.zeros((60, 100), np.bool_))), played(tool.open(IMAGE)), 0)


@pytest.mark.parametrize("name", ALL)
def test_without_clicks_the_mask_stands_and_is_not_painted_on(name: str, made: dict[str, Any]) -> None:
    mask = given()
    session = started(made[name], mask)
    assert (session.predict([]) == mask).all()
    played(session)
    if isinstance(session, BatchSession):
        assert (session.predict_each([[]])[0] == mask).all()
    assert (mask == given()).all()


@pytest.mark.parametrize("name", ALL)
def test_a_mask_of_another_shape_is_refused(name: str, made: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="resize it to the image"):
        made[name].open(IMAGE).start_from(given(100, 60))


# The networks, called directly


def mask_prompt(mask: np.ndarray, side: int, low: int, *, stretched: bool) -> torch.Tensor:
    """Make the mask prompt of a SAM with Pillow: logits of 10 and -10 in its square, made smaller."""

    def resized(values: np.ndarray, width: int, height: int) -> np.ndarray:
        return np.array(Pillow.fromarray(values.astype(np.float32)).resize((width, height), Pillow.Resampling.BILINEAR))

    height, width = mask.shape
    if stretched:
        inner = (side, side)
    else:
        inner = (round(width * side / max(mask.shape)), round(height * side / max(mask.shape)))
    square = np.full((side, side), -10.0)
    square[: inner[1], : inner[0]] = np.where(resized(mask, *inner) >= 0.5, 10.0, -10.0)
    return torch.from_numpy(resized(square, low, low))[None, None]


# transformers' own decoder of SAM-HQ makes other masks: tests/segmenters/test_original_files.py.
@pytest.mark.parametrize("family", [family for family in LATER if family != "samhq"])
@pytest.mark.parametrize("shape", [(60, 100), (130, 90)])
def test_sam_gives_the_masks_of_plain_transformers(
    family: str, shape: tuple[int, int], folders: dict[str, Path], made: dict[str, Any]
) -> None:
    image, mask, plain = picture(3, *shape), given(*shape), Plain(family, folders[family])
    prompts = plain.model.config.prompt_encoder_config
    low = prompts.image_size // prompts.patch_size * 4
    prompt = mask_prompt(mask, prompts.image_size, low, stretched=family != "samhq")
    growing = [CLICKS[:count] for count in range(1, len(CLICKS) + 1)]
    for box in (None, (5, 6, 70, 50)):
        session = started(made[family], mask, image)
        expected = plain.play(image, growing, box, previous=prompt)
        same([session.predict(clicks, box) for clicks in growing], expected)
    assert (expected[0] != plain.play(image, growing[:1], box)[0]).any()


@pytest.mark.parametrize("shape", [(60, 100), (128, 128), (130, 90)])
def test_sam_gives_the_masks_of_segment_anything(shape: tuple[int, int], tmp_path: Path) -> None:
    from segment_anything import SamPredictor

    file, image, mask = tiny_sam(tmp_path).checkpoint, picture(4, *shape), given(*shape)
    network = build(TINY_SAM)
    network.load_state_dict(torch.load(file, weights_only=True))
    predictor = SamPredictor(network.eval())
    predictor.set_image(image)
    logits = mask_prompt(mask, TINY_SAM.input_size, TINY_SAM.input_size // 4, stretched=False)[0].numpy()
    factory: Any = plugins.find("segmenter", "sam").factory
    session = started(factory.func(TINY_SAM, checkpoint=str(file), device="cpu"), mask, image)
    for count in range(1, len(CLICKS) + 1):
        points = np.array([(click.x, click.y) for click in CLICKS[:count]])
        labels = np.array([click.positive for click in CLICKS[:count]])
        masks, scores, low = predictor.predict(points, labels, mask_input=logits, multimask_output=True)
        same([session.predict(CLICKS[:count])], [masks[scores.argmax()]])
        logits = low[scores.argmax()][None]


def test_a_mask_comes_back_from_its_logits() -> None:
    """In the padded square and in the stretched one, of large images and small ones."""
    for family in (SAM, EDGETAM):
        for shape in ((60, 100), (700, 500), (1024, 1024), (1500, 2500)):
            frame, mask = family.square(1024), given(*shape)
            back = (frame.full_size(frame.low_resolution(mask, 256), shape) > 0).numpy()
            assert (back & mask).sum() / (back | mask).sum() > 0.97


def test_without_feedback_a_sam_accepts_no_mask(folders: dict[str, Path]) -> None:
    tool = segmenter("sam2", folders["sam2"], feedback=False)
    assert not accepts_mask(tool)
    with pytest.raises(UsageError, match="feedback=false"):
        tool.open(IMAGE).start_from(given())
    with served(tool) as server:
        assert not accepts_mask(server.client())
        with pytest.raises(UsageError, match="cannot start from a mask"):
            server.client().open(IMAGE).start_from(given())


def test_simpleclick_sees_the_mask_as_its_own_last_one(tmp_path: Path) -> None:
    """The network, called with the part around the mask, the mask as probabilities and a disc."""
    file = tiny_simpleclick(tmp_path)
    options = {"checkpoint": str(file), "device": "cpu", "input_size": 224, "flip": False}
    tool: Any = plugins.build("segmenter", "simpleclick", options)
    image, mask = picture(5, 300, 400), np.zeros((300, 400), np.bool_)
    mask[100:140, 150:220] = True
    session = started(tool, mask, image)
    seen = session.predict([Click(True, 190, 115)])

    # 200 pixels around the middle of the mask, rows 100 to 139 and columns 150 to 219; halves to even.
    top, bottom, left, right = 20, 220, 84, 284
    assert tuple(session.snapshot().crop) == (top, bottom, left, right)
    part = slice(top, bottom + 1), slice(left, right + 1)
    planes = np.concatenate([image[part].astype(np.float32) / 255, mask[part][..., None]], 2, dtype=np.float32)
    stacked = torch.from_numpy(planes).permute(2, 0, 1)[None]
    stacked = interpolate(stacked, (224, 224), mode="bilinear", align_corners=True)
    rows, columns = np.ogrid[:224, :224]
    y, x = 224 * (115 - top) / 201, 224 * (190 - left) / 201
    disc = torch.from_numpy((rows - y) ** 2 + (columns - x) ** 2 <= tool.architecture.radius**2).float()
    hints = torch.stack((stacked[0, 3], disc, torch.zeros(224, 224)))[None]
    with torch.inference_mode():
        probabilities = tool.predictor.network(stacked[:, :3], hints).sigmoid()
    inside = interpolate(probabilities, (201, 201), mode="bilinear", align_corners=True)[0, 0]
    expected = torch.zeros(300, 400)
    expected[part] = inside
    torch.testing.assert_close(session.snapshot().probabilities, expected, atol=1e-6, rtol=0)
    same([seen], [(expected > 0.49).numpy()])
