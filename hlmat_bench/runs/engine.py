"""Playing many episodes at once: who plays, with what, in which order, and where the records go."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import traceback
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

from hlmat_bench.actions import box_form
from hlmat_bench.core.errors import PluginFailed, UsageError
from hlmat_bench.core.samples import Sample, Source
from hlmat_bench.models.api.limits import LimitReached, MeteredModel, UsageMeter
from hlmat_bench.models.api.reply_cache import CachedModel
from hlmat_bench.models.catalog import ModelChoice
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import UNCHANGED
from hlmat_bench.protocol.interfaces import BatchModel, Model, Segmenter, Session, accepts_mask
from hlmat_bench.protocol.loop import Play, play
from hlmat_bench.protocol.players import ModelPlayer, Player
from hlmat_bench.protocol.records import Episode
from hlmat_bench.protocol.reference import PIXELS, ReferencePlayer, policy_of
from hlmat_bench.protocol.reward_models import with_reward_model
from hlmat_bench.protocol.settings import MASK_STATES, ProtocolSettings, is_state
from hlmat_bench.runs.batching import Front, suitable_concurrency
from hlmat_bench.runs.episode_log import EpisodeLog, Recorded, set_aside
from hlmat_bench.runs.failures import IN_A_ROW, FailureWatch
from hlmat_bench.runs.kinds import Manner
from hlmat_bench.runs.reply_journal import JournaledModel, ReplyJournal

#: The file in a run folder that keeps what the model's process printed, for models with a ``log``.
MODEL_LOG = "model.log"
#: The file in a run folder that keeps the tracebacks of plug-ins that failed.
ERRORS_LOG = "errors.log"

log = logging.getLogger("hlmat_bench")

Progress = Callable[[int, int], None]


class Contest:
    """Who plays and with what: a model or a reference policy, a segmenter, the rules.

    Args:
        model: what the user's ``--model`` means; a reference's name, too.
        segmenter: turns clicks into masks; several contests may share it.
        rules: the protocol's settings.
        points: a point format that replaces the model's declared one; None: the declared one.
        seed: the run's seed.
        manner: how episodes begin, and who chooses what is done.

    Raises:
        UsageError: when one of them cannot be made, or they do not fit together.
    """

    def __init__(
        self,
        model: ModelChoice,
        segmenter: Segmenter,
        rules: ProtocolSettings,
        points: str | None,
        seed: int,
        manner: Manner,
    ) -> None:
        self.manner, self.seed = manner, seed
        self.policy = policy_of(model.plugin, model.options)
        self.segmenter = segmenter
        _check_segmenter(segmenter, rules, manner)
        self.model: Model | None = None if self.policy else model.make()
        predicts = model.predicts_iou or getattr(self.model, "predicts_iou", False)
        self.rules = with_reward_model(rules, predicts=predicts)
        self.points, self.resize = PIXELS, UNCHANGED.name
        name = ",".join([model.plugin, *(f"{key}={value}" for key, value in model.options.items())])
        self.model_spec: dict[str, Any] = {"name": name, "kind": "reference"}
        if self.model is not None:
            self.points = PointFormat.named(points) if points else self.model.points
            if rules.box_prompt is not None:
                box_form(self.points)
            self.resize = getattr(self.model, "resize", UNCHANGED).name
            describe = getattr(self.model, "spec", None)
            self.model_spec = {"name": self.model.name, "kind": "model", **(describe() if describe else {})}
            if model.described is not None:
                self.model_spec["catalog"] = dict(model.described)
        self.asked = self.model
        self.requests = self.rules.most_requests()
        self.meter = UsageMeter(per_episode=self.requests)

    def ask_through(self, meter: UsageMeter, cache: Path | None) -> None:
        """Put a meter with limits, and a cache of replies, before the model.

        Raises:
            UsageError: when the model cannot be limited in that way, or is not asked one request at a time.
        """
        if not meter.limited and cache is None:
            return
        model = self.model
        if model is None or isinstance(model, BatchModel):
            raise UsageError(
                f"--cache, --max-requests and --max-cost are for a model behind an API; {self.model_spec['name']} runs "
                "here, so leave them out."
            )
        meter.check(model)
        self.meter, self.asked = meter, MeteredModel(model, meter)
        if cache is not None:
            self.asked = CachedModel(self.asked, self.model_spec, cache)

    def concurrency(self, batch_size: int | None) -> int:
        """Episodes under way that suit the model: a full batch, or what it declares, or one per core."""
        return suitable_concurrency(self.model, batch_size)

    def seat(
        self, sample: Sample, source: Source, front: Front | None, pool: ThreadPoolExecutor, encoders: Executor
    ) -> Play:
        """Everything one episode needs. Reads the image and the ground truth, so call it in a worker thread.

        While a model thinks about its first click, the segmenter opens the image. The reference players think in no
        time, and not all of them click, so for them it waits for the click.
        """
        image, truth = source.image(sample), source.truth(sample)
        seed = _seed_of(self.seed, sample.id)
        player: Player
        opening: Future[Session] | None = None
        if self.policy is not None:
            player = ReferencePlayer(self.policy, truth, seed, pool)
        else:
            assert self.model is not None and front is not None
            opening = encoders.submit(self.segmenter.open, image)
            player = ModelPlayer(
                self.model, front.reply, sample, image, self.rules, points=self.points, seed=seed, pool=pool
            )
        data = digests_of(source, sample)
        return Play(sample, image, truth, player, self.segmenter, self.rules, pool, opening, self.seed, data)


def _seed_of(run_seed: int, sample_id: str) -> int:
    """Return the seed of a sample, 31 bits: services refuse what a signed 32-bit integer does not hold."""
    text = f"{run_seed}/{sample_id}".encode("utf-8", "backslashreplace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest()) % 2**31


def digests_of(source: Source, sample: Sample) -> Mapping[str, str]:
    """Return the digests of a sample's files, where the source tells them; see `Source`."""
    tell: Callable[[Sample], Mapping[str, str]] | None = getattr(source, "digests", None)
    return tell(sample) if tell is not None else {}


