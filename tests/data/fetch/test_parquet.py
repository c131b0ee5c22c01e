"""Parquet files of the hub: a task of a repository's name, and refCOCO where its archive is not to be had."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.check import check
from hlmat_bench.data.fetch import fetching
from hlmat_bench.data.fetch.plan import plan
from hlmat_bench.data.fetch.remotes import Remotes
from hlmat_bench.data.tasks import Task, load_task
from tests.support.fetching import boxes, picture, refer_files
from tests.support.file_server import FileServer, served
from tests.support.parquet_files import LMMS, REFERENCES, Refer, write

NAMES = [f"COCO_train2014_{number:012}.jpg" for number in range(5)]
REFER = {"kind": "refer", "refs": "refcoco/refs(unc).p", "instances": "refcoco/instances.json", "images": "images"}


@pytest.fixture
def rows(tmp_path: Path) -> Refer:
    """Return references in the layout of refCOCO, with their images."""
    folder = tmp_path / "refer"
    for name, data in refer_files(dict.fromkeys(NAMES, (40, 30))).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    instances = json.loads((folder / "refcoco/instances.json").read_text())
    (folder / "images").mkdir()
    for item in instances["images"]:
        (folder / "images" / item["file_name"]).write_bytes(picture(item["id"], form="JPEG"))
    return Refer(folder / "refcoco", "refs(unc).p", folder / "images")


def fetch(http: httpx2.Client, root: Path, task: Task) -> None:
    remotes = Remotes(http)
    fetching.fetch(plan([task], root, remotes), remotes)


def test_a_repository_of_the_hub(hub: FileServer, http: httpx2.Client, rows: Refer, tmp_path: Path) -> None:
    file = write(tmp_path / "val-00000-of-00001.parquet", rows.lmms("val"), LMMS)
    hub.add_hub("me/RefCOCO", {f"data/{file.name}": file.read_bytes()})
    task = load_task("hf:me/RefCOCO,split=val")
    with pytest.raises(UsageError, match="run `hlmat-bench data fetch hf:me/RefCOCO,split=val`"):
        task.source(tmp_path / "data")
    fetch(http, tmp_path / "data", task)
    assert [path.name for path in (tmp_path / "data/me/RefCOCO/data").iterdir()] == [file.name]
    assert len(task.source(tmp_path / "data").samples()) == len(NAMES)


def test_references_instead_of_the_archive(hub: FileServer, http: httpx2.Client, rows: Refer, tmp_path: Path) -> None:
    """The samples are those of the pickle, and the images that they name are fetched."""
    file = write(tmp_path / "validation-00000-of-00001.parquet", rows.references(), REFERENCES)
    hub.add_hub("jxu124/refcoco", {f"data/{file.name}": file.read_bytes()})
    hub.files |= {f"/train2014/{name}": served((rows.folder / name).read_bytes()) for name in NAMES}
    archive = {"from": f"{hub.url}/gone.zip", "unpack": list(refer_files({}))}
    other = {"from": "hub:jxu124/refcoco/data/*.parquet", "to": "jxu124/refcoco/data"}
    images = {"from": f"{hub.url}/train2014/{{name}}", "to": "images"}
    sources = [REFER | {"split": "val"}]
    sources += [{"kind": "parquet", "files": "jxu124/refcoco", "images": "images", "split": "val"}]
    task = boxes(tmp_path, [archive | {"instead": [other]}, images], source=sources)
    root = tmp_path / "data"
    fetch(http, root, task)
    assert check(task, root).ok
    pickled = boxes(tmp_path, [], source=REFER | {"split": "val"})
    assert task.source(root).digest() == pickled.source(rows.folder.parent).digest()
