"""``data fetch`` and ``run --fetch`` as a user calls them: programs of their own, at a server on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hlmat_bench.cli import app
from tests.support.fetching import mask_folder, picture, refer_files, task_file, zip_of
from tests.support.file_server import FileServer, served, serving

FILES = mask_folder()
ZIP = zip_of(FILES)
UNPACK = ["boxes/im/*", "boxes/gt/*"]
pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[FileServer]:
    """Return a server with a repository of the hub and an archive."""
    with serving() as running:
        running.add_hub("ann/boxes", {"data/boxes.zip": ZIP})
        running.files["/boxes.zip"] = served(ZIP)
        yield running


def started(server: FileServer, *arguments: str | Path, limit: str = "") -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HLMAT_DATA")}
    environment |= {"HF_ENDPOINT": server.url, "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    code = f"{limit}\nfrom hlmat_bench.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def called(server: FileServer, *arguments: str | Path, limit: str = "") -> tuple[int, str, str]:
    process = started(server, *arguments, limit=limit)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return process.returncode, out, err


def files(root: Path) -> dict[str, bytes]:
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if ".hlmat-fetch" not in name}


def test_from_nothing_to_scores(server: FileServer, tmp_path: Path) -> None:
    """It says what is missing, fetches it from the hub, checks it, and plays."""
    task = task_file(tmp_path, [{"from": "hub:ann/boxes/data/boxes.zip", "unpack": UNPACK}], expected={"images": 3})
    root = tmp_path / "data"
    play = ("run", "--task", task, "--model", "oracle", "--data-root", root, "--out", tmp_path / "run")

    code, _, err = called(server, *play)
    assert code == 2
    assert f"run `hlmat-bench data fetch {task}`" in err

    code, out, err = called(server, "data", "fetch", task, "--data-root", root)
    assert code == 2
    assert "Nothing was downloaded, as there is no terminal to ask on; --yes begins without asking." in err
    for words in ("boxes.zip: ", "hub:ann/boxes/data/boxes.zip", "licence: CC BY 4.0", "cite: Box, Fox. Boxes. 2026"):
        assert words in err
    assert not root.exists()

    code, out, err = called(server, "data", "fetch", task, "--data-root", root, "--yes")
    assert (code, out.splitlines()[0]) == (0, "boxes: all is well"), err
    assert files(root) == FILES
    assert called(server, "data", "check", task, "--data-root", root)[0] == 0

    code, out, err = called(server, *play)
    assert code == 0, err


def test_run_fetches_first(server: FileServer, tmp_path: Path) -> None:
    task = task_file(tmp_path, [{"from": f"{server.url}/boxes.zip", "unpack": UNPACK}])
    arguments = ("run", "--task", task, "--model", "oracle", "--data-root", tmp_path / "data", "--fetch")
    code, _, err = called(server, *arguments, "--out", tmp_path / "run")
    assert code == 0, err
    assert f"from {server.url}/boxes.zip" in err
    assert files(tmp_path / "data") == FILES


def test_two_processes_at_once(server: FileServer, tmp_path: Path) -> None:
    task = task_file(tmp_path, [{"from": f"{server.url}/boxes.zip", "unpack": UNPACK}])
    arguments = ("data", "fetch", task, "--data-root", tmp_path / "data", "--yes")
    both = [started(server, *arguments) for _ in range(2)]
    assert [process.communicate(timeout=120) and process.returncode for process in both] == [0, 0]
    assert files(tmp_path / "data") == FILES
    assert [method for method, _, _ in server.asked].count("GET") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_process_that_is_ended_goes_on_later(
    number: signal.Signals, code: int, server: FileServer, tmp_path: Path
) -> None:
    server.files["/boxes.zip"] = served(ZIP, hang_at=700)
    task = task_file(tmp_path, [{"from": f"{server.url}/boxes.zip", "unpack": UNPACK}])
    root = tmp_path / "data"
    process = started(server, "data", "fetch", task, "--data-root", root, "--yes")
    while process.poll() is None and sum(path.stat().st_size for path in root.rglob("*.part")) < 700:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert number == signal.SIGKILL or "the same command continues from there" in err
    assert files(root) == {}
    server.files["/boxes.zip"].hang_at = None
    assert called(server, "data", "fetch", task, "--data-root", root, "--yes")[0] == 0
    assert files(root) == FILES
    assert server.asked[-1][2]["Range"] == "bytes=700-"


def test_a_disk_that_is_full(server: FileServer, tmp_path: Path) -> None:
    """A limit of the system on the size of files makes writing fail where a full disk does."""
    server.files["/boxes.zip"] = served(ZIP)
    task = task_file(tmp_path, [{"from": f"{server.url}/boxes.zip", "unpack": UNPACK}])
    arguments = ("data", "fetch", task, "--data-root", tmp_path / "data", "--yes")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    code, _, err = called(server, *arguments, limit=limit)
    assert code == 2
    assert "cannot be written (File too large); what was downloaded is kept" in err
    assert files(tmp_path / "data") == {}
    assert called(server, *arguments)[0] == 0
    assert server.asked[-1][2]["Range"] == "bytes=1000-"
    assert files(tmp_path / "data") == FILES


def test_every_address_fails(server: FileServer, tmp_path: Path) -> None:
    task = task_file(tmp_path, [{"from": [f"{server.url}/a.zip", "hub:ann/boxes/b.zip"], "unpack": UNPACK}])
    code, _, err = called(server, "data", "fetch", task, "--data-root", tmp_path / "data", "--yes")
    assert code == 2
    assert f"{server.url}/a.zip gives no usable file: the server answers with HTTP 404" in err
    assert "error: a.zip could not be fetched from any address" in err


def test_no_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    monkeypatch.delenv("HLMAT_DATA", raising=False)
    result = CliRunner().invoke(app, ["data", "fetch", "grabcut", "--yes"])
    assert "--data-root" in str(result.exception)


def test_ctrl_c_among_images(server: FileServer, tmp_path: Path) -> None:
    """Images that are whole stay, and the others are fetched by the next call."""
    names = {f"{number}.jpg": picture(number, form="JPEG") for number in range(12)}
    server.files["/refcoco.zip"] = served(zip_of(refer_files(dict.fromkeys(names, (40, 30)))))
    server.files |= {f"/images/{name}": served(data) for name, data in names.items()}
    server.files["/images/5.jpg"].hang_at = 100
    entries = [
        {"from": f"{server.url}/refcoco.zip", "unpack": list(refer_files({}))},
        {"from": f"{server.url}/images/{{name}}", "to": "images"},
    ]
    source = {"kind": "refer", "refs": "refcoco/refs(unc).p", "instances": "refcoco/instances.json"}
    task = task_file(tmp_path, entries, source={**source, "images": "images", "split": "val"})
    folder = tmp_path / "data" / "images"
    process = started(server, "data", "fetch", task, "--data-root", tmp_path / "data", "--yes")
    while process.poll() is None and len(list(folder.glob("*.jpg"))) < 11:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    server.files["/images/5.jpg"].hang_at = None
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert not (folder / "5.jpg").exists()
    asked = len(server.asked)
    assert called(server, "data", "fetch", task, "--data-root", tmp_path / "data", "--yes")[0] == 0
    assert [path for method, path, _ in server.asked[asked:] if method == "GET"] == ["/images/5.jpg"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == names
