from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from hlmat_bench.actions import Action, predicted_iou
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.log_lines import line_digest
from hlmat_bench.protocol.records import Episode, read_episodes, select, to_record
from tests.support.episodes import click, episode, simple

GT = np.zeros((4, 6), bool)
GT[1:3, 1:5] = True
HALF = GT & (np.arange(6) < 3)


def _steps(predictions: list[float | None], masks: list[np.ndarray]) -> Episode:
    actions = [click(True, number, 1, predicted) for number, predicted in enumerate(predictions)]
    states = list(zip(actions, masks, strict=True))
    return episode("s", GT, states)


def test_selection_rules_by_hand() -> None:
    """Reply t speaks for mask t - 1; the last mask has no prediction; ties go to the earlier step."""
    made = _steps([0.0, 0.9, 0.4], [HALF, GT, HALF])
    assert made.selected == {"final": 3, "self": 1, "best": 2}
    assert _steps([None, None, 0.4], [HALF, GT, HALF]).selected["self"] == 2
    assert _steps([None, None, None], [HALF, GT, HALF]).selected["self"] == 3
    assert _steps([0.9, 0.1], [HALF, HALF]).selected == {"final": 2, "self": 1, "best": 1}


def test_an_initial_mask_can_be_selected_and_an_empty_one_by_truth_alone() -> None:
    steps = _steps([0.9, 0.1], [HALF, HALF]).steps
    given = {"kind": "mask", "mask": {"size": [4, 6], "counts": ""}, "iou": 1.0}
    assert select(steps, given) == {"final": 2, "self": 0, "best": 0}
    assert select([], {"kind": "empty", "mask": None, "iou": 0.0}) == {"final": 0, "self": 0, "best": 0}


def test_self_selection_agrees_with_the_reference_vectors(vectors: Path) -> None:
    """The reply of a step says what the mask before it is worth; where none says so, the last mask is taken.

    The reference agrees where all replies have its own words and a number; of others it takes the first mask, or one
    that stands before a NaN.
    """
    folder = vectors / "res_metrics"
    expected = json.loads((folder / "expected.json").read_text())
    compared, decided = 0, 0
    for name, results in expected.items():
        by_model = next(result for result in results if result["click_id"] is None)
        records = json.loads((folder / f"{name}.json").read_text())
        for record, index in zip(records, by_model["picked_index"] or [], strict=False):
            texts = [step["outputs"] or "" for step in record["pred_list"]]
            said = [predicted_iou(text) for text in texts]
            worth = {t: value for t, value in enumerate(said) if value is not None and t}
            selected = episode("s", GT, [(click(True, 0, 0, value), HALF) for value in said]).selected
            if not texts:
                assert index is None
            elif None not in said and all("Current IOU: " in text for text in texts):
                assert selected["self"] == index + 1, (name, texts)
                compared += 1
            else:
                assert selected["self"] == max(worth, key=lambda t: worth[t], default=len(texts)), (name, texts)
                decided += 1
    assert compared > 300
    assert decided > 90


def test_every_kind_of_action_survives_the_file(tmp_path: Path) -> None:
    actions = [
        Action("box", box=(0, 0, 3, 3), predicted_iou=0.25),
        click(False, 5, 3),
        Action("invalid", reason="out_of_bounds"),
        Action("stop", predicted_iou=0.75),
    ]
    made = episode("s/1", GT, [(action, HALF) for action in actions], ref_id="r", tags={"difficulty": "hard"})
    path = tmp_path / "episodes.jsonl"
    path.write_text(json.dumps(made.to_json()) + "\n" + '{"half":')
    assert list(read_episodes(path)) == [made]


def test_the_line_has_the_documented_fields() -> None:
    value = simple("res_refcoco_val/41952/0").to_json()
    assert list(value) == [
        "schema", "sample_id", "image", "image_id", "ref_id", "expression", "size", "gt", "ignore", "initial", "steps",
        "selected", "stop", "error",
    ]  # fmt: skip
    assert list(value["steps"][0]) == [
        "t",
        "raw",
        "action",
        "predicted_iou",
        "mask",
        "iou",
        "seconds",
        "tokens",
    ]
    assert value["steps"][0]["action"] == {"kind": "click", "positive": True, "x": 3, "y": 1}
    assert value["size"] == [4, 6]
    assert value["schema"] == "hlmat-episode/1"


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        "{}",
        '{"schema": "hlmat-episode/2"}',
        '{"schema": "hlmat-episode/1", "steps": [{}]}',
        "nonsense",
    ],
)
def test_a_line_that_is_no_episode_is_a_usage_error(tmp_path: Path, line: str) -> None:
    path = tmp_path / "episodes.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(UsageError):
        list(read_episodes(path))


