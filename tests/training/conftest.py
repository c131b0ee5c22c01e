"""A task of many small images, and a run on it whose model says anything."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import hlmat_bench
from hlmat_bench.runs.run_folder import Run
from tests.support.babbling import Babbler

EPISODES, PER_IMAGE, BUDGET = 1000, 10, 5
SIZE = (36, 48)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the task file of 1,000 expressions on 100 small images."""
    folder = tmp_path_factory.mktemp("many")
    generator = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    lines = ["image,mask,expression"]
    for number in range(EPISODES // PER_IMAGE):
        image = generator.integers(0, 256, (*SIZE, 3), np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        for thing in range(PER_IMAGE):
            mask = np.zeros(SIZE, np.uint8)
            y, x = generator.integers(0, 20), generator.integers(0, 30)
            mask[y : y + generator.integers(2, 16), x : x + generator.integers(2, 18)] = 255
            cv2.imwrite(str(folder / "masks" / f"{number}_{thing}.png"), mask)
            lines.append(f"{number}.png,{number}_{thing}.png,thing {thing} of {number}")
    (folder / "expressions.csv").write_text("\n".join(lines) + "\n")
    path = folder / "many.yaml"
    path.write_text(
        "name: many\nversion: 1\ntitle: Many\ngroup: mine\nkind: segmentation\n"
        f"source: {{kind: table}}\nprotocol: {{budget: {BUDGET}}}\n"
    )
    return str(path)


@pytest.fixture(scope="session")
def discs(tool: str) -> str:
    """Return a segmenter that draws small discs."""
    return f"{tool},radius=6"


@pytest.fixture(scope="session")
def babbled(many: str, discs: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of 1,000 episodes whose replies are random and mutated."""
    model = Babbler(resize="fit-long40")
    return hlmat_bench.run(model, many, discs, out=tmp_path_factory.mktemp("babbled"), concurrency=8)


@pytest.fixture(scope="session")
def options(many: str, discs: str) -> dict[str, object]:
    """Return the settings of sessions that play as `babbled` does."""
    return {"task": many, "segmenter": discs, "points": "xy1000", "resize": "fit-long40"}
