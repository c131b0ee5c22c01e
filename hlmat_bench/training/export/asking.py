"""What a policy is shown in a state and what it should answer, in the words and coordinates of the model to train."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hlmat_bench.actions import NO_OBJECT, Action, write
from hlmat_bench.clicks import Click
from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Sample
from hlmat_bench.core.text import valid
from hlmat_bench.core.types import Image, Size
from hlmat_bench.models.catalog import Catalog
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Frame, Resize
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.protocol.observation import Observation, RequestBuilder
from hlmat_bench.protocol.prompts import check_template
from hlmat_bench.protocol.records import Episode
from hlmat_bench.protocol.reference import FINISH
from hlmat_bench.protocol.settings import ProtocolSettings
from hlmat_bench.protocol.state import interpret
from hlmat_bench.runs.opening import split_settings
from hlmat_bench.training.export.selection import State

POINTS = "xy1000"
"""The point format where neither one nor a model is named."""
#: Where answers are tried: no format rounds these clicks to other pixels.
_TRIED: Size = (100, 100)


@dataclass(frozen=True)
class AskingSettings:
    """How the model to train is asked and answers.

    Attributes:
        model: a catalogue entry: its point format, its resize rule and its settings are taken; the model itself is not
            loaded.
        catalog: a file with more models.
        points: the name of the point format of answers; None: the model's, else `POINTS`.
        resize: the name of the rule by which images are changed before they are sent; None: the model's, else none.
        settings: settings of the protocol (``prompt``, ``overlay.color``, ``history``, ...), and of the data of the
            runs (``data.missing``).
        with_iou: answers begin with the IoU of the mask that is shown, as SegAgent's do.
        stop_word: the answer where nothing is left to do.
    """

    model: str | None = None
    catalog: str | None = None
    points: str | None = None
    resize: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    with_iou: bool = False
    stop_word: str = FINISH


@dataclass(frozen=True)
class Asking:
    """How the model to train is asked about the samples of one run; `asking_for` makes it.

    Attributes:
        points: the point format of answers.
        resize: how images are changed before they are sent.
        settings: the protocol's settings.
        with_iou, stop_word: see `AskingSettings`.
    """

    points: PointFormat
    resize: Resize
    settings: ProtocolSettings
    with_iou: bool = False
    stop_word: str = FINISH

    def frame(self, size: Size) -> Frame:
        """Return how the model sees an image of size (height, width)."""
        return self.resize.frame(size)

    def viewer(self, episode: Episode, image: Image) -> Viewer:
        """Return what paints the states of an episode over its image, uint8 (H, W, 3) RGB.

        Raises:
            UsageError: when the image is not that of the episode.
        """
        if image.shape[:2] != episode.size:
            raise UsageError(
                f"The image {episode.image} is {image.shape[:2]} here and {episode.size} in the record; give the data "
                "of the run with --data-root."
            )
        return Viewer(self, episode, image)

    def answer(self, state: State, size: Size) -> str:
        """Return what the model should answer in a state; size is (height, width) of the original image."""
        if state.action.kind == "none":
            said = self.settings.no_target_reply or NO_OBJECT
        elif state.action.kind == "stop":
            said = self.stop_word
        else:
            said = write(state.action.click, self.points, size, self.frame(size))
        return f"{self._iou(state.iou)}{said}" if self.with_iou else said

    def read(self, answer: str, size: Size) -> Action:
        """Return the action that an answer to a mask that is not empty means: what a run would do."""
        return interpret(
            Reply(answer),
            self.points,
            size,
            self.frame(size),
            track="point",
            first=False,
            clicks=(),
            no_target=self.settings.no_target,
            no_target_reply=self.settings.no_target_reply,
            empty=False,
        )

    def moves(self, click: Click, answer: str, size: Size) -> bool:
        """Tell whether an answer is read as another pixel than its click's, because its format rounds.

        Raises:
            UsageError: when it is not read as a click of its sign.
        """
        read = self.read(answer, size)
        if (read.kind, read.positive) != ("click", click.positive):
            raise UsageError(
                f"The answer {answer!r} is read as {read.kind} in the point format {self.points.name}, on an image of "
                f"{size[1]}x{size[0]} pixels; take another format with --points."
            )
        return read.click != click

    def check(self) -> None:
        """Make sure that every kind of answer is read as what it says.

        Raises:
            UsageError: names the answer that is not.
        """
        kinds = [Action("click", True, 30, 60), Action("click", False, 60, 30), Action("stop")]
        for action in [*kinds, *([Action("none")] if self.settings.no_target else [])]:
            state = State(1, None, 0.5, (), action, None, 0.5)
            answer = self.answer(state, _TRIED)
            read = self.read(answer, _TRIED)
            if (read.kind, read.positive) != (action.kind, action.positive):
                raise UsageError(
                    f"The answer {answer!r} would be read as {read.kind} in the point format {self.points.name}, not "
                    f"as {action.kind}; {'leave --iou out' if self.with_iou else 'give another --stop-word'}."
                )

    def describe(self) -> dict[str, Any]:
        """Return it as JSON values."""
        shown = self.settings.to_json()
        names = ("prompt", "overlay", "jpeg", "history", "no_target", "no_target_reply")
        return {
            "points": dataclasses.asdict(self.points),
            "resize": self.resize.name,
            "settings": {name: shown[name] for name in names if name in shown},
            "with_iou": self.with_iou,
            "stop_word": self.stop_word,
        }

    def _iou(self, iou: float) -> str:
        """Return the beginning of SegAgent's answers, ``Current IOU: 74, `` (arXiv 2503.08625, figure 3)."""
        return f"Current IOU: {round(100 * iou) if self.points.iou_unit == 'percent' else f'{iou:.2f}'}, "


