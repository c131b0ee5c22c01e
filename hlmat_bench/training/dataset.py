"""`TrajectoryDataset`: the states of runs and trajectory sets as a data set for PyTorch, painted when they are read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hlmat_bench.core import images, masks
from hlmat_bench.core.cache import Cache
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.plain_files import check_plain
from hlmat_bench.core.samples import Sample
from hlmat_bench.core.types import Image
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol.log_lines import whole_lines
from hlmat_bench.protocol.observation import Observation, RequestBuilder
from hlmat_bench.protocol.records import EPISODES, Episode
from hlmat_bench.protocol.reference import FINISH, PIXELS
from hlmat_bench.protocol.settings import ProtocolSettings
from hlmat_bench.training.export.asking import AskingSettings
from hlmat_bench.training.export.recorded import RecordedRun, open_runs, split_of
from hlmat_bench.training.export.selection import Selection, states_of

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

#: Images that each worker keeps decoded, with the records of their episodes.
_KEPT = 4


class TrajectoryDataset:
    """A map-style data set of states: what a policy sees, and what it should answer.

    It has what `torch.utils.data.DataLoader` asks of a data set and needs no PyTorch. It holds 16 bytes per example,
    and can be sent to workers; each opens images and records itself. Images of evaluation splits are not looked for:
    ``hlmat-bench data overlap`` and ``trajectories export`` do that.

    Args:
        runs: run folders.
        points: the point format of answers; None: the model's, else ``xy1000``.
        model: a catalogue entry whose point format, resize rule and settings are taken.
        resize: the name of the rule that resizes images; None: the model's, else none.
        settings: settings of the protocol, such as ``prompt`` and ``overlay.color``.
        with_iou: answers begin with the IoU of the mask that is shown.
        stop_word: the answer where nothing is left to do.
        selection: which states are taken; None: all clicks that raise the IoU.
        split: ``train`` or ``val``; None: both.
        val: the share of images in ``val``, 0 to 1.
        tasks: names or YAML files of tasks that have moved.
        data_root: the folder that holds the data sets; None: HLMAT_DATA.

    Raises:
        UsageError: when a run cannot be opened, or a setting does not fit.
    """

    def __init__(
        self,
        runs: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
        *,
        points: str | None = None,
        model: str | None = None,
        resize: str | None = None,
        settings: Mapping[str, Any] | None = None,
        with_iou: bool = False,
        stop_word: str = FINISH,
        selection: Selection | None = None,
        split: str | None = None,
        val: float = 0.0,
        tasks: Sequence[str] = (),
        data_root: str | os.PathLike[str] | None = None,
    ) -> None:
        folders = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
        asking = AskingSettings(
            model=model,
            points=points,
            resize=resize,
            settings=dict(settings or {}),
            with_iou=with_iou,
            stop_word=stop_word,
        )
        self._rules = selection or Selection()
        self._runs = open_runs(folders, asking, tasks=tasks, data_root=data_root)
        found = [
            (number, place, order)
            for number, run in enumerate(self._runs)
            for place, episode in run.episodes()
            if split in (None, split_of(episode, val))
            for order in range(len(states_of(episode, self._rules)))
        ]
        kinds = [("run", "<u4"), ("order", "<u4"), ("place", "<u8")]
        self._index = np.array([(run, order, place) for run, place, order in found], dtype=kinds)
        self._open()

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._index)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return an example: ``image`` (PIL), ``prompt``, ``answer``, ``iou`` (before), ``sample_id`` and ``step``.

        Raises:
            IndexError: when there is no example of this number.
            UsageError: when a record or an image cannot be read.
        """
        where = self._index[number]
        run, place = self._runs[where["run"]], int(where["place"])
        episode = self._episodes.get((int(where["run"]), place), lambda: _read(run, place))
        pixels = self._images.get((int(where["run"]), episode.image), lambda: run.image(episode))
        state = states_of(episode, self._rules)[where["order"]]
        shown, prompt = run.asking.viewer(episode, pixels).show(state)
        return {
            "image": _picture(shown),
            "prompt": prompt,
            "answer": run.asking.answer(state, episode.size),
            "iou": state.iou,
            "sample_id": episode.sample_id,
            "step": state.t,
        }

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was read, so that workers begin with nothing but the index."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_episodes", "_images")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """See `__getstate__`."""
        self.__dict__.update(state)
        self._open()

    def _open(self) -> None:
        self._episodes: Cache[tuple[int, int], Episode] = Cache(_KEPT)
        self._images: Cache[tuple[int, str], Image] = Cache(_KEPT)


class LazyExport:
    """A map-style data set of the examples of an export with ``--lazy``, painted when they are read.

    It has what `torch.utils.data.DataLoader` asks of a data set, and its examples are those of `TrajectoryDataset`.

    Args:
        folder: the folder of the export.
        split: ``train`` or ``val``.

    Raises:
        UsageError: when it is no export of this kind.
    """

    def __init__(self, folder: str | os.PathLike[str], split: str = "train") -> None:
        self._folder, self._path = Path(folder), Path(folder) / f"{split}.jsonl"
        check_plain(self._path)
        lengths = [len(line) for line in whole_lines(self._path)]
        self._places = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._places) - 1

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return an example; see `TrajectoryDataset`.

        Raises:
            IndexError: when there is no example of this number.
            UsageError: when the export was not made with --lazy.
        """
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        about = json.loads(_line(self._path, int(self._places[number % len(self)])))["hlmat"]
        if "mask" not in about:
            raise UsageError(f"The images of {self._folder} are painted already; read them as they are.")
        pixels = images.decode((self._folder / about["image"]).read_bytes())
        return {
            "image": _picture(_painted(pixels, about)),
            **{name: about[name] for name in ("prompt", "answer", "iou", "sample_id", "step")},
        }


def _painted(image: Image, about: Mapping[str, Any]) -> Image:
    """Return the image, uint8 (H, W, 3) RGB, as `RequestBuilder` paints, resizes and compresses it."""
    mask = np.zeros(image.shape[:2], bool) if about["mask"] is None else masks.decode(about["mask"])
    settings = ProtocolSettings.build({"overlay": about["overlay"], "jpeg": about["jpeg"]})
    nobody = Sample(about["sample_id"], "", "", "")
    builder = RequestBuilder(nobody, image, settings, PIXELS, Resize.named(about["resize"]))
    return builder.request(Observation(mask, (), about["step"])).image


def _read(run: RecordedRun, place: int) -> Episode:
    return Episode.from_json(json.loads(_line(run.folder / EPISODES, place)))


def _line(path: Path, place: int) -> bytes:
    with path.open("rb") as file:
        file.seek(place)
        return file.readline()


def _picture(image: Image) -> Picture:
    from PIL import Image as Pillow

    return Pillow.fromarray(image)