def _check_segmenter(segmenter: Segmenter, rules: ProtocolSettings, manner: Manner) -> None:
    """Refuse a segmenter that does not take what it will be given."""
    if (manner.needs_box or rules.track == "box+point") and not segmenter.accepts_box:
        raise UsageError(
            f"The segmenter {segmenter.name} takes no boxes, which this run needs; use one that does, such as sam_b."
        )
    if is_state(rules.initial, MASK_STATES) and not accepts_mask(segmenter):
        raise UsageError(
            f"The segmenter {segmenter.name} cannot start from a given mask, which this run needs; use one that can, "
            "such as graphcut (`hlmat-bench segmenters` lists them)."
        )


class Ledger:
    """A contest's run folder while it is played: which samples are written, and where finished episodes go.

    Args:
        contest: who plays.
        samples: all of the run, in their order.
        folder: the run folder; the caller holds its lock.
        done: what is recorded, by sample; kept up to date. Failed episodes are taken out, to be asked again.
        max_failures: failed requests in a row that end the run.

    Attributes:
        done: as given.
        count: how many of the samples are done.
        watch: is told of every request.
        journal: keeps the replies of episodes that are not recorded.

    Raises:
        UsageError: when the files of an earlier run are damaged or cannot be written.
    """

    def __init__(
        self,
        contest: Contest,
        samples: Sequence[Sample],
        folder: Path,
        done: dict[str, Recorded],
        max_failures: int,
    ) -> None:
        self.contest, self.folder, self.total = contest, folder, len(samples)
        if again := {sample for sample, what in done.items() if what.stop == "error"}:
            set_aside(folder, again)
            log.warning(
                "%d episodes failed before and are asked again; their records are in history.jsonl.", len(again)
            )
        self.done = done
        for sample in again:
            del done[sample]
        self.count = sum(sample.id in self.done for sample in samples)
        self.watch = FailureWatch(str(contest.model_spec["name"]), max_failures, begun=self.count > 0)
        self.journal = ReplyJournal(folder, self.done)
        self._held: deque[Episode] = deque()
        self._failed = 0
        self._log = EpisodeLog(folder, [sample.id for sample in samples])

    def begin(self) -> int:
        """Return what `append` wants to know of an episode that begins now: how many have failed so far."""
        return self._failed

    def append(self, episode: Episode, began: int) -> None:
        """Hand a finished episode over.

        One that failed is held back until an episode succeeds that began after it: where the run ends because nothing
        works any more, its failures are not recorded.

        Args:
            episode: the episode.
            began: what `begin` returned before it.
        """
        self.count += 1
        if episode.stop == "error":
            self._failed += 1
            self._held.append(episode)
            return
        self._write_held(began)
        self._write(episode)

    def finish(self) -> None:
        """Write what was held back, now that all samples are played.

        Raises:
            UsageError: when nothing worked.
        """
        self.watch.finish()
        self._write_held(self._failed)

    def close(self) -> None:
        """Write what is left."""
        self._log.close()
        self.journal.close()
        if (words := getattr(self.contest.model, "log", None)) is not None:
            shutil.copyfile(words, self.folder / MODEL_LOG)

    def asked(self) -> Model | None:
        """Return what is asked: the contest's model, of which one that is not here keeps a journal of its replies."""
        model = self.contest.asked
        if model is None or isinstance(model, BatchModel):
            return self.contest.asked
        return JournaledModel(model, self.journal)

    def explain(self, failure: PluginFailed) -> None:
        """Keep the traceback of a plug-in's error, for whoever wrote the plug-in."""
        if failure.__cause__ is not None:
            with (self.folder / ERRORS_LOG).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.writelines(traceback.format_exception(failure.__cause__))
            log.warning("The whole traceback is in %s.", self.folder / ERRORS_LOG)

    def _write_held(self, count: int) -> None:
        """Write the first ``count`` episodes that failed, where they are not written yet."""
        while self._held and self._failed - len(self._held) < count:
            self._write(self._held.popleft())

    def _write(self, episode: Episode) -> None:
        self._log.append(episode)
        self.done[episode.sample_id] = Recorded(episode.stop, episode.data)
        if episode.stop != "error":
            self.journal.forget(episode.sample_id)


