"""One file over HTTP: whatever breaks, there is the whole file in the end or none."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.fetch import download as module
from hlmat_bench.data.fetch.download import Remote, download
from hlmat_bench.data.fetch.problems import AddressFailed
from tests.support.file_server import FileServer, Served, served, serving

DATA = Random(0).randbytes(300_000)
SHA = hashlib.sha256(DATA).hexdigest()


def quiet(done: int, total: int) -> None:
    """Show nothing."""


def once(remote: Remote, path: Path, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Try an address once, as a process does that is ended by the first break."""
    monkeypatch.setattr(module, "PATIENCE", 0)
    with pytest.raises(AddressFailed):
        download(remote, path, http, quiet)
    monkeypatch.setattr(module, "PATIENCE", 5)


def test_a_file_is_there_when_it_is_whole(server: FileServer, http: httpx2.Client, tmp_path: Path) -> None:
    server.files["/a b.zip"] = served(DATA)
    told: list[tuple[int, int]] = []
    path = tmp_path / "new" / "a.zip"
    download(Remote(f"{server.url}/a%20b.zip", "a.zip"), path, http, lambda *numbers: told.append(numbers))
    assert path.read_bytes() == DATA
    assert [one.name for one in path.parent.iterdir()] == ["a.zip"]
    assert told[0] == (0, len(DATA))
    assert told[-1] == (len(DATA), len(DATA))


def test_ten_breaks_are_continued(server: FileServer, http: httpx2.Client, tmp_path: Path) -> None:
    breaks = sorted(Random(1).sample(range(1, len(DATA)), 10))
    file = server.files["/a"] = served(DATA, break_at=[*breaks])
    download(Remote(f"{server.url}/a", "a"), tmp_path / "a", http, quiet)
    assert (tmp_path / "a").read_bytes() == DATA
    asked = [int(headers["Range"].strip("bytes=-")) for _, _, headers in server.asked[1:]]
    assert asked == breaks  # nothing is sent twice
    assert {headers["If-Range"] for _, _, headers in server.asked[1:]} == {file.etag}


@pytest.mark.parametrize("position", sorted(Random(2).sample(range(1, len(DATA)), 10)))
def test_another_process_continues(
    position: int, server: FileServer, http: httpx2.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/a"] = served(DATA, break_at=[position])
    remote = Remote(f"{server.url}/a", "a")
    once(remote, tmp_path / "a", http, monkeypatch)
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "a.part").read_bytes() == DATA[:position]
    download(remote, tmp_path / "a", http, quiet)
    assert (tmp_path / "a").read_bytes() == DATA
    assert server.asked[-1][2]["Range"] == f"bytes={position}-"


