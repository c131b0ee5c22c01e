"""The common segmenter of all SAMs: encodes an image once, decodes clicks, feeds logits back, batches candidates.

Every step sends all clicks and the box, takes the mask with the highest predicted score of three, and feeds its
low-resolution logits back into the next step, as the SegAgent evaluator does (aim-uofa/SegAgent,
evaltools/model_loader.py).
"""

from __future__ import annotations

import importlib.metadata
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hlmat_bench.clicks import Click
from hlmat_bench.core import masks
from hlmat_bench.core.cache import Cache
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.networks import device as local
from hlmat_bench.core.networks import weights
from hlmat_bench.core.types import Box, Image, Mask, Size
from hlmat_bench.segmenters.embeddings import EmbeddingStore, Tensors, image_key
from hlmat_bench.segmenters.sam.official import Features, Network, Prompt

if TYPE_CHECKING:
    import torch


#: The most candidates that a CPU decodes together: the tensors of larger batches exceed its caches.
_CPU_BATCH = 4


class SamSegmenter:
    """A SAM of any family.

    Args:
        name: the name of the segmenter.
        network: the network with its weights.
        feedback: whether the logits of the last mask are an input of the next prediction.
        cache_mb: size of the cache of image features on the device, in megabytes (2^20 bytes).
        embedding_cache: a folder for a cache of image features on disk; None for no such cache.
        embedding_cache_gb: the largest size of this folder, in gigabytes (2^30 bytes).

    Raises:
        UsageError: when the folder cannot be created.
    """

    accepts_box = True

    def __init__(
        self,
        name: str,
        network: Network,
        *,
        feedback: bool,
        cache_mb: int,
        embedding_cache: str | None,
        embedding_cache_gb: float,
    ) -> None:
        self.name, self.network, self.feedback = name, network, feedback
        self.accepts_mask = feedback
        self._features: Cache[bytes, Features] = Cache(cache_mb << 20, lambda features: features.nbytes)
        self._store: EmbeddingStore | None = None
        if embedding_cache is not None:
            folder, limit = Path(embedding_cache).expanduser(), int(embedding_cache_gb * (1 << 30))
            self._store = EmbeddingStore(folder, self._encoder(), limit, network.device)
        self._one_at_a_time = threading.Lock()

    def spec(self) -> dict[str, Any]:
        """See `hlmat_bench.protocol.interfaces.Segmenter.spec`."""
        return {
            "name": self.name,
            **self._encoder(),
            "masks": 3,
            "mask_choice": "best predicted score",
            "threshold": 0.0,
            "logit_feedback": self.feedback,
            **({"unwrapped": self.network.wrapping} if self.network.wrapping else {}),
            **({"corrected": self.network.family.corrected} if self.network.family.corrected else {}),
            **({"original_file": self.network.original} if self.network.original else {}),
        }

    def _encoder(self) -> dict[str, Any]:
        """Return everything that the features of an image depend on."""
        network = self.network
        packages = ("torch", network.library, *network.family.needs)
        return {
            "family": network.family.name,
            "weights_sha256": weights.sha256(network.files),
            "library": network.library,
            "versions": {package: importlib.metadata.version(package) for package in packages},
            "input_size": network.square.side,
            "dtype": str(network.dtype).removeprefix("torch."),
            "device": network.device.type,
        }

    def open(self, image: Image) -> SamSession:
        """See `hlmat_bench.protocol.interfaces.Segmenter.open`."""
        with local.computing(self.name):
            features = self._features.get(image_key(image), lambda: self._kept_or_encoded(image))
        return SamSession(self.network, features, (image.shape[0], image.shape[1]), feedback=self.feedback)

    def _kept_or_encoded(self, image: Image) -> Features:
        return Features.of(self._store.get(image, self._encode) if self._store else self._encode(image))

    def _encode(self, image: Image) -> Tensors:
        """Return an image's features as contiguous tensors, as a file stores them, so that masks are bit-identical."""
        import torch

        with torch.inference_mode():
            pixels = self.network.square.pixels(image).to(self.network.device)
            with self._one_at_a_time:  # limits the memory of encoder passes
                features = self.network.encode(pixels)
            return {name: tensor.contiguous() for name, tensor in features.tensors().items()}


