"""The one writer of a run folder: it holds the lock, the manifest, the episodes and the replies not yet recorded."""

from __future__ import annotations

import logging
import shutil
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from hlmat_bench.core.errors import ModelFailed, PluginFailed, UsageError
from hlmat_bench.core.samples import Sample
from hlmat_bench.data import check as data_check
from hlmat_bench.models.api.limits import UsageMeter
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.interfaces import traits
from hlmat_bench.protocol.records import EPISODES
from hlmat_bench.runs import redo_log
from hlmat_bench.runs.episode_log import EpisodeLog, Finished, Recorded, recorded, set_aside
from hlmat_bench.runs.failures import IN_A_ROW, FailureWatch, NothingWorks
from hlmat_bench.runs.heartbeat import Heartbeat, OnBeat
from hlmat_bench.runs.opening import digests_of
from hlmat_bench.runs.plan import RunData, RunSetup
from hlmat_bench.runs.redo_log import Again
from hlmat_bench.runs.reply_journal import ReplyJournal
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.run_lock import LOCK, RunLock

#: The file in a run folder that keeps what the model's process printed, for models with a ``log``.
MODEL_LOG = "model.log"
#: The file in a run folder that keeps the tracebacks of plug-ins that failed.
ERRORS_LOG = "errors.log"
#: What stays in the manifest of a run that continues.
_KEPT = ("started", "merged", redo_log.KEY)

log = logging.getLogger("hlmat_bench")


