"""Fetching of data sets: each kind end to end, and what happens when something fails on the way."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import tarfile
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.check import check
from hlmat_bench.data.fetch import fetching
from hlmat_bench.data.fetch.plan import Plan, plan
from hlmat_bench.data.fetch.remotes import Remotes
from hlmat_bench.data.fetch.staging import FOLDER
from hlmat_bench.data.tasks import Task
from tests.support.fetching import MASKS, boxes, mask_folder, picture, refer_files, zip_of
from tests.support.file_server import COMMIT, FileServer, Served, served

FILES = mask_folder()
ZIP = zip_of({"set-v1/readme.txt": b"read me", **{f"set-v1/{name}": data for name, data in FILES.items()}})
REFER = {
    "kind": "refer",
    "refs": "refcoco/refs(unc).p",
    "instances": "refcoco/instances.json",
    "images": "images",
    "split": "val",
}
UNPACK = ["boxes/im/*", "boxes/gt/*"]


def tar_gz(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a data root that does not exist yet."""
    return tmp_path / "data"


def fetch(http: httpx2.Client, root: Path, *tasks: Task) -> Plan:
    """Fetch what tasks need, and return what was planned."""
    remotes = Remotes(http)
    planned = plan(tasks, root, remotes)
    fetching.fetch(planned, remotes)
    return planned


def content(root: Path) -> dict[str, bytes]:
    """Return all files under a root but the lock."""
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in files.items() if name != f"{FOLDER}/.lock"}


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive(kind: str, server: FileServer, http: httpx2.Client, root: Path, tmp_path: Path) -> None:
    server.files[f"/set.{kind}"] = served(ZIP if kind == "zip" else tar_gz(FILES))
    task = boxes(tmp_path, [{"from": f"{server.url}/set.{kind}", "unpack": UNPACK}])
    fetch(http, root, task)
    assert content(root) == FILES  # no archive and no part is left
    assert check(task, root).ok
    before = len(server.asked)
    assert fetch(http, root, task).downloads == ()
    assert len(server.asked) == before


def test_a_file_of_the_hub(hub: FileServer, http: httpx2.Client, root: Path, tmp_path: Path) -> None:
    hub.add_hub("ann/sets", {"data/set.zip": ZIP}, kind="models")
    task = boxes(tmp_path, [{"from": "hub:models/ann/sets/data/set.zip", "unpack": UNPACK}])
    planned = fetch(http, root, task)
    assert planned.parts[0].size == len(ZIP)
    assert content(root) == FILES


def test_a_hub_that_is_busy(hub: FileServer, http: httpx2.Client, root: Path, tmp_path: Path) -> None:
    hub.add_hub("ann/sets", {"set.zip": ZIP})
    hub.files["/api/datasets/ann/sets"].answers = [(503, {}), (429, {"Retry-After": "0"})]
    fetch(http, root, boxes(tmp_path, [{"from": "hub:ann/sets/set.zip", "unpack": UNPACK}]))
    assert content(root) == FILES


def test_a_folder_of_the_hub(hub: FileServer, http: httpx2.Client, root: Path, tmp_path: Path) -> None:
    inside = {name.removeprefix("boxes/"): data for name, data in FILES.items()}
    hub.add_hub("ann/boxes", {f"data/{name}": data for name, data in inside.items()} | {"data/README.md": b"no"})
    task = boxes(tmp_path, [{"from": "hub:ann/boxes@main/data/*.png", "to": "boxes"}])
    planned = fetch(http, root, task)
    assert planned.parts[0].size == sum(map(len, FILES.values()))
    assert content(root) == FILES
    assert check(task, root).ok


