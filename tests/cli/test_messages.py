"""Messages of the command line: what is wrong, in words that are no library's, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hlmat_bench.cli import app
from hlmat_bench.core.errors import UsageError


def _error(*words: str) -> str:
    ran = CliRunner().invoke(app, words)
    assert isinstance(ran.exception, UsageError), ran.output
    return str(ran.exception)


@pytest.mark.parametrize("name", ["oracle", "gt-box", "oracle,misplaced=0.5"])
def test_a_reference_policy_is_no_plug_in_to_check(name: str) -> None:
    assert "is a reference policy and part of hlmat-bench" in _error("check", name)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--budget", "0"], "The setting budget is 0, which does not fit: it should be at least 1."),
        (["--set", "jpeg=900"], "The setting jpeg is 900, which does not fit: it should be at most 100."),
        (["--set", "history=maybe"], "it should be true or false."),
        (["--set", "temperature=hot"], "it should be a number."),
        (["--set", "max_tokens=1.5"], "it should be a whole number."),
        (["--set", "data.count=many"], "it should be a whole number."),
        (["--set", "overlay.color=purple"], "a colour is green, blue, red, yellow, magenta, cyan or three numbers"),
        (["--set", "overlay.color=[1, 2]"], "three numbers from 0 to 255, such as [255, 0, 0]."),
        (["--strategy", "tree", "--set", "prm=truth"], "it should be 'reply', 'ask', 'oracle' or 'noisy'."),
    ],
)
def test_values_that_do_not_fit_are_explained_without_words_of_a_library(
    words: list[str], expected: str, tmp_path: Path
) -> None:
    said = _error("run", "--model", "oracle", "--task", "hres_synth", "--out", str(tmp_path / "run"), *words)
    assert expected in said
    assert "Input" not in said
    assert "valid" not in said


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("oracle,noise=1", 'oracle has no option "noise"; its only option is misplaced, for example misplaced=0.3.'),
        ("oracle,misplaced=0.1,noise=1", 'oracle has no option "noise"; its only option is misplaced'),
        ("center,misplaced=0.1", 'center has no option "misplaced"; it has no options.'),
    ],
)
def test_options_that_a_reference_policy_does_not_have(model: str, expected: str, tmp_path: Path) -> None:
    said = _error("run", "--model", model, "--task", "hres_synth", "--out", str(tmp_path / "run"))
    assert said.startswith(expected)


def test_a_folder_of_runs_is_not_a_run_and_the_message_names_them(tmp_path: Path) -> None:
    assert _error("score", str(tmp_path)).endswith("(no run.json); name a folder that `hlmat-bench run` has written.")
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
    assert _error("report", str(tmp_path)) == f"{tmp_path} is not a run folder (no run.json); it holds 2 runs: a, b."


@pytest.mark.parametrize("group", [[], ["data"], ["leaderboard"], ["trajectories"], ["lmms"]])
def test_the_help_describes_each_command_in_a_whole_sentence(group: list[str]) -> None:
    shown = CliRunner().invoke(app, [*group, "--help"], env={"COLUMNS": "80"}).stdout
    described = shown.partition("Commands:")[2].splitlines()
    assert described
    assert not [line for line in described if line.endswith("...")]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "--limit", "x"], "it should be a whole number"),
        (["run", "--max-cost", "much"], "it should be a number"),
        (["run", "--concurrency", "0"], "it should be at least 1"),
        (["serve-env", "--port", "70000"], "it should be at most 65535"),
    ],
)
def test_options_with_wrong_values_are_explained(words: list[str], expected: str) -> None:
    ran = CliRunner().invoke(app, [*words, "--model", "oracle", "--task", "hres_synth"])
    assert ran.exit_code == 2
    assert "Input" not in ran.output
    assert expected in ran.output or "is not" in ran.output  # older versions of typer have words of their own


def test_the_help_names_values_and_not_types_of_python() -> None:
    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "80"}).stdout
    assert "--model TEXT" in shown
    assert "--limit N" in shown
    assert "--data-root PATH" in shown
    assert not re.search(r"<|list\[|LIST|STR\b|INT\b", shown)
