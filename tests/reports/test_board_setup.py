"""A new leaderboard's repository: what its workflows may do, and that its check of submissions works."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hlmat_bench.core.errors import UsageError
from hlmat_bench.reports.leaderboard import setup, site
from hlmat_bench.reports.leaderboard.submission import make_entry
from tests.support import boards

ROOT = Path(__file__).resolve().parents[2]


def _workflow(folder: Path, name: str) -> dict[str, Any]:
    text = (folder / ".github" / "workflows" / name).read_text()
    value: dict[str, Any] = yaml.load(text, Loader=yaml.BaseLoader)  # `on` stays a word
    return value


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "board"
    setup.init(folder)
    return folder


def test_a_new_leaderboard_builds(repository: Path) -> None:
    site.build(repository, repository / "site")
    assert "There is no entry yet" in (repository / "site" / "index.html").read_text()
    head = (repository / "README.md").read_text().split("---")[1]
    assert yaml.safe_load(head)["sdk"] == "static"
    assert (repository / yaml.safe_load(head)["app_file"]).is_file()


def test_nothing_is_overwritten(repository: Path) -> None:
    with pytest.raises(UsageError, match="not empty"):
        setup.init(repository)


def test_the_check_of_submissions_has_no_rights_and_takes_no_word_of_them_for_code(repository: Path) -> None:
    workflow = _workflow(repository, "validate.yml")
    assert workflow["on"] == {"pull_request": ""}
    assert workflow["permissions"] == {"contents": "read"}
    text = (repository / ".github" / "workflows" / "validate.yml").read_text()
    assert "secrets" not in text.replace("no secrets", "")
    [job] = workflow["jobs"].values()
    assert "permissions" not in job
    installs = [step["run"] for step in job["steps"] if "install" in step.get("run", "")]
    version = importlib.metadata.version("hlmat-bench")
    assert installs == [f'python -m pip install "hlmat-bench=={version}"']
    for step in job["steps"]:
        assert "${{" not in step.get("run", "")
    [checkout] = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout")]
    assert checkout["with"]["persist-credentials"] == "false"


def test_only_the_publishing_job_may_write_and_only_pages(repository: Path) -> None:
    workflow = _workflow(repository, "publish.yml")
    assert workflow["on"] == {"push": {"branches": ["main"]}, "workflow_dispatch": ""}
    assert workflow["permissions"] == {"contents": "read"}
    rights = {name: job.get("permissions") for name, job in workflow["jobs"].items()}
    assert rights == {"build": None, "deploy": {"pages": "write", "id-token": "write"}}


class PullRequest:
    """The check's script on a git repository, as it runs on a pull request."""

    def __init__(self, folder: Path, tools: Path) -> None:
        self.folder = folder
        workflow = _workflow(folder, "validate.yml")
        self._script = next(step["run"] for step in workflow["jobs"]["validate"]["steps"] if "env" in step)
        tools.mkdir()
        (tools / "hlmat-bench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hlmat_bench "$@"\n')
        (tools / "hlmat-bench").chmod(0o755)
        who = {f"GIT_{kind}_{what}": "x@example.org" for kind in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        self._environment = {**os.environ, **who, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        self._git("init", "-q", "-b", "main")
        self.commit()
        self._base = self._git("rev-parse", "HEAD").strip()

    def commit(self) -> None:
        self._git("add", "-A", "-f")
        self._git("commit", "-q", "-m", "x")

    def check(self, *, fork: bool = True) -> tuple[int, str]:
        """Return the exit status of the check, and what it says."""
        environment = {**self._environment, "BASE": self._base, "FORK": "true" if fork else "false"}
        ran = subprocess.run(
            ["bash", "-c", self._script], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        return ran.returncode, ran.stdout + ran.stderr

    def _git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self.folder, env=self._environment, capture_output=True, text=True, check=True
        )
        return done.stdout


@pytest.fixture
def request_(repository: Path, tmp_path: Path) -> PullRequest:
    return PullRequest(repository, tmp_path / "tools")


@pytest.mark.slow
def test_an_entry_passes_the_check(request_: PullRequest, task: str, tool: str, tmp_path: Path) -> None:
    run = boards.play(tmp_path / "run", task, tool, limit=4)
    value = boards.dumped(make_entry(run, boards.DECLARED, "mine"))
    boards.put(request_.folder, value)
    request_.commit()
    status, said = request_.check()
    assert (status, "mine.json: schema" in said) == (0, True)
    value["scores"]["selection"]["final"]["miou"] = 0.99
    boards.put(request_.folder, value)
    request_.commit()
    status, said = request_.check()
    assert (status, "FAILED mine.json: scores.selection.final.miou" in said) == (1, True)


@pytest.mark.parametrize(
    "name", ["entries/$(touch fired).json", "entries/a b;touch fired.json", "entries/-x.json", "x"]
)
def test_a_submission_of_other_files_fails_the_check(name: str, request_: PullRequest) -> None:
    (request_.folder / name).write_text("{}")
    request_.commit()
    status, said = request_.check()
    assert (status, "nothing else" in said) == (1, True)
    assert not (request_.folder / "fired").exists()
    assert request_.check(fork=False)[0] == 0  # the maintainers' own


@pytest.mark.slow
def test_a_link_or_a_removed_file_fails_the_check(request_: PullRequest) -> None:
    (request_.folder / "entries" / "link.json").symlink_to("/etc/passwd")
    request_.commit()
    status, said = request_.check()
    assert (status, "no regular file" in said) == (2, True)
    (request_.folder / "entries" / ".gitkeep").unlink()
    (request_.folder / "entries" / "link.json").unlink()
    request_.commit()
    assert request_.check()[0] == 1