def test_a_folder_of_the_hub_appears_when_it_is_whole(
    hub: FileServer, http: httpx2.Client, root: Path, tmp_path: Path
) -> None:
    """Some files of a folder could be taken for all of it."""
    hub.add_hub("ann/boxes", {f"data/{name}": data for name, data in FILES.items()})
    place = f"/cdn/{hashlib.sha256(FILES['boxes/gt/box_1.png']).hexdigest()}"
    hub.files[place].answers = [(404, {})]
    task = boxes(tmp_path, [{"from": "hub:ann/boxes/data/boxes/*.png", "to": "boxes"}])
    with pytest.raises(UsageError, match="could not be fetched from any address"):
        fetch(http, root, task)
    assert not (root / "boxes").exists()
    asked = len(hub.asked)
    fetch(http, root, task)
    assert content(root) == FILES
    assert 0 < sum("/cdn/" in path for _, path, _ in hub.asked[asked:]) < len(FILES)  # the rest alone


def test_the_digest_of_the_hub_is_checked(hub: FileServer, http: httpx2.Client, root: Path, tmp_path: Path) -> None:
    hub.add_hub("ann/sets", {"set.zip": ZIP})
    hub.files[f"/cdn/{hashlib.sha256(ZIP).hexdigest()}"] = served(ZIP[:-1] + b"!")
    with pytest.raises(UsageError, match="the file has the SHA-256"):
        fetch(http, root, boxes(tmp_path, [{"from": "hub:ann/sets/set.zip", "unpack": UNPACK}]))
    assert content(root) == {}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            "hub:ann/gated/set.zip",
            r"terms must be accepted first: .* on \S+/datasets/ann/gated, and set HF_TOKEN",
        ),
        ("hub:ann/none/set.zip", "the hub has no repository ann/none, or it is private"),
        ("hub:ann/sets/other.zip", "the repository ann/sets has no file other.zip"),
        ("hub:ann/sets/no/set.zip", "the repository ann/sets has no such folder"),
        ("hub:nonsense", "does not have the form hub:OWNER/REPO"),
    ],
)
def test_what_the_hub_does_not_give(
    address: str, said: str, hub: FileServer, http: httpx2.Client, root: Path, tmp_path: Path
) -> None:
    hub.add_hub("ann/gated", {"set.zip": ZIP}, gated=True)
    hub.add_hub("ann/sets", {"set.zip": ZIP})
    hub.files["/api/datasets/ann/none"] = Served(answers=[(401, {"X-Error-Code": "RepoNotFound"})] * 9)
    no_folder = Served(answers=[(404, {"X-Error-Code": "EntryNotFound"})] * 9)
    hub.files[f"/api/datasets/ann/sets/tree/{COMMIT}/no"] = no_folder
    with pytest.raises(UsageError, match=said):
        fetch(http, root, boxes(tmp_path, [{"from": address, "unpack": UNPACK}]))


@pytest.mark.parametrize("name", ["data/../../../evil.png", "data/..\\..\\evil.png"])
def test_a_hub_names_no_file_outside(
    name: str, hub: FileServer, http: httpx2.Client, root: Path, tmp_path: Path
) -> None:
    hub.add_hub("ann/boxes", {"data/1.png": b"one", name: b"evil"})
    with pytest.raises(UsageError, match="names a file outside of it"):
        fetch(http, root, boxes(tmp_path, [{"from": "hub:ann/boxes/data/*.png", "to": "boxes"}]))
    assert content(root) == {}


