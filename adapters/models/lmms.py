"""Models of lmms-eval's registry, simple or chat, in batches: ``lmms,name=qwen2_5_vl,pretrained=...``.

The model's class in lmms-eval decides how the image is encoded, the system prompt, and the batching within a call.
lmms-eval's response cache belongs to its evaluator and is not used.
"""

from __future__ import annotations

import asyncio
import importlib.util
import threading
import time
from collections.abc import Sequence
from typing import Any

from hlmat_bench.core.errors import HlmatError, RequestFailed, UsageError, unknown
from hlmat_bench.core.networks import device, memory
from hlmat_bench.models import lmms_eval as convention
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol.interfaces import Reply, Request

_TASK, _SPLIT = "hlmat", "test"
_OWN_CACHE = ("continual_mode", "response_persistent_folder")


def missing(name: str) -> str | None:
    """Return what is missing on this machine, in words; None if nothing is. No model is loaded to find out."""
    if importlib.util.find_spec("lmms_eval") is not None:
        return None
    return "lmms-eval is not installed here; run: pip install 'hlmat-bench[lmms]'"


class LmmsModel:
    """A model of lmms-eval.

    At temperature 0 the ``n`` replies to a request are one reply, n times. Otherwise the model is asked n times, and
    before each time torch is seeded with the requests of the batch and the number of the reply.

    Args:
        name: name of the model in lmms-eval's registry; ``lmms-eval models`` lists them.
        points: how the model writes coordinates, a name that `PointFormat.named` knows.
        batch_size: most requests per call; also the ``batch_size`` of the model's class.
        force_simple: use the simple class even if there is also a chat class.
        resize: how the image is changed before the model gets it, a name that `Resize.named` knows.
        model_args: all other options, for the model's class, e.g. ``pretrained``, ``device``, ``device_map``.

    Raises:
        UsageError: when an option or a package is missing, or the model cannot be loaded.
    """

    deterministic = True

    def __init__(
        self,
        name: str | None = None,
        points: str | None = None,
        *,
        batch_size: int = 1,
        force_simple: bool = False,
        resize: str = "none",
        **model_args: Any,
    ) -> None:
        if name is None or points is None:
            raise UsageError(
                "lmms needs name=, a model of `lmms-eval models`, and points=, the way it writes coordinates: for "
                "example lmms,name=qwen2_5_vl,pretrained=Qwen/Qwen2.5-VL-7B-Instruct,points=xypixel."
            )
        if cache := next((option for option in _OWN_CACHE if model_args.get(option)), None):
            raise UsageError(
                f"Leave out {cache}: it keeps replies by the number of the sample, and the image of a sample changes "
                "with each step."
            )
        self.points, self.resize = PointFormat.named(points), Resize.named(resize)
        self.name, self._batch_size = convention.label(name, model_args), batch_size
        kind = _find(name, force_simple)
        self._secrets = convention.secrets(model_args)
        self._lm = _load(kind, name, {**model_args, "batch_size": batch_size})
        self._spec = convention.describe(name, "simple" if kind.is_simple else "chat", model_args)
        self._one_at_a_time = threading.Lock()

    @property
    def batch_size(self) -> int:
        """Most requests per call."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self._batch_size = size
        if hasattr(self._lm, "batch_size_per_gpu"):  # what most classes call it
            self._lm.batch_size_per_gpu = size

    def spec(self) -> dict[str, Any]:
        """Return what the replies depend on: the class, its options without secrets, weights by SHA-256, versions."""
        return self._spec

    async def reply(self, request: Request) -> list[Reply]:
        """Answer one request, see `hlmat_bench.protocol.interfaces.Model.reply`."""
        [answer] = await asyncio.to_thread(self.reply_batch, [request])
        if isinstance(answer, RequestFailed):
            raise answer
        return answer

    def reply_batch(self, requests: Sequence[Request]) -> list[list[Reply] | RequestFailed]:
        """Return for each request, in order, its ``n`` replies or its failure.

        Raises:
            RequestFailed: when the model cannot process one of them.
            UsageError: when the memory does not suffice, or the model's setup does not fit this machine.
        """
        answers: list[list[Reply] | RequestFailed] = [[] for _ in requests]
        with self._one_at_a_time:
            for n in range(max(map(_draws, requests))):
                asked = [at for at, request in enumerate(requests) if n < _draws(request)]
                outputs, seconds = self._generate([requests[at] for at in asked], n)
                for at, output in zip(asked, outputs, strict=True):
                    answers[at] = self._with(answers[at], output, seconds)
        return [
            answer * (1 if request.temperature else request.n) if isinstance(answer, list) else answer
            for request, answer in zip(requests, answers, strict=True)
        ]

    def _generate(self, requests: Sequence[Request], n: int) -> tuple[Sequence[Any], float]:
        """Return the model's output for each request, and the seconds per request.

        Raises:
            RequestFailed, UsageError: see `reply_batch`.
        """
        from PIL import Image as Pillow

        docs = [{"image": Pillow.fromarray(request.image), "prompt": request.prompt} for request in requests]
        self._lm.task_dict = {_TASK: {_SPLIT: docs}}
        convention.seed_draws(requests, n)
        start = time.perf_counter()
        try:
            outputs = self._lm.generate_until([self._instance(at, request) for at, request in enumerate(requests)])
        except Exception as error:
            raise self._failure(error, len(requests)) from error
        finally:
            self._lm.task_dict = {}
        if not isinstance(outputs, Sequence) or len(outputs) != len(requests):
            count = len(outputs) if isinstance(outputs, Sequence) else "no"
            raise RequestFailed(
                f"lmms-eval's {self._spec['model']} returned {count} replies to {len(requests)} requests",
                advice="take batch_size=1",
            )
        return outputs, (time.perf_counter() - start) / len(requests)

    def _failure(self, error: Exception, count: int) -> HlmatError:
        """Turn an error of the model's class into an error of one request, or of the run."""
        model, words = self._spec["model"], convention.without_secrets(device.described(error), self._secrets)
        if memory.explain(error):
            return UsageError(
                f"The device ran out of memory with {count} requests at once: take a batch_size below "
                f"{self.batch_size} or smaller images."
            )
        if isinstance(error, (AssertionError, NotImplementedError)):  # e.g. no CUDA here, no generate_until
            return UsageError(f"lmms-eval's {model} does not run here: {words}.")
        if device.lost_device(words):
            return UsageError(f"{device.LOST_DEVICE} ({words}): run the same command again, or take other options.")
        return RequestFailed(
            f"lmms-eval's {model} failed: {words}",
            advice="check the options of its class (pretrained=, device=, dtype or attention), or take smaller images "
            "with resize=",
        )

    def _instance(self, at: int, request: Request) -> Any:
        """Return a request in the form of lmms-eval's evaluator, with the position ``at`` in the batch."""
        from lmms_eval.api.instance import Instance

        # Simple and chat models expect their arguments in different order.
        decoding = convention.generation_kwargs(request)
        what = (decoding, _images) if self._lm.is_simple else (_messages, decoding)
        arguments = (request.prompt, *what, at, _TASK, _SPLIT)
        return Instance("generate_until", arguments, 0, {"task": _TASK, "doc_id": at, "repeats": 1})

    def _with(self, answer: list[Reply] | RequestFailed, output: Any, seconds: float) -> list[Reply] | RequestFailed:
        """Add a reply to the earlier replies of a request; one failed reply makes the request fail."""
        if isinstance(answer, RequestFailed):
            return answer
        try:
            return [*answer, convention.read(output, self._secrets, seconds)]
        except RequestFailed as error:
            return error


