"""The environment for Gymnasium (1.0 and later): ``gymnasium.make("hlmat/Click-v0", task="hres_synth")``.

https://gymnasium.farama.org/api/env/ says what an environment is.
"""

from __future__ import annotations

import string
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.types import Image, Size
from hlmat_bench.protocol.interfaces import Request
from hlmat_bench.protocol.settings import ProtocolSettings
from hlmat_bench.training.pool import SessionPool, SessionSettings
from hlmat_bench.training.session import ClickSession, SavedState

#: The longest reply in the action space; `HLMATEnv.step` takes longer ones, too.
MOST_LETTERS = 4096
#: The characters of replies in the action space; `HLMATEnv.step` takes any text.
LETTERS = string.printable
#: More characters than a line of earlier clicks in the prompt has.
_HISTORY_LINE = 80


class HLMATEnv(gymnasium.Env[dict[str, Any], str]):
    """The human-like mask annotation task: see the painted image, answer with a click as text.

    An observation is a dict: ``image``, uint8 (H, W, 3) RGB, the painted image as a model sees it, with zeros to its
    right and below; ``size``, int64 (2), the height and width of the part that is the image; ``text``, the prompt.
    An action is the text of a reply. The reward is the IoU gain, or what ``rewards`` says. An episode terminates by a
    stop and is truncated by the budget. The ``info`` of a step is that of `Outcome`, with ``sample`` and ``t``.

    Args:
        size: (height, width) of all observed images. None: the largest of the samples; each image is then read once to
            find it, so give the size where there are many.
        render_mode: ``rgb_array`` or None.
        options: the settings of `SessionSettings`: ``task``, ``segmenter``, ``points``, ``budget``, ``rewards`` ...

    Raises:
        UsageError: when a part cannot be opened.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 2}  # noqa: RUF012  (as in gymnasium.Env)

    def __init__(self, size: Size | None = None, render_mode: str | None = None, **options: Any) -> None:
        self.pool: SessionPool = SessionSettings.of(options).shared()
        if render_mode not in (None, "rgb_array"):
            raise UsageError(f"The render mode is rgb_array or None, not {render_mode!r}.")
        self.render_mode = render_mode
        height, width = _largest(self.pool) if size is None else size
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (height, width, 3), np.uint8),
                "size": spaces.Box(np.array([1, 1]), np.array([height, width]), dtype=np.int64),
                "text": _prompts(self.pool),
            }
        )
        self.action_space = spaces.Text(MOST_LETTERS, min_length=0, charset=LETTERS)
        self._size: Size = (height, width)
        self._session: ClickSession | None = None

    @property
    def session(self) -> ClickSession:
        """The running episode.

        Raises:
            UsageError: before the first `reset`.
        """
        if self._session is None:
            raise UsageError("No episode is running; call reset() first.")
        return self._session

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: of the choice of samples.
            options: ``sample``: the number or the id of the sample; without it, one is drawn.

        Raises:
            UsageError: when there is no such sample, or its image is larger than the space of observations.
        """
        super().reset(seed=seed)
        chosen = (options or {}).get("sample")
        if chosen is None:
            chosen = int(self.np_random.integers(len(self.pool)))
        self._session = self.pool.open(chosen if isinstance(chosen, str) else int(chosen))
        state = self._session.state
        return self._observation(), {"sample": state.sample.id, "t": 0, "iou": state.iou}

    def step(self, action: str) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Take a reply; see `ClickSession.step`."""
        session = self.session
        outcome = session.step(action)
        info = {"sample": session.sample.id, "t": len(session.state.steps), **outcome.info()}
        return self._observation(), outcome.reward.total, outcome.terminated, outcome.truncated, info

    def save(self) -> SavedState:
        """Return the state of the episode, for `restore`: searches try actions and return."""
        return self.session.save()

    def restore(self, saved: SavedState) -> dict[str, Any]:
        """Return to a state of this episode, and return its observation."""
        self.session.restore(saved)
        return self._observation()

    def render(self) -> Any:
        """Return the painted image as a model sees it, uint8 (H, W, 3) RGB."""
        return self.session.request().image

    def _observation(self) -> dict[str, Any]:
        request: Request = self.session.request()
        height, width = request.image.shape[:2]
        if height > self._size[0] or width > self._size[1]:
            raise UsageError(
                f"The image of {self.session.sample.id} is {height} x {width} (height x width), and the environment "
                f"has the size {self._size[0]} x {self._size[1]}; give a larger size, or a resize rule."
            )
        image: Image = np.zeros((*self._size, 3), np.uint8)
        image[:height, :width] = request.image
        return {"image": image, "size": np.array([height, width]), "text": request.prompt}


def _largest(pool: SessionPool) -> Size:
    """Return the height and the width that all images have room in, as they are sent."""
    images = {sample.image_id: sample for sample in pool.samples}
    source, resize = pool.setup.data.source, pool.setup.resize
    sent = [resize.frame(source.image(sample).shape[:2]).sent for sample in images.values()]
    return max(height for height, _ in sent), max(width for _, width in sent)


def _prompts(pool: SessionPool) -> spaces.Text:
    """Return a space that holds the prompt of each sample at each step."""
    settings: ProtocolSettings = pool.setup.settings
    first = pool.open(0).request().prompt
    expressions = [sample.expression for sample in pool.samples]
    letters = frozenset(string.printable).union(first, settings.prompt, *expressions)
    longest = max(map(len, expressions)) - len(expressions[0])
    history = _HISTORY_LINE * (settings.budget + 1) if settings.history else 0
    # The numbers of the image's size are in the prompt, and have other lengths for other images.
    return spaces.Text(len(first) + longest + history + 64, min_length=0, charset=letters)
