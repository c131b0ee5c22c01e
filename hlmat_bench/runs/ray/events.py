"""What a worker tells the driver. Events arrive in the order in which they happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from hlmat_bench.core.errors import Failed
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.runs.episode_log import Finished


@dataclass(frozen=True, slots=True)
class Sent:
    """A request about a sample was sent to a model behind an API."""

    run: int
    sample_id: str


@dataclass(frozen=True, slots=True)
class Paid:
    """A request was answered by a model behind an API, with these replies."""

    run: int
    replies: list[Reply]


@dataclass(frozen=True, slots=True)
class Kept:
    """Replies to a request of a running episode, for the journal of the run."""

    run: int
    sample_id: str
    key: str
    replies: list[Reply]


@dataclass(frozen=True, slots=True)
class Answered:
    """A request of a run succeeded."""

    run: int


@dataclass(frozen=True, slots=True)
class NotAnswered:
    """A request of a run failed for good."""

    run: int
    failure: Failed


@dataclass(frozen=True, slots=True)
class Played:
    """An episode of an image is finished."""

    ticket: int
    episode: Finished


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more is played of an image."""

    ticket: int


@dataclass(frozen=True, slots=True)
class RunBroken:
    """An error that ends the runs."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Closed:
    """The worker has closed its models; this is its last event."""


Event: TypeAlias = Sent | Paid | Kept | Answered | NotAnswered | Played | Ended | RunBroken | Closed
