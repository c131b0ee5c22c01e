"""Tasks inside lmms-eval: each document is a sample, and each round is a step of its episode.

lmms-eval imports this module for the YAML files in `tasks/lmms/`; nothing else does. In its agentic loop a task says
after every reply what comes next; here a run says it (`relay`). What is painted, asked, read, clicked, recorded and
scored is the same code as in ``hlmat-bench run``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import datasets
from lmms_eval.api.instance import Instance
from lmms_eval.api.task import ConfigurableTask
from lmms_eval.models import get_model
from lmms_eval.utils import simple_parse_args_string
from loguru import logger
from PIL import Image as Pillow
from PIL import ImageFile

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.tasks import load_task
from hlmat_bench.models import lmms_eval as convention
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol.interfaces import Request
from hlmat_bench.runs.lmms_eval.options import Options
from hlmat_bench.runs.lmms_eval.relay import RelayedRun, RelayModel
from hlmat_bench.runs.opening import folder_name, split_settings
from hlmat_bench.runs.plan import RunSetup, RunSpec
from hlmat_bench.runs.writer import RunWriter
from hlmat_bench.scores.failures import remarks

SPLIT = "test"
METRICS = {"miou": True, "ciou": True, "biou": True, "noc@80": False, "noc@85": False, "noc@90": False, "auc": True}
"""What is reported, and whether higher is better; all with the last mask of each episode."""

_REFUSED = {
    "use_cache": "lmms-eval's --use_cache cannot be used: its key leaves out the image, which is all that changes "
    "between two steps; leave it out, a run that was stopped continues from its folder.",
    "gen_kwargs": "lmms-eval's --gen_kwargs cannot be used: decoding is part of the protocol; set it with "
    "HLMAT_SETTINGS, for example {temperature: 0.7, max_tokens: 256}.",
    "offset": "lmms-eval's --offset cannot be used: samples are played from the first; use --limit.",
    "num_fewshot": "lmms-eval's --num_fewshot cannot be used: the protocol shows no examples.",
    "system_instruction": "lmms-eval's --system_instruction cannot be used: the prompt is part of the protocol; set it "
    "with HLMAT_SETTINGS, for example {prompt: ...}.",
}


class HlmatTask(ConfigurableTask):  # type: ignore[misc]
    """A task of hlmat-bench, as lmms-eval sees it.

    Args:
        config: the YAML file's fields; ``metadata.hlmat`` holds the `Options`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        metadata = config.get("metadata") or {}
        with _on_our_terms():
            self._options = Options.read(metadata.get("hlmat") or {}, os.environ)
            self._points = PointFormat.named(self._options.points)
            self._resize = Resize.named(self._options.resize)
            self._definition = load_task(self._options.task)
            if self._definition.kind == "filtering":
                raise UsageError(
                    f"The task {self._definition.name} asks for IoUs, which lmms-eval has no metrics for; play it with "
                    "`hlmat-bench run --model lmms,...`."
                )
            _, data, _ = split_settings(self._options.settings)
            self._samples = self._definition.source(seed=self._options.seed, overrides=data).samples()
        self.args: Any = None
        super().__init__(
            config={
                "task": config["task"],
                "output_type": "generate_until_agentic",
                "test_split": SPLIT,
                "doc_to_text": "expression",
                "doc_to_target": "sample_id",
                "metric_list": [],
                "num_fewshot": 0,
                "metadata": {"version": self._definition.version, "hlmat": self._options.model_dump(mode="json")},
            }
        )

    def download(self, dataset_kwargs: object = None) -> None:
        """Make one document per sample, by name only; pixels are read when the sample is played."""
        docs = [{"sample_id": sample.id, "expression": sample.expression} for sample in self._samples]
        self.dataset = self.dataset_no_image = datasets.DatasetDict({SPLIT: datasets.Dataset.from_list(docs)})

    def build_all_requests(
        self, *, limit: int | None = None, offset: int = 0, rank: int = 0, world_size: int = 1, **_: object
    ) -> None:
        """Make one request per sample; nothing is played yet."""
        with _on_our_terms():
            self._refuse(offset, world_size)
            model = self._model()
        self._run = RelayedRun(model, partial(self._open, limit=limit))
        docs = self.doc_iterator(rank=rank, limit=limit, world_size=world_size)
        self._instances = [_Episode(self._run, doc["sample_id"], self.config.task, doc_id) for doc_id, doc in docs]

    def process_results(
        self, doc: Mapping[str, Any], results: Sequence[str], full_docs: object = None
    ) -> dict[str, str]:
        """Return which episode it was; the scores come from the run's records."""
        return dict.fromkeys(METRICS, doc["sample_id"])

    def aggregation(self) -> dict[str, Callable[[Sequence[str]], float]]:
        """Return how lmms-eval gets each metric: from the run's scores, whatever it collected."""
        return {name: partial(self._score, name) for name in METRICS}

    def higher_is_better(self) -> dict[str, bool]:
        """See `METRICS`."""
        return METRICS

    def _refuse(self, offset: int, world_size: int) -> None:
        given = (vars(self.args) if self.args is not None else {}) | {"offset": offset}
        for option, sentence in _REFUSED.items():
            if given.get(option):
                raise UsageError(sentence)
        if self.config.repeats > 1:
            raise UsageError("lmms-eval's --repeats cannot be used: an episode is played once; leave it out.")
        if world_size > 1:
            raise UsageError(
                "Inside lmms-eval a task is played by one process; start it with one, or use `hlmat-bench run "
                "--model lmms,... --shard I/N` on several devices."
            )

    def _model(self) -> RelayModel:
        """Return a stand-in for the model that lmms-eval has made."""
        options, args = self._options, self.args
        if args is None and options.model is None:
            raise UsageError("Give the model a name with HLMAT_MODEL: without a command line, lmms-eval tells none.")
        if args is None:
            return self._relay(str(options.model), {"adapter": "lmms"}, {})
        given = args.model_args or ""
        own = simple_parse_args_string(given) if isinstance(given, str) else dict(given)
        own |= {"device": args.device} if args.device else {}
        kind = "simple" if get_model(args.model, args.force_simple).is_simple else "chat"
        name = options.model or convention.label(args.model, own)
        return self._relay(name, convention.describe(args.model, kind, own), own)

    def _relay(self, name: str, spec: dict[str, Any], model_args: Mapping[str, Any]) -> RelayModel:
        return RelayModel(name, self._points, self._resize, spec, convention.secrets(model_args))

    def _open(self, model: RelayModel, limit: int | None) -> tuple[RunSetup, RunWriter]:
        options = self._options
        spec = RunSpec(
            model=model.name,
            task=options.task,
            segmenter=options.segmenter,
            strategy=options.strategy,
            budget=options.budget,
            initial=options.initial,
            limit=limit,
            seed=options.seed,
            settings=options.settings,
        )
        name = f"lmms-eval.{model.name}"
        folder = options.out / folder_name(
            name, self._definition.name, options.segmenter, options.strategy, options.initial
        )
        setup = spec.open(model)
        return setup, RunWriter.of(folder, setup, setup.manifest(sys.argv))

    def _score(self, name: str, items: Sequence[str]) -> float:
        return self._scores[name]

    @cached_property
    def _scores(self) -> dict[str, float]:
        with _on_our_terms():
            finished = self._run.result
        scores = finished.scores()
        logger.info(f"hlmat-bench wrote episodes and scores to {finished.folder}")
        for remark in remarks(scores, finished.manifest):
            logger.warning(remark)
        final = scores["selection"]["final"]
        clicks = {f"noc@{threshold[2:]}": noc["mean"] for threshold, noc in scores["noc"].items()}
        return {"miou": final["miou"], "ciou": final["ciou"], "biou": final["biou"], "auc": scores["auc"], **clicks}


