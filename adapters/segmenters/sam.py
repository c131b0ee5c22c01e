"""SAM, the Segment Anything Model (Kirillov et al., arXiv 2304.02643), as an interactive segmenter.

Two ways to the same masks: an official checkpoint (``checkpoint=``, through the package segment-anything) or
weights as transformers saves them (``pretrained=``). Every step sends all clicks and the box, takes the best
of the three masks by the network's own score, and feeds its low-resolution logits back into the next step, as
the SegAgent evaluator does (aim-uofa/SegAgent, evaltools/model_loader.py).
"""

from __future__ import annotations

import functools
import importlib.metadata
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hlmat_bench import local, weights
from hlmat_bench.clicks import Click
from hlmat_bench.embeddings import EmbeddingCache
from hlmat_bench.errors import UsageError
from hlmat_bench.interfaces import Box, Image, Mask, Size
from hlmat_bench.sam_networks import (
    MEAN,
    STD,
    VIT_B,
    VIT_H,
    VIT_L,
    Architecture,
    Network,
    OfficialNetwork,
    Prompt,
    TransformersNetwork,
)

if TYPE_CHECKING:
    import torch

_OFFICIAL = ("torch", "torchvision", "segment_anything")
_TRANSFORMERS = ("torch", "transformers", "safetensors")


def missing(name: str) -> str | None:
    """What the segmenter of that name lacks here; None when one of the two ways is open."""
    return local.missing_packages(*_OFFICIAL) and local.missing_packages(*_TRANSFORMERS)


class Sam:
    """The segmenters ``sam_b``, ``sam_l``, ``sam_h``, and ``sam`` for any SAM that transformers can load.

    Args:
        architecture: which SAM; None takes it from the ``pretrained`` folder.
        checkpoint: an official ``.pth`` file.
        pretrained: instead of it, a folder that transformers saved, or a Hugging Face id.
        device: ``auto`` takes the accelerator if there is one.
        dtype: number type of the image encoder; prompts and masks are always computed in float32.
        feedback: give the logits of the last mask to the next prediction.
        cache_mb: megabytes (2^20 bytes) of image embeddings that are kept.

    Raises:
        UsageError: when a package or the weights are missing, damaged or of another size.
    """

    accepts_box = True

    def __init__(
        self,
        architecture: Architecture | None,
        *,
        checkpoint: str | None = None,
        pretrained: str | None = None,
        device: str = "auto",
        dtype: str = "float32",
        feedback: bool = True,
        cache_mb: int = 1024,
    ) -> None:
        self.name = f"sam_{architecture.name.removeprefix('vit_')}" if architecture else "sam"
        self.feedback = feedback
        self._embeddings: EmbeddingCache[torch.Tensor] = EmbeddingCache(cache_mb << 20)
        self._one_at_a_time = threading.Lock()
        _check_choice(self.name, architecture, checkpoint, pretrained)
        local.require(*(_OFFICIAL if checkpoint else _TRANSFORMERS))
        self.device, self._dtype = local.device(device), local.dtype(dtype)
        self.network: Network
        if architecture and checkpoint:
            self.network = OfficialNetwork(architecture, checkpoint, self.device, self._dtype)
        else:
            self.network = TransformersNetwork(architecture, str(pretrained), self.device, self._dtype)

    def spec(self) -> dict[str, Any]:
        """See `hlmat_bench.interfaces.Segmenter.spec`."""
        return {
            "name": self.name,
            "weights_sha256": weights.sha256(self.network.files),
            "library": self.network.library,
            "versions": {name: importlib.metadata.version(name) for name in ("torch", self.network.library)},
            "input_size": self.network.input_size,
            "dtype": str(self._dtype).removeprefix("torch."),
            "device": self.device.type,
            "masks": 3,
            "mask_choice": "best predicted score",
            "threshold": 0.0,
            "logit_feedback": self.feedback,
        }

    def open(self, image: Image) -> SamSession:
        """See `hlmat_bench.interfaces.Segmenter.open`."""
        return SamSession(self, self._embeddings.get(image, self._encode), (image.shape[0], image.shape[1]))

    def _encode(self, image: Image) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            pixels = _normalised(image, self.network.input_size).to(self.device)
            with self._one_at_a_time:  # bounds the memory that encoder passes take
                return self.network.encode(pixels)


