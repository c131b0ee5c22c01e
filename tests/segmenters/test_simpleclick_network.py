"""SimpleClick's network: the reference's recorded logits, and second implementations of its parts."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from hlmat_bench.clicks import Click
from hlmat_bench.segmenters.plain_vit import positions
from hlmat_bench.segmenters.simpleclick import predictor as simpleclick_predictor
from hlmat_bench.segmenters.simpleclick.network import PlainVit, SimpleClickNetwork, click_maps
from hlmat_bench.segmenters.simpleclick.predictor import Predictor, PredictorState, extent
from hlmat_bench.segmenters.simpleclick.zoom_in import Crop, ZoomIn
from hlmat_bench.testing import TINY_SIMPLECLICK

pytestmark = pytest.mark.slow

# The reference


def recorded(networks: Path, name: str) -> tuple[dict[str, Any], Any, Any, Any]:
    folder = networks / "simpleclick_model"
    meta = json.loads((folder / "meta.json").read_text())["models"][name]
    contents, network = simpleclick_predictor.load(
        "simpleclick", folder / meta["file"], torch.device("cpu"), torch.float32
    )
    return meta, np.load(folder / f"{name}_arrays.npz"), contents.architecture, network


@pytest.mark.shared
@pytest.mark.parametrize("name", ["vitA_d12_p16", "vitC_d8_p14"])
def test_logits_and_click_maps_are_those_of_the_reference(name: str, networks: Path) -> None:
    meta, arrays, _, network = recorded(networks, name)
    for case in meta["model_cases"]:
        key = case["id"]
        positive, negative = torch.tensor(arrays[f"{key}_points"][:, :2]).chunk(2)
        maps = click_maps(positive, negative, (448, 448), 5)
        np.testing.assert_array_equal(np.packbits(maps.numpy() > 0), arrays[f"{key}_clickmaps"])
        image = torch.tensor(arrays[f"{key}_image"]).permute(2, 0, 1) / 255
        last = torch.tensor(arrays[f"{key}_prev"])[None] / 255
        with torch.inference_mode():
            logits = network(image[None], torch.cat((last, maps))[None])[0, 0, ::4, ::4]
        np.testing.assert_allclose(logits, arrays[f"{key}_logits_s4"], atol=1e-4, rtol=0)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["vitA_d12_p16", "vitC_d8_p14"])
def test_sequences_are_those_of_the_reference_predictor(name: str, networks: Path) -> None:
    """Images of four sizes, with and without the mirror image, inputs of 448, 672 and 448 x 672."""
    meta, arrays, architecture, network = recorded(networks, name)
    logits: list[torch.Tensor] = []
    network.register_forward_hook(lambda *call: logits.append(call[-1]))
    crashed = 0
    for sequence in meta["predictor_sequences"]:
        sides = [int(side) for side in sequence["eval_mode"].removeprefix("fixed").replace("cvpr", "448").split(",")]
        zoom_in = ZoomIn((sides[0], sides[-1]))
        predictor = Predictor(
            network,
            architecture.radius,
            zoom_in,
            flip=sequence["with_flip"],
            click_limit=sequence["net_clicks_limit"],
        )
        image = torch.tensor(
            np.array(Pillow.open(networks / "simpleclick_model" / sequence["image"]).convert("RGB"))
        ).permute(2, 0, 1)
        state = PredictorState(torch.zeros(image.shape[1:]))
        for t, step in enumerate(sequence["steps"]):
            if step["error"]:  # a click beyond the edge: the reference ends with an IndexError
                positive, y, x = step["click"]
                state = predictor.next_state(image, [*state.clicks, Click(positive, x, y)], state)
                crashed += 1
                break
            clicks = [Click(positive, int(x), int(y)) for positive, y, x, _ in step["clicks_after"]]
            state = predictor.next_state(image, clicks, state)
            key = f"p{sequence['id'][1:]}_t{t}"
            assert list(state.crop or ()) == step["object_roi"], key
            np.testing.assert_allclose(logits[-1][:, 0, ::8, ::8], arrays[f"{key}_logits_s8"], atol=2e-4, rtol=0)
            np.testing.assert_allclose(state.probabilities[::5, ::5], arrays[f"{key}_probs_s5"], atol=5e-5, rtol=0)
            mask = (state.probabilities > 0.49).numpy()
            expected = np.unpackbits(arrays[f"{key}_mask"])[: mask.size].reshape(mask.shape)
            assert np.count_nonzero(mask != expected) <= step["near_threshold_1e4"], key
    assert crashed == 2
    assert len(logits) > 40


# Second implementations


def attention(block: Any, x: np.ndarray, sees: np.ndarray, heads: int) -> np.ndarray:
    """Compute a block of the transformer in numpy, float64; token i sees token j where ``sees[i, j]``."""

    def norm(layer: Any, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * layer.weight + layer.bias

    def dense(layer: Any, x: np.ndarray) -> np.ndarray:
        return x @ layer.weight.T + layer.bias

    joined = []
    for part in np.split(dense(block.attn.qkv, norm(block.norm1, x)).T.reshape(3, heads, -1, len(x)), heads, axis=1):
        query, key, value = part[:, 0].transpose(0, 2, 1)
        scores = np.where(sees, np.exp(query @ key.T / math.sqrt(query.shape[1])), 0)
        joined.append(scores / scores.sum(1, keepdims=True) @ value)
    x = x + dense(block.attn.proj, np.concatenate(joined, axis=1))
    hidden = dense(block.mlp.fc1, norm(block.norm2, x))
    return x + dense(block.mlp.fc2, hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))) / 2)


def test_blocks_attend_in_windows_of_224_pixels_and_the_last_of_a_group_everywhere() -> None:
    torch.manual_seed(0)
    vit = PlainVit(TINY_SIMPLECLICK).double().requires_grad_(False)
    for parameter in vit.parameters():
        parameter.normal_(std=0.3)
    clicks = torch.randn(1, 28, 14, 16, dtype=torch.float64)  # two windows, one above the other
    image = torch.randn(1, 3, 448, 224, dtype=torch.float64)
    result = vit(image, clicks)[0].permute(1, 2, 0).reshape(-1, 16).numpy()

    tokens = vit.patch_embed(image) + clicks + positions(vit.pos_embed, (28, 14))
    x = tokens.reshape(-1, 16).numpy()
    window = np.arange(28 * 14) // (14 * 14)
    near, all_of_them = window[:, None] == window, np.ones((392, 392), bool)
    for number, block in enumerate(vit.blocks):
        arrays = _Arrays(block)
        x = attention(arrays, x, all_of_them if number in (1, 3, 5, 7) else near, 2)
    np.testing.assert_allclose(result, x, atol=1e-9)


class _Arrays:
    """A module's parameters as numpy arrays, by the same names."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        return _Arrays(value) if isinstance(value, torch.nn.Module) else value.numpy()