def play_all(
    contests: Mapping[Path, Contest],
    done: Mapping[Path, dict[str, Recorded]],
    source: Source,
    samples: Sequence[Sample],
    *,
    concurrency: int | None = None,
    batch_size: int | None = None,
    max_failures: int = IN_A_ROW,
    progress: Progress | None = None,
) -> None:
    """Play the samples that are not yet written and append their episodes.

    Several contests go on side by side: all play an image before any plays the next, so that a segmenter that they
    share encodes it once.

    Args:
        contests: by run folder, of which the caller holds the locks.
        done: what is recorded, by run folder and sample; kept up to date.
        source: of the samples.
        samples: all of them, those of one image together.
        concurrency: episodes under way at once; None: what suits the first contest.
        batch_size: requests per batch of a local model; None: its own.
        max_failures: failed requests in a row that end a run.
        progress: called with (episodes done, episodes in all).

    Raises:
        LimitReached: when a limit ended the play before all were played.
        UsageError: for what the user can correct; episodes finished before it are kept.
    """
    with contextlib.ExitStack() as stack:
        ledgers = []
        for folder, contest in contests.items():
            ledgers.append(Ledger(contest, samples, folder, done[folder], max_failures))
            stack.callback(ledgers[-1].close)

        def report() -> None:
            if progress:
                progress(sum(ledger.count for ledger in ledgers), len(ledgers) * len(samples))

        report()
        seats = concurrency or ledgers[0].contest.concurrency(batch_size)
        in_own_loop(_play_async(ledgers, _by_image(ledgers, samples), source, seats, batch_size, report))
        for ledger in ledgers:
            ledger.finish()
    for ledger in ledgers:
        if ledger.count < ledger.total:
            raise ledger.contest.meter.spent(ledger.count, ledger.total)


def _by_image(ledgers: Sequence[Ledger], samples: Sequence[Sample]) -> deque[tuple[Ledger, Sample]]:
    """What is still to be played, in order: each image by every contest."""
    return deque(
        (ledger, sample)
        for image in [list(group) for _, group in groupby(samples, key=lambda sample: sample.image_id)]
        for ledger in ledgers
        for sample in image
        if sample.id not in ledger.done
    )


async def _play_async(
    ledgers: Sequence[Ledger],
    waiting: deque[tuple[Ledger, Sample]],
    source: Source,
    seats: int,
    batch_size: int | None,
    report: Callable[[], None],
) -> None:
    loop = asyncio.get_running_loop()
    fronts = {
        ledger.contest: Front(model, batch_size=batch_size, concurrency=seats, watch=ledger.watch)
        for ledger in ledgers
        if (model := ledger.asked()) is not None
    }

    async def seat() -> None:
        """Play one sample after the other, as long as the limits allow one more."""
        while waiting and waiting[0][0].contest.meter.begin(waiting[0][1].id):
            ledger, sample = waiting.popleft()
            began = ledger.begin()
            contest, front = ledger.contest, fronts.get(ledger.contest)
            try:
                with front.episode() if front else contextlib.nullcontext():
                    seated = await loop.run_in_executor(pool, contest.seat, sample, source, front, pool, encoders)
                    episode = await play(seated, contest.manner.strategy.play, contest.manner.initial.begin)
                    ledger.append(episode, began)
                    report()
            except LimitReached:
                return
            except PluginFailed as failure:
                ledger.explain(failure)
                raise
            finally:
                contest.meter.end(sample.id)

    async with contextlib.AsyncExitStack() as stack:
        threads = max(os.cpu_count() or 1, 2)
        pool = stack.enter_context(ThreadPoolExecutor(threads, "pixels"))
        encoders = ThreadPoolExecutor(threads, "encoders")
        stack.callback(encoders.shutdown, cancel_futures=True)
        for front in fronts.values():
            stack.push_async_callback(front.close)
        await all_or_none([seat() for _ in range(min(seats, len(waiting)))])


async def all_or_none(coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all; when one fails, stop the others and raise its error."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def in_own_loop(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, from a script or from inside a notebook's running loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(coroutine)
        return
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, coroutine).result()
