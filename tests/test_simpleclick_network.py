"""SimpleClick's network: the reference's recorded logits, and second implementations of its parts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from hlmat_bench import simpleclick_predictor
from hlmat_bench.clicks import Click
from hlmat_bench.simpleclick_network import PlainVit, SimpleFpn, click_maps, positions
from hlmat_bench.simpleclick_predictor import Predictor, State, extent
from hlmat_bench.testing import TINY_SIMPLECLICK
from hlmat_bench.zoom_in import Crop, ZoomIn


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks are slower with more threads than free cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# The reference


def recorded(vectors: Path, name: str) -> tuple[dict[str, Any], Any, Any, Any]:
    folder = vectors / "simpleclick_model"
    meta = json.loads((folder / "meta.json").read_text())["models"][name]
    architecture, network = simpleclick_predictor.load(
        "simpleclick", folder / meta["file"], torch.device("cpu"), torch.float32
    )
    return meta, np.load(folder / f"{name}_arrays.npz"), architecture, network


@pytest.mark.shared
@pytest.mark.parametrize("name", ["vitA_d12_p16", "vitC_d8_p14"])
def test_logits_and_click_maps_are_those_of_the_reference(name: str, vectors: Path) -> None:
    meta, arrays, _, network = recorded(vectors, name)
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
def test_sequences_are_those_of_the_reference_predictor(name: str, vectors: Path) -> None:
    """Images of four sizes, with and without the mirror image, inputs of 448, 672 and 448 x 672."""
    meta, arrays, architecture, network = recorded(vectors, name)
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
            np.array(Pillow.open(vectors / "simpleclick_model" / sequence["image"]).convert("RGB"))
        ).permute(2, 0, 1)
        state = State(torch.zeros(image.shape[1:]))
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
    """A block of the transformer in numpy, float64; token i sees token j where ``sees[i, j]``."""

    def norm(layer: Any, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * layer.weight + layer.bias

    def linear(layer: Any, x: np.ndarray) -> np.ndarray:
        return x @ layer.weight.T + layer.bias

    joined = []
    for part in np.split(linear(block.attn.qkv, norm(block.norm1, x)).T.reshape(3, heads, -1, len(x)), heads, axis=1):
        query, key, value = part[:, 0].transpose(0, 2, 1)
        scores = np.where(sees, np.exp(query @ key.T / math.sqrt(query.shape[1])), 0)
        joined.append(scores / scores.sum(1, keepdims=True) @ value)
    x = x + linear(block.attn.proj, np.concatenate(joined, axis=1))
    hidden = linear(block.mlp.fc1, norm(block.norm2, x))
    return x + linear(block.mlp.fc2, hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))) / 2)


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


def test_position_embeddings_are_interpolated_bicubically() -> None:
    """Keys' kernel with a = -0.75, pixel centres at halves, the edge repeated: what torch's bicubic mode is."""

    def weight(distance: float) -> float:
        d, a = abs(distance), -0.75
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0

    def matrix(old: int, new: int) -> np.ndarray:
        rows = np.zeros((new, old))
        for i in range(new):
            place = (i + 0.5) * old / new - 0.5
            for j in range(math.floor(place) - 1, math.floor(place) + 3):
                rows[i, min(max(j, 0), old - 1)] += weight(place - j)
        return rows

    embedding = torch.randn(1, 1 + 28 * 28, 3, generator=torch.Generator().manual_seed(0))
    square = embedding[0, 1:].reshape(28, 28, 3).numpy()
    expected = np.einsum("ih,jw,hwc->ijc", matrix(28, 42), matrix(28, 14), square)
    np.testing.assert_allclose(positions(embedding, (42, 14))[0], expected, atol=1e-5)
    np.testing.assert_array_equal(positions(embedding, (28, 28))[0], square)


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


def test_the_pyramid_has_four_resolutions() -> None:
    levels = SimpleFpn(TINY_SIMPLECLICK)(torch.randn(2, 16, 14, 28))
    assert [tuple(level.shape) for level in levels] == [
        (2, 8, 56, 112),
        (2, 8, 28, 56),
        (2, 12, 14, 28),
        (2, 16, 7, 14),
    ]


def test_the_extent_of_a_mask() -> None:
    mask = torch.zeros(20, 30, dtype=torch.bool)
    assert extent(mask) is None
    mask[3, 25] = mask[11, 4] = True
    assert extent(mask) == Crop(3, 11, 4, 25)
