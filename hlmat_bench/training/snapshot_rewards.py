"""One reply to one state: snapshots of episodes, and reward functions that play a reply from a snapshot.

A snapshot is a JSON value: which sample, what was done until then, the mask, and the ground truth. It is made from the
record of an episode alone, at any step of any run. A reward function brings the state back, by playing the recorded
actions again on the segmenter or starting from the recorded mask, lets `ClickSession` take the reply, and returns its
reward: that of a run whose model gives this reply there.

The reward functions have the signatures of two trainers:

- TRL 1.16, ``reward_funcs`` of GRPOTrainer: `reward`.
- verl 0.9.1, ``custom_reward_function``: `compute_score`.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.interfaces import Reply, Request, accepts_mask
from hlmat_bench.protocol.records import Episode
from hlmat_bench.protocol.state import EpisodeState
from hlmat_bench.training.pool import SessionPool, SessionSettings
from hlmat_bench.training.rewards import RewardSettings
from hlmat_bench.training.session import ClickSession, Outcome
from hlmat_bench.training.states import Snapshot

#: The environment variable that allows snapshots read from text to name files of code, where it is 1.
OWN_FILES = "HLMAT_OWN_FILES"


class SnapshotRewards:
    """Plays replies from snapshots. States that were brought back are kept, and used again for further replies.

    Its methods may be called from several threads.

    Args:
        kept: how many states are kept at most; each holds its image, its ground truth and the segmenter's session.
        memory: bytes that the images of the kept states, as they are painted, take at most.
        rewards: other rewards than those that the snapshots name; None: these.
        own_files: snapshots that are read from text may name a task or a segmenter in a file, whose code then runs.
            None: as the environment variable `OWN_FILES` says. Data sets may come from strangers, so it is refused
            unless it is allowed.
    """

    #: What TRL calls the reward in its logs.
    __name__ = "hlmat_reward"

    def __init__(
        self,
        kept: int = 256,
        rewards: str | Mapping[str, Any] | None = None,
        *,
        memory: int = 2 << 30,
        own_files: bool | None = None,
    ) -> None:
        self._own_files, self._memory, self._taken = own_files, memory, 0
        self._most, self._rewards = kept, None if rewards is None else RewardSettings.of(rewards)
        self._kept: OrderedDict[str, _Restored] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, completions: Sequence[Any], state: Sequence[Any] = (), **columns: Any) -> list[float]:
        """Return the reward of each completion, as TRL asks a reward function; see `reward`."""
        if len(state) != len(completions):
            raise UsageError(
                f"There are {len(completions)} completions and {len(state)} states; the data set needs a column "
                "state, as rows() writes it."
            )
        return [self.play(one, text_of(said)).reward.total for one, said in zip(state, completions, strict=True)]

    def play(self, state: Snapshot | str | Mapping[str, Any], reply: str | Reply) -> Outcome:
        """Return what a reply to a state comes to.

        Args:
            state: a snapshot, or its JSON.
            reply: what the policy said.

        Raises:
            UsageError: when the state cannot be brought back here.
            PluginFailed: when the segmenter fails.
        """
        restored = self._restored(state)
        with restored.lock:
            restored.session.restore(restored.saved, forget=True)
            return restored.session.step(reply)

    def request(self, state: Snapshot | str | Mapping[str, Any]) -> Request:
        """Return what the policy sees in a state; see `ClickSession.request`."""
        restored = self._restored(state)
        with restored.lock:
            restored.session.restore(restored.saved, forget=True)
            return restored.session.request()

    def _restored(self, state: Snapshot | str | Mapping[str, Any]) -> _Restored:
        name = state if isinstance(state, str) else Snapshot.read(state).to_json()
        with self._lock:
            if (found := self._kept.get(name)) is not None and found.session.failure is None:
                self._kept.move_to_end(name)
                return found
        snapshot = Snapshot.read(state)
        if not isinstance(state, Snapshot):
            self._check_files(snapshot.sessions)
        made = _Restored(_bring_back(snapshot, snapshot.sessions.shared(), self._rewards))
        with self._lock:
            self._keep(name, made)
        return made

    def _keep(self, name: str, made: _Restored) -> None:
        if (before := self._kept.pop(name, None)) is not None:
            self._taken -= before.memory
        self._kept[name], self._taken = made, self._taken + made.memory
        while len(self._kept) > 1 and (len(self._kept) > self._most or self._taken > self._memory):
            _, oldest = self._kept.popitem(last=False)
            self._taken -= oldest.memory

    def _check_files(self, sessions: SessionSettings) -> None:
        allowed = os.environ.get(OWN_FILES) == "1" if self._own_files is None else self._own_files
        if not allowed and (named := sessions.files()):
            name, value = next(iter(named.items()))
            raise UsageError(
                f"A state names the {name} {value!r}, which is a file that may hold code; if the data set is your own, "
                f"set {OWN_FILES}=1 in the environment."
            )


class _Restored:
    """A session in the state of a snapshot."""

    def __init__(self, session: ClickSession) -> None:
        self.session, self.saved, self.lock = session, session.save(), threading.Lock()
        # The image itself, and the two that `Overlay` keeps to paint it.
        self.memory = 3 * session.state.image.nbytes


def _bring_back(snapshot: Snapshot, pool: SessionPool, rewards: RewardSettings | None) -> ClickSession:
    """Return a session in the state of a snapshot, after a check that its mask is the recorded one.

    Raises:
        UsageError: when the data or the segmenter are not those of the snapshot.
    """
    name = pool.setup.segmenter.name
    if pool.digest != snapshot.data:
        raise UsageError(
            f"The data of the task {snapshot.sessions.task} are not those that the state of {snapshot.sample_id} was "
            "made from: names, expressions or annotations are others; give the data_root of the run."
        )
    session = pool.blank(snapshot.sample_id, rewards=rewards)
    state, record = session.state, snapshot.record
    if state.size != record.size:
        raise UsageError(f"The image of {snapshot.sample_id} is {state.size} here and {record.size} in its state.")
    _begin(state, record)
    for step in record.steps:
        state.apply(step.action)
    recorded = record.mask_at(snapshot.t - 1)
    if recorded != state.segmentation.rle:
        expected = np.zeros(state.size, bool) if recorded is None else masks.decode(recorded)
        if float(np.mean(expected != state.segmentation.mask)) > pool.tolerance:
            raise UsageError(
                f"The clicks of {snapshot.sample_id} before step {snapshot.t} lead to another mask here: the segmenter "
                f"{name} or the images are not those of the run; name them in snapshots()."
            )
    return session


def _begin(state: EpisodeState, record: Episode) -> None:
    """Set the initial state of a record."""
    initial = record.initial
    if initial.get("box"):
        state.begin_with_box(tuple(initial["box"]), kind=initial["kind"])
    elif initial["mask"] is not None:
        if not accepts_mask(state.segmenter):
            raise UsageError(
                f"The state of {record.sample_id} begins with a given mask, and {state.segmenter.name} cannot start "
                "from one."
            )
        state.begin_with_mask(masks.decode(initial["mask"]), kind=initial["kind"])


def text_of(completion: Any) -> str:
    """Return what the policy said: a text, or the last message of the assistant in a list of chat messages.

    Raises:
        UsageError: when the completion is neither.
    """
    if isinstance(completion, str):
        return completion
    if isinstance(completion, Sequence):
        said = [
            message for message in completion if isinstance(message, Mapping) and message.get("role") == "assistant"
        ]
        if said:
            content = said[-1].get("content") or ""
            if isinstance(content, str):
                return content
            return "".join(str(part.get("text", "")) for part in content if part.get("type") == "text")
    raise UsageError(
        f"A completion is a text or a list of chat messages with one of the assistant, not {type(completion).__name__}."
    )


#: Of this process, for the two functions below.
_REWARDS = SnapshotRewards()


def reward(completions: Sequence[Any], state: Sequence[Any] = (), **columns: Any) -> list[float]:
    """Return the reward of each completion, for ``reward_funcs`` of TRL's GRPOTrainer (1.16).

    Args:
        completions: texts, or lists of chat messages.
        state: the snapshot of each, from the data set's column ``state``.
        columns: what else TRL passes: prompts, tokens, further columns.

    Raises:
        UsageError: when a state cannot be brought back. A failure is no reward, so the training ends.
        PluginFailed: when the segmenter fails.
    """
    return _REWARDS(completions, state, **columns)


def compute_score(
    data_source: Any,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, float]:
    """Return the score of a reply, for ``custom_reward_function`` of verl (0.9.1).

    Args:
        data_source: the row's data source, which is not used.
        solution_str: what the policy said.
        ground_truth: the snapshot, where ``extra_info`` has no ``state``.
        extra_info: the row's, with the snapshot as ``state``.
        more: what else verl passes.

    Returns:
        ``score``, the reward, and for verl's logs ``iou``, ``iou_before``, ``valid`` (0 or 1), and each part of the
        reward as ``reward_PART``.

    Raises:
        UsageError, PluginFailed: as `reward`.
    """
    state = (extra_info or {}).get("state") or ground_truth
    outcome = _REWARDS.play(state, solution_str)
    return {
        "score": outcome.reward.total,
        "iou": outcome.after,
        "iou_before": outcome.before,
        "valid": float(outcome.action.kind != "invalid"),
        **{f"reward_{name}": part for name, part in outcome.reward.parts.items()},
    }


def rows(states: Iterable[Snapshot]) -> Iterator[dict[str, Any]]:
    """Give a row of a data set for each state: ``prompt`` (chat messages), ``image`` (PIL) and ``state`` (JSON text).

    ``datasets.Dataset.from_generator(rows, gen_kwargs={"states": list_of_snapshots})`` makes a data set for TRL.

    Raises:
        UsageError: when a state cannot be brought back.
    """
    from PIL import Image

    for snapshot in states:
        request = _REWARDS.request(snapshot)
        yield {
            "prompt": [{"role": "user", "content": request.prompt}],
            "image": Image.fromarray(request.image),
            "state": snapshot.to_json(),
        }
