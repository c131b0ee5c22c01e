"""The suite segnext, played on small data sets of all six tasks: what it shows, against the curves of its episodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import hlmat_bench
from hlmat_bench.cli import app
from hlmat_bench.data.published import published_table
from hlmat_bench.data.tasks import load_task
from tests.data.test_sources_label_map import discs, save_sbd, save_voc
from tests.support.data_files import noise, save

README = [
    ("segnext/hqseg44k", "SegNext vitb-sax2 (C+L+HQ)", "NoC@95", 9.42),
    ("segnext/hqseg44k", "SegNext vitb-sax1 (C+L)", "NoF@95", 731),
    ("segnext/davis", "SegNext vitb-sax2 (C+L)", "5-mIoU", 89.85),
    ("segnext/hqseg44k_curves", "SimpleClick ViT-B", "1-mIoU", 65.539235),
    ("segnext/davis_sam", "SAM ViT-B", "NoF@95", 151),
    ("ritm/noc", "RITM HRNet32 IT-M (C+L)", "Berkeley NoC@90", 2.10),
    ("ritm/noc", "RITM HRNet18 IT-M (SBD)", "PascalVOC NoC@85", 2.51),
    ("focalclick/noc", "FocalClick SegFormerB3-S2 (C+L)", "DAVIS NoC@90", 4.90),
]


@pytest.mark.parametrize(("table", "row", "column", "number"), README)
def test_published_numbers_are_those_printed(table: str, row: str, column: str, number: float) -> None:
    assert published_table(table)[1].value(row, column) == pytest.approx(number, abs=1e-9)


def test_the_curves_that_two_methods_share_are_left_out() -> None:
    """The notebook has the same numbers for FocalClick as for SegNext."""
    for name in ("hqseg44k_curves", "davis_curves"):
        rows = published_table(f"segnext/{name}")[1].rows
        assert "FocalClick" not in rows
        assert len(set(rows.values())) == len(rows)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two images or so of every task of the suite."""
    folder = tmp_path_factory.mktemp("data")
    square = discs([255]) > 0
    for name in load_task("hqseg44k_val").sources[0].needed():
        mask = name.endswith(("gt", "masks", "masks_test", "masks_max255"))
        save(folder / name / ("a.png" if mask else "a.jpg"), square if mask else noise(40, 60))
    save(folder / "GrabCut" / "data_GT" / "a.jpg", noise(40, 60))
    trimap = np.where(square, np.uint8(255), np.uint8(0))
    trimap[2] = 128
    save(folder / "GrabCut" / "boundary_GT" / "a.bmp", trimap)
    save(folder / "Berkeley" / "images" / "12.jpg", noise(40, 60))
    save(folder / "Berkeley" / "masks" / "12.png", square)
    save(folder / "DAVIS" / "img" / "a.jpg", noise(40, 60))
    (folder / "DAVIS" / "gt").mkdir()
    Image.fromarray(square.astype(np.uint8)).save(folder / "DAVIS" / "gt" / "a.png")
    save_sbd(folder / "SBD", "a", discs([1, 2]), do_compression=True)
    (folder / "SBD" / "val.txt").write_text("a")
    save_voc(folder / "VOC2012", "a", discs([1, 2, 255]))
    names = folder / "VOC2012" / "ImageSets" / "Segmentation"
    names.mkdir(parents=True)
    (names / "val.txt").write_text("a")
    return folder


def reached(curves: list[list[float]], threshold: float, budget: int) -> tuple[float, int]:
    """Return NoC and NoF as RITM computes them, but for a success at the last click, which is one here."""
    clicks = [next((t for t, iou in enumerate(curve, 1) if iou >= threshold), None) for curve in curves]
    return float(np.mean([budget if t is None else t for t in clicks])), clicks.count(None)


@pytest.mark.slow
def test_an_author_plays_the_own_segmenter_alone(root: Path, tmp_path: Path) -> None:
    command = ["suite", "segnext", "--row", "mine", "--data-root", str(root), "--out", str(tmp_path)]
    played = CliRunner().invoke(app, command)
    assert played.exit_code == 0, played.output
    tables: dict[str, Any] = {
        table["name"]: {(cell["row"], cell["column"]): cell for cell in table["cells"]}
        for table in json.loads((tmp_path / "table.json").read_text())["tables"]
    }
    runs = {cell["run"] for cells in tables.values() for cell in cells.values()} - {None}
    assert (
        "The data is not whole: 1 of the 345 samples of davis were played. Published numbers are of all."
        in played.output
    )
    assert len(runs) == 6  # a run for each task; that of DAVIS is shown in two tables
    for cells in tables.values():
        assert {row for (row, _), cell in cells.items() if cell["run"]} == {"mine"}
        assert not [cell["reason"] for cell in cells.values() if cell["reason"]]
    assert tables["clicks"]["mine", "DAVIS NoC@85"]["run"] == tables["davis"]["mine", "NoC@90"]["run"]
    assert tables["davis"]["SAM ViT-B", "NoC@95"]["published_in"] == "segnext/davis_sam"
    shown = {column: cell for (row, column), cell in tables["hqseg44k"].items() if row == "mine"}
    run = hlmat_bench.Run(tmp_path / shown["NoC@95"]["run"])
    curves = [[episode.iou_at(t) for t in range(1, 21)] for episode in run.episodes()]
    for threshold in (90, 95):
        mean, failed = reached(curves, threshold / 100, 20)
        assert shown[f"NoC@{threshold}"]["scores"][f"noc@{threshold}"]["value"] == pytest.approx(mean)
        assert run.scores()["noc"][f"0.{threshold}"]["failed"] == failed
    assert shown["NoF@95"]["scores"]["nof@95"] == {"value": reached(curves, 0.95, 20)[1], "ci": None}
    for clicks in (1, 5):
        value = shown[f"{clicks}-mIoU"]["scores"][f"miou@{clicks}"]["value"]
        assert value == pytest.approx(100 * np.mean([curve[clicks - 1] for curve in curves]))
