"""Write checkpoints with random weights and the sizes of published ones; random weights take the same time.

    python -m benchmarks.checkpoints FOLDER {model,segmenters} ... [--tiny]

``model`` is FOLDER/vlm, a Qwen2.5-VL of 7 billion weights in bfloat16 (17 GB); ``segmenters`` are FOLDER/sam_h.pth, a
SAM ViT-H, and FOLDER/simpleclick.pth, a SimpleClick-H (2.5 GB each). With ``--tiny`` they have about 100,000 weights,
and the SAM is FOLDER/sam_tiny, in the format of transformers.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Literal

from hlmat_bench.core.networks import device
from hlmat_bench.segmenters.simpleclick.checkpoints import SimpleClickArchitecture
from hlmat_bench.testing import TINY_SIMPLECLICK, tiny_sam, tiny_simpleclick, tiny_vlm

# https://huggingface.co/Qwen/Qwen2.5-VL-7B-Instruct/blob/main/config.json
_TEXT_7B = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128000,
    "vocab_size": 152064,
    "layer_types": ["full_attention"] * 28,
    "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1000000.0},
}
_VISION_7B = {
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "depth": 32,
    "num_heads": 16,
    "out_hidden_size": 3584,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
# models/iter_mask/plainvit_huge448_cocolvis_itermask.py of https://github.com/uncbiag/SimpleClick
_SIMPLECLICK_H = SimpleClickArchitecture(
    width=1280, depth=32, heads=16, patch=14, grid=32, pyramid=(240, 480, 960, 1920), channels=256
)


def main() -> None:
    """Write the checkpoints that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("which", nargs="+", choices=("model", "segmenters"))
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    if "model" in given.which:
        if not given.tiny and device.device().type == "cpu":
            parser.error("there is no accelerator here for a model of a real size; add --tiny")
        print(random_vlm(given.folder / "vlm", tiny=given.tiny))
    if "segmenters" in given.which:
        print(tiny_sam(given.folder).pretrained if given.tiny else random_sam(given.folder / "sam_h.pth", "vit_h"))
        print(random_simpleclick(given.folder / "simpleclick.pth", tiny=given.tiny))


def random_vlm(folder: Path, *, tiny: bool = False) -> Path:
    """Write a Qwen2.5-VL with random weights; its tokenizer is the tiny one, its images are of the real size."""
    import torch
    import transformers

    tiny_vlm(folder)
    if tiny:
        return folder
    hf: Any = transformers
    config = hf.AutoConfig.from_pretrained(folder)
    config.text_config.update(_TEXT_7B)
    config.vision_config.update(_VISION_7B)
    with torch.device(device.device()):
        hf.AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    processor = hf.AutoProcessor.from_pretrained(folder)
    processor.image_processor = hf.Qwen2VLImageProcessor()
    processor.save_pretrained(folder)
    return folder


def random_sam(file: Path, size: Literal["vit_b", "vit_h"]) -> Path:
    """Write a SAM with random weights in the format of the official checkpoints."""
    import torch
    from segment_anything import sam_model_registry

    file.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    with torch.device(device.device()):  # drawing 640 million weights takes a CPU long
        weights = sam_model_registry[size]().state_dict()
    torch.save({name: tensor.cpu() for name, tensor in weights.items()}, file)
    return file


def random_simpleclick(file: Path, *, tiny: bool = False) -> Path:
    """Write a SimpleClick-H with random weights in the format of the official checkpoints."""
    return tiny_simpleclick(file.parent, architecture=TINY_SIMPLECLICK if tiny else _SIMPLECLICK_H).rename(file)


if __name__ == "__main__":
    main()
