"""Predicts masks with SimpleClick's network: zooms in, marks the clicks, averages with the mirrored image.

Reimplements the public code, https://github.com/uncbiag/SimpleClick (MIT): `isegm/inference/predictors/base.py` (mode
NoBRS) and `isegm/inference/transforms/`. Importing this module imports torch.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hlmat_bench.clicks import Click
from hlmat_bench.core.types import Size
from hlmat_bench.segmenters.simpleclick import checkpoints as simpleclick_weights
from hlmat_bench.segmenters.simpleclick.checkpoints import Contents
from hlmat_bench.segmenters.simpleclick.network import SimpleClickNetwork, click_maps
from hlmat_bench.segmenters.simpleclick.zoom_in import Crop, ZoomIn


@dataclass(frozen=True, slots=True)
class PredictorState:
    """The state of the annotation of one image; immutable.

    Attributes:
        probabilities: the probabilities of the last mask, float32 (H, W) from 0 to 1.
        crop: the part of the image that the network saw last; None before the first click.
        clicks: all clicks so far.
    """

    probabilities: Tensor
    crop: Crop | None = None
    clicks: tuple[Click, ...] = ()


class Predictor:
    """Predicts masks; has no state of its own, so any number of threads may share it.

    Args:
        network: SimpleClick with its weights.
        radius: radius of the discs that mark clicks, in pixels of the network's input.
        zoom_in: the rule that chooses the part of the image that the network sees.
        flip: whether the logits are averaged with those of the mirrored image.
        click_limit: the number of clicks, from the first, that the network gets; None for all.
    """

    def __init__(
        self,
        network: SimpleClickNetwork,
        radius: float,
        zoom_in: ZoomIn,
        *,
        flip: bool = True,
        click_limit: int | None = None,
    ) -> None:
        self.network = network
        self.radius = radius
        self.zoom_in = zoom_in
        self.flip = flip
        self.click_limit = click_limit
        self._one_at_a_time = threading.Lock()

    @torch.inference_mode()
    def next_state(self, image: Tensor, clicks: Sequence[Click], state: PredictorState) -> PredictorState:
        """Return the state after one more prediction.

        Args:
            image: uint8 (3, H, W) RGB, on the network's device.
            clicks: all clicks; they may be outside the image.
            state: the state before the prediction.
        """
        height, width = state.probabilities.shape
        found = extent(state.probabilities > self.zoom_in.threshold)
        crop = self.zoom_in.next_crop(state.crop, found, clicks, (height, width))
        part = slice(crop.top, crop.bottom + 1), slice(crop.left, crop.right + 1)
        seen = torch.cat((image[:, *part].float() / 255, state.probabilities[None, *part]))
        logits = self._logits(_resized(seen, self.zoom_in.input_size), clicks, crop)
        probabilities = torch.zeros_like(state.probabilities)
        probabilities[part] = _resized(logits.sigmoid(), crop.size)[0]
        return PredictorState(probabilities, crop, tuple(clicks))

    def _logits(self, seen: Tensor, clicks: Sequence[Click], crop: Crop) -> Tensor:
        """Return logits (1, h, w) for clicks and the network's input without them, (4, h, w)."""
        points = [(click.positive, *self.zoom_in.to_input(click, crop)) for click in clicks[: self.click_limit]]
        inputs = [self._input(seen, points)]
        if self.flip:
            last = self.zoom_in.input_size[1] - 1
            inputs.append(self._input(seen.flip(-1), [(positive, y, last - x) for positive, y, x in points]))
        batch = torch.stack(inputs)
        with self._one_at_a_time:  # limits the memory of forward passes
            logits = self.network(batch[:, :3], batch[:, 3:])
        if not self.flip:
            return logits[0]  # type: ignore[no-any-return]
        return 0.5 * (logits[0] + logits[1].flip(-1))  # type: ignore[no-any-return]

    def _input(self, seen: Tensor, points: Sequence[tuple[bool, float, float]]) -> Tensor:
        """Return the image, the last mask and the maps of the clicks as one tensor, float32 (6, h, w)."""
        by_sign = [[(y, x) for positive, y, x in points if positive is sign] for sign in (True, False)]
        positive, negative = (torch.tensor(pairs, device=seen.device).view(-1, 2) for pairs in by_sign)
        return torch.cat((seen, click_maps(positive, negative, self.zoom_in.input_size, self.radius)))


def load(name: str, file: Path, device: torch.device, dtype: torch.dtype) -> tuple[Contents, SimpleClickNetwork]:
    """Read a checkpoint; return its contents and its network, ready to predict.

    Args:
        name: the segmenter that needs it.
        file: the checkpoint.
        device: the device of the network.
        dtype: number type of the network.

    Raises:
        UsageError: for the reasons of `hlmat_bench.segmenters.simpleclick.checkpoints.read`, or when tensors are
            missing or have other shapes.
    """
    contents = simpleclick_weights.read(name, file)
    # On the meta device no memory is filled with random weights, which `assign` would replace at once.
    with torch.device("meta"):
        network = SimpleClickNetwork(contents.architecture)
    simpleclick_weights.check_fit(contents.tensors, network.state_dict(), file, name)
    network.load_state_dict(contents.tensors, assign=True)
    return contents, network.to(device, dtype).requires_grad_(False).eval()


def extent(mask: Tensor) -> Crop | None:
    """Return the smallest part that contains a mask, bool (H, W); None for an empty mask."""
    rows, columns = (mask.any(dim).nonzero().flatten().tolist() for dim in (1, 0))
    return Crop(rows[0], rows[-1], columns[0], columns[-1]) if rows else None


def _resized(maps: Tensor, size: Size) -> Tensor:
    """Resize maps (C, H, W) to another (height, width), with aligned corners, as in the original."""
    return interpolate(maps[None], size, mode="bilinear", align_corners=True)[0]
