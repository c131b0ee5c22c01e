"""Build a SimpleClick with few random weights in the format of the official checkpoints; public in `testing`."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from hlmat_bench.segmenters.simpleclick.checkpoints import SimpleClickArchitecture

TINY_SIMPLECLICK = SimpleClickArchitecture(
    width=16, depth=8, heads=2, patch=16, grid=14, pyramid=(8, 8, 12, 16), channels=8, radius=5
)
"""The architecture of `tiny_simpleclick`, for training images of 224 x 224 pixels."""

_LOSS = "isegm.model.modeling.transformer_helper.cross_entropy_loss"


def tiny_simpleclick(folder: Path, *, seed: int = 0, architecture: SimpleClickArchitecture = TINY_SIMPLECLICK) -> Path:
    """Make a SimpleClick of about 40,000 random weights, saved as its authors save one.

    Its masks have no meaning, but depend on image and clicks; the mask of one click covers about a tenth of the image.

    Args:
        folder: folder of the file; it is created if it does not exist.
        seed: seed of the weights.
        architecture: sizes of the network.

    Returns:
        The file ``simpleclick_tiny.pth``.
    """
    import torch

    file = folder / "simpleclick_tiny.pth"
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]), _original_loss() as loss:
        torch.manual_seed(seed)
        torch.save({"state_dict": _state(architecture), "config": _config(architecture, loss)}, file)
    return file


def _state(a: SimpleClickArchitecture) -> dict[str, Any]:
    import torch

    from hlmat_bench.segmenters.simpleclick.network import SimpleClickNetwork

    network = SimpleClickNetwork(a).requires_grad_(False)
    for parameter in network.parameters():  # some are made as 0 or 1
        parameter.add_(0.05 * torch.randn_like(parameter))
    network.patch_embed_coords.proj.weight *= 100  # clicks then change the mask
    network.head.conv_seg.bias -= network(torch.zeros(1, 3, 224, 224), _click_in_the_middle()).quantile(0.9)
    unused = ("backbone.cls_token", "backbone.fc_norm.weight", "backbone.head.bias", "head.up_conv1.0.weight")
    return {**network.state_dict(), **{name: torch.randn(a.width) for name in unused}}


def _config(a: SimpleClickArchitecture, loss: Any) -> dict[str, Any]:
    """Return the description of the original's class with its arguments, as its authors' checkpoints hold it."""
    backbone = {
        "img_size": (a.grid * a.patch,) * 2,
        "patch_size": (a.patch,) * 2,
        "in_chans": 3,
        "embed_dim": a.width,
        "depth": a.depth,
        "num_heads": a.heads,
        "mlp_ratio": 4,
        "qkv_bias": True,
    }
    head = {
        "in_channels": [*a.pyramid],
        "in_index": [0, 1, 2, 3],
        "dropout_ratio": 0.1,
        "num_classes": 1,
        "loss_decode": loss,
        "align_corners": False,
        "upsample": "x1",
        "channels": a.channels,
    }
    values = {
        "use_disks": True,
        "norm_radius": a.radius,
        "with_prev_mask": True,
        "backbone_params": backbone,
        "neck_params": {"in_dim": a.width, "out_dims": [*a.pyramid]},
        "head_params": head,
        "random_split": False,
    }
    return {
        "class": "isegm.model.is_plainvit_model.PlainVitModel",
        "params": {name: {"type": "builtin", "value": value, "specified": True} for name, value in values.items()},
    }


def _click_in_the_middle() -> Any:
    """Return the network's input for an empty mask and one positive click, float32 (1, 3, 224, 224)."""
    import torch

    told = torch.zeros(1, 3, 224, 224)
    told[:, 1, 107:117, 107:117] = 1
    return told


@contextmanager
def _original_loss() -> Iterator[Any]:
    """Yield an object whose class has the name of the original's loss, so that it can be pickled in the block."""
    import torch

    parts = _LOSS.split(".")
    modules = {name: types.ModuleType(name) for name in (".".join(parts[:n]) for n in range(1, len(parts) + 1))}
    made = type("CrossEntropyLoss", (torch.nn.Module,), {"__module__": _LOSS})
    modules[_LOSS].CrossEntropyLoss = made  # type: ignore[attr-defined]
    with mock.patch.dict(sys.modules, modules):
        yield made()