def cubic(old: int, new: int) -> np.ndarray:
    """Keys' kernel with a = -0.75, pixel centres at halves, the edge repeated; (new, old)."""

    def weight(distance: float) -> float:
        d, a = abs(distance), -0.75
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0

    rows = np.zeros((new, old))
    for i in range(new):
        place = (i + 0.5) * old / new - 0.5
        for j in range(math.floor(place) - 1, math.floor(place) + 3):
            rows[i, min(max(j, 0), old - 1)] += weight(place - j)
    return rows


def linear(old: int, new: int, *, corners: bool) -> np.ndarray:
    """Linear interpolation, corners on corners or pixel centres at halves, the edge repeated; (new, old)."""
    i = np.arange(new)
    places = i * (old - 1) / max(new - 1, 1) if corners else (i + 0.5) * old / new - 0.5
    distances = np.abs(np.clip(places, 0, old - 1)[:, None] - np.arange(old))
    return np.maximum(1 - distances, 0)


def stretched(maps: np.ndarray, size: tuple[int, int], *, corners: bool) -> np.ndarray:
    """(C, H, W) to another size."""
    (old_height, old_width), (height, width) = maps.shape[1:], size
    rows, columns = linear(old_height, height, corners=corners), linear(old_width, width, corners=corners)
    return rows @ maps @ columns.T


def test_position_embeddings_are_interpolated_bicubically() -> None:
    embedding = torch.randn(1, 1 + 28 * 28, 3, generator=torch.Generator().manual_seed(0))
    square = embedding[0, 1:].reshape(28, 28, 3).numpy()
    expected = np.einsum("ih,jw,hwc->ijc", cubic(28, 42), cubic(28, 14), square)
    np.testing.assert_allclose(positions(embedding, (42, 14))[0], expected, atol=1e-5)
    np.testing.assert_array_equal(positions(embedding, (28, 28))[0], square)


