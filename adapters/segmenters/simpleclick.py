"""SimpleClick (Liu et al., ICCV 2023, arXiv 2210.11006) as an interactive segmenter, with its official checkpoints.

The inputs of the network are the clicks, the probabilities of the last mask and a part of the image around the object,
as in the original's evaluation without backpropagating refinement (NoBRS). Therefore a mask depends on the masks before
it, and a session processes the clicks one by one from the first, even if they are given together.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from hlmat_bench.clicks import Click
from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.networks import device as local
from hlmat_bench.core.networks import weights
from hlmat_bench.core.types import Box, Image, Mask
from hlmat_bench.protocol.interfaces import Facts
from hlmat_bench.segmenters.simpleclick import checkpoints as simpleclick_weights
from hlmat_bench.segmenters.simpleclick.zoom_in import ZoomIn

if TYPE_CHECKING:
    from hlmat_bench.segmenters.simpleclick.predictor import PredictorState


def missing(name: str) -> str | None:
    """Return a sentence that names missing packages of a segmenter; None when it needs only weights."""
    return local.missing_packages("torch")


class SimpleClick:
    """The segmenters ``simpleclick_xtiny``, ``simpleclick_b``, ``simpleclick_l``, ``simpleclick_h``, and
    ``simpleclick`` for weights of any size.

    Args:
        wanted: the name of the segmenter; weights of another official size are refused.
        checkpoint: an official ``.pth`` file.
        input_size: side of the network's input in pixels, a multiple of 224. The original takes 448, and 672 for DAVIS.
        flip: whether the logits are averaged with those of the mirrored image.
        threshold: a pixel with a higher probability is in the mask.
        click_limit: the number of clicks, from the first, that the network gets; None for all.
        device: ``auto`` takes the accelerator if there is one.
        dtype: number type of the network.

    Raises:
        UsageError: when torch is missing, the weights are missing, damaged or of another size, or an option is invalid.
    """

    accepts_box = False
    accepts_mask = True

    def __init__(
        self,
        wanted: str,
        *,
        checkpoint: str | None = None,
        input_size: int = 448,
        flip: bool = True,
        threshold: float = 0.49,
        click_limit: int | None = None,
        device: str = "auto",
        dtype: str = "float32",
    ) -> None:
        if checkpoint is None:
            raise UsageError(f"{wanted} needs its weights. {simpleclick_weights.source(wanted)}")
        _check_options(input_size, flip, threshold, click_limit)
        local.require("torch")
        from hlmat_bench.segmenters.simpleclick import predictor as simpleclick_predictor

        self._file = weights.checkpoint_file(str(checkpoint), what=wanted, source=simpleclick_weights.source(wanted))
        self.device, self._dtype = local.device(device), local.dtype(dtype)
        with local.computing(wanted):
            contents, network = simpleclick_predictor.load(wanted, self._file, self.device, self._dtype)
        self.architecture, self._wrapping = contents.architecture, contents.wrapping
        self.name = self.architecture.official or "simpleclick"
        self.threshold = threshold
        self.predictor = simpleclick_predictor.Predictor(
            network,
            self.architecture.radius,
            ZoomIn((input_size, input_size)),
            flip=flip,
            click_limit=click_limit,
        )

    def spec(self) -> dict[str, Any]:
        """See `hlmat_bench.protocol.interfaces.Segmenter.spec`."""
        return {
            "name": self.name,
            "family": "SimpleClick",
            "weights_sha256": weights.sha256(self._file),
            "architecture": {**asdict(self.architecture), "pyramid": [*self.architecture.pyramid]},
            "zoom_in": {**asdict(self.predictor.zoom_in), "input_size": [*self.predictor.zoom_in.input_size]},
            "flip": self.predictor.flip,
            "click_limit": self.predictor.click_limit,
            "threshold": self.threshold,
            "dtype": str(self._dtype).removeprefix("torch."),
            "device": self.device.type,
            "versions": {"torch": importlib.metadata.version("torch")},
            **({"unwrapped": self._wrapping} if self._wrapping else {}),
        }

    def open(self, image: Image) -> SimpleClickSession:
        """See `hlmat_bench.protocol.interfaces.Segmenter.open`; encodes nothing, as the encoder needs the clicks."""
        with local.computing(self.name):
            return SimpleClickSession(self, image)


class SimpleClickSession:
    """An image opened in SimpleClick.

    The mask is a function of the image, the start mask, and the clicks in their order.
    """

    def __init__(self, segmenter: SimpleClick, image: Image) -> None:
        import torch

        from hlmat_bench.segmenters.simpleclick.predictor import PredictorState

        self._segmenter = segmenter
        self._image = torch.from_numpy(np.array(image)).to(segmenter.device).permute(2, 0, 1)
        self._start = PredictorState(torch.zeros(image.shape[:2], device=segmenter.device))
        self._state = self._start

    def start_from(self, mask: Mask) -> None:
        """See `hlmat_bench.protocol.interfaces.RefiningSession.start_from`.

        The pixels of the mask get the probability 1, all others 0.

        Raises:
            UsageError: when the mask has another shape than the image.
        """
        import torch

        from hlmat_bench.segmenters.simpleclick.predictor import PredictorState

        given = masks.of_shape(mask, tuple(self._image.shape[1:]))
        with local.computing(self._segmenter.name):
            self._start = self._state = PredictorState(torch.from_numpy(given).to(self._image.device, torch.float32))

    def predict(self, clicks: Sequence[Click], box: Box | None = None) -> Mask:
        """See `hlmat_bench.protocol.interfaces.Session.predict`; without clicks, the answer is the start mask.

        The network runs once for every click that follows those of the last prediction. If the clicks do not begin with
        those of the last prediction, the session starts again and runs the network once for every click.

        Raises:
            UsageError: when a box is given.
        """
        if box is not None:
            raise UsageError(f"{self._segmenter.name} takes clicks, no box.")
        with local.computing(self._segmenter.name):
            self._state = self._after(clicks)
            mask: Mask = (self._state.probabilities > self._segmenter.threshold).cpu().numpy()
        return mask

    def _after(self, clicks: Sequence[Click]) -> PredictorState:
        """Return the state after these clicks."""
        state = self._state if tuple(clicks[: len(self._state.clicks)]) == self._state.clicks else self._start
        for count in range(len(state.clicks) + 1, len(clicks) + 1):
            state = self._segmenter.predictor.next_state(self._image, clicks[:count], state)
        return state

    def snapshot(self) -> PredictorState:
        """Return the probabilities, the crop and the clicks, which no later prediction changes."""
        return self._state

    def restore(self, state: PredictorState) -> None:
        """See `hlmat_bench.protocol.interfaces.Session.restore`."""
        self._state = state


def _check_options(input_size: object, flip: object, threshold: object, click_limit: object) -> None:
    if not isinstance(input_size, int) or input_size <= 0 or input_size % simpleclick_weights.WINDOW:
        raise UsageError(f"input_size={input_size} is not a multiple of {simpleclick_weights.WINDOW}; take 448 or 672.")
    if not isinstance(flip, bool):
        raise UsageError(f"flip={flip} is neither true nor false.")
    if not isinstance(threshold, float) or not 0 < threshold < 1:
        raise UsageError(f"threshold={threshold} is not a probability between 0 and 1; the original takes 0.49.")
    if click_limit is not None and (not isinstance(click_limit, int) or click_limit < 1):
        raise UsageError(f"click_limit={click_limit} is not a number of clicks; leave it out to show all of them.")


SEGMENTERS = {name: functools.partial(SimpleClick, name) for name in ("simpleclick", *simpleclick_weights.OFFICIAL)}

FACTS = {
    name: Facts(
        box=False,
        negative_clicks=True,
        previous_logits=True,
        input_size="448",
        licence="MIT; MAE: CC BY-NC 4.0" if name in ("simpleclick_b", "simpleclick_l", "simpleclick_h") else "MIT",
        weights="github.com/uncbiag/SimpleClick",
        start_mask=True,
    )
    for name in SEGMENTERS
}
