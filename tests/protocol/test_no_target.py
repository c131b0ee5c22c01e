"""The action ``none`` (there is no such object): prompts, states, searches, boxes and references."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

from hlmat_bench.actions import Action
from hlmat_bench.clicks import Click
from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Sample, Truth
from hlmat_bench.core.types import Mask
from hlmat_bench.data.tasks import load_task
from hlmat_bench.models.catalog import ModelChoice
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol.initial import BEGINNINGS
from hlmat_bench.protocol.interfaces import Question, Reply
from hlmat_bench.protocol.loop import Play, run_episode
from hlmat_bench.protocol.observation import Observation, RequestBuilder
from hlmat_bench.protocol.policies import Policy
from hlmat_bench.protocol.prompts import DEFAULT_BOX_PROMPT, DEFAULT_PRM_PROMPT, DEFAULT_PROMPT, instruction
from hlmat_bench.protocol.records import Episode, Step, select
from hlmat_bench.protocol.reference import REFERENCES, ReferencePolicy, find_reference
from hlmat_bench.protocol.settings import ProtocolSettings
from hlmat_bench.protocol.state import EpisodeState
from hlmat_bench.protocol.strategies import find_strategy
from hlmat_bench.runs import task_kinds
from hlmat_bench.runs.opening import settings_for
from hlmat_bench.testing import DiscSegmenter
from tests.support.episodes import click, rle
from tests.support.fakes import ScriptPolicy

SIZE = (60, 80)
SAMPLE = Sample("s/1", "a.jpg", "1", "a thing")
EMPTY = np.zeros(SIZE, bool)
DISC = (np.ogrid[: SIZE[0], : SIZE[1]][0] - 30) ** 2 + (np.ogrid[: SIZE[0], : SIZE[1]][1] - 30) ** 2 <= 12**2
CLICK = "Positive point: (30, 30)"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def _state(policy: Policy, gt: Mask = EMPTY, **rules: Any) -> EpisodeState:
    settings = ProtocolSettings.build({"no_target": True} | rules)
    return EpisodeState(SAMPLE, np.zeros((*SIZE, 3), np.uint8), Truth(gt), DiscSegmenter(12), settings, policy)


async def _play(policy: Policy, pool: ThreadPoolExecutor, gt: Mask = EMPTY, **rules: Any) -> Episode:
    state = _state(policy, gt, **rules)
    begin = BEGINNINGS[state.settings.initial]
    return await run_episode(Play(state, policy, pool), find_strategy(state.settings.strategy).play, begin)


def _script(*lines: str, points: str = "pixel") -> ScriptPolicy:
    return ScriptPolicy(lines, points)


def _kinds(episode: Episode) -> list[str]:
    return [step.action.kind for step in episode.steps]


# Prompts and settings.


def test_a_task_without_it_has_the_prompts_and_the_settings_of_before() -> None:
    settings = ProtocolSettings.build({"strategy": "tree", "prm": "ask"})
    assert settings.templates() == {"click": DEFAULT_PROMPT, "iou": DEFAULT_PRM_PROMPT, "box": DEFAULT_BOX_PROMPT}
    assert settings.to_json().keys() == {
        "strategy", "candidates", "prm", "correlation", "prm_prompt", "stop", "box_prompt", "budget", "track",
        "initial", "overlay", "jpeg", "history", "prompt", "temperature", "max_tokens",
    }  # fmt: skip
    assert ProtocolSettings.build({"no_target": True}).to_json()["no_target"] is True


@pytest.mark.parametrize(
    ("question", "line"),
    [
        ("click", "If there is no such object in the image, answer: No object"),
        ("box", "If there is no such object in the image, answer: No object"),
        ("iou", "If there is no such object in the image, an empty mask is completely right, and any other mask shares "
         "nothing with it."),
    ],
)  # fmt: skip
def test_prompts_offer_it(question: Question, line: str) -> None:
    rules = {"click": {}, "box": {"strategy": "box-only"}, "iou": {"strategy": "prm", "prm": "ask"}}[question]
    ask = partial(instruction, expression="a cat", points=PointFormat.named("xy1000"), size=SIZE, question=question)
    plain = ask(ProtocolSettings.build(rules).templates()[question])
    template = ProtocolSettings.build(rules | {"no_target": True}).templates()[question]
    assert ask(template, no_object="No object") == f"{plain}\n{line}"
    assert ask(template) == plain


def test_the_history_stays_last() -> None:
    template = ProtocolSettings.build({"no_target": True}).prompt
    shown = instruction(
        template,
        expression="a",
        points=PointFormat.named("xy1"),
        size=SIZE,
        clicks=[Click(True, 40, 30)],
        no_object="No object",
    )
    assert shown.endswith("answer: No object\nClicks so far:\n1. Positive point: (0.5000, 0.5000)")


def test_a_prompt_of_ones_own_may_say_where() -> None:
    settings = ProtocolSettings.build({"no_target": True, "prompt": "Click {expression}. {no_target}"})
    assert settings.prompt == "Click {expression}. {no_target}"


async def test_a_model_or_a_prompt_may_have_words_of_its_own(pool: ThreadPoolExecutor) -> None:
    rules = {"no_target": True, "no_target_reply": "[REJ]"}
    settings = ProtocolSettings.build(rules)
    builder = RequestBuilder(SAMPLE, np.zeros((*SIZE, 3), np.uint8), settings, PointFormat.named("pixel"))
    assert builder.request(Observation(EMPTY, (), 1)).prompt.endswith("in the image, answer: [REJ]")
    for said, stop in (
        ("[REJ]", "none"),
        (" <answer>[rej].</answer>", "none"),
        ("No object", "none"),
        ("REJ", "stuck"),
    ):
        assert (await _play(_script(CLICK, said), pool, **rules)).stop == stop
    marked = {"no_target": True, "no_target_reply": "<|no_mask|>"}
    assert (await _play(_script("<|no_mask|>"), pool, **marked)).stop == "none"
    unused = ProtocolSettings.build({"no_target_reply": "[REJ]"})
    assert unused == ProtocolSettings.build({})


def test_words_of_ones_own_want_the_setting() -> None:
    choice = ModelChoice("oracle", {}, settings={"no_target_reply": "[REJ]"})
    task = load_task("hres_synth")
    assert settings_for(choice, task, {}, None).no_target_reply is None
    assert settings_for(choice, task, {"no_target": True}, None).no_target_reply == "[REJ]"
    with pytest.raises(UsageError, match="The object of hres_synth is always there; leave no_target_reply out"):
        settings_for(choice, task, {"no_target_reply": "[REJ]"}, None)


def test_given_masks_are_of_an_object_that_is_there() -> None:
    rules: dict[str, dict[str, Any]] = {
        "refine_hres_synth": {"initial": "generated"},
        "filter_hres_synth": {"strategy": "predict"},
    }
    for name in rules:
        with pytest.raises(UsageError, match=f"Episodes of {name} are about given masks of an object that is there"):
            task_kinds.check(load_task(name), ProtocolSettings.build(rules[name] | {"no_target": True}))


# States.


async def test_it_ends_the_episode_with_the_empty_mask(pool: ThreadPoolExecutor) -> None:
    episode = await _play(_script("No object"), pool)
    assert (episode.stop, _kinds(episode)) == ("none", ["none"])
    assert episode.steps[0].iou == 1.0
    assert episode.steps[0].to_json()["action"] == {"kind": "none"}
    assert episode.steps[0].seconds["segmenter"] == 0.0  # the image is not opened
    assert Episode.from_json(episode.to_json()).to_json() == episode.to_json()


async def test_after_clicks_it_takes_the_mask_back(pool: ThreadPoolExecutor) -> None:
    lines = (CLICK, "Negative point: (60, 30)", "There is no such object in the image.")
    episode = await _play(_script(*lines), pool)
    assert (episode.stop, _kinds(episode)) == ("none", ["click", "click", "none"])
    assert [step.iou for step in episode.steps] == [0.0, 0.0, 1.0]
    assert [masks.area(step.mask) > 0 for step in episode.steps] == [True, True, False]
    assert episode.selected == {"final": 3, "self": 3, "best": 0}


async def test_on_an_object_it_is_wrong(pool: ThreadPoolExecutor) -> None:
    episode = await _play(_script(CLICK, "No object"), pool, DISC)
    assert [step.iou for step in episode.steps] == [1.0, 0.0]
    assert (episode.stop, episode.selected) == ("none", {"final": 2, "self": 2, "best": 1})


async def test_without_the_setting_the_reply_is_what_it_was(pool: ThreadPoolExecutor) -> None:
    episode = await _play(_script("No object"), pool, no_target=False)
    assert (episode.stop, episode.steps[0].action) == ("stuck", Action("invalid", reason="parse"))


async def test_an_end_that_also_says_it_counts_at_an_empty_mask_alone(pool: ThreadPoolExecutor) -> None:
    ends = "<action>Terminate</action>"
    assert (await _play(_script(ends), pool)).stop == "none"
    assert (await _play(_script(CLICK, ends), pool)).stop == "stop"
    assert (await _play(_script("Finish"), pool)).stop == "stop"


def test_a_state_can_be_left_and_returned_to() -> None:
    state = _state(_script())
    for text in (CLICK, "No object"):
        here = state.fork()
        state.apply(state.interpret(Reply(text)), Reply(text))
    assert state.ended() == "none"
    assert (state.segmentation.clicks, state.segmentation.mask.any()) == ([], False)
    state.goto(here)
    assert (state.ended(), state.segmentation.clicks) == (None, [Click(True, 30, 30)])
    assert np.array_equal(state.segmentation.mask, DISC)
    tried = state.try_each([Action("none"), Action("click", True, 60, 30), Action("none")])
    assert [bool(mask.any()) for mask in tried] == [False, True, False]
    assert np.array_equal(state.segmentation.mask, DISC)


# Searches.


class Talker:
    """Says a line by draw and step, and predicts the true IoU of the mask it sees when it is asked."""

    points, frame, deterministic = PointFormat.named("pixel"), None, True

    def __init__(self, *draws: Sequence[str], worth: float = 1.0) -> None:
        self.draws, self.worth = draws, worth

    async def ask(self, observation: Observation, n: int) -> list[Reply]:
        if observation.question == "iou":
            return [Reply(f"Current IOU: {100 * self.worth if not observation.mask.any() else 40}%")]
        return [Reply(self.draws[draw][observation.t - 1]) for draw in range(n)]


@pytest.mark.parametrize(("gt", "kinds"), [(EMPTY, ["none"]), (DISC, ["click", "stop"])])
async def test_a_tree_tries_it_as_any_other_action(gt: Mask, kinds: list[str], pool: ThreadPoolExecutor) -> None:
    says = Talker([CLICK, "Finish"], ["No object", "No object"])
    rules = {"strategy": "tree", "prm": "oracle", "candidates": 2, "stop.patience": 3}
    episode = await _play(says, pool, gt, **rules)
    assert _kinds(episode) == kinds
    assert episode.stop == kinds[-1]
    tried = {each["action"]["kind"]: each for each in episode.steps[0].candidates}
    assert tried["none"]["predicted_iou"] == tried["none"]["iou"] == float(gt is EMPTY)
    assert masks.area(tried["none"]["mask"]) == 0
    assert tried["click"]["iou"] == float(gt is DISC)
    assert Episode.from_json(episode.to_json()).to_json() == episode.to_json()


async def test_a_search_answers_with_the_mask_that_is_said_to_be_worth_most(pool: ThreadPoolExecutor) -> None:
    rules: dict[str, Any] = {"strategy": "prm", "prm": "ask", "stop.patience": 9}
    for worth, chosen in ((0.9, 2), (0.1, 1)):
        episode = await _play(Talker([CLICK, "No object"], worth=worth), pool, **rules)
        assert (episode.stop, _kinds(episode)) == ("none", ["click", "none"])
        assert episode.selected["self"] == chosen


async def test_one_reply_may_be_both(pool: ThreadPoolExecutor) -> None:
    """The reply to the empty mask predicts nothing: the decision counts."""
    says = Talker([f"Current IOU: 0, {CLICK}", "Current IOU: 80, No object", "No object"])
    episode = await _play(says, pool, strategy="prm", prm="reply", **{"stop.patience": 9})
    assert (episode.stop, _kinds(episode)) == ("none", ["click", "none"])
    assert episode.steps[1].action.predicted_iou == 0.8
    assert episode.selected["self"] == 2


def test_what_a_model_predicted_of_a_mask_that_it_rejects_is_not_its_answer() -> None:
    step, none = rle(DISC), rle(EMPTY)
    steps = [Step(1, "", click(True, 1, 1, 0.1), step, 0.5), Step(2, "", Action("none", predicted_iou=0.9), none, 0.0)]
    assert select(steps, {"mask": None, "iou": 0.0}) == {"final": 2, "self": 2, "best": 1}
    stopped = [steps[0], Step(2, "", Action("stop", predicted_iou=0.9), step, 0.5)]
    assert select(stopped, {"mask": None, "iou": 0.0})["self"] == 1


# Boxes.


async def test_there_is_no_box_of_no_object(pool: ThreadPoolExecutor) -> None:
    episode = await _play(_script("No object"), pool, strategy="box-only")
    assert (episode.stop, _kinds(episode), episode.steps[0].iou) == ("none", ["none"], 1.0)
    boxed = await _play(_script("<box>(20,20),(40,40)</box>"), pool, strategy="box-only")
    assert boxed.stop == "box"


async def test_an_episode_may_begin_without_the_box(pool: ThreadPoolExecutor) -> None:
    episode = await _play(_script("No object"), pool, initial="model-box")
    assert episode.initial == {
        "kind": "model-box", "box": None, "mask": None, "iou": 1.0, "raw": "No object", "reason": "none",
    }  # fmt: skip
    assert (episode.stop, episode.steps[0].t) == ("none", 1)
    given = await _play(_script("Finish"), pool, initial="gt-box")
    assert (given.initial["box"], given.initial["mask"], given.initial["iou"]) == (None, None, 1.0)


# References.


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("question", ["click", "box"])
async def test_those_that_know_the_truth_say_it(name: str, question: Question, pool: ThreadPoolExecutor) -> None:
    knows = REFERENCES[name].bound == "ceiling"
    for mask in (EMPTY, DISC):
        seen = Observation(mask, (), 1, question)
        said = {
            flag: (await ReferencePolicy(REFERENCES[name], Truth(EMPTY), 0, pool, no_target=flag).ask(seen, 2))[1].text
            for flag in (True, False)
        }
        assert (said[True] == "No object") is knows
        assert said[False] != "No object"
        there = await ReferencePolicy(REFERENCES[name], Truth(DISC), 0, pool, no_target=True).ask(seen, 1)
        assert there[0].text != "No object"


async def test_the_erring_oracle_does_not_err_about_that(pool: ThreadPoolExecutor) -> None:
    spec = find_reference("oracle", {"misplaced": 1})
    assert spec is not None
    policy = ReferencePolicy(spec, Truth(EMPTY), 0, pool, no_target=True)
    assert {reply.text for reply in await policy.ask(Observation(DISC, (), 3), 5)} == {"No object"}
    [judged] = await policy.ask(Observation(EMPTY, (), 1, "iou"), 1)
    assert judged.text == "Current IOU: 100.0000%"
