"""Runs and trajectory sets as the origin of examples: their records, and the images that these are about."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from hlmat_bench.core.digests import sha256_of
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Sample, Source
from hlmat_bench.core.types import Image
from hlmat_bench.data.overlap import coco_id
from hlmat_bench.data.tasks import load_task
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.log_lines import read_values
from hlmat_bench.protocol.records import EPISODES, Episode
from hlmat_bench.runs import reopen
from hlmat_bench.runs.opening import split_settings
from hlmat_bench.training.export.asking import Asking, AskingSettings, asking_for


class RecordedRun:
    """A run folder whose states are exported. Its images are opened when the first is read.

    Args:
        folder: the run folder.
        chosen: how the model to train is asked.
        task: the task's name or YAML file; None: that of the run.
        data_root: the folder that holds the data sets; None: HLMAT_DATA.

    Attributes:
        folder: the run folder.
        manifest: what run.json holds.
        asking: how the model to train is asked about the run's samples.
        task: the task's name or YAML file, where it has moved; else None.

    Raises:
        UsageError: when it is no run folder, when its episodes have no clicks, or when the settings do not fit.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        chosen: AskingSettings,
        *,
        task: str | None = None,
        data_root: str | os.PathLike[str] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.manifest = manifest.read(self.folder)
        if self.manifest["task"].get("kind") == "filtering":
            raise UsageError(f"The episodes of {folder} have no clicks, because its task is of the kind filtering.")
        if not (self.folder / EPISODES).is_file():
            raise UsageError(f"{folder} has no finished episode yet; play the run first.")
        self.asking: Asking = asking_for(self.manifest["protocol"], chosen)
        self.task, self._data_root = task, data_root
        _, self._data, _ = split_settings(chosen.settings)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is opened, so that workers of a data loader open it themselves."""
        return {name: value for name, value in self.__dict__.items() if name not in ("source", "_samples")}

    @cached_property
    def source(self) -> Source:
        """The data of the run, after a comparison with its manifest."""
        return reopen.reopened(self.manifest, task=self.task, data_root=self._data_root, data=self._data)

    @cached_property
    def _samples(self) -> Mapping[str, Sample]:
        return {sample.id: sample for sample in self.source.samples()}

    def episodes(self) -> Iterator[tuple[int, Episode]]:
        """Give where each episode begins in episodes.jsonl, in bytes, and the episode.

        Raises:
            UsageError: when the file is damaged.
        """
        place = 0
        for line, value in read_values(self.folder / EPISODES):
            yield place, Episode.from_json(value)
            place += len(line)

    def sample(self, episode: Episode) -> Sample:
        """Return an episode's sample.

        Raises:
            UsageError: when it is not in the data.
        """
        if episode.sample_id not in self._samples:
            raise UsageError(
                f"The sample {episode.sample_id} is not in the data; give the run's --task and --data-root."
            )
        return self._samples[episode.sample_id]

    def image(self, episode: Episode) -> Image:
        """Return an episode's image, uint8 (H, W, 3) RGB; see `Source.image`."""
        return self.source.image(self.sample(episode))

    def describe(self) -> dict[str, Any]:
        """Return what an export's manifest says of the run."""
        kept = ("model", "segmenter", "protocol_fingerprint", "seed", "limit", "shard", "rollouts")
        task = {name: self.manifest["task"].get(name) for name in ("name", "version", "digest")}
        found = {name: self.manifest[name] for name in kept if name in self.manifest}
        digest = sha256_of(self.folder / EPISODES)
        return {"folder": str(self.folder), "task": task, **found, "episodes_sha256": digest}


def open_runs(
    folders: Sequence[str | os.PathLike[str]],
    chosen: AskingSettings,
    *,
    tasks: Sequence[str] = (),
    data_root: str | os.PathLike[str] | None = None,
) -> list[RecordedRun]:
    """Open run folders.

    Args:
        folders: the run folders.
        chosen: how the model to train is asked.
        tasks: names or YAML files of tasks that have moved; each counts for the runs on the task of its name.
        data_root: the folder that holds the data sets; None: HLMAT_DATA.

    Raises:
        UsageError: when there is none, one is given twice, or one cannot be opened.
    """
    if not folders:
        raise UsageError("Name at least one run folder.")
    if len({Path(folder).resolve() for folder in folders}) < len(folders):
        raise UsageError("A run folder is named twice; name each once.")
    places = {load_task(task).name: task for task in tasks}
    names = [manifest.read(Path(folder))["task"]["name"] for folder in folders]
    return [
        RecordedRun(folder, chosen, task=places.get(name), data_root=data_root)
        for folder, name in zip(folders, names, strict=True)
    ]


def split_of(episode: Episode, val: float) -> str:
    """Return ``val`` for the images of a share of the image names, else ``train``.

    An image of COCO has one name in all data sets, so that it is in one split whichever set it comes from.

    Args:
        episode: the episode.
        val: the share of images for validation, 0 to 1.
    """
    number = coco_id(episode.image)
    name = f"coco/{number}" if number is not None else episode.image_id
    drawn = int.from_bytes(hashlib.blake2b(name.encode("utf-8", "backslashreplace"), digest_size=8).digest()) / 2**64
    return "val" if drawn < val else "train"
