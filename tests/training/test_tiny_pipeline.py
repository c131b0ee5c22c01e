"""examples/tiny: the states that hlmat-tiny learns from, and all stages of its training on a few scenes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hlmat_bench
from hlmat_bench.actions import parse
from hlmat_bench.data.tasks import load_task
from hlmat_bench.points import PointFormat
from hlmat_bench.training import TrajectoryDataset
from hlmat_bench.training.export.selection import Selection

EXAMPLES = Path(__file__).parents[2] / "examples" / "tiny"
pytestmark = pytest.mark.slow


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the examples import each other, as when they are run as programs."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    for name in ("model", "states", "tensors", "losses", "train", "pipeline"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> hlmat_bench.Run:
    folder = tmp_path_factory.mktemp("annotated") / "run"
    return hlmat_bench.run("oracle", "synth_easy_train", "graphcut", limit=4, budget=3, out=folder)


@pytest.mark.usefixtures("tiny")
def test_states_are_those_of_the_trajectory_dataset(annotated: hlmat_bench.Run) -> None:
    import states

    found = list(states.of_trajectories(annotated.folder, 0.9))
    told = TrajectoryDataset(
        annotated.folder,
        points="xy1000",
        resize="stretch-128x128",
        settings={"prompt": "{expression}"},
        selection=Selection(stop_examples=True, stop_iou=0.9),
    )
    assert len(found) == len(told) > 4
    for mine, theirs in zip(found, (told[n] for n in range(len(told))), strict=True):
        assert np.array_equal(mine.picture, np.asarray(theirs["image"]))
        assert mine.expression == theirs["prompt"]
        assert mine.iou == pytest.approx(theirs["iou"])
        ends = mine.iou >= 0.9
        assert mine.sign == (2 if ends else int(not theirs["answer"].startswith("Positive")))
        if not ends:
            x, y = (int(word) for word in theirs["answer"].rpartition("(")[2].rstrip(")").split(", "))
            assert (1000 * mine.x, 1000 * mine.y) == pytest.approx((x, y), abs=1)


@pytest.mark.usefixtures("tiny")
def test_patches_tell_the_object_and_the_errors() -> None:
    import states

    source = load_task("synth_easy_train").source(overrides={"count": 8})
    made = list(states.without_segmenter(source, 0.9))
    truths = [source.truth(sample).mask for sample in source.samples()]
    empty = [each for each in made if each.iou == 0 and not each.cells[2].any()]
    assert len(empty) == len(truths)
    for each, truth in zip(empty, truths, strict=True):
        # A patch is the same share of the picture, so that the mean over patches is that over pixels.
        assert each.cells[0].astype(float).mean() == pytest.approx(truth.mean(), abs=2e-3)
        assert np.array_equal(each.cells[0], each.cells[1])
        x, y = int(each.x * truth.shape[1]), int(each.y * truth.shape[0])
        assert truth[y, x]
    assert {each.sign for each in made if each.iou == 1} == {2}


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("digits", "points", "step"), [(False, "xy1000", 10), (True, "xy999", 1)])
def test_answers_are_read_as_the_clicks_that_they_say(digits: bool, points: str, step: float) -> None:
    import states
    import tensors
    from model import build_processor

    source = load_task("synth_easy_train").source(overrides={"count": 8})
    tokenizer = build_processor(digits=digits).tokenizer
    tokens = (tensors.Digits if digits else tensors.Tokens)(tokenizer)
    data = tensors.Examples.made(states.without_segmenter(source, 0.9), tokenizer)
    batch = tensors.Batch(data, np.arange(len(data)), tokens.swap, np.random.default_rng(0))
    for row, sign, x, y, iou in zip(tokens.answers(batch), batch.sign, batch.x, batch.y, batch.iou, strict=True):
        text = tokenizer.decode([token for token in row if token != tokens.pad], skip_special_tokens=True)
        action = parse(text, PointFormat.named(points), (10_000, 10_000))
        assert action.predicted_iou == pytest.approx(float(iou), abs=0.0051)
        assert action.kind == ("stop" if sign == 2 else "click")
        if action.kind == "click":
            assert action.positive == (sign == 0)
            assert (action.x, action.y) == pytest.approx((1e4 * float(x), 1e4 * float(y)), abs=5.1 * step + 1)


@pytest.mark.usefixtures("tiny")
def test_all_stages_on_a_few_scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pipeline
    from transformers import AutoModelForImageTextToText, AutoProcessor

    monkeypatch.setattr(sys, "argv", ["pipeline.py", "--quick", "--workers", "1", "--out", str(tmp_path)])
    pipeline.main()
    before, after = (json.loads((tmp_path / name / "training.json").read_text()) for name in ("sft", "star"))
    assert before["start"] is None
    assert after["runs"].keys() == {"annotator", "improved"}
    for name in ("sft", "star"):
        AutoProcessor.from_pretrained(tmp_path / name)
        AutoModelForImageTextToText.from_pretrained(tmp_path / name)
    told = hlmat_bench.Run(tmp_path / "improved").manifest
    assert told["rollouts"]
