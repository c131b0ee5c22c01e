"""An episode as a conversation: the base of the classes for trainers that let a model talk and call tools.

A call of the tool ``click`` or ``stop`` becomes the text that a model with this point format would reply, so that it is
read, judged and recorded by the rules of a run. What a conversation says never holds the IoU or a reward: the ground
truth does not reach the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hlmat_bench.actions import NO_OBJECT
from hlmat_bench.core.errors import HlmatError, UsageError
from hlmat_bench.core.types import Image
from hlmat_bench.data.tasks import load_task
from hlmat_bench.points import PointFormat
from hlmat_bench.points.syntaxes import SYNTAXES
from hlmat_bench.training.pool import SessionPool, SessionSettings
from hlmat_bench.training.session import ClickSession, Outcome

#: What a model is told that has the tools ``click`` and ``stop``, where the settings have no ``prompt`` of their own.
TOOL_PROMPT = """\
You are annotating one object in this image with an interactive segmentation tool.
The object: {expression}
The area painted in semi-transparent {color} is the current mask; at the start there is none.
Call the tool click with the one click that improves the mask most: a positive click on a part of the object that is \
not painted, or a negative click on a painted part that does not belong to the object.
{coordinates}
You are then shown the new mask. If the mask covers the object and nothing else, call the tool stop.
"""
#: What it is told besides where a sample may have no object, and at the end.
_NO_OBJECT = "If there is no such object in the image, call the tool no_object.\n"
_HISTORY = "{history}"

OVER = "The annotation is finished. Call no more tools."


@dataclass(frozen=True, slots=True)
class Turn:
    """What the policy is told and shown.

    Attributes:
        text: the prompt, or what its last reply came to.
        image: uint8 (H', W', 3) RGB, the painted image; None where it is the last one, unchanged.
        over: the episode is over.
    """

    text: str
    image: Image | None = None
    over: bool = False

    def pictures(self) -> list[Any]:
        """Return the image as a list of PIL images, with none or one."""
        from PIL import Image as Pillow

        return [] if self.image is None else [Pillow.fromarray(self.image)]

    def blocks(self) -> list[dict[str, Any]]:
        """Return image and text as the content blocks of a chat message in transformers."""
        images = [{"type": "image", "image": picture} for picture in self.pictures()]
        return [*images, {"type": "text", "text": self.text}]


def offers_none(settings: SessionSettings) -> bool:
    """Tell whether samples may have no object, by these settings or by the task.

    Raises:
        UsageError: when there is no such task.
    """
    return bool(settings.settings.get("no_target", load_task(settings.task).protocol.get("no_target")))


def tool_settings(settings: SessionSettings) -> SessionSettings:
    """Return settings with a prompt for tools, unless they have a prompt of their own."""
    prompt = TOOL_PROMPT + (_NO_OBJECT if offers_none(settings) else "") + _HISTORY
    return settings.model_copy(update={"settings": {"prompt": prompt, **settings.settings}})


def written(points: PointFormat, x: object, y: object, positive: object) -> str:
    """Return the reply that a model with this point format writes for a click.

    Args:
        points: the format.
        x, y: the numbers, in the format's unit; what is no number makes a reply that is invalid.
        positive: whether the click adds; ``"false"`` and the like count as False, as models write them.
    """
    first, second = (x, y) if points.order == "xy" else (y, x)
    adds = positive.strip().lower() not in ("false", "0", "no", "negative") if isinstance(positive, str) else positive
    return SYNTAXES[points.syntax].write("Positive" if adds else "Negative", _number(first), _number(second))


def _number(value: object) -> str:
    """Return a number as a model writes it: whole ones without a fraction, none with an exponent."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return str(value)


class Conversation:
    """One episode in which every reply is answered by a turn.

    Args:
        pool: what opens the episode.
        sample: the number or the id of its sample.

    Attributes:
        session: the episode.
        outcomes: what its replies came to.
        failure: what failed; the conversation then has no reward. None where nothing failed.
    """

    def __init__(self, pool: SessionPool, sample: int | str) -> None:
        self.session: ClickSession = pool.open(sample)
        self.outcomes: list[Outcome] = []
        self.failure: HlmatError | None = None

    def opening(self) -> Turn:
        """Return the prompt and the image with the initial mask."""
        request = self.session.request()
        return Turn(request.prompt, request.image)

    def click(self, x: object, y: object, positive: object) -> Turn:
        """Click, and return what came of it; see `written`."""
        return self.tool(written(self.session.state.replies.points, x, y, positive))

    def stop(self) -> Turn:
        """Say that the mask is complete."""
        return self.tool("Finish")

    def no_object(self) -> Turn:
        """Say that there is no such object."""
        return self.tool(self.session.state.settings.no_target_reply or NO_OBJECT)

    def tool(self, reply: str) -> Turn:
        """Take a reply, and return in short what it came to, with the image where the mask was drawn anew."""
        if self.session.end is not None and self.failure is None:
            return Turn(OVER, over=True)
        outcome = self._taken(reply)
        if outcome.end is not None:
            return Turn(OVER, over=True)
        if outcome.action.kind == "invalid":
            return Turn(f"This click was not carried out ({outcome.action.reason}); give another one.")
        return Turn(f"This is the mask after {len(self.outcomes)} steps.", self.session.request().image)

    def say(self, reply: str) -> Turn:
        """Take a reply, and return the next prompt with its image, as a model of a run gets it at its next step."""
        self._taken(reply)
        request = self.session.request()
        return Turn(request.prompt, request.image, over=self.session.end is not None)

    def _taken(self, reply: str) -> Outcome:
        try:
            outcome = self.session.step(reply)
        except HlmatError as error:
            # Trainers turn an exception of a tool into text for the model. It is kept, so that no reward is given.
            self.failure = error
            raise
        self.outcomes.append(outcome)
        return outcome

    def reward(self) -> float:
        """Return the reward of the whole conversation, which may end here although no rule ends the episode.

        Raises:
            HlmatError: what failed, because a failure has no reward.
        """
        if self.failure is not None:
            raise self.failure
        due = self.session.closing_reward().total
        return math.fsum([*(outcome.reward.total for outcome in self.outcomes), due])


def sample_of(row: dict[str, Any]) -> int | str:
    """Return the sample that a row of a trainer's data set names in its column ``sample``.

    Raises:
        UsageError: when it names none.
    """
    sample = row.get("sample")
    if isinstance(sample, bool) or not isinstance(sample, int | str):
        raise UsageError(
            "The row names no sample: the data set needs a column sample with the id or the number of one, as "
            "episode_rows() writes it."
        )
    return sample


def episode_rows(settings: SessionSettings) -> list[dict[str, Any]]:
    """Return a row for each sample, for trainers that open an episode for each row: an empty prompt, and ``sample``."""
    pool = settings.shared()
    return [{"prompt": [{"role": "user", "content": ""}], "sample": sample.id} for sample in pool.samples]
