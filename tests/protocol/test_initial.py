"""How episodes begin: boxes and masks of every origin, and what the record, the model and the segmenter see of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco
from typer.testing import CliRunner

import hlmat_bench
from hlmat_bench.cli import app
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.records import Episode
from hlmat_bench.runs.initial_states import mask_names
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.testing import ChatServer, Failure
from tests.support.episodes import iou, read_lines, rle, write_lines

LIMIT = 6


def _decoded(value: Any) -> np.ndarray:
    return coco.decode(dict(value)).astype(bool)


def _filled(episode: Episode, box: list[int]) -> np.ndarray:
    mask = np.zeros(episode.size, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def _around(gt: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(gt)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def _play(model: str, task: str, tool: str, out: Path, **options: Any) -> Run:
    return hlmat_bench.run(model, task, tool, out=out, limit=LIMIT, **options)


@pytest.fixture(scope="module")
def boxed(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Play a run of box-only."""
    return _play("gt-box", task, tool, tmp_path_factory.mktemp("boxed"), strategy="box-only")


@pytest.fixture(scope="module")
def clicked(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Play a run of clicks alone."""
    return _play("random", task, tool, tmp_path_factory.mktemp("clicked"))


def test_box_only_asks_for_a_box_and_ends(boxed: Run) -> None:
    assert boxed.manifest["protocol"]["track"] == "box+point"
    for episode in boxed.episodes():
        [step] = episode.steps
        box = _around(_decoded(episode.gt))
        assert (episode.stop, step.action.to_json()) == ("box", {"kind": "box", "box": box})
        assert step.mask == rle(_filled(episode, box))


@pytest.mark.parametrize(("model", "knows"), [("oracle", True), ("gt-box", True), ("random", False), ("center", False)])
def test_what_reference_players_know_of_boxes(model: str, knows: bool, task: str, tool: str, tmp_path: Path) -> None:
    for episode in _play(model, task, tool, tmp_path, initial="model-box").episodes():
        wanted = _around(_decoded(episode.gt)) if knows else None
        assert episode.initial["box"] == wanted
        assert episode.initial["mask"] == (rle(_filled(episode, wanted)) if wanted else None)
        assert ("reason" in episode.initial) != knows
        assert episode.initial["raw"]


@pytest.mark.slow
def test_a_models_own_box(task: str, tool: str, tmp_path: Path) -> None:
    """SegAgent's format: boxes are (x, y) of 999, truncated; the answer about one image holds none, and one fails."""

    def answer(request: dict[str, Any], image: np.ndarray, prompt: str) -> Any:
        if "Find one object" not in prompt:
            return "Current IOU: 10, Positive point: (500, 500)"
        if "box 1\n" in prompt:
            return "I see it on the left."
        return Failure(status=500) if "box 2\n" in prompt else "<ref>it</ref><box>(100,200),(500,899)</box>"

    with ChatServer(answer) as server:
        model = f"openai,model=fake,base_url={server.base_url},points=segagent-qwen,retries=0"
        run = _play(model, task, tool, tmp_path / "a", initial="model-box", budget=1)
        box = [int(100 / 999 * 80), int(200 / 999 * 60), int(500 / 999 * 80), int(899 / 999 * 60)]
        asked = [each for each in server.asked if "Find one object" in each.prompt]
        assert "in exactly this form: <box>(x0,y0),(x1,y1)</box>" in asked[0].prompt
        assert len(asked) == LIMIT
        for episode in run.episodes():
            state, first = episode.initial, episode.steps[0]
            if episode.expression.endswith("2"):
                assert (episode.stop, first.action.reason, state["mask"]) == ("error", "api", None)
                continue
            read = not episode.expression.endswith("1")
            assert state["kind"] == "model-box"
            assert state["box"] == (box if read else None)
            assert state["mask"] == (rle(_filled(episode, box)) if read else None)
            assert state.get("reason") == (None if read else "parse")
            words = sum(len(text.split()) for text in (state["raw"], first.raw or ""))
            assert first.tokens["out"] == words  # the question for the box counts
            assert _decoded(first.mask)[30, 40]
        only = _play(model, task, tool, tmp_path / "b", strategy="box-only")
    kinds = [episode.steps[0].action.kind for episode in only.episodes()]
    assert sorted(kinds) == ["box", "box", "invalid", "invalid", "invalid", "invalid"]


def test_boxes_of_another_run(boxed: Run, task: str, tool: str, tmp_path: Path) -> None:
    run = _play("oracle", task, tool, tmp_path / "a", initial=f"box-from={boxed.folder}")
    own = _play("oracle", task, tool, tmp_path / "b", initial="gt-box")
    for episode, alike in zip(run.episodes(), own.episodes(), strict=True):
        assert (episode.initial["kind"], episode.initial["model"]) == ("box-from", "gt-box")
        assert episode.initial["box"] == alike.initial["box"]
        assert [step.mask for step in episode.steps] == [step.mask for step in alike.steps]
    again = _play("oracle", task, tool, tmp_path / "c", initial=f"box-from={run.folder}")
    assert [episode.initial["box"] for episode in again.episodes()] == [e.initial["box"] for e in run.episodes()]


def test_a_run_on_other_images_is_refused(boxed: Run, task: str, tool: str, tmp_path: Path) -> None:
    shutil.copytree(boxed.folder, tmp_path / "other")
    text = json.dumps(read_lines(tmp_path / "other")).replace('"size": [60, 80]', '"size": [600, 80]')
    write_lines(tmp_path / "other", json.loads(text))
    with pytest.raises(UsageError, match=r"was \(600, 80\) in .* and is \(60, 80\) here"):
        _play("oracle", task, tool, tmp_path / "run", initial=f"box-from={tmp_path / 'other'}")


def test_masks_of_another_run(clicked: Run, task: str, tool: str, tmp_path: Path) -> None:
    run = _play("oracle", task, tool, tmp_path, initial=f"mask-from={clicked.folder}")
    assert run.manifest["protocol"]["track"] == "point"
    for episode, earlier in zip(run.episodes(), clicked.episodes(), strict=True):
        assert episode.initial["mask"] == earlier.steps[-1].mask
        assert episode.initial["iou"] == iou(_decoded(episode.gt), _decoded(earlier.steps[-1].mask))
        assert episode.steps[0].mask != episode.initial["mask"]


@pytest.mark.parametrize("which", [0, 1])
def test_masks_of_a_folder(which: int, task: str, tool: str, tmp_path: Path) -> None:
    ids = [episode.sample_id for episode in _play("empty", task, tool, tmp_path / "ids").episodes()]
    masks = {name: np.random.default_rng(n).random((60, 80)) > 0.5 for n, name in enumerate(ids)}
    (tmp_path / "masks").mkdir()
    for name, mask in masks.items():
        assert cv2.imwrite(str(tmp_path / "masks" / mask_names(name, "boxes")[which]), mask * np.uint8(255))
    run = _play("empty", task, tool, tmp_path / "run", initial=f"masks={tmp_path / 'masks'}")
    for episode in run.episodes():
        assert episode.initial["mask"] == rle(masks[episode.sample_id])
        assert episode.initial["file"] == mask_names(episode.sample_id, "boxes")[which]


def test_the_fingerprint_knows_what_is_given_and_not_where_it_lies(
    boxed: Run, clicked: Run, task: str, tool: str, tmp_path: Path
) -> None:
    def fingerprint(name: str, initial: str) -> str:
        return str(_play("empty", task, tool, tmp_path / name, initial=initial).manifest["protocol_fingerprint"])

    shutil.copytree(boxed.folder, tmp_path / "moved")
    here, moved = fingerprint("a", f"box-from={boxed.folder}"), fingerprint("b", f"box-from={tmp_path / 'moved'}")
    assert here == moved
    values = read_lines(tmp_path / "moved")
    values[0]["steps"][0]["action"]["box"][0] += 1
    write_lines(tmp_path / "moved", values)
    others = {
        fingerprint("c", f"box-from={tmp_path / 'moved'}"),
        fingerprint("d", f"mask-from={boxed.folder}"),
        fingerprint("e", f"mask-from={clicked.folder}"),
        fingerprint("f", "empty"),
    }
    assert len(others | {here}) == 5
    manifest = Run(tmp_path / "a").manifest
    compared = {key: part for key, part in manifest.items() if key not in ("argv", "spec")}
    assert str(boxed.folder) not in json.dumps(compared)


def test_a_run_goes_on_where_it_stopped_and_not_with_other_boxes(
    boxed: Run, task: str, tool: str, tmp_path: Path
) -> None:
    initial = f"box-from={boxed.folder}"
    hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=2, initial=initial)
    assert len(list(_play("oracle", task, tool, tmp_path / "run", initial=initial).episodes())) == LIMIT
    with pytest.raises(UsageError, match="holds another run"):
        _play("oracle", task, tool, tmp_path / "run", initial="gt-box")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"initial": "box-from={boxed}", "limit": LIMIT + 2}, "has no episode for 2 of the 8 samples of this run"),
        ({"initial": "mask-from={boxed}", "limit": LIMIT + 1}, "has no episode for 1 of the 7 samples"),
        ({"initial": "box-from={clicked}"}, "holds no box to begin with"),
        ({"initial": "box-from={tmp}"}, "is not a run folder"),
        ({"initial": "masks={tmp}/none"}, "none has no mask .such as boxes_"),
        ({"initial": "box-from="}, "setting initial is 'box-from=', which does not fit: it is one of empty, gt-box"),
        ({"initial": "mask"}, "setting initial is 'mask', which does not fit"),
        ({"initial": "generated"}, "makes no masks to refine"),
        ({"initial": "gt-box", "settings": {"track": "point"}}, "belongs to track=box.point"),
        ({"initial": "gt-box", "strategy": "box-only"}, "box-only asks for a box and begins with an empty mask"),
        ({"initial": "model-box", "segmenter": "graphcut"}, "graphcut takes no boxes"),
        ({"strategy": "box-only", "segmenter": "graphcut"}, "graphcut takes no boxes"),
        ({"settings": {"box_prompt": "Where?"}}, "greedy does not use box_prompt"),
        ({"initial": "model-box", "settings": {"box_prompt": "{object}"}}, "write other braces twice"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_one_sentence(
    options: dict[str, Any], sentence: str, boxed: Run, clicked: Run, task: str, tool: str, tmp_path: Path
) -> None:
    given = {"model": "oracle", "task": task, "segmenter": tool, "limit": LIMIT, "out": tmp_path / "run", **options}
    if "initial" in given:
        given["initial"] = given["initial"].format(boxed=boxed.folder, clicked=clicked.folder, tmp=tmp_path)
    with pytest.raises(UsageError, match=sentence) as caught:
        hlmat_bench.run(**given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "episodes.jsonl").exists()


def test_a_model_without_boxes_is_refused(task: str, tool: str, tmp_path: Path) -> None:
    (tmp_path / "replies.json").write_text("{}")
    model = f"scripted,file={tmp_path / 'replies.json'},points=xy1000-points"
    for way in ({"initial": "model-box"}, {"strategy": "box-only"}):
        with pytest.raises(UsageError, match="point format xy1000-points has none"):
            _play(model, task, tool, tmp_path / "run", **way)


def test_a_mask_file_must_be_of_the_image_and_of_its_values(task: str, tool: str, tmp_path: Path) -> None:
    [first] = [e.sample_id for e in hlmat_bench.run("empty", task, tool, out=tmp_path / "ids", limit=1).episodes()]
    file = tmp_path / mask_names(first, "boxes")[0]
    for mask, sentence in ((np.ones((60, 80)), "no value above 128"), (np.full((8, 8), 255), "mask of 8 x 8")):
        cv2.imwrite(str(file), mask.astype(np.uint8))
        out = tmp_path / sentence[:4]
        with pytest.raises(UsageError, match=sentence):
            hlmat_bench.run("empty", task, tool, out=out, limit=1, initial=f"masks={tmp_path}")


def test_the_command_line_takes_it(boxed: Run, task: str, tool: str, tmp_path: Path) -> None:
    words = ["run", "--model", "oracle", "--task", task, "--segmenter", tool, "--limit", "2", "--out", str(tmp_path)]
    shown = CliRunner().invoke(app, [*words, "--initial", f"box-from={boxed.folder}"])
    assert (shown.exit_code, "NoC@85" in shown.stdout) == (0, True)
