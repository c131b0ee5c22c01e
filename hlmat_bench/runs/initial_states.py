"""Initial states by name: those that need nothing, and those that are read from a run or a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.masks import RLE
from hlmat_bench.core.samples import Sample
from hlmat_bench.core.types import Box, Mask, Size
from hlmat_bench.data.layouts.image_files import read_values
from hlmat_bench.data.layouts.masks import MaskRule, wrong_size
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.initial import BEGINNINGS, draw_box, draw_mask
from hlmat_bench.protocol.loop import Begin, Play
from hlmat_bench.protocol.records import EPISODES, Episode, read_episodes
from hlmat_bench.protocol.settings import digest


class Initial(NamedTuple):
    """An initial state, and what a manifest calls it: its name, with a digest of what it takes from elsewhere."""

    name: str
    begin: Begin


def initial_state(given: str, task: str, samples: Sequence[Sample], played: Sequence[Sample]) -> Initial:
    """The initial state of that name: one of `settings.INITIAL_STATES` but ``generated``.

    Args:
        given: its name.
        task: the task's name.
        samples: all of the task. The digest is over what there is for them, whichever part of them is played.
        played: those of the run.

    Raises:
        UsageError: when the run or the folder that it names is not there, or lacks something for a sample.
    """
    kind, _, place = given.partition("=")
    if kind in BEGINNINGS:
        return Initial(given, BEGINNINGS[kind])
    if kind == "masks":
        return _from_folder(Path(place), task, samples, played)
    return _from_run(kind, Path(place), played)


def _from_run(kind: str, folder: Path, played: Sequence[Sample]) -> Initial:
    """Begin with the boxes, or the final masks, of an earlier run."""
    document, path = manifest.read(folder), folder / EPISODES
    made = {"kind": kind, "model": document["model"]["name"]}
    take: Callable[[Episode], Any] = _box_of if kind == "box-from" else _final_mask_of
    begin: Callable[..., Awaitable[None]] = draw_box if kind == "box-from" else _draw_rle
    episodes = read_episodes(path) if path.exists() else iter(())
    found = {episode.sample_id: (episode.size, take(episode)) for episode in episodes}
    _check_all_there(found, played, f"The run {folder} has no episode")
    if not any(given for _, given in found.values()):
        raise UsageError(f"The run {folder} holds no {kind.removesuffix('-from')} to begin with; name another run.")

    async def from_run(play: Play) -> None:
        size, given = found[play.sample.id]
        if size != play.size:
            raise UsageError(
                f"The image of {play.sample.id} was {size} in {folder} and is {play.size} here; use the same."
            )
        await begin(play, given, **made)

    return Initial(f"{kind}=sha256:{digest(sorted(found.items()))}", from_run)


def _box_of(episode: Episode) -> Box | None:
    """The box that an episode begins with: its initial state's, or its first step's; None without one."""
    steps = episode.steps
    box = episode.initial.get("box") or (steps[0].action.box if steps else None)
    return None if box is None else (box[0], box[1], box[2], box[3])


def _final_mask_of(episode: Episode) -> RLE | None:
    return episode.mask_at(episode.selected["final"])


async def _draw_rle(play: Play, rle: RLE | None, **made: Any) -> None:
    await draw_mask(play, np.zeros(play.size, bool) if rle is None else masks.decode(rle), **made)


def _from_folder(folder: Path, task: str, samples: Sequence[Sample], played: Sequence[Sample]) -> Initial:
    """Begin with the masks of a folder: PNG files, named as `mask_names` says."""
    there = {path.name: path for path in folder.glob("*.png")} if folder.is_dir() else {}
    found = {
        sample.id: there[name] for sample in samples for name in mask_names(sample.id, task)[::-1] if name in there
    }
    wanted = " or ".join(mask_names(played[0].id, task))
    _check_all_there(found, played, f"The folder {folder} has no mask (such as {wanted})")
    contents = [(sample, hashlib.sha256(path.read_bytes()).hexdigest()) for sample, path in sorted(found.items())]

    async def from_file(play: Play) -> None:
        path = found[play.sample.id]
        await draw_mask(play, await play.work(_reader(play.size), path), kind="masks", file=path.name)

    return Initial(f"masks=sha256:{digest(contents)}", from_file)


def mask_names(sample: str, task: str) -> list[str]:
    """The names that the mask of a sample may have: its id with ``_`` for ``/``, with and without the task's name.

    >>> mask_names("hres_dis/2#Aircraft/0", "hres_dis")
    ['hres_dis_2#Aircraft_0.png', '2#Aircraft_0.png']
    """
    return [f"{name.replace('/', '_')}.png" for name in (sample, sample.removeprefix(f"{task}/"))]


def _reader(size: Size) -> Callable[[Path], Mask]:
    """Reads mask files, bool (H, W): values above 128 of the first channel are the object."""

    def read(path: Path) -> Mask:
        values = read_values(path)
        mask = MaskRule().truth(values).mask
        if mask.shape != size:
            raise wrong_size(f"The file {path}", mask.shape, size)
        if values.any() and not mask.any():
            raise UsageError(f"The mask {path} has no value above 128; write 255 for the object and 0 for all else.")
        return mask

    return read


def _check_all_there(found: Mapping[str, object], played: Sequence[Sample], what_is_missing: str) -> None:
    """Refuse a run that would lack its initial state for a sample."""
    lost = [sample.id for sample in played if sample.id not in found]
    if lost:
        raise UsageError(
            f"{what_is_missing} for {len(lost)} of the {len(played)} samples of this run, {lost[0]} among them; add "
            "what is missing, or play fewer samples with --limit."
        )