class SamSession:
    """An image opened in a SAM; the session's state is the low-resolution logits of its last mask."""

    def __init__(self, network: Network, features: Features, size: Size, *, feedback: bool) -> None:
        self._network = network
        self._features = features
        self._size = size
        self._feedback = feedback
        self._start: Mask = np.zeros(size, np.bool_)
        self._logits: torch.Tensor | None = None

    def start_from(self, mask: Mask) -> None:
        """See `hlmat_bench.protocol.interfaces.RefiningSession.start_from`; the mask is the network's mask prompt.

        Raises:
            UsageError: when the mask has another shape than the image, or no logits are fed back.
        """
        if not self._feedback:
            raise UsageError(
                "With feedback=false, the network takes no mask; remove feedback=false to start from a mask."
            )
        given = masks.of_shape(mask, self._size)
        if given.any():
            self._start = given.copy()
            with local.computing(self._network.family.name):
                logits = self._network.square.low_resolution(given, self._network.mask_side)
                self._logits = logits.to(self._network.device)

    def predict(self, clicks: Sequence[Click], box: Box | None = None) -> Mask:
        """See `hlmat_bench.protocol.interfaces.Session.predict`; without clicks and box, the start mask."""
        import torch

        if not clicks and box is None:
            return self._start.copy()
        with local.computing(self._network.family.name), torch.inference_mode():
            logits = self._best([clicks], box)
            bound = self._network.family.bound
            self._logits = logits if bound is None else logits.clamp(-bound, bound)
            return self._mask(logits)

    def predict_each(self, candidates: Sequence[Sequence[Click]], box: Box | None = None) -> list[Mask]:
        """See `hlmat_bench.protocol.interfaces.BatchSession.predict_each`.

        Candidates with the same number of clicks are decoded in one batch (on a CPU, of `_CPU_BATCH`). They are
        not padded to one length, because these networks attend to padding.
        """
        import torch

        found = [self._start.copy() for _ in candidates]
        with local.computing(self._network.family.name), torch.inference_mode():
            for batch in self._batches(candidates, box):
                decoded = self._best([candidates[i] for i in batch], box)
                for i, logits in zip(batch, decoded, strict=True):
                    found[i] = self._mask(logits[None])
        return found

    def _batches(self, candidates: Sequence[Sequence[Click]], box: Box | None) -> Iterator[list[int]]:
        """Yield the indices of candidates that are decoded together."""
        for count in {len(clicks) for clicks in candidates if clicks or box is not None}:
            alike = [i for i, clicks in enumerate(candidates) if len(clicks) == count]
            most = _CPU_BATCH if self._network.device.type == "cpu" else len(alike)
            yield from (alike[start : start + most] for start in range(0, len(alike), most))

    def snapshot(self) -> torch.Tensor | None:
        """Return the low-resolution logits, float32 (1, 1, L, L), or None; no later prediction changes them."""
        return self._logits

    def restore(self, state: torch.Tensor | None) -> None:
        """See `hlmat_bench.protocol.interfaces.Session.restore`."""
        self._logits = state

    def _best(self, candidates: Sequence[Sequence[Click]], box: Box | None) -> torch.Tensor:
        """Return the logits of the masks with the highest predicted score, one per candidate, float32 (K, 1, L, L)."""
        import torch

        logits, scores = self._network.decode(self._features, self._prompt(candidates, box))
        return logits[torch.arange(len(candidates)), scores.argmax(dim=1)][:, None]

    def _prompt(self, candidates: Sequence[Sequence[Click]], box: Box | None) -> Prompt:
        import torch

        count, device = len(candidates), self._network.device
        points = labels = boxes = None
        if candidates[0]:
            flat = [click for clicks in candidates for click in clicks]
            points = self._scaled([(click.x, click.y) for click in flat]).view(count, -1, 2)
            labels = torch.tensor([int(click.positive) for click in flat], dtype=torch.int, device=device)
            labels = labels.view(count, -1)
        if box is not None:
            boxes = self._scaled([box[:2], box[2:]]).view(1, 4).expand(count, 4)
        return Prompt(points, labels, boxes, self._logits if self._feedback else None)

    def _scaled(self, points: Sequence[tuple[int, int]]) -> torch.Tensor:
        import torch

        return torch.from_numpy(self._network.square.points(points, self._size)).to(self._network.device)

    def _mask(self, logits: torch.Tensor) -> Mask:
        """Return the mask, bool (H, W), of low-resolution logits (1, 1, L, L)."""
        mask: Mask = (self._network.square.full_size(logits, self._size) > 0).cpu().numpy()
        return mask
