"""The networks of all SAM families through transformers. Only the image encoder runs in ``dtype``."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.networks import weights
from hlmat_bench.segmenters.sam.families import FAMILIES, SAM, SAM_HQ, Family, Variant, alike, encoder_size
from hlmat_bench.segmenters.sam.official import Features, Prompt

if TYPE_CHECKING:
    import torch


class LoadedModel(NamedTuple):
    """A network of transformers with its weights.

    Attributes:
        model: the network, on the CPU in float32.
        files: the file or folder of its weights.
        wrapping: the wrapping of its tensors, see `hlmat_bench.core.networks.weights.unwrapped`.
        original: what the authors' own file holds, e.g. ``"a SAM 2.1"``; empty for the files of transformers.
    """

    model: Any
    files: Path
    wrapping: str = ""
    original: str = ""


class TransformersNetwork:
    """A SAM of any family; see `hlmat_bench.segmenters.sam.official.Network`.

    Args:
        family: its family.
        loaded: the network with its weights.
        device: the device that it runs on.
        dtype: number type of the image encoder.
    """

    library = "transformers"

    def __init__(self, family: Family, loaded: LoadedModel, device: torch.device, dtype: torch.dtype) -> None:
        self.family, self.device, self.dtype = family, device, dtype
        self._model, self.files, self.wrapping, self.original = loaded
        prompts = self._model.config.prompt_encoder_config
        self.square = self.family.square(prompts.image_size)
        self.mask_side: int = 4 * prompts.image_size // prompts.patch_size
        self._model.eval().to(device)
        _encode_in(dtype, self._model.vision_encoder)
        if family is SAM_HQ:
            _upscale_what_the_decoder_made(self._model.mask_decoder)

    def encode(self, pixels: torch.Tensor) -> Features:
        """See `hlmat_bench.segmenters.sam.official.Network.encode`."""
        made = self._model.get_image_embeddings(pixels.to(self.dtype))
        if self.family is SAM_HQ:  # its decoder reads the first of the intermediate embeddings
            return Features({"image_embeddings": made[0], "intermediate_embeddings": made[1][:1]})
        return Features({"image_embeddings": made})

    def decode(self, features: Features, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
        """See `hlmat_bench.segmenters.sam.official.Network.decode`."""
        made = self._model(
            **features.arguments,
            input_points=None if prompt.points is None else prompt.points[None],
            input_labels=None if prompt.labels is None else prompt.labels[None],
            input_boxes=None if prompt.boxes is None else prompt.boxes[None],
            input_masks=prompt.logits,
            multimask_output=True,
        )
        return made.pred_masks[0], made.iou_scores[0]


def _encode_in(dtype: torch.dtype, encoder: Any) -> None:
    """Let an image encoder compute in a number type and return float32.

    The frequencies of rotary embeddings stay in float32, as when transformers loads a model in a smaller type.
    """
    frequencies = {name: buffer for name, buffer in encoder.named_buffers() if name.endswith("inv_freq")}
    encoder.to(dtype)
    for name, buffer in frequencies.items():
        owner, _, attribute = name.rpartition(".")
        setattr(encoder.get_submodule(owner), attribute, buffer)
    encoder.register_forward_hook(_give_float32)


def _upscale_what_the_decoder_made(decoder: Any) -> None:
    """Let the mask decoder of a SAM-HQ upscale the image features that its own transformer returns.

    transformers 5.24 drops them and upscales those that went in, with rows and columns exchanged, so that the
    masks are not those of the authors' network (``MaskDecoderHQ.predict_masks`` in
    ``segment_anything/modeling/mask_decoder_hq.py`` of SysCV/sam-hq, commit fb181f8).
    """
    made = threading.local()  # sessions decode in several threads

    def keep(module: Any, arguments: Any, output: tuple[Any, Any]) -> None:
        made.features = output[1]  # (B, P, H * W, C)

    def replace(module: Any, arguments: tuple[Any]) -> tuple[Any]:
        return (made.features.transpose(2, 3).reshape(arguments[0].shape),)

    decoder.transformer.register_forward_hook(keep)
    decoder.upscale_conv1.register_forward_pre_hook(replace)


def _give_float32(module: Any, arguments: Any, output: dict[str, Any]) -> None:
    """Convert the tensors and lists of tensors that the decoder reads from the encoder's output to float32."""
    for name in ("last_hidden_state", "intermediate_embeddings", "fpn_hidden_states"):
        value = output.get(name)
        if isinstance(value, (list, tuple)):
            output[name] = type(value)(tensor.float() for tensor in value)
        elif value is not None:
            output[name] = value.float()


def from_pretrained(variant: Variant, pretrained: str, advice: str | None = None) -> LoadedModel:
    """Return the network of a folder that transformers saved, or of an id of the Hugging Face hub.

    Args:
        variant: the variant to load; one without a size loads any of the family.
        pretrained: the folder or id.
        advice: a sentence that says where to get the weights; by default `Variant.source`.

    Raises:
        UsageError: when the weights do not exist, are damaged, or belong to another network.
    """
    advice = advice or variant.source
    library = importlib.import_module("transformers")  # parts of it are not typed
    source = str(weights.pretrained_folder(pretrained) or pretrained)
    with weights.reading(pretrained, advice):
        written, _ = library.PreTrainedConfig.get_config_dict(source)
        _check_family(written, variant.family, pretrained, advice)
        config = getattr(library, variant.family.config).from_dict(written)
        if variant.family in (SAM, SAM_HQ):
            # The original two-way transformer uses torch's default, 1e-5; transformers sets 1e-6.
            config.mask_decoder_config.layer_norm_eps = 1e-5
        _check_variant(written, config, variant, pretrained)
        model: Callable[..., Any] = getattr(library, variant.family.model)
        made = weights.from_pretrained(model, source, config=config, dtype="float32", attn_implementation="sdpa")
        return LoadedModel(made, weights.snapshot(source))


def _check_family(written: Mapping[str, Any], wanted: Family, where: str, advice: str) -> None:
    """Raise `UsageError` when a configuration, as it is written, is not one of this family."""
    kind = written.get("model_type")
    if kind in wanted.types:
        return
    for family in FAMILIES:
        if kind in family.types:
            raise UsageError(f"{where} holds a {family.name}, not a {wanted.name}: name the segmenter {family.any}.")
    raise UsageError(f"{where} holds a model of type {kind!r}, not a {wanted.name}. {advice}")


def _check_variant(written: Mapping[str, Any], config: Any, wanted: Variant, where: str) -> None:
    """Raise `UsageError` when a configuration is that of another variant of the family."""
    if wanted.size is None:
        return
    size, occlusion = encoder_size(config), written.get("enable_occlusion_spatial_embedding")
    if size == wanted.size and (None in (occlusion, wanted.occlusion) or occlusion == wanted.occlusion):
        return
    fitting = [other.name for other in alike(wanted.family, size, occlusion)]
    raise UsageError(
        f"{where} holds a {wanted.family.name} other than {wanted.name}: "
        f"name the segmenter {' or '.join(fitting) or wanted.family.any}."
    )
