"""Tiny checkpoints of every SAM family, and what transformers itself makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf

from hlmat_bench.clicks import Click
from hlmat_bench.protocol import plugins
from hlmat_bench.testing import tiny_sam, tiny_sam_of

LATER = ("samhq", "sam2", "sam3", "edgetam")
EVERY = ("sam", *LATER)


def weights_of(family: str, folder: Path) -> Path:
    return tiny_sam(folder).pretrained if family == "sam" else tiny_sam_of(folder, family)  # type: ignore[arg-type]


def segmenter(family: str, folder: Path, **options: Any) -> Any:
    return plugins.build("segmenter", family, {"pretrained": str(folder), "device": "cpu", **options})


def picture(seed: int = 0, height: int = 60, width: int = 100) -> np.ndarray:
    image = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    image[height // 3 : height // 2, width // 3 : width // 2] = 20 + seed
    return image


class Plain:
    """A processor and a model of transformers, called as its documentation shows."""

    def __init__(self, family: str, folder: Path) -> None:
        model, processor, images, config = {
            "samhq": (hf.SamHQModel, hf.SamHQProcessor, hf.SamImageProcessor, hf.SamHQConfig),
            "sam2": (hf.Sam2Model, hf.Sam2Processor, hf.Sam2ImageProcessor, hf.Sam2Config),
            "sam3": (hf.Sam3TrackerModel, hf.Sam3TrackerProcessor, hf.Sam3ImageProcessor, hf.Sam3TrackerConfig),
            "edgetam": (hf.EdgeTamModel, hf.Sam2Processor, hf.Sam2ImageProcessor, hf.EdgeTamConfig),
        }[family]
        read = config.from_pretrained(folder)
        side = read.prompt_encoder_config.image_size
        square = {"height": side, "width": side}
        if family == "samhq":
            read.mask_decoder_config.layer_norm_eps = 1e-5  # as in the original network
            self.processor = processor(images(size={"longest_edge": side}, pad_size=square))
        else:
            self.processor = processor(images(size=square))
        self.model = model.from_pretrained(folder, config=read).eval()

    @torch.no_grad()
    def play(
        self,
        image: np.ndarray,
        sequence: Sequence[Sequence[Click]],
        box: Sequence[int] | None,
        feedback: bool = True,
        previous: torch.Tensor | None = None,
    ) -> list[np.ndarray]:
        """Return the masks after each list of clicks: the best of three, its logits given to the next."""
        masks = []
        for clicks in sequence:
            prompt: dict[str, Any] = {}
            if clicks:
                prompt["input_points"] = [[[[click.x, click.y] for click in clicks]]]
                prompt["input_labels"] = [[[int(click.positive) for click in clicks]]]
            if box is not None:
                prompt["input_boxes"] = [[list(map(float, box))]]
            inputs = self.processor(images=image, return_tensors="pt", **prompt)
            sizes = [inputs.pop(key) for key in ("original_sizes", "reshaped_input_sizes") if key in inputs]
            outputs = self.model(**inputs, input_masks=previous)
            best = int(outputs.iou_scores[0, 0].argmax())
            full = self.processor.post_process_masks(outputs.pred_masks, *sizes)
            masks.append(full[0][0, best].numpy())
            previous = outputs.pred_masks[:, 0, best][:, None] if feedback else None
        return masks
