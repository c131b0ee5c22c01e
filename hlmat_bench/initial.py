"""How episodes begin: with an empty mask, with the segmenter's mask for a box, or with a given mask.

What an initial state costs, a question to the model among it, counts for the first step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hlmat_bench import manifest, masks
from hlmat_bench.actions import Action
from hlmat_bench.errors import UsageError
from hlmat_bench.interfaces import Box, Mask, Reply, Size
from hlmat_bench.masks import RLE, bounding_box
from hlmat_bench.protocol import Begin, Play, begin_empty
from hlmat_bench.records import EPISODES, Episode, read_episodes
from hlmat_bench.samples import Sample
from hlmat_bench.settings import digest
from hlmat_bench.sources.pixels import read_values
from hlmat_bench.sources.shapes import MaskRule, wrong_size


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


async def from_gt_box(play: Play) -> None:
    """Begin with the segmenter's mask for the box around the ground truth."""
    await _draw_box(play, bounding_box(play.truth.mask), kind="gt-box")


async def from_model_box(play: Play) -> None:
    """Begin with the segmenter's mask for the box that the model gives; of an unreadable answer, the mask is empty."""
    action, reply = await ask_for_box(play, greedy=True)
    unread = {} if action.kind == "box" else {"reason": action.reason}
    await _draw_box(play, action.box, kind="model-box", raw=reply.text, **unread)


#: Those that need nothing from elsewhere, by name.
BEGINNINGS: dict[str, Begin] = {"empty": begin_empty, "gt-box": from_gt_box, "model-box": from_model_box}


async def ask_for_box(play: Play, *, greedy: bool = False) -> tuple[Action, Reply]:
    """The box that the player gives, or an invalid action, and the reply that it was read from.

    Args:
        play: the episode.
        greedy: the likeliest answer, whatever the protocol's temperature.

    Raises:
        RequestFailed: when the model cannot be asked.
    """
    [reply] = await play.ask(view=replace(play.view(), question="box", greedy=greedy))
    return box_alone(play.read(reply)), reply


def box_alone(action: Action) -> Action:
    """What an action means where a box is asked for: its box, or an invalid action."""
    if action.box is not None:
        return Action("box", box=action.box)
    return Action("invalid", reason=action.reason or "parse")


async def draw_mask(play: Play, mask: Mask, **made: Any) -> None:
    """Begin with a given mask.

    Args:
        play: the episode.
        mask: bool (H, W).
        made: ``kind``, and what made it, for the record.

    Raises:
        UsageError: when it is not of the image's size.
    """
    await play.draw(play.drawing.start_from, mask)
    play.initial = {"mask": play.drawing.rle, "iou": play.iou, **made}


async def _draw_box(play: Play, box: Box | None, **made: Any) -> None:
    """Begin with the segmenter's mask for a box; without one the mask is empty."""
    if box is not None:
        await play.draw(play.drawing.apply, Action("box", box=box))
    play.initial = {
        "box": None if box is None else list(box),
        "mask": None if box is None else play.drawing.rle,
        "iou": play.iou,
        **made,
    }


def _from_run(kind: str, folder: Path, played: Sequence[Sample]) -> Initial:
    """Begin with the boxes, or the final masks, of an earlier run."""
    document, path = manifest.read(folder), folder / EPISODES
    made = {"kind": kind, "model": document["model"]["name"]}
    take: Callable[[Episode], Any] = _box_of if kind == "box-from" else _final_mask_of
    begin: Callable[..., Awaitable[None]] = _draw_box if kind == "box-from" else _draw_rle
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