@pytest.mark.parametrize("faithful", [True, False], ids=["compares If-Range", "ignores If-Range"])
def test_a_file_that_changed_is_sent_whole(
    faithful: bool, server: FileServer, http: httpx2.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/a"] = served(DATA, break_at=[1000])
    remote = Remote(f"{server.url}/a", "a")
    once(remote, tmp_path / "a", http, monkeypatch)
    new = Random(3).randbytes(len(DATA))
    server.files["/a"] = served(new, faithful=faithful)
    download(remote, tmp_path / "a", http, quiet)
    assert (tmp_path / "a").read_bytes() == new


def test_a_server_without_ranges_sends_all_again(server: FileServer, http: httpx2.Client, tmp_path: Path) -> None:
    server.files["/a"] = served(DATA, ranges=False, break_at=[10, 200_000])
    download(Remote(f"{server.url}/a", "a"), tmp_path / "a", http, quiet)
    assert (tmp_path / "a").read_bytes() == DATA


def test_without_a_validator_a_part_is_not_continued(
    server: FileServer, http: httpx2.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/a"] = served(DATA, etag="", break_at=[1000])
    once(Remote(f"{server.url}/a", "a"), tmp_path / "a", http, monkeypatch)
    server.files["/a"] = served(b"x" * len(DATA), etag="")
    download(Remote(f"{server.url}/a", "a"), tmp_path / "a", http, quiet)
    assert (tmp_path / "a").read_bytes() == b"x" * len(DATA)
    assert "Range" not in server.asked[-1][2]


def test_a_part_of_another_file_is_not_continued(
    server: FileServer, http: httpx2.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/old"] = served(b"y" * len(DATA), break_at=[1000])
    server.files["/new"] = served(DATA)
    once(Remote(f"{server.url}/old", "a"), tmp_path / "a", http, monkeypatch)
    download(Remote(f"{server.url}/new", "a"), tmp_path / "a", http, quiet)
    assert (tmp_path / "a").read_bytes() == DATA
    (tmp_path / "b.part").write_bytes(b"something of somebody")
    download(Remote(f"{server.url}/new", "b"), tmp_path / "b", http, quiet)
    assert (tmp_path / "b").read_bytes() == DATA


def test_a_mirror_continues_a_file_of_known_digest(
    server: FileServer, http: httpx2.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/one"] = served(DATA, break_at=[1000])
    server.files["/two"] = served(DATA)
    once(Remote(f"{server.url}/one", "a", sha256=SHA), tmp_path / "a", http, monkeypatch)
    download(Remote(f"{server.url}/two", "a", sha256=SHA), tmp_path / "a", http, quiet)
    assert (tmp_path / "a").read_bytes() == DATA
    assert server.asked[-1][2]["Range"] == "bytes=1000-"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": len(DATA) - 1}, "300,000 bytes, not 299,999"),
        ({"sha256": "0" * 64}, f"SHA-256 {SHA}, not 0000"),
    ],
)
def test_another_content_is_refused(
    change: dict[str, object], said: str, server: FileServer, http: httpx2.Client, tmp_path: Path
) -> None:
    server.files["/a"] = served(DATA)
    with pytest.raises(AddressFailed, match=said):
        download(Remote(f"{server.url}/a", "a", **change), tmp_path / "a", http, quiet)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (Served(answers=[(404, {})]), "HTTP 404: there is no such file"),
        (Served(answers=[(403, {})]), "HTTP 403: it forbids"),
        (Served(answers=[(401, {})]), "HTTP 401: it asks for a password"),
        (Served(answers=[(401, {"X-Error-Code": "GatedRepo"})]), "its terms must be accepted first.*HF_TOKEN"),
        (Served(DATA, headers={"Content-Type": "text/html; charset=utf-8"}), "a web page instead"),
        (Served(DATA, headers={"Content-Encoding": "br"}), "the encoding br"),
        (Served(DATA, ends="connection"), "does not say how long the file is"),
        (Served(b""), "0 bytes"),
        (Served(redirect="/a"), "TooManyRedirects"),
        (Served(redirect="ftp://elsewhere/a"), "UnsupportedProtocol"),
    ],
)
def test_what_is_no_file(file: Served, said: str, server: FileServer, http: httpx2.Client, tmp_path: Path) -> None:
    server.files["/a"] = file
    with pytest.raises(AddressFailed, match=said):
        download(Remote(f"{server.url}/a", "a"), tmp_path / "a", http, quiet)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(status: int, server: FileServer, http: httpx2.Client, tmp_path: Path) -> None:
    server.files["/a"] = served(DATA, answers=[(status, {"Retry-After": "0"})] * 3)
    download(Remote(f"{server.url}/a", "a"), tmp_path / "a", http, quiet)
    assert (tmp_path / "a").read_bytes() == DATA
    assert len(server.asked) == 4


def test_a_server_that_stays_busy_fails(server: FileServer, http: httpx2.Client, tmp_path: Path) -> None:
    server.files["/a"] = served(DATA, answers=[(503, {})] * 99)
    with pytest.raises(AddressFailed, match="HTTP 503"):
        download(Remote(f"{server.url}/a", "a"), tmp_path / "a", http, quiet)
    assert len(server.asked) == module.PATIENCE


