"""How episodes begin: with an empty mask, with the segmenter's mask for a box, or with a given mask.

What an initial state costs, a question to the model included, counts for the first step.
"""

from __future__ import annotations

from dataclasses import replace

from hlmat_bench.actions import Action
from hlmat_bench.core.masks import bounding_box
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.protocol.loop import Begin, Play, begin_empty


async def from_gt_box(play: Play) -> None:
    """Begin with the segmenter's mask for the box around the ground truth."""
    await play.work(play.state.begin_with_box, bounding_box(play.state.truth.mask), kind="gt-box")


async def from_model_box(play: Play) -> None:
    """Begin with the segmenter's mask for the box that the model gives; it is empty after an unreadable answer.

    It is also empty where the model says that there is no such object; the first click is asked for all the same.
    """
    action, reply = await ask_for_box(play, greedy=True)
    unread = {} if action.kind == "box" else {"reason": action.reason or action.kind}
    await play.work(play.state.begin_with_box, action.box, kind="model-box", raw=reply.text, **unread)


#: The initial states that take nothing from other runs or folders, by name.
BEGINNINGS: dict[str, Begin] = {"empty": begin_empty, "gt-box": from_gt_box, "model-box": from_model_box}


async def ask_for_box(play: Play, *, greedy: bool = False) -> tuple[Action, Reply]:
    """Ask for the object's box; return it, ``none`` or an invalid action, with the reply that it was read from.

    Args:
        play: the episode.
        greedy: ask for the most probable answer, whatever the protocol's temperature.

    Raises:
        RequestFailed: when the model cannot be asked.
    """
    [reply] = await play.ask(observation=replace(play.observation(), question="box", greedy=greedy))
    return box_alone(play.read(reply)), reply


def box_alone(action: Action) -> Action:
    """Return the box of an action as an action of its own, or an invalid action where it has none.

    The action ``none`` (there is no such object) answers the question for a box, too.
    """
    if action.box is not None:
        return Action("box", box=action.box)
    if action.kind == "none":
        return Action("none")
    return Action("invalid", reason=action.reason or "parse")
