"""The annotator's trajectories, against the reference's traces and against cases that were worked out by hand."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from hlmat_bench.clicks import Click, next_click
from hlmat_bench.core import masks
from hlmat_bench.core.samples import Sample, Truth
from hlmat_bench.protocol.annotator import Annotator, annotate, improve
from hlmat_bench.protocol.loop import Play, run_episode
from hlmat_bench.protocol.settings import ProtocolSettings
from hlmat_bench.protocol.state import EpisodeState
from tests.support.fakes import ConfidenceDiscs, ScriptPolicy


class TableSegmenter:
    """Answers with the mask that a function gives for the clicks so far."""

    name, accepts_box = "table", False

    def __init__(self, mask_of):
        self.mask_of = mask_of

    def spec(self):
        return {}

    def open(self, image):
        return TableSession(self.mask_of)


class TableSession:
    def __init__(self, mask_of):
        self.mask_of = mask_of

    def predict(self, clicks, box=None):
        return self.mask_of(list(clicks))

    def snapshot(self):
        return None

    def restore(self, state):
        pass


async def make(mask_of, truth, strategy=annotate, *, seed=0, budget=7, no_target=False, **rules):
    values = {"strategy": "annotate", "budget": budget, "no_target": no_target}
    settings = ProtocolSettings.build(values | {f"annotator.{name}": value for name, value in rules.items()})
    image = np.zeros((*truth.mask.shape, 3), np.uint8)
    policy = ScriptPolicy([], "pixel")
    state = EpisodeState(
        Sample("s/1", "a", "a", "it"), image, truth, TableSegmenter(mask_of), settings, policy, seed=seed
    )
    with ThreadPoolExecutor(1) as pool:
        return await run_episode(Play(state, policy, pool), strategy)


def clicks_in(episode):
    return [step.action.click for step in episode.steps]


def columns(episode):
    return [click.x for click in clicks_in(episode)]


async def test_the_plain_rule_gives_the_traces_of_the_reference(vectors):
    """RITM's and SimpleClick's evaluate_sample with record_trace: a step that improves nothing ends the trace."""
    compared = 0
    for case in json.loads((vectors / "trace" / "trace.json").read_text())["cases"]:
        gt = np.zeros((case["height"], case["width"]), np.int16)
        for value, rle in case["gt_rle_by_value"].items():
            gt[coco.decode(rle) == 1] = int(value)
        recorded = (case["record_trace"]["record"] or {"clicks_list": []})["clicks_list"]
        args = {"pred_thr": 0.49, "min_clicks": 1, "max_clicks": 20} | case["args"]
        if args["min_clicks"] > 1 or not (gt == 1).any():
            continue
        discs = ConfidenceDiscs(case)
        truth = Truth(gt == 1, (gt == -1) if (gt == -1).any() else None)
        made = await make(
            lambda clicks, discs=discs, args=args: discs(clicks) > args["pred_thr"],
            truth,
            budget=args["max_clicks"],
            stop_iou=min(args["max_iou_thr"], 1.0),
            tries=1,
        )
        assert [([click.y, click.x], click.positive) for click in clicks_in(made)] == [
            (step["coor"], step["is_positive"]) for step in recorded
        ]
        for step, wanted in zip(made.steps, recorded, strict=True):
            np.testing.assert_array_equal(masks.decode(step.mask), coco.decode(wanted["mask"]) == 1)
        compared += 1
    assert compared > 15


def bar(*spans):
    """Return a mask of 8 rows and 20 columns that holds the columns of these spans."""
    mask = np.zeros((8, 20), bool)
    for start, end in spans:
        mask[:, start:end] = True
    return mask


def covering(clicks):
    """Let each click set the three columns around it, later ones on top."""
    mask = np.zeros((8, 20), bool)
    for positive, x, _ in clicks:
        mask[:, max(x - 1, 0) : x + 2] = positive
    return mask


async def test_the_number_of_clicks_is_bounded():
    made = await make(covering, Truth(bar((0, 20))), budget=2)
    assert (len(made.steps), made.stop) == (2, "budget")


async def test_a_trajectory_ends_at_the_iou_that_is_good_enough():
    made = await make(covering, Truth(bar((2, 8))), stop_iou=0.5)
    # Six columns are deepest in their two middle ones, of which the first is clicked: 3 of 6 columns.
    assert (clicks_in(made), made.steps[0].iou, made.stop) == ([Click(True, 4, 2)], 0.5, "reached")


async def test_a_click_without_gain_is_discarded_and_play_goes_on_elsewhere():
    def stubborn(clicks):
        return covering([click for click in clicks if click.x >= 10])  # clicks on the left have no effect

    made = await make(stubborn, Truth(bar((0, 8), (12, 15))))
    assert (columns(made), made.stop) == ([13], "exhausted")
    assert made.steps[0].iou == pytest.approx(3 / 11)
    with_one_try = await make(stubborn, Truth(bar((0, 8), (12, 15))), tries=1)
    assert (with_one_try.steps, with_one_try.stop) == ([], "exhausted")


async def test_a_gain_must_exceed_the_least_gain():
    truth = Truth(
        bar((0, 3), (6, 7))
    )  # three columns, then one: the gains are 3/4 and, with two wrong columns, 4/6 - 3/4
    made = await make(covering, truth)
    assert [round(step.iou, 4) for step in made.steps] == [0.75]
    tolerant = await make(covering, truth, min_gain=-0.1, budget=2)
    assert [round(step.iou, 4) for step in tolerant.steps] == [0.75, round(4 / 6, 4)]
    strict = await make(covering, truth, min_gain=0.75)
    assert strict.steps == []


async def improve_with(clicks, truth, **rules):
    return await make(covering, truth, lambda play: improve(play, clicks), **rules)


async def test_clicks_of_a_model_that_raise_the_iou_are_kept_and_others_replaced():
    truth = Truth(bar((0, 9)))
    good, wrong = Click(True, 1, 0), Click(True, 15, 0)
    made = await improve_with([good, wrong, good], truth)
    # The first is kept and sets the columns 0..2. The second is replaced by the middle of 3..8, 5, which sets 4..6.
    # The third is the first again; of the rest, 3 and 7..8, all pixels are equally deep, and 3 is first. Then comes 7.
    assert (columns(made), made.stop) == ([1, 5, 3, 7], "reached")
    assert [round(9 * step.iou) for step in made.steps] == [3, 6, 7, 9]


async def test_a_click_of_a_model_that_leads_nowhere_is_taken_back():
    def jammed(clicks):
        return covering(clicks[:1]) if clicks and clicks[0].x == 0 else covering(clicks)  # nothing changes after it

    truth = Truth(bar((0, 9)))
    made = await make(jammed, truth, lambda play: improve(play, [Click(True, 0, 0)]))
    assert columns(made)[0] != 0
    assert made.steps[-1].iou == 1


async def test_the_annotator_says_where_there_is_no_object():
    made = await make(covering, Truth(bar()), no_target=True)
    assert [step.action.kind for step in made.steps] == ["none"]
    assert (made.stop, made.steps[0].iou) == ("none", 1)
    improved = await make(covering, Truth(bar()), lambda play: improve(play, [Click(True, 3, 3)]), no_target=True)
    assert (improved.steps[0].action, improved.stop) == (made.steps[0].action, "none")


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_a_spread_click_lies_in_the_error_that_the_oracle_clicks(seed, spread):
    generator = np.random.default_rng(seed)
    gt, mask = generator.random((12, 16)) < 0.6, generator.random((12, 16)) < 0.3
    middle = next_click(gt, mask)
    click = Annotator(Truth(gt), spread, generator).next_click(mask, [])
    assert middle is not None
    assert click.positive == middle.positive
    assert (gt & ~mask if click.positive else mask & ~gt)[click.y, click.x]
    if spread == 0:
        assert click == middle


async def test_a_spread_is_drawn_from_the_seed():
    truth = Truth(bar((0, 20)))
    once, again, other = [clicks_in(await make(covering, truth, spread=1, seed=seed)) for seed in (1, 1, 2)]
    assert once == again != other