def _draws(request: Request) -> int:
    """Return how many replies the model must generate."""
    return request.n if request.temperature else 1


def _images(doc: dict[str, Any]) -> list[Any]:
    return [doc["image"]]


def _messages(doc: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the user's message in the form of lmms-eval's evaluator."""
    content = [{"type": "image", "url": doc["image"]}, {"type": "text", "text": doc["prompt"]}]
    return [{"role": "user", "content": content}]


def _find(name: str, force_simple: bool) -> Any:
    """Return the class of a model.

    Raises:
        UsageError: when there is no such model, or its class cannot be imported.
    """
    from lmms_eval import models

    names = models.list_available_models(include_aliases=True)
    if name not in names:
        raise unknown("model of lmms-eval", name, names, "`lmms-eval models` lists them.")
    try:
        return models.get_model(name, force_simple)
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        advice = f"; run: pip install {package}" if package and importlib.util.find_spec(package) is None else ""
        raise UsageError(f"lmms-eval's {name} cannot be imported ({device.described(error)}){advice}.") from error


def _load(kind: Any, name: str, options: dict[str, Any]) -> Any:
    try:
        return kind.create_from_arg_string("", options)
    except Exception as error:
        raise UsageError(
            f"lmms-eval's {name} cannot be made with {', '.join(options)} ({device.described(error)}); "
            "check its options."
        ) from error


MODELS = {"lmms": LmmsModel}
