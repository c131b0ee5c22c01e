"""TRL 1.16: an environment with the tools ``click`` and ``stop`` for GRPOTrainer's ``environment_factory``.

    settings = SessionSettings(task="hres_synth", segmenter="sam_b", points="xy1000")
    rows = Dataset.from_list(episode_rows(settings))
    trainer = GRPOTrainer(model, train_dataset=rows, environment_factory=environment_factory(settings))

TRL makes a tool of every public function of the environment's class, and reads its types and its docstring, so the
class has no others. Where one reply to one state is trained, `hlmat_bench.training.reward` is the reward function.

Sources: ``trl/trainer/grpo_trainer.py`` of TRL 1.16.0, and https://huggingface.co/docs/trl/grpo_trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.training.conversation import Conversation, episode_rows, offers_none, sample_of, tool_settings
from hlmat_bench.training.pool import SessionSettings

__all__ = ["ClickEnvironment", "ClickOrNoneEnvironment", "environment_factory", "episode_rows"]


class ClickEnvironment:
    """One rollout of GRPOTrainer at a time; it is reset for the next.

    Args:
        settings: what sessions are opened from, as JSON values, so that the factory can be sent to other processes.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = SessionSettings.of(settings)
        self._conversation: Conversation | None = None

    @property
    def conversation(self) -> Conversation:
        """The running episode.

        Raises:
            UsageError: before the first `reset`.
        """
        if self._conversation is None:
            raise UsageError("No episode is running; call reset() first.")
        return self._conversation

    def reset(self, **row: Any) -> list[dict[str, Any]]:
        """Open the episode of the row's ``sample``, and return image and prompt as content blocks.

        Raises:
            UsageError: when the row names no sample, or there is none of that name.
        """
        self._conversation = None
        self._conversation = Conversation(self._settings.shared(), sample_of(row))
        return self._conversation.opening().blocks()

    def click(self, x: float, y: float, positive: bool) -> list[dict[str, Any]]:
        """
        Click on the image, and get the image with the new mask.

        Args:
            x: The horizontal position, in the unit that the instruction states.
            y: The vertical position, in the unit that the instruction states.
            positive: Whether the place belongs to the object.

        Returns:
            The image with the new mask painted over it.
        """
        return self.conversation.click(x, y, positive).blocks()

    def stop(self) -> list[dict[str, Any]]:
        """
        Say that the mask covers the object and nothing else. This ends the annotation.

        Returns:
            A confirmation.
        """
        return self.conversation.stop().blocks()

    def get_reward(self) -> float:
        """Return the reward of the episode.

        Raises:
            HlmatError: when the segmenter failed. TRL gives a tool's exception to the model as text; here it ends the
                training, because a failure is no reward.
        """
        return self.conversation.reward()


class ClickOrNoneEnvironment(ClickEnvironment):
    """The environment of tasks in which samples may have no object: it has a third tool."""

    def no_object(self) -> list[dict[str, Any]]:
        """
        Say that there is no such object in the image. This ends the annotation.

        Returns:
            A confirmation.
        """
        return self.conversation.no_object().blocks()


def environment_factory(settings: SessionSettings | Mapping[str, Any]) -> Callable[[], ClickEnvironment]:
    """Return the function that makes an environment for GRPOTrainer; it can be pickled.

    Args:
        settings: what sessions are opened from. Where they have no prompt, it is one for tools.

    Raises:
        UsageError: when they do not fit.
    """
    chosen = tool_settings(SessionSettings.of(settings))
    return partial(ClickOrNoneEnvironment if offers_none(chosen) else ClickEnvironment, chosen.model_dump())