class _Episode(Instance):  # type: ignore[misc]
    """One sample's request to lmms-eval's agentic loop; its image is opened when its turn comes."""

    def __init__(self, run: RelayedRun, sample_id: str, task: str, doc_id: int) -> None:
        metadata = {"task": task, "doc_id": doc_id, "repeats": 1, "split": SPLIT}
        super().__init__("generate_until_agentic", (), 0, metadata)
        self._run, self._sample_id = run, sample_id
        self._images: list[Pillow.Image] = []
        self._decoding: dict[str, Any] = {}

    @cached_property
    def args(self) -> tuple[Any, ...]:
        """Prompt, decoding, images, what comes next, and the document, as lmms-eval's loop takes them.

        An episode that an earlier run has finished asks for no round at all.
        """
        request = self._take()
        decoding = {"max_agentic_steps": 0}
        if request is not None:
            decoding = {**convention.generation_kwargs(request), "max_agentic_steps": sys.maxsize}
        prompt = request.prompt if request else ""
        return prompt, decoding, lambda _doc: self._images, self._next, self.doc_id, self.task_name, SPLIT

    def _next(self, _doc: object, previous_output: Sequence[str], **_: object) -> tuple[Any, ...]:
        """Return what evaluator.py wants after each reply: images (None: ask `args`), prompt, over, nothing to keep."""
        self._run.answer(previous_output[-1])
        request = self._take()
        return None, request.prompt if request else None, request is None, None, None

    def _take(self) -> Request | None:
        """Return the next request about this sample, with its image ready and torch seeded for a draw."""
        with _on_our_terms():
            question = self._run.question(self._sample_id)
        if question is None:
            self._images = []
            return None
        self._decode_alike(convention.generation_kwargs(question.request))
        self._images = [Pillow.fromarray(question.request.image)]
        convention.seed_draws([question.request], question.n)
        return question.request

    def _decode_alike(self, decoding: dict[str, Any]) -> None:
        """Refuse decoding that changes: lmms-eval takes that of the first round for all rounds of an episode."""
        if (self._decoding or decoding) != decoding:
            raise SystemExit(
                "error: lmms-eval decodes all replies of an episode alike, and this strategy does not; play it with "
                "`hlmat-bench run --model lmms,...`, or choose greedy or prm."
            )
        self._decoding = decoding


@contextmanager
def _on_our_terms() -> Iterator[None]:
    """Make a damaged image an error, and an error of this package one sentence, while its code runs.

    lmms-eval has Pillow fill up damaged images. A UsageError it would print as a traceback, and report success.
    """
    filled_up, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    except UsageError as error:
        raise SystemExit(f"error: {error}") from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = filled_up
