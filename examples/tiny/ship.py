"""Turns what the trainer saved into a checkpoint as hlmat-bench ships it.

    python examples/tiny/ship.py runs/tiny/sft adapters/models/hlmat-tiny --title "hlmat-tiny, after SFT"

The new folder holds the weights in float16 (config.json still says float32: so they are computed with), config,
tokenizer and processor, the two graphs for onnxruntime, training.json as the trainer wrote it, a model card, and the
SHA-256 of all of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from pathlib import Path

import graph
import numpy as np
from safetensors.numpy import load_file, save_file

COPIED = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "processor_config.json",
    "chat_template.jinja",
    "training.json",
)

CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---

# {title}

A LLaVA of {millions} million parameters that marks objects by clicks, made for
hlmat-bench: so small that the benchmark ships it, and that it answers in milliseconds
on one core. CLIP's architecture sees 128 x 128 pixels, Llama's answers. All weights were trained from random ones.

- It is asked with the description of an object, such as `the red fish left of the mug`, and a picture of 128 x 128
  pixels with the current mask in semi-transparent green.
- It answers `Current IOU: 74, Positive point: (510, 320)` or `Current IOU: 97, Finish`: the IoU of the mask in per
  cent, and x and y of {most}.
- It was trained on scenes that the generator of hlmat-bench draws (task `synth_easy_train`), and on markers as
  `hlmat-bench probe` shows them: no photographs, no data of others.
- It knows no photographs, and no words but those of tokenizer.json.
- Licence of weights and data: Apache-2.0.

How it was trained, with all settings, seeds and numbers, is in `training.json`; `examples/tiny/` has the programs. The
files and their SHA-256 are in `SHA256SUMS`.

```sh
hlmat-bench run --model {name} --task synth_easy             # onnxruntime, without torch
hlmat-bench run --model {name},adapter=hf --task synth_easy  # transformers
```
"""


def ship(trained: Path, folder: Path, title: str) -> None:
    """Write the folder anew.

    Args:
        trained: the folder of the trainer, with `COPIED` and model.safetensors.
        folder: the folder to write; its name is that of the model.
        title: title of the model card.

    Raises:
        FileNotFoundError: when the trained folder lacks a file.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in COPIED:
        shutil.copyfile(trained / name, folder / name)
    tensors = load_file(trained / "model.safetensors")
    halves = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    _say_float32(folder / "config.json")
    graph.write(folder)
    most = 999 if json.loads((folder / "training.json").read_text("utf-8"))["options"]["digits"] else 1000
    millions = f"{sum(tensor.size for tensor in tensors.values()) / 1e6:.1f}"
    card = CARD.format(title=title, name=folder.name, millions=millions, most=most)
    (folder / "README.md").write_text(card, encoding="utf-8")
    sums = (f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(folder.iterdir()))
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


def _say_float32(file: Path) -> None:
    """Let transformers compute with float32, whatever number type the trainer or the file of weights has."""
    config = json.loads(file.read_text("utf-8"))
    for part in (config, config["vision_config"], config["text_config"]):
        part.pop("dtype", None)
    file.write_text(json.dumps({**config, "dtype": "float32"}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--title", required=True)
    given = parser.parse_args()
    ship(given.trained, given.folder, given.title)