def test_a_record_carries_the_sha256_of_the_rest_of_its_line(tmp_path: Path) -> None:
    line = to_record(simple("a"))
    rest = json.loads(line)
    digest = rest.pop("digest")
    text = json.dumps(rest, separators=(",", ":"), ensure_ascii=False)
    assert digest == hashlib.sha256(text.encode()).hexdigest() == line_digest(line)
    assert line_digest(text.encode() + b"\n") == digest, "an older line, which carries none"
    assert line_digest((json.dumps({"digest": digest, **rest}) + "\n").encode()) == digest, "written by another program"
    path = tmp_path / "episodes.jsonl"
    path.write_bytes(line + to_record(simple("b")).replace(b"the thing", b"the thong"))
    with pytest.raises(UsageError, match=r"Line 2 \(the sample b\) of .* is damaged; the run's own command"):
        list(read_episodes(path))


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("size",), [4], "size: it should have at least 2 items"),
        (("size",), [4, 0], "size.1"),
        (("gt",), None, "gt"),
        (("gt", "counts"), None, "gt.counts"),
        (("initial",), {}, "initial.kind: it is missing"),
        (("steps", 0, "mask", "size"), [6, 4], "a mask has another size"),
        (("steps", 0, "action", "x"), 6, "a click is outside"),
        (("steps", 0, "action", "x"), -1, "steps.0.action.click.x"),
        (("steps", 0, "action", "positive"), 1, "steps.0.action.click.positive"),
        (("steps", 0, "action", "kind"), "drag", "steps.0.action"),
        (("steps", 0, "iou"), "0.5", "steps.0.iou"),
        (("steps", 0, "iou"), float("nan"), "steps.0.iou"),
        (("steps", 0, "raw"), 5, "steps.0.raw"),
        (("selected", "final"), 2, "a step that is selected is not there"),
        (("selected",), {}, "a step that is selected is not there"),
        (("tags",), {"a": None}, "tags.a"),
    ],
)
def test_what_is_no_episode_is_one_sentence_that_says_where(path: tuple, value: object, place: str) -> None:
    line = json.loads(json.dumps(_steps([0.5], [HALF]).to_json()))
    assert Episode.from_json(line).to_json() == line
    part = line
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises(UsageError, match="^The episode 's' is malformed: ") as caught:
        Episode.from_json(line)
    assert place in str(caught.value)


@pytest.mark.parametrize("name", ["raw", "predicted_iou", "seconds", "tokens", "mask"])
def test_a_field_that_is_not_there_is_named(name: str) -> None:
    line = _steps([0.5], [HALF]).to_json()
    del line["steps"][0][name]
    with pytest.raises(UsageError, match=rf"^The episode 's' is malformed: steps\.0.*{name}"):
        Episode.from_json(line)


@pytest.mark.parametrize("value", [True, "0.5", float("inf"), 10**400, [1]])
def test_a_number_is_finite_and_no_other_type(value: object) -> None:
    line = _steps([0.5], [HALF]).to_json()
    line["steps"][0]["predicted_iou"] = value
    with pytest.raises(UsageError, match="predicted_iou: it should be a finite number"):
        Episode.from_json(line)


def test_a_record_is_written_again_as_it_was() -> None:
    """Whole numbers stay whole, and objects keep the order of their fields and fields that are not known."""
    line = _steps([0.5], [HALF]).to_json()
    line["initial"] = {"later": [1], "mask": {"counts": line["gt"]["counts"], "size": [4, 6]}, "iou": 1, "kind": "x"}
    line["steps"][0] |= {"iou": 0, "predicted_iou": 1, "seconds": {"model": 0}, "raw": "half a pair: \ud83d"}
    candidate = {"chosen": True, "action": {"kind": "box", "box": [0, 0, 1, 1]}, "replies": [], "mask": line["gt"]}
    line["steps"][0]["candidates"] = [candidate | {"iou": 1, "predicted_iou": None, "later": {}}]
    assert json.dumps(Episode.from_json(line).to_json()) == json.dumps(line)


def test_fields_of_later_versions_are_left_alone() -> None:
    line = _steps([0.5], [HALF]).to_json()
    assert Episode.from_json(line | {"mood": "good"}) == Episode.from_json(line)
    later = json.loads(json.dumps(line))
    later["steps"][0]["mood"] = later["steps"][0]["action"]["mood"] = "good"
    assert Episode.from_json(later) == Episode.from_json(line)
