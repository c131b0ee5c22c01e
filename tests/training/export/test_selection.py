"""Which states of an episode are taken, and what is answered in them, by hand-made episodes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.actions import NO_OBJECT, Action
from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.points.syntaxes import SYNTAXES
from hlmat_bench.protocol.records import Episode
from hlmat_bench.training.export.asking import AskingSettings, asking_for
from hlmat_bench.training.export.recorded import split_of
from hlmat_bench.training.export.selection import Selection, State, chain_of, states_of
from tests.support.episodes import episode

SIZE = (20, 20)


def rows(number: int) -> np.ndarray:
    """Draw a mask of the upper rows."""
    mask = np.zeros(SIZE, bool)
    mask[:number] = True
    return mask


def click(x: int, positive: bool = True) -> Action:
    return Action("click", positive, x, x)


def played(stop: str = "reached") -> Episode:
    """Make an episode whose IoU with ten rows is 0, 0.2, 0.1, 0.1, 0.6, 1."""
    return episode(
        "a",
        rows(10),
        [
            (click(1), rows(2)),
            (click(2), rows(1)),
            (Action("invalid", reason="parse"), rows(1)),
            (click(4), rows(6)),
            (click(5), rows(10)),
        ],
        stop=stop,
    )


def test_clicks_that_raise_the_iou_are_taken_with_the_mask_before_them() -> None:
    left_out = Counter[str]()
    found = states_of(played(), Selection(), left_out)
    assert [(state.t, round(state.iou, 6), round(state.iou_after, 6)) for state in found] == [
        (1, 0, 0.2),
        (4, 0.1, 0.6),
        (5, 0.6, 1),
    ]
    assert found[0].mask is None
    assert (masks.decode(found[1].mask) == rows(1)).all()
    assert [one.x for one in found[1].clicks] == [1, 2]
    assert left_out == {"clicks without gain": 1, "invalid steps": 1}


@pytest.mark.parametrize(
    ("rules", "steps"),
    [
        (Selection(min_gain=0.3), [4, 5]),
        (Selection(min_gain=-1), [1, 2, 4, 5]),
        (Selection(min_gain=0.5), []),
        (Selection(keep_iou=1), [1, 4, 5]),
        (Selection(stop_examples=True), [1, 4, 5, 6]),
    ],
)
def test_the_rules_say_which(rules: Selection, steps: list[int]) -> None:
    assert [state.t for state in states_of(played(), rules)] == steps


@pytest.mark.parametrize(
    ("stop", "stops"),
    [("reached", True), ("exhausted", True), ("budget", True), ("stop", True), ("stuck", False), ("none", False)],
)
def test_the_last_mask_of_a_finished_episode_is_answered_with_a_stop(stop: str, stops: bool) -> None:
    found = states_of(played(stop), Selection(stop_examples=True))
    assert (found[-1].action.kind == "stop") is stops
    assert not stops or (masks.decode(found[-1].mask) == rows(10)).all()


def test_a_stop_of_the_model_is_not_a_state_twice_and_may_be_too_early() -> None:
    early = episode("a", rows(10), [(click(1), rows(2)), (Action("stop"), rows(2))], stop="stop")
    assert [state.t for state in states_of(early, Selection(stop_examples=True))] == [1, 2]
    assert [state.t for state in states_of(early, Selection(stop_examples=True, stop_iou=0.5))] == [1]


def test_low_and_failed_episodes_are_left_out() -> None:
    early = episode("a", rows(10), [(click(1), rows(2))])
    counts = Counter[str]()
    assert states_of(early, Selection(keep_iou=0.5), counts) == []
    assert states_of(replace(early, stop="error"), Selection(), counts) == []
    assert counts == {"episodes below keep_iou": 1, "failed episodes": 1}


def test_no_object_is_an_answer_where_there_is_none() -> None:
    nothing = np.zeros(SIZE, bool)
    asking = asking_for({"no_target": True}, AskingSettings())
    right = episode("a", nothing, [(Action("none"), nothing)], stop="none")
    [state] = states_of(right, Selection())
    assert asking.answer(state, SIZE) == NO_OBJECT
    wrong = episode("b", rows(3), [(Action("none"), nothing)], stop="none")
    assert states_of(wrong, Selection()) == []


def test_a_chain_ends_before_the_first_click_that_is_not_taken() -> None:
    whole = played()
    assert [state.t for state in chain_of(whole, states_of(whole, Selection()))] == [1]
    assert [state.t for state in chain_of(whole, states_of(whole, Selection(min_gain=-1)))] == [1, 2, 4, 5]
    begun = replace(whole, initial={**whole.initial, "mask": masks.encode(rows(3))})
    assert chain_of(begun, states_of(begun, Selection(min_gain=-1))) == []


@given(
    st.sampled_from(["xy1000", "yx1", "xypixel", "xy999-json", "xy100-iou1", "segagent-qwen", "yx1023-loc", "xy1-box"]),
    st.booleans(),
    st.integers(0, 199),
    st.integers(0, 99),
    st.floats(0, 1),
    st.booleans(),
)
def test_answers_are_read_as_what_they_say(
    points: str, positive: bool, x: int, y: int, iou: float, with_iou: bool
) -> None:
    asking = asking_for({}, AskingSettings(points=points, with_iou=with_iou))
    size = (100, 200)
    state = State(1, None, iou, (), Action("click", positive, x, y), None, 1.0)
    read = asking.read(asking.answer(state, size), size)
    assert read.kind == "click"
    assert read.positive is positive
    # A number of a format stands for a pixel and at most 1 % of the side beside it, in the coarsest format.
    assert abs(read.click.x - x) <= 1
    assert abs(read.click.y - y) <= 1
    assert (read.predicted_iou is not None) is with_iou
    if with_iou:
        assert read.predicted_iou == pytest.approx(iou, abs=0.0051)
    assert asking.read(asking.answer(replace(state, action=Action("stop")), size), size).kind == "stop"


def test_segagents_answer_is_the_papers() -> None:
    asking = asking_for({}, AskingSettings(points="segagent-qwen", with_iou=True))
    state = State(2, None, 0.744, (), Action("click", True, 20, 30), None, 0.9)
    assert asking.answer(state, (100, 100)) == "Current IOU: 74, Positive point: (300, 200)"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_syntax_has_readable_answers_or_is_refused(syntax: str) -> None:
    for with_iou in (False, True):
        try:
            asking_for({"no_target": True}, AskingSettings(points=f"xy1000-{syntax}", with_iou=with_iou))
        except UsageError as error:
            assert with_iou, error  # noqa: PT017
            assert "leave --iou out" in str(error)  # noqa: PT017


@pytest.mark.parametrize("protocol", [{}, {"no_target": True}, {"no_target": True, "no_target_reply": "[REJ]"}])
@pytest.mark.parametrize("word", ["Finish", "Terminate", "Stop.", "Done"])
def test_stop_words_of_other_models_are_taken(word: str, protocol: dict) -> None:
    asking = asking_for(protocol, AskingSettings(points="xy1", stop_word=word))
    assert asking.answer(State(1, None, 0.5, (), Action("none"), None, 0.5), SIZE) == (
        protocol.get("no_target_reply", NO_OBJECT)
    )


def test_a_stop_word_that_is_read_otherwise_is_refused() -> None:
    with pytest.raises(UsageError, match="give another --stop-word"):
        asking_for({}, AskingSettings(stop_word="Positive point: (1, 1)"))


def test_a_model_brings_its_format_and_its_prompt() -> None:
    asking = asking_for({}, AskingSettings(model="segagent-qwen", settings={"overlay.color": "blue"}))
    assert (asking.points.name, asking.points.order, asking.settings.overlay.color) == (
        "segagent-qwen",
        "yx",
        (0, 0, 255),
    )
    assert "{expression}" in asking.settings.prompt
    with pytest.raises(UsageError, match="not an entry of the catalogue"):
        asking_for({}, AskingSettings(model="hf,pretrained=x"))


@given(st.floats(0, 1), st.integers(0, 10**6))
def test_an_image_is_in_one_split_whatever_set_it_comes_from(val: float, number: int) -> None:
    one = replace(played(), image=f"train2014/COCO_train2014_{number:012d}.jpg", image_id="a")
    other = replace(played(), image=f"{number:012d}.jpg", image_id="b")
    assert split_of(one, val) == split_of(other, val)


def test_the_share_of_validation_is_about_what_was_asked_for() -> None:
    images = [replace(played(), image=f"{name}.png", image_id=str(name)) for name in range(2000)]
    share = sum(split_of(one, 0.1) == "val" for one in images) / len(images)
    assert abs(share - 0.1) < 0.03