class RunWriter:
    """A run folder while its run is played. Enter it as a context manager before its episodes are played.

    Args:
        folder: the run folder; it is made where it does not exist.
        data: the run's task and samples.
        document: its manifest.
        meter: counts the requests of this call and keeps its limits.
        model_log: a file that is copied into the folder when the run ends; None: no file.
        max_failures: failed requests in a row that end the run.
        lock: keep other processes out of the folder.
        on_beat: is told what the run does; see `hlmat_bench.runs.heartbeat`.
        again: the only samples that are played in this call, also where they are recorded; None: all that are not
            recorded or failed.

    Attributes:
        folder, data, meter: as given.
        watch: is told of every request, and ends the run where nothing works; the writer tells another one of every
            episode, for the segmenter and the strategy.
        journal: keeps the replies of episodes that are running.
        count: how many samples of the run are played.
        workers: how many processes play them now.
    """

    def __init__(
        self,
        folder: Path,
        data: RunData,
        document: dict[str, Any],
        meter: UsageMeter,
        *,
        model_log: Path | None = None,
        max_failures: int = IN_A_ROW,
        lock: bool = True,
        on_beat: OnBeat | None = None,
        again: Again | None = None,
    ) -> None:
        self.folder, self.data, self.meter = folder, data, meter
        self.count, self.workers = 0, 1
        self._on_beat, self._again = on_beat, again
        self._document, self._model_log, self._max_failures, self._lock = document, model_log, max_failures, lock
        self._known = {sample.id: sample for sample in data.source.samples()}
        self._open, self._held, self._failed = ExitStack(), deque[Finished](), 0
        self._complete = False  # the folder's run was finished before this call, and nothing is left to play
        self._told = False

    @classmethod
    def of(
        cls, folder: Path, run: RunSetup, document: dict[str, Any], meter: UsageMeter | None = None, **more: Any
    ) -> RunWriter:
        """Return the writer of a run that was opened in this process; the arguments are those of the class."""
        log = traits(run.model).log
        return cls(folder, run.data, document, meter or run.meter(), model_log=log, **more)

    def __enter__(self) -> RunWriter:
        """Lock the folder, check that it belongs to this run, and open its files.

        Raises:
            UsageError: when it cannot be written, or holds another run, other data or damaged records.
        """
        with ExitStack() as stack:
            _make_folder(self.folder)
            stack.enter_context(RunLock(self.folder, used=self._lock))
            self._done = recorded(self.folder)
            self._open_manifest()
            if not self._complete and not self.data.looked:
                data_check.look(self.data.source, self.data.samples)
            self._check_data(self._done)
            self._open_files(stack)
            self._heartbeat = stack.enter_context(Heartbeat(self, self._document, self._on_beat))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, traceback)

    def todo(self) -> list[Sample]:
        """Return the samples that are still to be played, in their order."""
        wanted = None if self._again is None else self._again.samples
        return [
            sample
            for sample in self.data.samples
            if sample.id not in self._done and (wanted is None or sample.id in wanted)
        ]

    def begin(self) -> int:
        """Return what `append` needs to know of an episode that begins now: how many have failed so far."""
        return self._failed

    def append(self, episode: Finished, began: int) -> None:
        """Take a finished episode.

        One that failed is held back until an episode succeeds that began after it: where the run ends because nothing
        works any more, its failures are not recorded.

        Args:
            episode: the episode.
            began: what `begin` returned before it.

        Raises:
            UsageError: when it ends the run.
        """
        self._complete = False
        if episode.recorded.stop == "error":
            self._take_failed(episode)
            return
        self.count += 1
        self._episode_watch.succeeded()
        self._write_held(began)
        self._write(episode)

    def end(self) -> None:
        """Write what was held back, now that no more episodes will be played in this call.

        Raises:
            UsageError: when not one request was answered, or every episode failed.
        """
        self.watch.finish()
        self._episode_watch.finish()
        self._write_held(self._failed)

    def limit_reached(self) -> UsageError | None:
        """Return what a limit of this call left undone, as an error; None where all samples are played."""
        return self.meter.limit_reached(self.count, len(self.data.samples)) if self.todo() else None

    def finish(self) -> Run:
        """Score the run, and mark it as finished where all of its samples are played and everything is on disk.

        Raises:
            UsageError: when files of the data or of the run changed while it was played.
        """
        self._heartbeat.state = "scoring"
        self._check_data(self._done if self._complete else recorded(self.folder))
        run = Run(self.folder)
        written = (run.scores() if self._complete else run.score())["n"]
        if written != len(self._done):
            raise UsageError(
                f"{self.folder / EPISODES} holds {written} of {len(self._done)} episodes that were played: another "
                "program changed the file. Run the same command again; it plays what is missing."
            )
        redo_log.end(self._document)
        complete = self.count >= len(self.data.samples)
        if not self._complete:
            finished = manifest.now() if complete else None
            manifest.write_json(self.folder / manifest.MANIFEST, {**self._document, "finished": finished})
        if complete:
            self._heartbeat.state = "finished"
        return Run(self.folder)

    def close_files(self) -> None:
        """Write everything to disk; the folder stays locked."""
        self._files.close()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Keep the traceback of a plug-in's error in the run folder, for the author of the plug-in.

        Raises:
            PluginFailed, NothingWorks: the error itself.
        """
        try:
            yield
        except (PluginFailed, NothingWorks) as failure:
            self._keep(failure.traceback)
            raise

    def _keep(self, traceback: str) -> None:
        """Add a traceback to errors.log, and say once that it is there."""
        path = self.folder / ERRORS_LOG
        if not traceback:
            return
        try:
            with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(traceback)
            told = f"The tracebacks of what failed are in {path}."
        except OSError as error:  # on a full disk: the run ends where an episode cannot be written
            told = f"Tracebacks of what failed could not be written to {path} ({error.strerror})."
        if not self._told:
            log.warning("%s", told)
        self._told = True

    def _take_failed(self, episode: Finished) -> None:
        self.count += 1
        self._failed += 1
        self._held.append(episode)
        if episode.failure is not None:
            self._keep(episode.failure.traceback)
        if episode.failure is not None and not isinstance(episode.failure, ModelFailed):
            self._episode_watch.failed(episode.failure)

    def _open_files(self, stack: ExitStack) -> None:
        """Set episodes aside that are played again, and open what is written to while the run is played."""
        if again := self._recorded_again():
            set_aside(self.folder, again)
            what = "failed before and are asked again" if self._again is None else "are played again"
            log.warning("%d episodes %s; their records are in history.jsonl.", len(again), what)
        if self._again is not None:
            redo_log.moved(self._document)
            manifest.write_json(self.folder / manifest.MANIFEST, self._document)
        for sample in again:
            del self._done[sample]
        samples = self.data.samples
        self.count = sum(sample.id in self._done for sample in samples)
        begun = self.count > 0
        name = str(self._document["model"]["name"])
        self.watch = FailureWatch.of_requests(name, self._max_failures, begun=begun)
        self._episode_watch = FailureWatch.of_episodes(self._max_failures, begun=begun)
        self._files = stack.enter_context(ExitStack())
        self._files.callback(self._copy_model_log)
        self.journal = ReplyJournal(self.folder, self._done)
        self._files.callback(self.journal.close)
        self._log = EpisodeLog(self.folder, [sample.id for sample in samples], None if again else self._done)
        self._files.callback(self._log.close)

    def _recorded_again(self) -> set[str]:
        if self._again is None:
            return {sample for sample, what in self._done.items() if what.stop == "error"}
        return self._done.keys() & self._again.samples

    def _copy_model_log(self) -> None:
        if self._model_log is None:
            return
        try:
            shutil.copyfile(self._model_log, self.folder / MODEL_LOG)
        except OSError as error:
            log.warning("%s could not be written (%s).", self.folder / MODEL_LOG, error.strerror)

    def _write_held(self, count: int) -> None:
        """Write the first ``count`` episodes that failed, where they are not written yet."""
        while self._held and self._failed - len(self._held) < count:
            self._write(self._held.popleft())

    def _write(self, episode: Finished) -> None:
        self._log.append(episode)
        # Without its data: the digests of a million episodes would take half a gigabyte.
        self._done[episode.sample_id] = _ended(episode.recorded.stop)
        if episode.recorded.stop != "error":
            self.journal.forget(episode.sample_id)

    def _check_data(self, found: Mapping[str, Recorded]) -> None:
        """Make sure that episodes were played on the data as it is now, where more are played in this call.

        Args:
            found: the episodes, by sample.

        Raises:
            UsageError: names the sample whose image or ground truth is another, or that the task does not have any
                more.
        """
        for ident, what in found.items():
            if ident not in self._known:
                raise UsageError(
                    f"{self.folder} holds an episode of the sample {ident}, which the task does not have now; choose "
                    "another --out, or the same data and settings as before."
                )
            if self._complete:
                continue
            now = digests_of(self.data.source, self._known[ident]) if what.data else {}
            for part, digest in what.data.items():
                if now.get(part, digest) != digest:
                    name = "image" if part == "image" else "ground truth"
                    raise UsageError(
                        f"The {name} of the sample {ident} is not the one that its episode in {self.folder} was played "
                        "on; restore the file, or choose another --out to play with the new data."
                    )

    def _open_manifest(self) -> None:
        """Write the manifest of a new run, or check that the folder's run is the same one and keep its start.

        A smaller limit than before keeps what is there: the manifest says what the folder holds. Data whose source
        tells no digests of single samples must be the same as a whole. The manifest of a run that is finished stays as
        it is.
        """
        path = self.folder / manifest.MANIFEST
        if path.exists():
            old = manifest.read(self.folder)
            corrected = all(what.data for what in self._done.values())
            manifest.check_same(self.folder, old, self._document, corrected=corrected)
            self._document |= {key: old[key] for key in _KEPT if key in old}
            if old.get("samples", 0) > self._document["samples"]:
                self._document |= {"limit": old["limit"], "samples": old["samples"]}
            failed = any(what.stop == "error" for what in self._done.values())
            played = old["finished"] is not None and not failed and not self.todo()
            self._complete = played and all(old.get(key) == self._document[key] for key in ("limit", "samples"))
        elif self._done:
            raise UsageError(
                f"{self.folder} holds episodes but no {manifest.MANIFEST}, so it is unknown of which run they are; put "
                "that file back, or choose another --out."
            )
        if self._again is not None:
            redo_log.begin(self._document, self._again)
            self._complete = False
        if not self._complete:
            manifest.write_json(path, self._document)


@cache
def _ended(stop: str) -> Recorded:
    return Recorded(stop)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror}); choose another --out.") from error
