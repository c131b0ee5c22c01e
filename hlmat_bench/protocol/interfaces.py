"""What a plug-in implements: models, segmenters and the values they exchange with the engine.

Axis order and units are those of `hlmat_bench.core.types`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from hlmat_bench.core.errors import RequestFailed
from hlmat_bench.core.types import Box as Box
from hlmat_bench.core.types import Image as Image
from hlmat_bench.core.types import Mask as Mask
from hlmat_bench.core.types import Size as Size
from hlmat_bench.points.resize import UNCHANGED, Resize

if TYPE_CHECKING:
    from hlmat_bench.clicks import Click
    from hlmat_bench.points import PointFormat

#: What a model may be asked: for a click, for the IoU of the mask it is shown, or for the object's box.
Question: TypeAlias = Literal["click", "iou", "box"]


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model.

    Attributes:
        image: uint8 (H, W, 3) RGB, the image with the current mask painted over it. It is painted on again after the
            reply: a model that keeps it keeps a copy.
        prompt: the whole instruction as text.
        n: how many replies are wanted.
        temperature: 0 means greedy decoding.
        max_tokens: upper bound of a reply's length in tokens.
        seed: for sampling.
        sample_id: which sample this is about; for logs and for scripted models.
        t: which step of the episode, from 1.
        state: a checksum of the mask that the image shows; with the sample it tells which picture this is.
    """

    image: Image
    prompt: str
    n: int = 1
    temperature: float = 0.0
    max_tokens: int = 128
    seed: int = 0
    sample_id: str = ""
    t: int = 1
    state: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a model.

    Attributes:
        text: what the model wrote, unchanged.
        tokens_in: prompt tokens, images included; None where the model does not say.
        tokens_out: tokens of this reply.
        seconds: wall time of the request, divided among the replies that shared it.
        cost: in US dollars; None where unknown.
        finish: why the reply ended: ``stop``; ``length`` (cut off at ``max_tokens``); ``content_filter`` (the service
            withheld it or a part of it); ``refusal`` (the model declined); None where unknown.
        thought: the service returned thoughts of the model in a field of their own, which is not part of ``text``.
    """

    text: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    seconds: float = 0.0
    cost: float | None = None
    finish: str | None = None
    thought: bool = False


@runtime_checkable
class Model(Protocol):
    """An MLLM: an image and text in, text out.

    A model that answers several requests in one pass offers `reply_batch` as well (see `BatchModel`).
    Its optional attributes are those of `ModelTraits`. Optional methods: ``spec()`` returns everything that its replies
    depend on as JSON values, for the manifest; ``async def close()`` is called at the end of a run.
    """

    name: str
    points: PointFormat

    async def reply(self, request: Request) -> list[Reply]:
        """Return ``request.n`` replies.

        Raises:
            RequestFailed: when the request failed for good.
            UsageError: when no request can ever succeed (a wrong key, an unknown model).
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelTraits:
    """What a model may declare of itself, as attributes of these names; what it does not declare has the default.

    Attributes:
        deterministic: at temperature 0, the same image and prompt give the same reply.
        seeded: above temperature 0, they do with the same seed.
        predicts_iou: its reply with a click also says the IoU of the mask it is shown ("Current IOU: 74").
        resize: how the image is changed before it is in a request; the prompt names the new size, and replies are
            mapped back from it.
        price: what it computes the ``cost`` of its replies from; None: unknown.
        concurrency: how many requests it takes at once; None: it does not say.
        log: a file that is copied into the run folder when the run ends; None: no file.
        timed: each of its calls ends by itself after a time that it limits, so the run's own limit does not apply.
    """

    deterministic: bool = True
    seeded: bool = True
    predicts_iou: bool = False
    resize: Resize = UNCHANGED
    price: Any = None
    concurrency: int | None = None
    log: Any = None
    timed: bool = False


def traits(model: object) -> ModelTraits:
    """Return what a model declares of itself."""
    names = ModelTraits.__slots__
    return ModelTraits(**{name: getattr(model, name) for name in names if hasattr(model, name)})


async def close(model: object) -> None:
    """Close a model, if it has something to close."""
    if (closing := getattr(model, "close", None)) is not None:
        await closing()


