"""Real model stacks through the whole loop, with local stand-ins for what cannot be downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import hlmat_bench
from hlmat_bench import testing
from hlmat_bench.actions import write
from hlmat_bench.clicks import Click, next_click
from hlmat_bench.points import FORMATS, PointFormat
from hlmat_bench.points.syntaxes import SYNTAXES
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.segmentation import SegmentationState
from tests.support.episodes import read_lines

pytestmark = pytest.mark.slow

EVERY_FORMAT = [
    *FORMATS,
    *(f"{order}{unit}" for order in ("xy", "yx") for unit in ("pixel", "1", "100", "999", "1000", "1023")),
    *(f"yx1000-{syntax}" for syntax in sorted(SYNTAXES)),
    "xypixel-json",
    "yx1023-loc",
]


def _oracle_behind(points: PointFormat, folder: Path) -> Callable[[dict[str, Any], Any, str], str]:
    """Answers as a perfect model would: it reads the mask off the painted picture and clicks its largest error.

    The pictures are sent without loss, so a pixel that differs from the original is painted.
    """
    rows = [line.split(",") for line in (folder / "expressions.csv").read_text().splitlines()[1:]]
    known = {
        expression: (cv2.imread(str(folder / "images" / image))[..., ::-1], cv2.imread(str(folder / "masks" / mask), 0))
        for image, mask, expression in rows
    }

    clicked: dict[str, list[Click]] = {name: [] for name in known}

    def answer(request: dict[str, Any], image: Any, prompt: str) -> str:
        [expression] = [name for name in known if f"The object: {name}\n" in prompt]
        original, mask = known[expression]
        click = next_click(mask > 0, (image != original).any(axis=2), clicked=clicked[expression])
        if click is None:
            return "Finish"
        clicked[expression].append(click)
        return write(click, points, mask.shape)

    return answer


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_an_oracle_behind_a_server_scores_as_the_oracle_in_every_point_format(
    name: str, boxes: Path, tool: str, tmp_path: Path
) -> None:
    points = PointFormat.named(name)
    task = str(boxes / "boxes.yaml")
    oracle = hlmat_bench.run("oracle", task, tool, out=tmp_path / "oracle", limit=6)
    with testing.ChatServer(_oracle_behind(points, boxes)) as server:
        model = f"openai,model=fake,base_url={server.base_url},points={name},image_format=png"
        asked = hlmat_bench.run(model, task, tool, out=tmp_path / "model", limit=6)
    for one, two in zip(oracle.episodes(), asked.episodes(), strict=True):
        assert [step.action.to_json() for step in one.steps] == [step.action.to_json() for step in two.steps]
    assert asked.scores()["selection"] == oracle.scores()["selection"]


def test_a_wrongly_declared_format_is_seen_in_the_score(boxes: Path, tool: str, tmp_path: Path) -> None:
    """The axes swapped: the clicks go elsewhere, and nothing repairs them."""
    task = str(boxes / "boxes.yaml")
    with testing.ChatServer(_oracle_behind(PointFormat.named("xy1000"), boxes)) as server:
        model = f"openai,model=fake,base_url={server.base_url},image_format=png,points="
        runs = {
            name: hlmat_bench.run(model + name, task, tool, out=tmp_path / name, limit=10).scores()
            for name in ("xy1000", "yx1000")
        }
    right, wrong = (runs[name]["selection"]["final"]["miou"] for name in ("xy1000", "yx1000"))
    assert wrong < 0.6 * right


def test_a_server_that_fails_for_good_leaves_every_episode_in_place(boxes: Path, tool: str, tmp_path: Path) -> None:
    def answer(request: dict[str, Any], image: Any, prompt: str) -> Any:
        if "the left box" in prompt:
            return testing.Failure(status=500)
        return "Positive point: (500, 500)"

    with testing.ChatServer(answer) as server:
        model = f"openai,model=fake,base_url={server.base_url},points=xy1000,retries=0"
        made = hlmat_bench.run(model, str(boxes / "boxes.yaml"), tool, out=tmp_path / "run", limit=8, budget=2)
    scores = made.scores()
    assert scores["n"] == 8
    assert scores["clicks"]["invalid"] == {"api": 4, "repeat": 4}
    failed = [episode for episode in made.episodes() if episode.error]
    assert len(failed) == 4
    assert all(episode.steps[-1].raw is None and episode.steps[-1].iou == 0 for episode in failed)


def test_a_wrong_key_stops_the_run_in_one_sentence_without_the_key(boxes: Path, tool: str, tmp_path: Path) -> None:
    from hlmat_bench.core.errors import UsageError

    with testing.ChatServer(lambda *_: "Finish", key="right") as server:
        model = f"openai,model=fake,base_url={server.base_url},points=xy1000,api_key=canary-4711"
        with pytest.raises(UsageError) as caught:
            hlmat_bench.run(
                model, str(boxes / "boxes.yaml"), tool, out=tmp_path / "run", limit=8, argv=["run", "--model", model]
            )
    assert "canary-4711" not in str(caught.value)
    assert all(b"canary-4711" not in path.read_bytes() for path in (tmp_path / "run").iterdir())


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return testing.tiny_vlm(tmp_path_factory.mktemp("vlm"))


def test_a_transformers_checkpoint_and_sam_play_a_run(boxes: Path, vlm: Path, tmp_path: Path) -> None:
    """Random weights: what counts is that every reply is recorded and read, and twice the same."""
    sam = testing.tiny_sam(tmp_path / "sam")
    words = [
        f"hf,pretrained={vlm},points=xy1000,batch_size=4",
        str(boxes / "boxes.yaml"),
        f"sam,pretrained={sam.pretrained}",
    ]
    settings = {"max_tokens": 8}
    runs = [hlmat_bench.run(*words, out=tmp_path / name, limit=6, budget=2, settings=settings) for name in ("a", "b")]
    first, second = (read_lines(run.folder) for run in runs)
    for value in (*first, *second):
        for step in value["steps"]:
            del step["seconds"]
    assert first == second
    assert len(first) == 6
    assert all(step["tokens"]["out"] > 0 for value in first for step in value["steps"])
    manifest = runs[0].manifest
    assert len(manifest["model"]["sha256"]) == len(manifest["segmenter"]["weights_sha256"]) == 64


def test_sam_answers_the_oracles_clicks_and_boxes(boxes: Path, tmp_path: Path) -> None:
    sam = testing.tiny_sam(tmp_path / "sam")
    task = str(boxes / "boxes.yaml")
    for model in ("oracle", "gt-box"):
        made = hlmat_bench.run(model, task, f"sam,pretrained={sam.pretrained}", out=tmp_path / model, limit=3, budget=3)
        assert made.scores()["n"] == 3
    boxed = hlmat_bench.run(
        "oracle", task, f"sam,pretrained={sam.pretrained}", out=tmp_path / "b", limit=3, initial="gt-box"
    )
    assert all(episode.initial["kind"] == "gt-box" and episode.initial["mask"] for episode in boxed.episodes())
    assert boxed.manifest["protocol"]["track"] == "box+point"


def test_sam_goes_on_from_masks_and_draws_those_that_are_rated(boxes: Path, tmp_path: Path) -> None:
    sam = f"sam,pretrained={testing.tiny_sam(tmp_path / 'sam').pretrained}"
    kinds = {
        "refinement": "refinement: {defects: [box, points, cropped]}",
        "filtering": "filtering: {positive: [2, 3], negative: [1, 2]}",
    }
    made = {}
    for kind, section in kinds.items():
        path = boxes / f"sam_{kind}.yaml"
        path.write_text(f"name: {kind}\nkind: {kind}\nsource: {{kind: table}}\nprotocol: {{budget: 2}}\n{section}\n")
        made[kind] = hlmat_bench.run("oracle", str(path), sam, out=tmp_path / kind, limit=6)
    scores = {kind: run.scores() for kind, run in made.items()}
    assert scores["refinement"]["refinement"]["n"] == 6
    assert scores["filtering"]["filtering"]["n_masks"] == 12
    assert {each.initial["defect"] for each in made["refinement"].episodes()} <= {"box", "points", "cropped"}


def test_a_rated_mask_does_not_depend_on_those_before_it(boxes: Path, tmp_path: Path) -> None:
    sam = plugins.build("segmenter", "sam", {"pretrained": str(testing.tiny_sam(tmp_path).pretrained), "device": "cpu"})
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    state, one, other = (
        SegmentationState(image, sam),
        [Click(True, 20, 20), Click(False, 40, 30)],
        [Click(True, 60, 50)],
    )
    seen = []
    for clicks in (one, other, one, []):
        state.show_alone(clicks)
        seen.append(state.mask)
    assert np.array_equal(seen[0], seen[2])
    assert not np.array_equal(seen[0], seen[1])
    assert not seen[3].any()
    assert np.array_equal(sam.open(image).predict(other), seen[1])
