"""Models that read their replies from a file: prepared replies, or the clicks of an earlier run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hlmat_bench.actions import NO_OBJECT, write
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.networks.weights import sha256
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol.interfaces import Reply, Request
from hlmat_bench.protocol.records import EPISODES, Step, read_episodes

FINISH = "Finish"


class Scripted:
    """A model with prepared replies in any point format.

    Args:
        file: a JSON file: an object from sample ids to lists of replies (the t-th is the reply at step t), or one
            list for all samples. Without a reply for a sample or step, the reply is "Finish".
        points: point format of the replies.

    Raises:
        UsageError: when the file has another form.
    """

    name = "scripted"
    deterministic = False

    def __init__(self, file: str, points: str = "segagent-qwen") -> None:
        self.points = PointFormat.named(points)
        self._file = Path(file)
        self._replies = _read_replies(self._file)

    def spec(self) -> dict[str, Any]:
        """Return the SHA-256 of the file, for the manifest."""
        return {"file_sha256": sha256(self._file)}

    async def reply(self, request: Request) -> list[Reply]:
        """Return the prepared reply for this sample and step."""
        replies = self._replies
        mine = replies.get(request.sample_id, ()) if isinstance(replies, Mapping) else replies
        return [Reply(mine[request.t - 1] if request.t <= len(mine) else FINISH)] * request.n


class Replay:
    """A model that repeats the actions of an earlier run, for example with another segmenter.

    Args:
        run: folder of the earlier run.

    Raises:
        UsageError: when it is no folder of a run.
    """

    name = "replay"
    deterministic = False
    points = PointFormat.named("pixel")

    def __init__(self, run: str) -> None:
        path = Path(run) / EPISODES
        if not path.is_file():
            raise UsageError(f"There is no run to replay in {run}: it has no {EPISODES}.")
        self._path = path
        self._replies = {
            episode.sample_id: [_said(step, episode.size) for step in episode.steps] for episode in read_episodes(path)
        }

    def spec(self) -> dict[str, Any]:
        """Return the SHA-256 of the earlier run's episodes, for the manifest."""
        return {"episodes_sha256": sha256(self._path)}

    async def reply(self, request: Request) -> list[Reply]:
        """Return the recorded action of this sample and step, with coordinates in pixels."""
        mine = self._replies.get(request.sample_id, [])
        return [Reply(mine[request.t - 1] if request.t <= len(mine) else FINISH)] * request.n


def _read_replies(path: Path) -> Mapping[str, Sequence[str]] | Sequence[str]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"The replies in {path} cannot be read: {error}.") from error
    lists = list(value.values()) if isinstance(value, dict) else [value]
    if not all(isinstance(each, list) and all(isinstance(text, str) for text in each) for each in lists):
        raise UsageError(f"{path} must hold a list of replies, or an object from sample ids to such lists.")
    replies: Mapping[str, Sequence[str]] | Sequence[str] = value
    return replies


def _said(step: Step, size: tuple[int, int]) -> str:
    action = step.action
    if action.kind == "stop":
        return FINISH
    if action.kind == "none":
        return NO_OBJECT
    if action.kind == "invalid":
        return f"(invalid: {action.reason})"
    box = "<box>({},{}),({},{})</box> ".format(*action.box) if action.box else ""
    return box + (write(action.click, Replay.points, size) if action.kind == "click" else "")


MODELS = {"scripted": Scripted, "replay": Replay}
