"""`TrajectoryDataset` and lazily painted exports give what an export holds, also to the workers of a data loader."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hlmat_bench
from hlmat_bench.actions import parse
from hlmat_bench.core.errors import UsageError
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol.interfaces import Reply, Request
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.training import LazyExport, TrajectoryDataset
from hlmat_bench.training.export.asking import AskingSettings
from hlmat_bench.training.export.exporting import ExportSettings
from hlmat_bench.training.export.selection import Selection
from tests.training.export.conftest import Exporter


def as_it_comes(examples: list[dict]) -> list[dict]:
    return examples


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def same(one: dict, other: dict) -> bool:
    """Tell whether two examples are the same, to the pixel."""
    pictures = [np.asarray(each["image"]) for each in (one, other)]
    rest = [{name: each[name] for name in each if name != "image"} for each in (one, other)]
    return rest[0] == rest[1] and np.array_equal(*pictures)


@pytest.mark.parametrize("split", ["train", "val"])
def test_its_examples_are_those_of_an_export(split: str, improved: Run, exported: Exporter, tmp_path: Path) -> None:
    from PIL import Image

    asking = AskingSettings(points="yx1", with_iou=True, settings={"overlay.color": "blue", "jpeg": 75})
    chosen = Selection(stop_examples=True)
    exported(improved, settings=ExportSettings("ms-swift", asking, chosen, val=0.4))
    dataset = TrajectoryDataset(
        improved.folder,
        points="yx1",
        with_iou=True,
        settings={"overlay.color": "blue", "jpeg": 75},
        selection=chosen,
        split=split,
        val=0.4,
    )
    found = rows(tmp_path / "export" / f"{split}.jsonl")
    assert len(dataset) == len(found) > 0
    for number, row in enumerate(found):
        example = dataset[number]
        assert {name: example[name] for name in ("sample_id", "step", "iou")} == row["hlmat"]
        assert f"<image>{example['prompt']}" == row["messages"][0]["content"]
        assert example["answer"] == row["messages"][1]["content"]
        with Image.open(tmp_path / "export" / row["images"][0]) as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(example["image"]))


def test_a_lazy_export_holds_each_image_once_and_is_painted_the_same(
    generated: Run, exported: Exporter, tmp_path: Path
) -> None:
    settings = {"overlay.alpha": 0.25, "jpeg": 80}
    asking = AskingSettings(settings=settings)
    exported(generated, settings=ExportSettings("llamafactory", asking, lazy=True))
    assert {name for row in rows(tmp_path / "export" / "train.jsonl") for name in row} == {"hlmat"}
    lazy, dataset = LazyExport(tmp_path / "export"), TrajectoryDataset(generated.folder, settings=settings)
    assert len(lazy) == len(dataset)
    assert all(same(lazy[number], dataset[number]) for number in range(len(dataset)))
    assert len(list((tmp_path / "export" / "images").rglob("*.png"))) == 20
    assert same(lazy[-1], dataset[-1])
    for number in (len(dataset), -len(dataset) - 1):
        for each in (lazy, dataset):
            with pytest.raises(IndexError):
                each[number]


def test_an_export_that_is_painted_is_none_to_paint(generated: Run, exported: Exporter, tmp_path: Path) -> None:
    exported(generated, settings=ExportSettings("ms-swift"))
    with pytest.raises(UsageError, match="painted already"):
        LazyExport(tmp_path / "export")[0]


class Remembering:
    """A model that clicks anywhere, and remembers what it was shown."""

    name = "remembering"

    def __init__(self) -> None:
        self.points, self.resize = PointFormat.named("xy1000-json"), Resize.named("fit-long70")
        self.seen: dict[tuple[str, int], tuple[np.ndarray, str]] = {}

    async def reply(self, request: Request) -> list[Reply]:
        self.seen[request.sample_id, request.t] = request.image.copy(), request.prompt
        place = (request.state * 37 + request.t * 101) % 1000
        return [Reply(f'{{"point_2d": [{place}, {place * 7 % 1000}], "label": "positive"}}')]


def test_its_examples_are_what_a_run_showed(task: str, tool: str, tmp_path: Path) -> None:
    model = Remembering()
    settings = {"overlay.color": "red", "overlay.alpha": 0.3, "jpeg": 60, "history": True}
    run = hlmat_bench.run(
        model, task, tool, out=tmp_path / "run", budget=4, settings=settings, argv=["--task", task], limit=10
    )
    dataset = TrajectoryDataset(
        run.folder,
        points="xy1000-json",
        resize="fit-long70",
        settings=settings,
        selection=Selection(min_gain=-2),
    )
    assert len(dataset) == sum(step.action.kind == "click" for one in run.episodes() for step in one.steps) > 20
    replies = {(one.sample_id, step.t): step.action for one in run.episodes() for step in one.steps}
    for number in range(len(dataset)):
        example = dataset[number]
        where = example["sample_id"], example["step"]
        image, prompt = model.seen[where]
        assert example["prompt"] == prompt
        assert np.array_equal(np.asarray(example["image"]), image)
        read = parse(example["answer"], model.points, (60, 80), model.resize.frame((60, 80)))
        assert read == replies[where]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_torch_loads_it_with_workers(workers: int, generated: Run) -> None:
    from torch.utils.data import DataLoader

    dataset = TrajectoryDataset([generated.folder])
    how = {"multiprocessing_context": "spawn"} if workers else {}
    loader = DataLoader(dataset, batch_size=16, num_workers=workers, collate_fn=as_it_comes, **how)
    loaded = [example for batch in loader for example in batch]
    assert len(loaded) == len(dataset)
    assert all(same(example, dataset[number]) for number, example in enumerate(loaded))


def test_what_is_sent_to_a_worker_is_small_and_nothing_that_was_read(generated: Run) -> None:
    dataset = TrajectoryDataset(generated.folder)
    before = pickle.dumps(dataset)
    examples = [dataset[number] for number in range(0, len(dataset), 7)]
    assert len(pickle.dumps(dataset)) == len(before) < 40 * len(dataset) + 20000
    again = pickle.loads(before)
    assert all(same(again[7 * number], example) for number, example in enumerate(examples))


def test_importing_it_imports_no_torch() -> None:
    code = "import sys; from hlmat_bench.training import TrajectoryDataset; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