@runtime_checkable
class BatchModel(Protocol):
    """A model that runs here and answers full batches; it is called from one worker thread.

    Attributes:
        batch_size: most requests at once; a run's own batch size replaces it before the first request.
    """

    name: str
    points: PointFormat
    batch_size: int

    def reply_batch(self, requests: Sequence[Request]) -> Sequence[list[Reply] | RequestFailed]:
        """Return for each request, in order, its ``n`` replies, or the error of a request that failed.

        Raises:
            RequestFailed: when the batch failed, and which request caused it is unknown; each is then asked alone.
            UsageError: when no request can ever succeed.
        """
        ...


class Session(Protocol):
    """One image, opened in a segmenter. It remembers what it needs between predictions (logits).

    A session that decodes several candidates in one pass offers `predict_each` as well (see `BatchSession`).
    """

    def predict(self, clicks: Sequence[Click], box: Box | None = None) -> Mask:
        """Return the mask after all clicks so far.

        Args:
            clicks: every click of the episode, oldest first.
            box: the box the episode began with, if any.

        Returns:
            bool array of shape (H, W).
        """
        ...

    def snapshot(self) -> object:
        """Return what `restore` needs to continue from here; it is cheap and needs no encoder pass."""
        ...

    def restore(self, state: Any) -> None:
        """Go back to a snapshot of this session."""
        ...


@runtime_checkable
class BatchSession(Session, Protocol):
    """What a session may offer to a tree search: ``hasattr(session, "predict_each")`` asks for it."""

    def predict_each(self, candidates: Sequence[Sequence[Click]], box: Box | None = None) -> list[Mask]:
        """Return the mask that `Session.predict` would give for each candidate from here; the session does not change.

        Args:
            candidates: for each, every click of the episode, oldest first. Fastest where all have equally many.
            box: the box the episode began with, if any.

        Returns:
            For each candidate, in order, a bool array of shape (H, W). As it is computed in a batch, up to 1e-4 of its
            pixels may differ from those of `Session.predict`.
        """
        ...


@runtime_checkable
class RefiningSession(Session, Protocol):
    """A session of a segmenter that accepts masks; `accepts_mask` says beforehand whether one does."""

    def start_from(self, mask: Mask) -> None:
        """Continue from a mask as if the last prediction had given it. Once, before the first prediction and snapshot.

        Without clicks and box, `Session.predict` then gives this mask. An empty mask is the same as none.

        Args:
            mask: bool array of shape (H, W), which is not changed.

        Raises:
            UsageError: when the mask has another shape than the image, or the segmenter accepts none.
        """
        ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What a segmenter's file says of it before its weights are there; `hlmat-bench segmenters` lists it.

    Attributes:
        box: it takes a box.
        negative_clicks: it takes negative clicks.
        previous_logits: the logits, or probabilities, of the last mask go into the next prediction.
        input_size: side of the image that it sees, in pixels, or in words.
        licence: of the weights; of the code where there are none.
        weights: where they are, e.g. an id of the Hugging Face hub; empty where it needs none.
        start_mask: it can start from a given mask.
        file: the name of the authors' own file, where it takes this instead of ``weights``.
    """

    box: bool
    negative_clicks: bool
    previous_logits: bool
    input_size: str = "any"
    licence: str = ""
    weights: str = ""
    start_mask: bool = False
    file: str = ""


@runtime_checkable
class Segmenter(Protocol):
    """An interactive segmentation tool. `open` and `predict` are called from worker threads.

    Optional attribute: ``accepts_mask`` (default False): its sessions can start from a given mask; see
    `RefiningSession`.
    """

    name: str
    accepts_box: bool

    def spec(self) -> dict[str, Any]:
        """Everything that can change a mask, as JSON values: it is part of the run's fingerprint."""
        ...

    def open(self, image: Image) -> Session:
        """Encode an image (uint8 (H, W, 3) RGB) once; equal images share one cached embedding."""
        ...


def accepts_mask(segmenter: Segmenter) -> bool:
    """Whether the sessions of a segmenter can start from a given mask, as `RefiningSession` says."""
    return bool(getattr(segmenter, "accepts_mask", False))
