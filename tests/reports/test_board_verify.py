"""Verification of leaderboard entries: the levels, and that what was changed is found at its place."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

import hlmat_bench
from hlmat_bench.core.errors import UsageError
from hlmat_bench.reports.leaderboard.entry import BoardEntry
from hlmat_bench.reports.leaderboard.submission import make_entry
from hlmat_bench.reports.leaderboard.verify.findings import Verdict
from hlmat_bench.reports.leaderboard.verify.verification import Evidence, verify
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.testing import ChatServer
from tests.support import boards

SAMPLE = 5


@pytest.fixture(scope="module")
def played(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return boards.play(tmp_path_factory.mktemp("played") / "run", task, tool)


@pytest.fixture
def run(played: Run, tmp_path: Path) -> Path:
    """Make a copy of the run that a test may change."""
    return Path(shutil.copytree(played.folder, tmp_path / "run"))


@pytest.fixture(scope="module")
def honest(played: Run) -> BoardEntry:
    return make_entry(played, boards.DECLARED)


def _clicked(episodes: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Return the second click of an episode, with the sample's name."""
    episode = episodes[SAMPLE]
    return episode["sample_id"], next(s for s in episode["steps"][1:] if s["action"]["kind"] == "click")


def _invert(rle: dict[str, Any]) -> None:
    """Another mask of the same size."""
    mask = 1 - coco.decode({"size": rle["size"], "counts": rle["counts"].encode()})
    rle["counts"] = coco.encode(np.asfortranarray(mask))["counts"].decode()


@pytest.mark.slow
def test_each_level_is_reached_by_what_it_takes(
    run: Path, honest: BoardEntry, task: str, tool: str, tmp_path: Path
) -> None:
    assert verify(honest, Evidence()).level == "schema"
    assert verify(honest, Evidence(run)).level == "recomputed"
    evidence = Evidence(run, f"{tool},radius=10", task=task)
    assert verify(honest, evidence).level == "replayed"
    with ChatServer(boards.clicker(260)) as server:
        model = f"openai,model=fake,base_url={server.base_url},points=xy1000,image_format=png"
        again = verify(honest, Evidence(run, f"{tool},radius=10", model, tmp_path / "again", task))
    assert (again.level, again.findings) == ("rerun", [])
    assert "16 of 16 episodes were the same" in again.notes[-1]


def test_another_model_behind_the_name_is_found_when_it_runs(
    run: Path, honest: BoardEntry, task: str, tool: str, tmp_path: Path
) -> None:
    with ChatServer(boards.clicker(700)) as server:
        model = f"openai,model=fake,base_url={server.base_url},points=xy1000,image_format=png"
        verdict = verify(honest, Evidence(run, f"{tool},radius=10", model, tmp_path / "again", task))
    assert verdict.level is None
    assert [finding.place for finding in verdict.findings] == ["scores.selection.miou"]


def test_a_changed_iou_is_found_at_its_step(run: Path, honest: BoardEntry) -> None:
    place = {}

    def raise_iou(episodes: list[dict[str, Any]]) -> None:
        place["sample"], step = _clicked(episodes)
        place["t"], step["iou"] = step["t"], 0.99

    boards.edit(run, raise_iou)
    verdict = verify(honest, Evidence(run))
    assert verdict.level is None
    assert f"sample {place['sample']}, step {place['t']}, iou" in [finding.place for finding in verdict.findings]
    assert {finding.place.split(",")[0] for finding in verdict.findings} == {f"sample {place['sample']}"}


def test_a_changed_mask_is_found_at_its_step_even_in_an_entry_made_of_it(
    run: Path, honest: BoardEntry, task: str, tool: str
) -> None:
    place = {}

    def swap(episodes: list[dict[str, Any]]) -> None:
        place["sample"], step = _clicked(episodes)
        place["t"] = step["t"]
        _invert(step["mask"])

    boards.edit(run, swap)
    changed = f"sample {place['sample']}, step {place['t']}"
    assert f"{changed}, iou" in [finding.place for finding in verify(honest, Evidence(run)).findings]

    def cover_up(episodes: list[dict[str, Any]]) -> None:
        episode = episodes[SAMPLE]
        gt = coco.decode({"size": episode["gt"]["size"], "counts": episode["gt"]["counts"].encode()}).astype(bool)
        for step in episode["steps"]:
            mask = coco.decode({"size": step["mask"]["size"], "counts": step["mask"]["counts"].encode()}).astype(bool)
            step["iou"] = float(np.sum(gt & mask) / np.sum(gt | mask))
        ious = [episode["initial"]["iou"], *(step["iou"] for step in episode["steps"])]
        episode["selected"]["best"] = int(np.argmax(ious))

    boards.edit(run, cover_up)
    forged = make_entry(Run(run), boards.DECLARED)
    assert verify(forged, Evidence(run)).level == "recomputed"
    verdict = verify(forged, Evidence(run, f"{tool},radius=10", task=task))
    assert verdict.level is None
    assert [finding.place for finding in verdict.findings] == [f"{changed}, mask"]