def test_nobody_listens(http: httpx2.Client, tmp_path: Path) -> None:
    with serving() as gone:
        url = gone.url
    with pytest.raises(AddressFailed, match="ConnectError"):
        download(Remote(f"{url}/a", "a"), tmp_path / "a", http, quiet)


def test_a_folder_in_the_way_is_told(server: FileServer, http: httpx2.Client, tmp_path: Path) -> None:
    server.files["/a"] = served(DATA)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        download(Remote(f"{server.url}/a", "a"), tmp_path / "file" / "a", http, quiet)


def test_a_redirection_to_another_server_gets_no_token(server: FileServer, http: httpx2.Client, tmp_path: Path) -> None:
    with serving() as other:
        other.files["/b"] = served(DATA)
        server.files["/a"] = Served(redirect=f"{other.url}/b")
        remote = Remote(f"{server.url}/a", "a", {"Authorization": "Bearer secret"})
        download(remote, tmp_path / "a", http, quiet)
        assert server.asked[0][2]["Authorization"] == "Bearer secret"
        assert "Authorization" not in other.asked[0][2]
    assert (tmp_path / "a").read_bytes() == DATA


SMALL = Random(4).randbytes(1000)
OTHER = Random(5).randbytes(1000)
STATES = [SMALL, OTHER, SMALL[:-1]]
ANSWERS = st.fixed_dictionaries(
    {
        "data": st.sampled_from([SMALL, SMALL, OTHER, SMALL[:-1]]),
        "etag": st.sampled_from(["strong", "weak", ""]),
        "modified": st.sampled_from(["", "Fri, 27 Nov 2026 12:00:00 GMT"]),
        "ranges": st.booleans(),
        "ends": st.sampled_from(["length", "chunks", "connection"]),
        "break_at": st.lists(st.integers(0, 1000), max_size=4),
        "answers": st.lists(st.sampled_from([(503, {}), (404, {}), (429, {"Retry-After": "0"})]), max_size=2),
    }
)


@pytest.fixture(scope="module")
def world(http: httpx2.Client) -> Iterator[tuple[FileServer, httpx2.Client]]:
    """Return a server and a client for many examples."""
    with serving() as server:
        yield server, http


@settings(max_examples=60, derandomize=True, database=None)
@given(steps=st.lists(ANSWERS, min_size=1, max_size=4), known=st.sampled_from(["", "size", "sha256"]))
def test_the_whole_file_or_none(
    world: tuple[FileServer, httpx2.Client], steps: list[dict[str, object]], known: str
) -> None:
    """Whatever a server does in several calls, what has the file's name is one of the files that it had."""
    told = {"size": len(SMALL)} if known == "size" else {"sha256": hashlib.sha256(SMALL).hexdigest()} if known else {}
    server, http = world
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        for step in steps:
            data = step["data"]
            assert isinstance(data, bytes)
            tag = f'"{hashlib.sha256(data).hexdigest()[:8]}"'
            step["etag"] = {"strong": tag, "weak": f"W/{tag}", "": ""}[str(step["etag"])]
            if step["modified"]:  # two states of a file that one second saw are told apart by nobody
                step["modified"] = (
                    f"Fri, 27 Nov 2026 12:00:0{[SMALL, OTHER].index(data) if len(data) == 1000 else 2} GMT"
                )
            server.files["/a"] = Served(**step)  # type: ignore[arg-type]
            try:
                download(Remote(f"{server.url}/a", "a", **told), path, http, quiet)  # type: ignore[arg-type]
            except AddressFailed:
                assert not path.exists()
                continue
            assert path.read_bytes() in ([SMALL] if known == "sha256" else STATES)
            assert known != "size" or path.stat().st_size == len(SMALL)
            break