def layer(kind: str, state: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    """Compute a layer of the pyramid or the head on (C, H, W): convolution (1 or 2 pixels), transposed, norm, GELU."""
    if kind == "gelu":
        return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"][:, None, None]
    channels, height, width = x.shape
    if kind == "norm":  # over all of the map at once
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * weight[:, None, None] + bias
    if kind == "up":
        return np.einsum("chw,coij->ohiwj", x, weight).reshape(-1, 2 * height, 2 * width) + bias
    side = weight.shape[-1]
    split = x.reshape(channels, height // side, side, width // side, side)
    return np.einsum("chiwj,ocij->ohw", split, weight) + bias


LEVELS = {
    "down_4": ("up", "norm", "gelu", "up", "norm", "conv", "norm", "gelu"),
    "down_8": ("up", "norm", "conv", "norm", "gelu"),
    "down_16": ("conv", "norm", "gelu"),
    "down_32": ("conv", "norm", "conv", "norm", "gelu"),
}


def test_the_pyramid_and_the_head_are_these_layers() -> None:
    torch.manual_seed(0)
    network = SimpleClickNetwork(TINY_SIMPLECLICK).double().requires_grad_(False)
    for parameter in network.parameters():
        parameter.normal_(std=0.5)
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    features = torch.randn(1, 16, 14, 28, dtype=torch.float64)
    levels = []
    for number, (name, kinds) in enumerate(LEVELS.items()):
        x = features[0].numpy()
        for index, kind in enumerate(kinds):
            x = layer(kind, state, f"neck.{name}.{index}", x)
        x = np.maximum(layer("conv", state, f"head.convs.{number}.conv", x), 0)
        levels.append(stretched(x, (56, 112), corners=False))
    fused = np.maximum(layer("conv", state, "head.fusion_conv.conv", np.concatenate(levels)), 0)
    expected = layer("conv", state, "head.conv_seg", fused)
    np.testing.assert_allclose(network.head(network.neck(features))[0], expected, atol=1e-9)


def test_the_network_is_its_parts() -> None:
    """Image normalised as for ImageNet, guidance added to its patches, logits stretched corners on corners."""
    torch.manual_seed(0)
    network = SimpleClickNetwork(TINY_SIMPLECLICK).double().requires_grad_(False)
    image, guidance = torch.rand(2, 1, 3, 224, 448, dtype=torch.float64)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normalised = torch.tensor((image[0].permute(1, 2, 0).numpy() - mean) / std).permute(2, 0, 1)[None]
    features = network.backbone(normalised, network.patch_embed_coords(guidance))
    expected = stretched(network.head(network.neck(features))[0].numpy(), (224, 448), corners=True)
    logits = network(image, guidance)
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits[0], expected, atol=1e-5)


def test_a_step_crops_averages_logits_with_the_mirror_image_and_pastes_probabilities() -> None:
    torch.manual_seed(0)
    network = SimpleClickNetwork(TINY_SIMPLECLICK).requires_grad_(False)
    for parameter in network.parameters():
        parameter.normal_(std=0.2)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 300, 420), dtype=np.uint8)
    last = np.zeros((300, 420), np.float32)
    last[100:140, 200:280] = np.linspace(0.51, 1, 80)  # looked at: rows 20..220, columns 140..340; see test_zoom_in
    clicks = [Click(True, 210, 120), Click(False, 330, 30)]
    top, bottom, left, right = 20, 220, 140, 340
    predictor = Predictor(network, 5, ZoomIn((224, 448)))
    state = predictor.next_state(torch.tensor(pixels), clicks, PredictorState(torch.tensor(last), Crop(0, 299, 0, 419)))
    assert state.crop == Crop(top, bottom, left, right)
    assert state.clicks == tuple(clicks)

    seen = np.concatenate([pixels / 255, last[None]])[:, top : bottom + 1, left : right + 1]
    inputs = stretched(seen, (224, 448), corners=True)
    rows, columns = np.mgrid[:224, :448]
    discs = []
    for click in clicks:
        y, x = (click.y - top) * 224 / 201, (click.x - left) * 448 / 201
        discs.append((rows - y) ** 2 + (columns - x) ** 2 <= 25)
    straight = np.concatenate([inputs, discs])
    logits = []
    for view in (straight, straight[:, :, ::-1]):
        given = torch.tensor(view.copy(), dtype=torch.float32)[None]
        logits.append(network(given[:, :3], given[:, 3:])[0].numpy())
    average = (logits[0] + logits[1][:, :, ::-1]) / 2
    assert np.abs(logits[0] - average).max() > 0.01
    expected = np.zeros((300, 420))
    expected[top : bottom + 1, left : right + 1] = stretched(1 / (1 + np.exp(-average)), (201, 201), corners=True)[0]
    np.testing.assert_allclose(state.probabilities, expected, atol=1e-5)


def test_discs_hold_the_pixels_within_the_radius() -> None:
    size = (30, 40)
    points = [(Fraction(7), Fraction(9)), (Fraction(0), Fraction(39)), (Fraction(61, 3), Fraction(-5, 2))]
    maps = click_maps(torch.tensor([[float(y), float(x)] for y, x in points]), torch.empty(0, 2), size, 5)
    expected = np.zeros(size, bool)
    for row in range(size[0]):
        for column in range(size[1]):
            expected[row, column] = any((row - y) ** 2 + (column - x) ** 2 <= 25 for y, x in points)
    np.testing.assert_array_equal(maps[0].numpy(), expected)
    assert maps[0, 7, 4:15].tolist() == [1] * 11  # five pixels to each side
    assert maps[1].sum() == 0
    negative = torch.tensor([[-1.0, -1.0], [-3.0, 5.0], [40.0, 5.0]])
    assert click_maps(negative[:1], negative, size, 5)[0].sum() == 0  # both coordinates negative: no click
    assert click_maps(negative[:1], negative, size, 5)[1].nonzero().tolist() == [
        [y, x] for y in (0, 1, 2) for x in range(40) if (y + 3) ** 2 + (x - 5) ** 2 <= 25
    ]


def test_the_extent_of_a_mask() -> None:
    mask = torch.zeros(20, 30, dtype=torch.bool)
    assert extent(mask) is None
    mask[3, 25] = mask[11, 4] = True
    assert extent(mask) == Crop(3, 11, 4, 25)
