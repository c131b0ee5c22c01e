"""Writes the two graphs with which onnxruntime computes a LLaVA of CLIP and Llama, without any weights in them.

`tower` turns pictures into tokens, `decoder` continues a text by one token. Their weights are external initializers
under the names of model.safetensors, so that one file of weights serves transformers and onnxruntime.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx import GraphProto, ModelProto, TensorProto, helper

OPSET = 23  # of onnxruntime 1.23 and later
IR_VERSION = 11
Shape = tuple[int | str, ...]


class Graph:
    """A graph under construction: each method adds a node and returns the name of its output."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes, self._nodes, self._tensors = shapes, [], dict[str, TensorProto]()

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node, and return the name of its output, or a list of names where there are several."""
        names = [f"{op}_{len(self._nodes)}_{number}" for number in range(outputs)]
        self._nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def rename(self, old: str, new: str) -> None:
        """Give an output of the graph its name."""
        self._nodes.append(helper.make_node("Identity", [old], [new]))

    def weight(self, name: str) -> str:
        """Declare a tensor of model.safetensors as an initializer that whoever loads the graph must give."""
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=self._shapes[name])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="model.safetensors")
        self._tensors[name] = tensor
        return name

    def numbers(self, *values: int) -> str:
        """Add a constant int64 vector."""
        name = "int_" + "_".join(map(str, values))
        self._tensors[name] = helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        return name

    def linear(self, x: str, name: str, *, bias: bool = True) -> str:
        """Apply a layer of torch, whose weight has the shape (outputs, inputs)."""
        y = self.add("MatMul", x, self.add("Transpose", self.weight(f"{name}.weight"), perm=[1, 0]))
        return self.add("Add", y, self.weight(f"{name}.bias")) if bias else y

    def norm(self, x: str, name: str, epsilon: float) -> str:
        """Apply a LayerNorm of torch."""
        names = (self.weight(f"{name}.weight"), self.weight(f"{name}.bias"))
        return self.add("LayerNormalization", x, *names, epsilon=epsilon)

    def rms_norm(self, x: str, name: str, epsilon: float) -> str:
        """Apply a RMSNorm of Llama."""
        return self.add("RMSNormalization", x, self.weight(f"{name}.weight"), epsilon=epsilon)

    def swish(self, x: str, alpha: float = 1.0) -> str:
        """Multiply by the sigmoid of alpha times the value: SiLU; with 1.702, the "quick_gelu" of CLIP."""
        if alpha != 1:
            self._tensors["alpha"] = helper.make_tensor("alpha", TensorProto.FLOAT, [], [alpha])
        return self.add("Mul", x, self.add("Sigmoid", x if alpha == 1 else self.add("Mul", x, "alpha")))

    def finish(self, name: str, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> ModelProto:
        """Return the model; all its inputs and outputs are float32."""
        values = [
            [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in group.items()]
            for group in (inputs, outputs)
        ]
        graph: GraphProto = helper.make_graph(self._nodes, name, *values, initializer=list(self._tensors.values()))
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="hlmat-bench"
        )


def tower(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> ModelProto:
    """Return the graph from normalised pictures (batch, 3, side, side) to ``features`` (batch, tokens, width)."""
    vision, graph = config["vision_config"], Graph(shapes)
    width, epsilon = vision["hidden_size"], vision["layer_norm_eps"]
    side, patch, count = vision["image_size"], vision["patch_size"], (vision["image_size"] // vision["patch_size"]) ** 2
    root = "vision_tower"
    weight = graph.weight(f"{root}.embeddings.patch_embedding.weight")
    patches = graph.add("Conv", "pixels", weight, kernel_shape=[patch] * 2, strides=[patch] * 2)
    patches = graph.add("Transpose", graph.add("Reshape", patches, graph.numbers(0, width, count)), perm=[0, 2, 1])
    shape = graph.add("Concat", graph.add("Shape", "pixels", end=1), graph.numbers(1, width), axis=0)
    first = graph.add("Expand", graph.weight(f"{root}.embeddings.class_embedding"), shape)
    x = graph.add("Concat", first, patches, axis=1)
    x = graph.add("Add", x, graph.weight(f"{root}.embeddings.position_embedding.weight"))
    x = graph.norm(x, f"{root}.pre_layrnorm", epsilon)
    heads = {"q_num_heads": vision["num_attention_heads"], "kv_num_heads": vision["num_attention_heads"]}
    for number in range(vision["num_hidden_layers"]):
        layer = f"{root}.encoder.layers.{number}"
        y = graph.norm(x, f"{layer}.layer_norm1", epsilon)
        y = graph.add("Attention", *(graph.linear(y, f"{layer}.self_attn.{one}_proj") for one in "qkv"), **heads)
        x = graph.add("Add", x, graph.linear(y, f"{layer}.self_attn.out_proj"))
        y = graph.linear(graph.norm(x, f"{layer}.layer_norm2", epsilon), f"{layer}.mlp.fc1")
        y = graph.linear(graph.swish(y, 1.702), f"{layer}.mlp.fc2")
        x = graph.add("Add", x, y)
    x = graph.add("Slice", x, graph.numbers(1), graph.numbers(count + 1), graph.numbers(1))  # without the first token
    x = graph.add("Gelu", graph.linear(x, "multi_modal_projector.linear_1"))
    graph.rename(graph.linear(x, "multi_modal_projector.linear_2"), "features")
    text = config["text_config"]["hidden_size"]
    return graph.finish("tower", {"pixels": ("batch", 3, side, side)}, {"features": ("batch", count, text)})


def decoder(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> ModelProto:
    """Return the graph from embedded tokens to the ``logits`` (batch, vocabulary) after the last of them.

    Further inputs are the ``mask`` (batch, 1, new, all), which is added to the scores of attention, the ``cos`` and
    ``sin`` of the rotary positions (batch, new, size of a head / 2), and for each layer the keys and values of
    the earlier tokens (batch, heads, past, size of a head); further outputs are those of all tokens.
    """
    text, graph = config["text_config"], Graph(shapes)
    count, size, epsilon = text["num_attention_heads"], text["head_dim"], text["rms_norm_eps"]
    heads = {"q_num_heads": count, "kv_num_heads": count}
    x, root = "embeds", "language_model.model"
    for number in range(text["num_hidden_layers"]):
        layer = f"{root}.layers.{number}"
        y = graph.rms_norm(x, f"{layer}.input_layernorm", epsilon)
        q, k, v = (graph.linear(y, f"{layer}.self_attn.{one}_proj", bias=False) for one in "qkv")
        q, k = (graph.add("RotaryEmbedding", one, "cos", "sin", num_heads=count) for one in (q, k))
        past = f"key_{number}", f"value_{number}"
        y, *present = graph.add("Attention", q, k, v, "mask", *past, outputs=3, **heads)
        for old, new in zip(present, past, strict=True):
            graph.rename(old, f"present_{new}")
        x = graph.add("Add", x, graph.linear(y, f"{layer}.self_attn.o_proj", bias=False))
        y = graph.rms_norm(x, f"{layer}.post_attention_layernorm", epsilon)
        gate, up = (graph.linear(y, f"{layer}.mlp.{one}_proj", bias=False) for one in ("gate", "up"))
        y = graph.linear(graph.add("Mul", graph.swish(gate), up), f"{layer}.mlp.down_proj", bias=False)
        x = graph.add("Add", x, y)
    x = graph.add("Gather", x, graph.numbers(-1), axis=1)
    x = graph.linear(graph.rms_norm(x, f"{root}.norm", epsilon), f"{root}.embed_tokens", bias=False)
    graph.rename(graph.add("Squeeze", x, graph.numbers(1)), "logits")
    inputs: dict[str, Shape] = {
        "embeds": ("batch", "new", text["hidden_size"]),
        "mask": ("batch", 1, "new", "all"),
        "cos": ("batch", "new", size // 2),
        "sin": ("batch", "new", size // 2),
    }
    outputs: dict[str, Shape] = {"logits": ("batch", text["vocab_size"])}
    for number in range(text["num_hidden_layers"]):
        for name in (f"key_{number}", f"value_{number}"):
            inputs[name], outputs[f"present_{name}"] = ("batch", count, "past", size), ("batch", count, "all", size)
    return graph.finish("decoder", inputs, outputs)


def write(folder: Path) -> None:
    """Write tower.onnx and decoder.onnx into a folder that transformers saved.

    Raises:
        ValueError: when it holds another network.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    vision, text = config["vision_config"], config["text_config"]
    told = (vision["hidden_act"], text["hidden_act"], config["projector_hidden_act"], config["vision_feature_layer"])
    if told != ("quick_gelu", "silu", "gelu", -1) or not config["tie_word_embeddings"]:
        raise ValueError(f"{folder} holds another network than the graphs compute: {told}.")
    shapes = shapes_in(folder / "model.safetensors")
    for model in (tower(config, shapes), decoder(config, shapes)):
        (folder / f"{model.graph.name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


def shapes_in(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in a file of safetensors."""
    from safetensors import safe_open

    with safe_open(file, "numpy") as tensors:
        return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118


if __name__ == "__main__":
    write(Path(sys.argv[1]))