def test_a_changed_click_is_found_at_its_step_even_in_an_entry_made_of_it(
    run: Path, honest: BoardEntry, task: str, tool: str
) -> None:
    place = {}

    def move(episodes: list[dict[str, Any]]) -> None:
        place["sample"], step = _clicked(episodes)
        place["t"], place["size"] = step["t"], episodes[SAMPLE]["size"]
        step["action"]["x"] = 79 - step["action"]["x"]

    boards.edit(run, move)
    changed = f"sample {place['sample']}, step {place['t']}"
    assert {finding.place for finding in verify(honest, Evidence(run)).findings} == {
        f"{changed}, action",
        f"{changed}, digest",
    }
    forged = make_entry(Run(run), boards.DECLARED)
    assert [f.place for f in verify(forged, Evidence(run)).findings] == [f"{changed}, action"]

    def cover_up(episodes: list[dict[str, Any]]) -> None:
        _, step = _clicked(episodes)
        action, (height, width) = step["action"], place["size"]
        sign = "Positive" if action["positive"] else "Negative"
        step["raw"] = f"{sign} point: ({action['x'] * 1000 / width}, {action['y'] * 1000 / height})"

    boards.edit(run, cover_up)
    forged = make_entry(Run(run), boards.DECLARED)
    assert verify(forged, Evidence(run)).level == "recomputed"
    verdict = verify(forged, Evidence(run, f"{tool},radius=10", task=task))
    assert [finding.place for finding in verdict.findings] == [f"{changed}, mask"]


def test_a_click_or_box_that_no_reply_says_is_found(run: Path) -> None:
    def cheat(episodes: list[dict[str, Any]]) -> None:
        for number, change in enumerate(({"raw": None}, {"raw": "Finish"})):
            next(s for s in episodes[number]["steps"] if s["action"]["kind"] == "click").update(change)
        next(s for s in episodes[2]["steps"] if s["action"]["kind"] == "click")["action"]["box"] = [0, 0, 9, 9]

    boards.edit(run, cheat)
    forged = make_entry(Run(run), boards.DECLARED)
    places = [finding.place for finding in verify(forged, Evidence(run)).findings]
    for number in range(3):
        assert any(re.fullmatch(rf"sample {forged.samples.id[number]}, step \d, action", place) for place in places)


