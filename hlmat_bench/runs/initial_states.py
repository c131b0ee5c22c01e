"""Initial states by name: those that need nothing, and those that are read from a run or a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.masks import RLE
from hlmat_bench.core.samples import Sample
from hlmat_bench.core.types import Box, Mask, Size
from hlmat_bench.data.layouts.image_files import read_values
from hlmat_bench.data.layouts.masks import MaskRule, wrong_size
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.initial import BEGINNINGS
from hlmat_bench.protocol.loop import Begin, Play
from hlmat_bench.protocol.records import EPISODES, Episode, read_episodes
from hlmat_bench.protocol.settings import digest


def initial_state(given: str, task: str, samples: Sequence[Sample], played: Sequence[Sample]) -> tuple[str, Begin]:
    """Return what a manifest calls an initial state, and what sets it; any of `INITIAL_STATES` but ``generated``.

    What a manifest calls it is its name, with a digest of what it takes from a run or a folder.

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
        return given, BEGINNINGS[kind]
    if kind == "masks":
        return _from_folder(Path(place), task, samples, played)
    return _from_run(kind, Path(place), played)


def _from_run(kind: str, folder: Path, played: Sequence[Sample]) -> tuple[str, Begin]:
    """Begin with the boxes, or the final masks, of an earlier run."""
    document, path = manifest.read(folder), folder / EPISODES
    made = {"kind": kind, "model": document["model"]["name"]}
    take: Callable[[Episode], Any] = _box_of if kind == "box-from" else _final_mask_of
    episodes = read_episodes(path) if path.exists() else iter(())
    found = {episode.sample_id: (episode.size, take(episode)) for episode in episodes}
    _check_all_there(found, played, f"The run {folder} has no episode")
    if not any(given for _, given in found.values()):
        raise UsageError(f"The run {folder} holds no {kind.removesuffix('-from')} to begin with; name another run.")

    async def from_run(play: Play) -> None:
        state = play.state
        size, given = found[state.sample.id]
        if size != state.size:
            raise UsageError(
                f"The image of {state.sample.id} was {size} in {folder} and is {state.size} here; use the same."
            )
        if kind == "box-from":
            await play.work(state.begin_with_box, given, **made)
        else:
            mask = np.zeros(size, bool) if given is None else masks.decode(given)
            await play.work(state.begin_with_mask, mask, **made)

    return f"{kind}=sha256:{digest(sorted(found.items()))}", from_run


def _box_of(episode: Episode) -> Box | None:
    """Return the box that an episode begins with, of its initial state or its first step; None without a box."""
    steps = episode.steps
    box = episode.initial.get("box") or (steps[0].action.box if steps else None)
    return None if box is None else (box[0], box[1], box[2], box[3])


def _final_mask_of(episode: Episode) -> RLE | None:
    return episode.mask_at(episode.selected["final"])


def _from_folder(folder: Path, task: str, samples: Sequence[Sample], played: Sequence[Sample]) -> tuple[str, Begin]:
    """Begin with the masks of a folder: PNG files, named as `mask_names` says."""
    there = {path.name: path for path in folder.glob("*.png")} if folder.is_dir() else {}
    found = {
        sample.id: there[name] for sample in samples for name in mask_names(sample.id, task)[::-1] if name in there
    }
    wanted = " or ".join(mask_names(played[0].id, task))
    _check_all_there(found, played, f"The folder {folder} has no mask (such as {wanted})")
    contents = [(sample, hashlib.sha256(path.read_bytes()).hexdigest()) for sample, path in sorted(found.items())]

    async def from_file(play: Play) -> None:
        state, path = play.state, found[play.state.sample.id]
        mask = await play.work(_read_mask, path, state.size)
        await play.work(state.begin_with_mask, mask, kind="masks", file=path.name)

    return f"masks=sha256:{digest(contents)}", from_file


def mask_names(sample: str, task: str) -> list[str]:
    """Return the names that the mask file of a sample may have: its id with ``_`` for ``/``, also without the task.

    >>> mask_names("hres_dis/2#Aircraft/0", "hres_dis")
    ['hres_dis_2#Aircraft_0.png', '2#Aircraft_0.png']
    """
    return [f"{name.replace('/', '_')}.png" for name in (sample, sample.removeprefix(f"{task}/"))]


def _read_mask(path: Path, size: Size) -> Mask:
    """Read a mask file as bool (H, W): values above 128 of the first channel are the object."""
    values = read_values(path)
    mask = MaskRule().truth(values).mask
    if mask.shape != size:
        raise wrong_size(f"The file {path}", mask.shape, size)
    if values.any() and not mask.any():
        raise UsageError(f"The mask {path} has no value above 128; write 255 for the object and 0 for all else.")
    return mask


def _check_all_there(found: Mapping[str, object], played: Sequence[Sample], what_is_missing: str) -> None:
    """Refuse a run that would lack its initial state for a sample."""
    lost = [sample.id for sample in played if sample.id not in found]
    if lost:
        raise UsageError(
            f"{what_is_missing} for {len(lost)} of the {len(played)} samples of this run, {lost[0]} among them; add "
            "what is missing, or play fewer samples with --limit."
        )
