"""How episodes begin: with an empty mask, with the segmenter's mask for a box, or with a given mask.

What an initial state costs, a question to the model among it, counts for the first step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hlmat_bench.actions import Action
from hlmat_bench.core.masks import bounding_box
from hlmat_bench.core.types import Box, Mask
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.protocol.loop import Begin, Play, begin_empty


async def from_gt_box(play: Play) -> None:
    """Begin with the segmenter's mask for the box around the ground truth."""
    await draw_box(play, bounding_box(play.truth.mask), kind="gt-box")


async def from_model_box(play: Play) -> None:
    """Begin with the segmenter's mask for the box that the model gives; of an unreadable answer, the mask is empty."""
    action, reply = await ask_for_box(play, greedy=True)
    unread = {} if action.kind == "box" else {"reason": action.reason}
    await draw_box(play, action.box, kind="model-box", raw=reply.text, **unread)


#: Those that need nothing from elsewhere, by name.
BEGINNINGS: dict[str, Begin] = {"empty": begin_empty, "gt-box": from_gt_box, "model-box": from_model_box}


async def ask_for_box(play: Play, *, greedy: bool = False) -> tuple[Action, Reply]:
    """The box that the player gives, or an invalid action, and the reply that it was read from.

    Args:
        play: the episode.
        greedy: the likeliest answer, whatever the protocol's temperature.

    Raises:
        RequestFailed: when the model cannot be asked.
    """
    [reply] = await play.ask(view=replace(play.view(), question="box", greedy=greedy))
    return box_alone(play.read(reply)), reply


def box_alone(action: Action) -> Action:
    """What an action means where a box is asked for: its box, or an invalid action."""
    if action.box is not None:
        return Action("box", box=action.box)
    return Action("invalid", reason=action.reason or "parse")


async def draw_mask(play: Play, mask: Mask, **made: Any) -> None:
    """Begin with a given mask.

    Args:
        play: the episode.
        mask: bool (H, W).
        made: ``kind``, and what made it, for the record.

    Raises:
        UsageError: when it is not of the image's size.
    """
    await play.draw(play.drawing.start_from, mask)
    play.initial = {"mask": play.drawing.rle, "iou": play.iou, **made}


async def draw_box(play: Play, box: Box | None, **made: Any) -> None:
    """Begin with the segmenter's mask for a box; without one the mask is empty."""
    if box is not None:
        await play.draw(play.drawing.apply, Action("box", box=box))
    play.initial = {
        "box": None if box is None else list(box),
        "mask": None if box is None else play.drawing.rle,
        "iou": play.iou,
        **made,
    }
