"""Checkpoints of hlmat-tiny with random weights, and what transformers computes from one."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hlmat_bench.core.content import folder
from hlmat_bench.data.tasks import load_task
from hlmat_bench.models.catalog import Catalog
from hlmat_bench.overlay import paint
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import Request

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = tuple(name for name, entry in Catalog.load().models.items() if entry.weights() == f"package:{name}")
OnnxModel = plugins.find("model", str(folder("adapters") / "models" / "onnx.py")).factory
HfModel = plugins.find("model", str(folder("adapters") / "models" / "hf.py")).factory


def programs() -> Any:
    """Return the modules of examples/tiny that build, draw and ship a checkpoint."""
    place = str(ROOT / "examples" / "tiny")
    if place not in sys.path:
        sys.path.append(place)
    import graph
    import model
    import ship

    return model, graph, ship


def random_checkpoint(place: Path, *, digits: bool = False) -> Path:
    """Write a shipped folder with random weights, of a size with which different questions have different answers."""
    model, _, ship = programs()
    processor = model.build_processor(digits=digits)
    network = model.build_model(processor, 0)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith("bias"):
                weight.normal_(0, 0.1)
            elif "embed_tokens" in name:
                weight[network.config.image_token_id].zero_()  # transformers takes no prompt with a generated <image>
            elif weight.dim() > 1:
                weight.mul_(8)
    trained = place.parent / f"{place.name}-trained"
    network.save_pretrained(trained)
    processor.save_pretrained(trained)
    (trained / "training.json").write_text(json.dumps({"options": {"digits": digits}}))
    ship.ship(trained, place, "Random weights")
    return place


def scenes(count: int, **changes: Any) -> list[Request]:
    """Return questions about scenes of `synth_easy`, half of them with a mask, as a run asks hlmat-tiny."""
    source, resize = load_task("synth_easy").source(overrides={"count": max(8, count)}), Resize.named("stretch-128x128")
    asked = []
    for number, sample in enumerate(source.samples()[:count]):
        image = source.image(sample)
        if number % 2:
            image = paint(image, np.roll(source.truth(sample).mask, 10 * number, axis=1))
        asked.append(Request(resize.apply(image), sample.expression, seed=number, **changes))
    return asked


def graph_logits(place: Path, request: Request) -> NDArray[np.float32]:
    """Return what the two graphs compute after a prompt, (vocabulary,): without the adapter, and without torch."""
    import onnxruntime
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    tensors = {name: value.astype(np.float32) for name, value in load_file(place / "model.safetensors").items()}
    tensors = {name: value for name, value in tensors.items() if "post_layernorm" not in name}
    sessions = {}
    for graph in ("tower", "decoder"):
        own = {n: t for n, t in tensors.items() if n.startswith("language_model.") == (graph == "decoder")}
        options = onnxruntime.SessionOptions()
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in own.values()]
        options.add_external_initializers(list(own), values)
        sessions[graph] = onnxruntime.InferenceSession((place / f"{graph}.onnx").read_bytes(), options)
    pixels = ((request.image / 255 - 0.5) / 0.25).transpose(2, 0, 1)[None].astype(np.float32)
    [features] = sessions["tower"].run(None, {"pixels": pixels})
    tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
    table = tensors["language_model.model.embed_tokens.weight"]
    before, after = (
        table[tokenizer.encode(text, add_special_tokens=False).ids] for text in (f"<s>{request.prompt}", "<answer>")
    )
    embeds = np.concatenate([before, features[0], after])[None]
    count = embeds.shape[1]
    angles = np.arange(count)[:, None] / 10000 ** (np.arange(16) / 16)
    given = {
        "embeds": embeds,
        "mask": np.triu(np.full((count, count), -np.inf, np.float32), 1)[None, None],
        "cos": np.cos(angles)[None].astype(np.float32),
        "sin": np.sin(angles)[None].astype(np.float32),
    }
    for layer in range(4):
        given |= {f"{name}_{layer}": np.zeros((1, 4, 0, 32), np.float32) for name in ("key", "value")}
    [logits] = sessions["decoder"].run(["logits"], given)
    return np.asarray(logits[0], np.float32)


class Plain:
    """What transformers computes from a checkpoint: one sequence at a time, no padding, no cache, no generate."""

    def __init__(self, place: Path) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.processor: Any = AutoProcessor.from_pretrained(place)
        self.network: Any = AutoModelForImageTextToText.from_pretrained(place)

    def logits(self, request: Request, forced: Sequence[int] = ()) -> torch.Tensor:
        """Return the logits after the prompt and the forced tokens."""
        text = f"<s>{request.prompt}<image><answer>"
        inputs = dict(
            self.processor(text=[text], images=[[request.image]], return_tensors="pt", add_special_tokens=False)
        )
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([list(forced)], dtype=torch.long)], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        with torch.no_grad():
            logits: torch.Tensor = self.network(**inputs, use_cache=False).logits[0, -1]
        return logits

    def answer(self, request: Request) -> str:
        """Return the most probable text."""
        tokens: list[int] = []
        while len(tokens) < request.max_tokens:
            tokens.append(int(self.logits(request, tokens).argmax()))
            if tokens[-1] == self.processor.tokenizer.eos_token_id:
                break
        tokenizer = self.processor.tokenizer
        kept = [token for token in tokens if token not in (0, 1, tokenizer.eos_token_id)]
        return str(tokenizer.decode(kept, skip_special_tokens=False))
