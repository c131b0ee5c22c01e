from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from hlmat_bench.actions import Action
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Sample, Truth
from hlmat_bench.protocol.initial import BEGINNINGS
from hlmat_bench.protocol.loop import Play, run_episode
from hlmat_bench.protocol.records import Episode
from hlmat_bench.protocol.settings import ProtocolSettings
from hlmat_bench.protocol.state import EpisodeState, ended
from hlmat_bench.runs.run import run
from hlmat_bench.testing import DiscSegmenter
from tests.support.episodes import iou
from tests.support.fakes import ScriptPolicy


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


async def _play(
    gt: np.ndarray, policy: ScriptPolicy, segmenter: DiscSegmenter, pool: ThreadPoolExecutor, **settings: Any
) -> Episode:
    image = np.zeros((*gt.shape, 3), np.uint8)
    rules = ProtocolSettings.build(settings)
    sample = Sample("s/1", "a.jpg", "1", "a thing")
    state = EpisodeState(sample, image, Truth(gt), segmenter, rules, policy)
    return await run_episode(Play(state, policy, pool), begin=BEGINNINGS[rules.initial])


def _disc(shape: tuple[int, int], x: int, y: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def _decode(rle: Mapping[str, Any]) -> np.ndarray:
    return coco.decode([dict(rle)])[:, :, 0].astype(bool)


GT = _disc((60, 80), 40, 30, 12)

Clicked = tuple[bool, int, int]  # positive, y, x


@dataclass(frozen=True)
class Expected:
    """What a rollout leads to: clicks and box of each call of the segmenter, masks shown and after each click."""

    calls: list[tuple[list[Clicked], list[int] | None]]
    shown: list[np.ndarray]
    clicked: list[np.ndarray]
    final: np.ndarray


def _as_the_reference(case: dict[str, Any]) -> Expected:
    """All as it was recorded, where the ground truth's box is the first step."""
    return Expected(
        [
            ([(p, y, x) for p, y, x, _ in call["clicks"]], call["box"] and [int(edge) for edge in call["box"]])
            for call in case["seg_calls"]
        ],
        [_decode(mask) for mask in case["masks_shown_to_model"]],
        [_decode(entry["mask"]) for entry in case["pred_list"] if entry["clicks"]],
        _decode(case["final_mask"]),
    )


def _as_decided(case: dict[str, Any], meant: list[Clicked | None], box: list[int] | None = None) -> Expected:
    """Each click joins the earlier ones and draws its disc over theirs, and over the box that came with the first."""
    clicks: list[Clicked] = []
    calls: list[tuple[list[Clicked], list[int] | None]] = []
    shown, clicked = [np.zeros((case["height"], case["width"]), bool)], []
    for click in meant:
        mask = shown[-1].copy()
        if click is not None:
            positive, y, x = click
            if box and not clicks:
                mask[box[1] : box[3], box[0] : box[2]] = True
            mask[_disc(mask.shape, x, y, case["disc_radius"])] = positive
            clicks.append(click)
            calls.append((list(clicks), box))
            clicked.append(mask)
        shown.append(mask)
    return Expected(calls, shown[:-1], clicked, shown[-1])


#: Where hlmat/1 decides otherwise than the reference, by tag and height: per answer the click that it means, or None
#: where it spends a click and changes nothing. No click is removed or repeated; a number that rounds to the width or to
#: the height is the last pixel; one outside 0..1000 is invalid.
DECIDED: dict[tuple[str, int], list[Clicked | None]] = {
    ("plain", 48): [(True, 47, 7), (True, 29, 15), (True, 13, 7), (True, 16, 15), (True, 27, 14)],
    ("out_of_range", 100): [(True, 99, 119), None, None, (True, 0, 0), None],
    ("undo_radius10", 60): [
        (True, 22, 42), None, (True, 23, 41), (False, 22, 41), (False, 23, 42), None, (True, 22, 41), (False, 23, 41),
        None,
    ],
    ("undo_radius25", 97): [
        (True, 63, 22), (True, 61, 21), (True, 62, 22), (False, 61, 21), (False, 62, 22), (True, 61, 22), None,
        (False, 62, 21), (True, 62, 21),
    ],
    ("undo_radius60", 48): [
        (True, 25, 38), (True, 25, 39), None, (False, 26, 39), None, None, None, (False, 25, 38), (True, 26, 38),
    ],
}  # fmt: skip


def _expected(case: dict[str, Any]) -> tuple[Expected, bool]:
    """Return what a rollout leads to, and whether hlmat/1 decides it."""
    recorded = _as_the_reference(case)
    clicks = [calls[-1] for calls, _ in recorded.calls if calls]
    if decided := DECIDED.get((case["tag"], case["height"])):
        return _as_decided(case, decided), True
    if case["tag"] == "box_model":  # Only the first box counts.
        return _as_decided(case, clicks, recorded.calls[0][1]), True
    if case["tag"] == "box_model_missing_box":  # The reference hands over the box (0, 0, 0, 0).
        return _as_decided(case, clicks), True
    if not recorded.shown:  # The box of the ground truth is no click: the model is asked, and says that it is done.
        return replace(recorded, shown=[recorded.final]), True
    return recorded, False


@pytest.mark.parametrize("number", range(28))
async def test_rollouts_are_those_of_the_reference_or_as_decided(
    number: int, vectors: Path, pool: ThreadPoolExecutor
) -> None:
    """The right clicks reach the segmenter, and the right masks the model and the record."""
    cases = json.loads((vectors / "rollout" / "rollout.json").read_text())["cases"]
    assert len(cases) == 28
    case = cases[number]
    gt_box = bool(case["args"].get("use_gt_box") or case["args"].get("only_use_gt_box"))
    clicks = case["args"].get("n_clicks", 5) - gt_box
    if clicks == 0 and not gt_box:
        with pytest.raises(UsageError, match="budget"):
            ProtocolSettings.build({"budget": 0})
        return
    expected, decided = _expected(case)
    policy = ScriptPolicy(case["script"] if case["masks_shown_to_model"] else ["Finish"], deterministic=not decided)
    segmenter, gt, budget = DiscSegmenter(case["disc_radius"]), _decode(case["gt_mask"]), max(clicks, 1)
    track = "box+point" if "box" in case["tag"] or gt_box else "point"
    settings = {"initial": "gt-box"} if gt_box else {}
    episode = await _play(gt, policy, segmenter, pool, budget=budget, track=track, **settings)

    calls = segmenter.sessions[0].calls if segmenter.sessions else []
    assert [([(p, y, x) for p, x, y in clicks], box and list(box)) for clicks, box in calls] == expected.calls
    clicked = [_decode(step.mask) for step in episode.steps if step.action.kind == "click"]
    final = episode.mask_at(budget)
    _same(policy.seen, expected.shown)
    _same(clicked, expected.clicked)
    _same([np.zeros_like(gt) if final is None else _decode(final)], [expected.final])


def _same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert [mask.tolist() for mask in found] == [mask.tolist() for mask in expected]


async def test_out_of_range_is_invalid_spends_a_click_and_the_upper_edge_is_the_last_pixel(
    pool: ThreadPoolExecutor,
) -> None:
    lines = ["Positive point: (1000, 1000)", "Positive point: (1200, -40)", "Positive point: (500, 500)"]
    policy = ScriptPolicy(lines, deterministic=False)
    episode = await _play(GT, policy, DiscSegmenter(12), pool, budget=3)
    assert [step.action.to_json() for step in episode.steps] == [
        {"kind": "click", "positive": True, "x": 79, "y": 59},
        {"kind": "invalid", "reason": "out_of_bounds"},
        {"kind": "click", "positive": True, "x": 40, "y": 30},
    ]
    assert episode.steps[1].mask == episode.steps[0].mask
    assert episode.stop == "budget"


async def test_an_invalid_reply_ends_a_deterministic_model_and_not_another(pool: ThreadPoolExecutor) -> None:
    lines = ["what?", "Positive point: (500, 500)"]
    stuck = await _play(GT, ScriptPolicy(lines), DiscSegmenter(12), pool, budget=2)
    assert (stuck.stop, len(stuck.steps), stuck.steps[0].action.reason) == ("stuck", 1, "parse")
    goes_on = await _play(GT, ScriptPolicy(lines, deterministic=False), DiscSegmenter(12), pool, budget=2)
    assert (goes_on.stop, goes_on.steps[1].iou) == ("budget", 1.0)


async def test_a_repeated_click_is_invalid_but_the_other_sign_is_not(pool: ThreadPoolExecutor) -> None:
    lines = ["Positive point: (500, 500)", "Positive point: (500, 500)", "Negative point: (500, 500)"]
    episode = await _play(GT, ScriptPolicy(lines, deterministic=False), DiscSegmenter(5), pool, budget=3)
    assert [step.action.reason for step in episode.steps] == [None, "repeat", None]


async def test_failures_stay_in_the_record(pool: ThreadPoolExecutor) -> None:
    """A failed request is an error, not text: nothing is scored from it, and the mask so far stands."""
    lines = ["Positive point: (500, 500)", None]
    episode = await _play(GT, ScriptPolicy(lines), DiscSegmenter(12), pool, budget=5)
    assert (episode.stop, episode.error) == ("error", "the server is gone")
    assert [(step.raw, step.action.reason, step.iou) for step in episode.steps] == [
        ("Positive point: (500, 500)", None, 1.0),
        (None, "api", 1.0),
    ]
    first = await _play(GT, ScriptPolicy([None]), DiscSegmenter(12), pool)
    assert (first.selected, first.steps[0].iou) == ({"final": 1, "self": 1, "best": 0}, 0.0)


async def test_a_box_is_allowed_only_as_the_first_action_of_its_track(pool: ThreadPoolExecutor) -> None:
    lines = ["<box>(0,0),(999,999)</box>", "<box>(0,0),(500,500)</box>", "Finish"]
    boxed = await _play(
        GT, ScriptPolicy(lines, deterministic=False), DiscSegmenter(5), pool, budget=4, track="box+point"
    )
    assert [step.action.kind for step in boxed.steps] == ["box", "invalid", "stop"]
    assert boxed.steps[0].iou == pytest.approx(GT.mean())
    point = await _play(GT, ScriptPolicy(lines), DiscSegmenter(5), pool)
    assert [(step.action.kind, step.action.reason) for step in point.steps] == [("invalid", "parse")]


async def test_a_box_beside_the_first_click_is_used_recorded_and_replayed(pool: ThreadPoolExecutor) -> None:
    lines = ["<box>(0,0),(500,999)</box> Positive point: (500, 900)", "<box>(0,0),(1,1)</box> Negative point: (1, 1)"]
    episode = await _play(GT, ScriptPolicy(lines), DiscSegmenter(5), pool, budget=2, track="box+point")
    assert [step.action.to_json() for step in episode.steps] == [
        {"kind": "click", "positive": True, "x": 72, "y": 30, "box": [0, 0, 40, 60]},
        {"kind": "click", "positive": False, "x": 0, "y": 0},
    ]
    mask = _disc(GT.shape, 72, 30, 5)
    mask[:, :40] = True
    assert np.array_equal(_decode(episode.steps[0].mask), mask)
    assert Episode.from_json(episode.to_json()) == episode


async def test_the_record_holds_what_happened(pool: ThreadPoolExecutor) -> None:
    lines = ["Current IOU: 0, Positive point: (500, 400)", "Current IOU: 61, Finish"]
    episode = await _play(GT, ScriptPolicy(lines), DiscSegmenter(9), pool, budget=5)
    mask = _disc(GT.shape, 32, 30, 9)
    assert episode.stop == "stop"
    assert [step.action.predicted_iou for step in episode.steps] == [0.0, 0.61]
    assert np.array_equal(_decode(episode.steps[0].mask), mask)
    assert episode.steps[0].iou == pytest.approx(iou(GT, mask), abs=1e-12)
    assert np.array_equal(_decode(episode.gt), GT)
    assert episode.selected == {"final": 2, "self": 1, "best": 1}
    assert all(value >= 0 for step in episode.steps for value in step.seconds.values())


AHEAD = """
import asyncio, threading
from pathlib import Path
from hlmat_bench.interfaces import Reply
from hlmat_bench.points import PointFormat
from hlmat_bench.testing import DiscSegmenter

OPENED = threading.Event()


class Discs(DiscSegmenter):
    def open(self, image):
        with Path(__file__).with_name("opened").open("a") as file:
            print(image.shape, file=file)
        OPENED.set()
        return super().open(image)


class Broken(DiscSegmenter):
    def open(self, image):
        raise MemoryError


class Waits:
    name, points = "waits", PointFormat.named("pixel")

    async def reply(self, request):
        seen = await asyncio.to_thread(OPENED.wait, 20)
        return [Reply("Positive point: (5, 5)" if seen else "the image was not opened")]


class Finishes:
    name, points = "finishes", PointFormat.named("pixel")

    async def reply(self, request):
        return [Reply("Finish")]


MODELS = {"waits": Waits, "finishes": Finishes}
SEGMENTERS = {"discs": Discs, "broken": Broken}
"""


def test_the_image_is_opened_while_the_model_thinks_and_only_then(task: str, tmp_path: Path) -> None:
    file = tmp_path / "ahead.py"
    file.write_text(AHEAD)
    run("empty", task, f"{file}:discs", out=tmp_path / "empty", limit=2)
    assert not (tmp_path / "opened").exists(), "a player that never clicks needs no image"
    [episode] = run(f"{file}:waits", task, f"{file}:discs", out=tmp_path / "a", limit=1, budget=2).episodes()
    assert [step.action.kind for step in episode.steps] == ["click", "invalid"]
    assert len((tmp_path / "opened").read_text().splitlines()) == 1
    episodes = run(f"{file}:finishes", task, f"{file}:broken", out=tmp_path / "b", limit=3).episodes()
    assert [episode.stop for episode in episodes] == ["stop"] * 3, "an image that nobody clicks on fails nothing"


@pytest.mark.parametrize(
    ("actions", "deterministic", "end"),
    [
        ([], True, None),
        (["click"], True, None),
        (["click", "stop"], True, "stop"),
        (["click", "click", "stop"], False, "stop"),
        (["click", "invalid"], True, "stuck"),
        (["click", "invalid"], False, None),
        (["invalid", "click"], True, None),
        (["click", "click", "invalid"], True, "stuck"),
        (["click", "click", "invalid"], False, "budget"),
        (["click", "api"], False, "error"),
        (["box", "click", "click"], True, "budget"),
    ],
)
def test_an_episode_of_three_steps_ends_by_its_last_action_or_at_the_budget(
    actions: list[str], deterministic: bool, end: str | None
) -> None:
    made = {
        "click": Action("click", True, 1, 1),
        "box": Action("box", box=(0, 0, 1, 1)),
        "stop": Action("stop"),
        "invalid": Action("invalid", reason="parse"),
        "api": Action("invalid", reason="api"),
    }
    assert ended([made[name] for name in actions], 3, deterministic=deterministic) == end