class SamSession:
    """An image opened in SAM. Its state is the low-resolution logits of its last mask."""

    def __init__(self, segmenter: Sam, embedding: torch.Tensor, size: Size) -> None:
        self._segmenter = segmenter
        self._embedding = embedding
        self._size = size
        self._resized = _resized_shape(size, segmenter.network.input_size)
        self._logits: torch.Tensor | None = None

    def predict(self, clicks: Sequence[Click], box: Box | None = None) -> Mask:
        """See `hlmat_bench.interfaces.Session.predict`; without clicks and box the mask is empty."""
        import torch

        if not clicks and box is None:
            return np.zeros(self._size, dtype=np.bool_)
        with torch.inference_mode():
            logits, scores = self._segmenter.network.decode(self._embedding, self._prompt(clicks, box))
            self._logits = logits[None, None, int(scores.argmax())]
            mask: Mask = (self._full_size(self._logits) > 0).cpu().numpy()
        return mask

    def snapshot(self) -> torch.Tensor | None:
        """The logits, which no later prediction changes."""
        return self._logits

    def restore(self, state: torch.Tensor | None) -> None:
        """See `hlmat_bench.interfaces.Session.restore`."""
        self._logits = state

    def _prompt(self, clicks: Sequence[Click], box: Box | None) -> Prompt:
        import torch

        device = self._segmenter.device
        points = labels = corners = None
        if clicks:
            xy = self._scaled([(click.x, click.y) for click in clicks])
            points = torch.as_tensor(xy, dtype=torch.float32, device=device)[None]
            labels = torch.as_tensor([int(c.positive) for c in clicks], dtype=torch.int, device=device)[None]
        if box is not None:
            scaled = self._scaled([box[:2], box[2:]]).reshape(1, 4)
            corners = torch.as_tensor(scaled, dtype=torch.float32, device=device)
        return Prompt(points, labels, corners, self._logits if self._segmenter.feedback else None)

    def _scaled(self, points: Sequence[tuple[int, int]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Points (x, y) of the original image in the resized one, float64 (N, 2)."""
        (height, width), (new_height, new_width) = self._size, self._resized
        return np.asarray(points, dtype=np.float64) * (new_width / width, new_height / height)

    def _full_size(self, logits: torch.Tensor) -> torch.Tensor:
        """Low-resolution logits (1, 1, h, w) in the size of the original image, (H, W)."""
        from torch.nn.functional import interpolate

        side, (height, width) = self._segmenter.network.input_size, self._resized
        padded = interpolate(logits, (side, side), mode="bilinear", align_corners=False)
        image = padded[..., :height, :width]
        return interpolate(image, self._size, mode="bilinear", align_corners=False)[0, 0]


def _resized_shape(size: Size, side: int) -> Size:
    """(height, width) after scaling the longer side to ``side``, rounded as segment-anything does."""
    scale = side / max(size)
    return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)


def _normalised(image: Image, side: int) -> torch.Tensor:
    """The resized, normalised image with zeros to the right and below, float32 (1, 3, side, side)."""
    import torch
    from PIL import Image as Pillow

    height, width = _resized_shape((image.shape[0], image.shape[1]), side)
    resized = Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return torch.nn.functional.pad((pixels - mean) / std, (0, side - width, 0, side - height))[None]


def _check_choice(name: str, architecture: Architecture | None, checkpoint: str | None, pretrained: str | None) -> None:
    if architecture is None and (checkpoint or not pretrained):
        raise UsageError(
            "sam takes its weights as pretrained=, a folder that transformers saved or an id like "
            "owner/name; name an official .pth file to sam_b, sam_l or sam_h."
        )
    if checkpoint and pretrained:
        raise UsageError(f"{name} takes checkpoint= or pretrained=, not both.")
    if architecture is not None and not (checkpoint or pretrained):
        raise UsageError(f"{name} needs its weights. {architecture.source}")


SEGMENTERS = {
    "sam_b": functools.partial(Sam, VIT_B),
    "sam_l": functools.partial(Sam, VIT_L),
    "sam_h": functools.partial(Sam, VIT_H),
    "sam": functools.partial(Sam, None),
}