class Viewer:
    """Shows the states of one episode as `hlmat-bench run` shows them.

    Args:
        asking: how the model is asked.
        episode: the episode.
        image: its image, uint8 (H, W, 3) RGB.
    """

    def __init__(self, asking: Asking, episode: Episode, image: Image) -> None:
        sample = Sample(episode.sample_id, episode.image, episode.image_id, episode.expression, episode.ref_id)
        self._size = episode.size
        self._builder = RequestBuilder(sample, image, asking.settings, asking.points, asking.resize)

    def show(self, state: State) -> tuple[Image, str]:
        """Return the painted image, uint8 (H', W', 3) RGB, and the prompt of a state."""
        mask = np.zeros(self._size, bool) if state.mask is None else masks.decode(state.mask)
        request = self._builder.request(Observation(mask, state.clicks, state.t))
        return request.image, valid(request.prompt)  # a stranger's record may hold half a surrogate pair


def asking_for(protocol: Mapping[str, Any], chosen: AskingSettings) -> Asking:
    """Return how the model to train is asked about the samples of a run.

    Args:
        protocol: the settings in the run's manifest, of which whether there may be no object is taken.
        chosen: what the user chose.

    Raises:
        UsageError: for a model, a point format or a setting that does not exist, and for answers that cannot be read.
    """
    declared: dict[str, Any] = {}
    settings: dict[str, Any] = {name: protocol[name] for name in ("no_target", "no_target_reply") if name in protocol}
    if chosen.model is not None:
        choice = Catalog.load(chosen.catalog).choose(chosen.model)
        if choice.entry is None:
            raise UsageError(
                f"{chosen.model} is not an entry of the catalogue, so its point format and prompt are unknown; name "
                "an entry (`hlmat-bench models` lists them), or give --points and --set prompt=..."
            )
        declared, settings = choice.options, settings | dict(choice.settings)
    given, _, points_given = split_settings(chosen.settings)
    points = PointFormat.named(chosen.points or points_given or declared.get("points", POINTS))
    built = ProtocolSettings.build(settings | given)
    for template in built.templates().values():
        check_template(template)
    resize = Resize.named(chosen.resize or declared.get("resize", "none"))
    made = Asking(points, resize, built, chosen.with_iou, chosen.stop_word)
    made.check()
    return made