@pytest.fixture(scope="module")
def searched(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Make a run whose model says what each mask is worth, and whose answer is the mask it rates highest."""

    def answer(body: dict[str, Any], image: Any, prompt: str) -> str:
        said = boards.clicker(260)(body, image, prompt)
        return f"Current IOU: {image.sum() % 90 + 10}, {said}"

    out = tmp_path_factory.mktemp("searched") / "run"
    with ChatServer(answer) as server:
        model = f"openai,model=fake,base_url={server.base_url},points=xy1000,image_format=png"
        settings = {"prm": "ask", "temperature": 1.0, "stop.patience": 9}
        return hlmat_bench.run(
            model, task, f"{tool},radius=10", strategy="tree", out=out, budget=4, limit=8, settings=settings
        )


def test_a_search_is_replayed_and_its_answer_is_the_mask_it_rates_highest(searched: Run, task: str, tool: str) -> None:
    entry = make_entry(searched, boards.DECLARED)
    assert entry.manifest.selection == "self"
    assert entry.answer == entry.scores.selection["self"]
    assert entry.answer != entry.scores.selection["final"]
    evidence = Evidence(searched.folder, f"{tool},radius=10", task=task)
    assert verify(entry, evidence) == Verdict("replayed", [])


def test_a_changed_prediction_is_found_at_its_step(searched: Run, tmp_path: Path) -> None:
    run = Path(shutil.copytree(searched.folder, tmp_path / "run"))

    def flatter(episodes: list[dict[str, Any]]) -> None:
        for episode in episodes[:2]:
            episode["selected"]["self"] = 1
        [taken] = [each for each in episodes[0]["steps"][0]["candidates"] if each["chosen"]]
        taken["predicted_iou"] = 1.0
        episodes[1]["steps"][1]["predicted_iou"] = 1.0
        for each in episodes[2]["steps"][0]["candidates"]:
            each["chosen"] = False

    boards.edit(run, flatter)
    entry = make_entry(Run(run), boards.DECLARED)
    places = [finding.place for finding in verify(entry, Evidence(run)).findings]
    ids = entry.samples.id
    assert f"sample {ids[0]}, step 1, candidates" in places
    assert f"sample {ids[1]}, step 2, predicted_iou" in places
    assert f"sample {ids[2]}, step 1, candidates" in places


def test_a_changed_digest_is_found(run: Path, honest: BoardEntry) -> None:
    value = boards.dumped(honest)
    value["episodes_sha256"] = "0" * 64
    assert [f.place for f in verify(BoardEntry.model_validate(value), Evidence(run)).findings] == ["episodes_sha256"]
    value = boards.dumped(honest)
    marks = value["samples"]["marks"][SAMPLE]
    value["samples"]["marks"][SAMPLE] = marks[:16] + "00000000" + marks[24:]
    verdict = verify(BoardEntry.model_validate(value), Evidence(run))
    assert [f.place for f in verdict.findings] == [f"sample {honest.samples.id[SAMPLE]}, step 2, digest"]


def _set(*path: str | int) -> Callable[[Any, Any], None]:
    def change(value: Any, new: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = new

    return change


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("scores.selection.final.miou", 0.9),
        ("scores.selection.final.ciou", 0.9),
        ("scores.selection.final.miou_ci.1", 0.9),
        ("scores.noc.0.85.mean", 1.5),
        ("scores.noc.0.80.failed", 0),
        ("scores.curve.4.miou", 0.99),
        ("scores.steps.hit", [1]),
        ("scores.n", 15),
        ("scores.track", "box+point"),
        ("manifest.protocol_fingerprint", "0" * 64),
    ],
)
def test_an_entry_that_contradicts_itself_is_found_without_its_run(path: str, new: Any, honest: BoardEntry) -> None:
    value = boards.dumped(honest)
    keys = path.replace("0.8", "0,8").split(".")
    _set(*(int(key) if key.isdigit() else key.replace(",", ".") for key in keys))(value, new)
    verdict = verify(BoardEntry.model_validate(value), Evidence())
    assert verdict.level is None
    assert path.replace(".4.", ".") in [finding.place for finding in verdict.findings]


def test_a_number_that_the_samples_do_not_hold_is_found_with_the_run(run: Path, honest: BoardEntry) -> None:
    value = boards.dumped(honest)
    value["scores"]["selection"]["final"]["biou"] = 0.9
    entry = BoardEntry.model_validate(value)
    assert verify(entry, Evidence()).level == "schema"
    assert [finding.place for finding in verify(entry, Evidence(run)).findings] == ["scores.selection.final.biou"]


def test_episodes_left_out_or_doubled_are_found(run: Path, honest: BoardEntry) -> None:
    boards.edit(run, lambda episodes: episodes.pop(3))
    assert verify(honest, Evidence(run)).findings[0].place == f"sample {honest.samples.id[4]}, id"
    boards.edit(run, lambda episodes: episodes.insert(0, episodes[0]))
    assert verify(honest, Evidence(run)).level is None


def test_samples_that_were_left_out_are_found_on_replay(run: Path, honest: BoardEntry, task: str, tool: str) -> None:
    boards.edit(run, lambda episodes: episodes.pop(3))
    with pytest.raises(UsageError, match="15 of its 16 episodes"):
        make_entry(Run(run), boards.DECLARED)
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(manifest | {"samples": 15}))
    flattering = make_entry(Run(run), boards.DECLARED)
    assert verify(flattering, Evidence(run)).level == "recomputed"
    [finding] = verify(flattering, Evidence(run, f"{tool},radius=10", task=task)).findings
    assert finding.place == "samples"
    assert f"15 were played and the task has 16; {honest.samples.id[3]}" in finding.problem


def test_damaged_records_are_findings_and_no_crash(run: Path, honest: BoardEntry) -> None:
    def damage(episodes: list[dict[str, Any]]) -> None:
        episodes[1]["steps"][0]["mask"]["counts"] = "zzz"
        episodes[2]["initial"] = {}
        episodes[3]["steps"][0]["iou"] = "0.5"

    boards.edit(run, damage)
    verdict = verify(honest, Evidence(run))
    for number in (1, 2, 3):
        assert f"sample {honest.samples.id[number]}, record" in [finding.place for finding in verdict.findings]


def test_another_ground_truth_or_segmenter_is_found_on_replay(run: Path, task: str, tool: str) -> None:
    wrong = verify(make_entry(Run(run), boards.DECLARED), Evidence(run, f"{tool},radius=11", task=task))
    assert [f.place for f in wrong.findings] == ["manifest.segmenter.radius"]

    def easier(episodes: list[dict[str, Any]]) -> None:
        for step in episodes[SAMPLE]["steps"]:
            step["iou"] = 1.0
            step["mask"] = episodes[SAMPLE]["steps"][-1]["mask"]
        episodes[SAMPLE]["gt"] = episodes[SAMPLE]["steps"][-1]["mask"]
        episodes[SAMPLE]["selected"]["best"] = 1

    boards.edit(run, easier)
    forged = make_entry(Run(run), boards.DECLARED)
    assert verify(forged, Evidence(run)).level == "recomputed"
    verdict = verify(forged, Evidence(run, f"{tool},radius=10", task=task))
    assert [f.place for f in verdict.findings] == [f"sample {forged.samples.id[SAMPLE]}, gt"]


def test_replies_about_a_resized_image_are_read_as_they_were(task: str, tool: str, tmp_path: Path) -> None:
    run = boards.play(tmp_path / "run", task, tool, limit=4, extra=",resize=square")
    assert any(step.action.kind == "click" for episode in run.episodes() for step in episode.steps)
    entry = make_entry(run, boards.DECLARED)
    assert verify(entry, Evidence(run.folder, f"{tool},radius=10", task=task)).level == "replayed"


NETWORK = """
import numpy as np
from hlmat_bench.testing import DiscSegmenter, DiscSession

class Session(DiscSession):
    def predict(self, clicks, box=None):
        mask = super().predict(clicks, box)
        mask.reshape(-1)[: self.segmenter.off] ^= True
        return mask

class Network(DiscSegmenter):
    def __init__(self, off=0):
        super().__init__()
        self.off = off
    def spec(self):
        return {"weights_sha256": "0" * 64, "device": "cpu" if self.off else "cuda"}
    def open(self, image):
        return Session(image.shape[:2], self)

SEGMENTERS = {"network": Network}
"""


def test_a_network_may_differ_by_one_pixel_in_ten_thousand(tmp_path: Path) -> None:
    tool = tmp_path / "network.py"
    tool.write_text(NETWORK)
    run = hlmat_bench.run("oracle", "hres_synth", str(tool), out=tmp_path / "run", limit=1, budget=2)
    [episode] = run.episodes()
    allowed = int(episode.size[0] * episode.size[1] / 10_000)
    entry = make_entry(run, boards.DECLARED)
    verdict = verify(entry, Evidence(run.folder, f"{tool},off={allowed}"))
    assert verdict.level == "replayed"
    assert "device" in verdict.notes[0]
    verdict = verify(entry, Evidence(run.folder, f"{tool},off={allowed + 1}"))
    assert [finding.place for finding in verdict.findings] == [f"sample {episode.sample_id}, step 1, mask"]
    assert f"{allowed + 1} of " in verdict.findings[0].problem


def test_counts_of_steps_that_the_run_does_not_hold_are_found(run: Path, honest: BoardEntry) -> None:
    value = boards.dumped(honest)
    value["scores"]["steps"]["hit"], value["scores"]["steps"]["idle"] = [0] * 4, value["scores"]["steps"]["hit"]
    verdict = verify(BoardEntry.model_validate(value), Evidence(run))
    assert {finding.place.rpartition(".")[0] for finding in verdict.findings} <= {
        "scores.steps.hit",
        "scores.steps.idle",
    }
    assert verdict.findings
    value["scores"]["steps"]["hit"] = [99] * 4
    [finding, *_] = verify(BoardEntry.model_validate(value), Evidence()).findings
    assert finding.place == "scores.steps at click 1"
    del value["scores"]["steps"]  # an entry of an earlier version
    assert verify(BoardEntry.model_validate(value), Evidence(run)).level == "recomputed"


def test_what_a_level_needs_is_said(run: Path, honest: BoardEntry) -> None:
    with pytest.raises(UsageError, match="--run"):
        verify(honest, Evidence(segmenter="graphcut"))
    with pytest.raises(UsageError, match="--segmenter"):
        verify(honest, Evidence(run, model="oracle"))