def test_a_hub_that_is_not_asked(http: httpx2.Client, root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE forbids"):
        fetch(http, root, boxes(tmp_path, [{"from": "hub:ann/sets/set.zip", "unpack": UNPACK}]))


def test_images_that_samples_name(server: FileServer, http: httpx2.Client, root: Path, tmp_path: Path) -> None:
    names = {f"COCO_train2014_{number:012}.jpg": picture(number, form="JPEG") for number in range(30)}
    server.files["/refcoco.zip"] = served(zip_of(refer_files(dict.fromkeys(names, (40, 30)))))
    for name, data in names.items():
        server.files[f"/train2014/{name}"] = served(data)
    server.files["/train2014/not-named.jpg"] = served(b"")
    source = REFER | {
        "refs": "refer_seg/refcoco/refs(unc).p",
        "instances": "refer_seg/refcoco/instances.json",
        "images": "refer_seg/images/train2014",
    }
    entries = [
        {"from": f"{server.url}/refcoco.zip", "to": "refer_seg", "unpack": list(refer_files({}))},
        {"from": f"{server.url}/train2014/{{name}}", "to": "refer_seg/images/train2014"},
    ]
    task = boxes(tmp_path, entries, source=source, expected={"images": 30})
    have = next(iter(names))
    (root / "refer_seg/images/train2014").mkdir(parents=True)
    (root / "refer_seg/images/train2014" / have).write_bytes(names[have])
    lost = list(names)[7]
    server.files[f"/train2014/{lost}"].answers = [(404, {})]

    with pytest.raises(UsageError, match=f"1 of 29 images of boxes .*{lost}.*HTTP 404"):
        fetch(http, root, task)
    assert sum("train2014" in path for _, path, _ in server.asked) == 29
    assert not list(root.rglob("*.part*"))
    planned = fetch(http, root, task)
    assert [one.number for one in planned.images] == [1]
    assert check(task, root).ok
    assert {path.name for path in (root / "refer_seg/images/train2014").iterdir()} == set(names)


def test_the_next_address_is_tried(
    server: FileServer, http: httpx2.Client, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.files["/page.zip"] = served(b"<html>moved</html>", headers={"Content-Type": "text/html"})
    server.files["/other.zip"] = served(zip_of({"something/else": b"x"}))
    server.files["/half.zip"] = served(ZIP[:500])
    server.files["/good.zip"] = served(ZIP)
    names = ["gone", "page", "other", "half", "good"]
    task = boxes(tmp_path, [{"from": [f"{server.url}/{name}.zip" for name in names], "unpack": UNPACK}])
    with caplog.at_level(logging.WARNING):
        fetch(http, root, task)
    assert content(root) == FILES
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 4
    reasons = ["HTTP 404", "a web page", "no file that fits", "cannot be unpacked"]
    assert [words in sentence for sentence, words in zip(said, reasons, strict=True)] == [True] * 4


def test_all_addresses_fail(server: FileServer, http: httpx2.Client, root: Path, tmp_path: Path) -> None:
    """One sentence names all reasons, and what another entry gave stays."""
    server.files["/good.zip"] = served(ZIP)
    entries: list[dict[str, Any]] = [
        {"from": f"{server.url}/good.zip", "unpack": "boxes/im/*"},
        {"from": [f"{server.url}/one.zip", f"{server.url}/two.zip"], "unpack": "boxes/gt/*"},
    ]
    with pytest.raises(UsageError, match=r"one.zip could not be fetched.*one.zip: .*404.*two.zip: .*404") as caught:
        fetch(http, root, boxes(tmp_path, entries))
    assert "\n" not in str(caught.value)
    assert content(root).keys() == {name for name in FILES if "/im/" in name}


def test_the_same_data_in_another_form(
    hub: FileServer, http: httpx2.Client, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add_hub("ann/boxes", FILES)
    others = [{"from": f"hub:ann/boxes/boxes/{one}/*.png", "to": f"boxes/{one}"} for one in ("im", "gt")]
    task = boxes(tmp_path, [{"from": f"{hub.url}/gone.zip", "unpack": UNPACK, "instead": others}])
    planned = fetch(http, root, task)
    assert "    or else *.png, to boxes/im, from hub:ann/boxes/boxes/im/*.png" in planned.text().splitlines()
    assert "gone.zip comes from none of its addresses; what replaces it is fetched." in caplog.messages
    assert content(root) == FILES
    assert fetch(http, root, task).downloads == ()


def test_tasks_share_an_archive(server: FileServer, http: httpx2.Client, root: Path, tmp_path: Path) -> None:
    server.files["/set.zip"] = served(zip_of(FILES | mask_folder(2, "more")))
    one = boxes(tmp_path / "1", [{"from": f"{server.url}/set.zip", "unpack": UNPACK}])
    two = boxes(
        tmp_path / "2",
        [{"from": f"{server.url}/set.zip", "unpack": ["more/im/*", "more/gt/*"]}],
        source={"kind": "mask_folder", "images": "more/im", "masks": "more/gt", "expression": "x"},
    )
    fetch(http, root, one, two, one)
    assert content(root) == FILES | mask_folder(2, "more")
    assert [method for method, _, _ in server.asked].count("GET") == 1


@pytest.mark.parametrize("kind", ["file of the hub", "folder of the hub", "tar", "images"])
def test_each_kind_is_continued(kind: str, hub: FileServer, http: httpx2.Client, root: Path, tmp_path: Path) -> None:
    """The connection of each file breaks at a random byte, ten times in all or more."""
    random, names = Random(kind), [f"{number}.jpg" for number in range(4)]
    source: dict[str, str] = MASKS
    if kind == "file of the hub":
        hub.add_hub("ann/sets", {"set.zip": ZIP})
        entries: list[dict[str, Any]] = [{"from": "hub:ann/sets/set.zip", "unpack": UNPACK}]
    elif kind == "folder of the hub":
        hub.add_hub("ann/sets", FILES)
        entries = [{"from": f"hub:ann/sets/boxes/{one}/*.png", "to": f"boxes/{one}"} for one in ("im", "gt")]
    elif kind == "tar":
        hub.files["/set.tgz"] = served(tar_gz(FILES))
        entries = [{"from": f"{hub.url}/set.tgz", "unpack": UNPACK}]
    else:
        hub.files |= {f"/images/{name}": served(picture(7, form="JPEG")) for name in names}
        hub.files["/refcoco.zip"] = served(zip_of(refer_files(dict.fromkeys(names, (40, 30)))))
        entries = [{"from": f"{hub.url}/refcoco.zip", "unpack": list(refer_files({}))}]
        entries += [{"from": f"{hub.url}/images/{{name}}", "to": "images"}]
        source = REFER
    task = boxes(tmp_path, entries, source=source)
    stored = {path: file for path, file in hub.files.items() if file.etag}
    attempts = -(-10 // len(stored))
    for attempt in range(attempts):
        for file in stored.values():
            file.break_at = [random.randrange(1, len(file.data))]
        fetch(http, root / str(attempt), task)
        assert check(task, root / str(attempt)).ok
    continued = sum("Range" in headers for _, path, headers in hub.asked if path in stored)
    assert continued == attempts * len(stored) >= 10


@pytest.mark.parametrize("position", sorted(Random(6).sample(range(1, len(ZIP)), 10)))
def test_a_broken_download_is_continued(
    position: int, server: FileServer, http: httpx2.Client, root: Path, tmp_path: Path
) -> None:
    server.files["/set.zip"] = served(ZIP, break_at=[position])
    task = boxes(
        tmp_path, [{"from": f"{server.url}/set.zip", "unpack": UNPACK, "sha256": hashlib.sha256(ZIP).hexdigest()}]
    )
    fetch(http, root, task)
    assert content(root) == FILES
    assert server.asked[-1][2]["Range"] == f"bytes={position}-"


def test_a_part_is_counted_and_continued(
    server: FileServer, http: httpx2.Client, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/set.zip"] = served(ZIP, break_at=[400])
    task = boxes(tmp_path, [{"from": [f"{server.url}/gone.zip", f"{server.url}/set.zip"], "unpack": UNPACK}])
    with monkeypatch.context() as impatient:
        impatient.setattr("hlmat_bench.data.fetch.download.PATIENCE", 0)
        with pytest.raises(UsageError, match="could not be fetched"):
            fetch(http, root, task)
    assert not (root / "boxes").exists()
    planned = plan([task], root, Remotes(http))
    assert planned.parts[0].there == 400
    assert "400 bytes of it there already" in planned.text()
    asked = len(server.asked)
    fetch(http, root, task)
    gets = [(path, headers.get("Range")) for method, path, headers in server.asked[asked:] if method == "GET"]
    assert gets == [("/set.zip", "bytes=400-")]  # the address that the part is from comes first
    assert content(root) == FILES


def test_other_files_are_not_overwritten(server: FileServer, http: httpx2.Client, root: Path, tmp_path: Path) -> None:
    server.files["/set.zip"] = served(ZIP)
    mine = root / "boxes" / "im" / "box_1.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    (mine.parent / "box_2.png").write_bytes(FILES["boxes/im/box_2.png"])
    task = boxes(tmp_path, [{"from": f"{server.url}/set.zip", "unpack": UNPACK}])
    with pytest.raises(UsageError, match=r"box_1.png is there already and differs"):
        fetch(http, root, task)
    assert mine.read_bytes() == b"mine"
    assert not (root / "boxes" / "gt").exists()
    mine.unlink()
    asked = len(server.asked)
    fetch(http, root, task)
    assert content(root) == FILES
    assert [method for method, _, _ in server.asked[asked:]] == ["HEAD"]  # the archive was kept


def test_data_that_people_hold_is_not_fetched(
    server: FileServer, http: httpx2.Client, root: Path, tmp_path: Path
) -> None:
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    task = boxes(tmp_path, [{"from": f"{server.url}/set.zip", "unpack": UNPACK}])
    planned = fetch(http, root, task)
    assert planned.text() == f"Everything is there under {root}."
    assert server.asked == []


def test_a_disk_that_is_too_small(http: httpx2.Client, root: Path, server: FileServer, tmp_path: Path) -> None:
    task = boxes(tmp_path, [{"from": f"{server.url}/set.zip", "unpack": UNPACK, "size": 10**18}])
    with pytest.raises(UsageError, match=r"free, and 2000000.0 TB are needed"):
        fetch(http, root, task)
    assert not root.exists()
    assert server.asked == []


def test_a_root_that_cannot_be_written(http: httpx2.Client, root: Path, server: FileServer, tmp_path: Path) -> None:
    server.files["/set.zip"] = served(ZIP)
    root.write_text("a file")
    with pytest.raises(UsageError, match="cannot be written"):
        fetch(http, root, boxes(tmp_path, [{"from": f"{server.url}/set.zip", "unpack": UNPACK}]))


def test_a_group_with_a_task_without_addresses(
    server: FileServer, http: httpx2.Client, root: Path, tmp_path: Path
) -> None:
    server.files["/set.zip"] = served(ZIP)
    task = boxes(tmp_path, [{"from": f"{server.url}/set.zip", "unpack": UNPACK}])
    other = boxes(tmp_path, [], name="other", how_to_get="sign a form", source={**MASKS, "images": "other"})
    planned = fetch(http, root, task, other)
    assert planned.text().startswith("other cannot be fetched by this command: sign a form.\nTo be downloaded")
    assert content(root) == FILES


def test_a_task_without_addresses(http: httpx2.Client, root: Path, tmp_path: Path) -> None:
    task = boxes(tmp_path, [], how_to_get="sign the form of https://a.org")
    with pytest.raises(UsageError, match="boxes cannot be fetched by this command: sign the form"):
        fetch(http, root, task)


def test_the_text_of_a_plan(server: FileServer, http: httpx2.Client, root: Path, tmp_path: Path) -> None:
    server.files["/set.zip"] = served(ZIP)
    task = boxes(tmp_path, [{"from": [f"{server.url}/set.zip", "https://b.org/set.zip"], "unpack": UNPACK}])
    assert plan([task], root, Remotes(http)).text().splitlines() == [
        f"To be downloaded to {root}:",
        f"  set.zip: {len(ZIP) / 1000:.1f} kB, unpacked to boxes/im and boxes/gt",
        f"    from {server.url}/set.zip",
        "    or from https://b.org/set.zip",
        f"In all {len(ZIP) / 1000:.1f} kB to download.",
        "boxes:",
        "  licence: CC BY 4.0",
        "  cite: Box, Fox. Boxes. 2026",
    ]
