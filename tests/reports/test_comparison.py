"""What a comparison says: verdicts, differing settings, and the samples that runs have in common."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from hlmat_bench import cli
from hlmat_bench.core.errors import UsageError
from hlmat_bench.reports.compare import pairs, settings, words
from hlmat_bench.reports.run import loaded
from hlmat_bench.runs.run import run
from hlmat_bench.runs.run_folder import Run
from tests.support.report_runs import write_task

pytestmark = pytest.mark.slow

Models = dict[str, Path]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_task(tmp_path_factory.mktemp("data"), 24)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, task: str, tool: str) -> Models:
    """Play 24 samples on 12 images: the oracle, a blind click, and no click at all."""
    folder = tmp_path_factory.mktemp("models")
    return {
        name: run(name, task, f"{tool},radius=12", out=folder / name).folder for name in ("oracle", "center", "empty")
    }


def _compare(*words: Any) -> tuple[str, str]:
    ran = CliRunner().invoke(cli.app, ["compare", *map(str, words)])
    assert ran.exit_code == 0, ran.output
    return ran.stdout, ran.stderr


def _verdict(*folders: Path) -> str:
    entrants = loaded.read(folders)
    return words.summary(entrants, pairs.pairs(entrants))


def _ious(folder: Path) -> list[float]:
    return [episode.iou_at(len(episode.steps)) for episode in Run(folder).episodes()]


def test_a_verdict_names_the_better_run_first(models: Models) -> None:
    gaps = [a - b for a, b in zip(_ious(models["oracle"]), _ious(models["center"]), strict=True)]
    said = _verdict(models["center"], models["oracle"])
    assert said.startswith(f"oracle is better than center by {100 * sum(gaps) / 24:.1f} points [")
    ahead, behind = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
    assert f" on 24 samples; ahead on {ahead}, behind on {behind}" in said
    assert said == _verdict(models["oracle"], models["center"])


def test_equal_runs_do_not_differ(models: Models) -> None:
    assert _verdict(models["empty"], models["empty"]) == (
        "empty (1) and empty (2) do not differ on 24 samples; ahead on 0, behind on 0, equal on 24."
    )


def test_a_difference_that_is_not_significant_is_said_plainly(task: str, tool: str, tmp_path: Path) -> None:
    folders = [run("random", task, tool, seed=n, out=tmp_path / str(n)).folder for n in (1, 2)]
    said = _verdict(*folders)
    assert said.startswith("The difference between random")
    assert " is not significant: random" in said
    assert " is ahead by " in said


def test_few_images_have_no_verdict_and_one_has_no_interval(task: str, tool: str, tmp_path: Path) -> None:
    for limit, image in ((2, "a single image"), (18, "9 images")):
        folders = [
            run(name, task, f"{tool},radius=12", limit=limit, out=tmp_path / f"{name}{limit}").folder
            for name in ("oracle", "center")
        ]
        said = _verdict(*folders)
        assert re.match(f"No verdict on {image}, as 10 are needed. (oracle|center) is ahead by [0-9]", said)
        assert ("[" in said) == (limit > 2)
        printed, _ = _compare(*folders)
        assert ("[" in printed) == (limit > 2)
    printed = CliRunner().invoke(cli.app, ["score", str(tmp_path / "oracle2")]).output
    assert "[" not in printed


def test_of_three_runs_the_best_is_named(models: Models) -> None:
    said = _verdict(*models.values())
    assert said.startswith("oracle has the highest mIoU, ")
    assert said.endswith("It is significantly better than center and empty.")
    printed, _ = _compare(*models.values())
    assert printed.startswith(said)
    assert "center − empty" in printed


def test_what_else_differs_is_said_in_words(models: Models, task: str, tool: str, tmp_path: Path) -> None:
    other = run(
        "oracle", task, f"{tool},radius=12", strategy="greedy", budget=2, settings={"history": "on"}, out=tmp_path / "a"
    )
    _, said = _compare(models["oracle"], other.folder)
    assert "Both runs are of the same model, oracle. These runs differ in: clicks per sample (4 → 2)" in said
    assert "earlier clicks in the prompt (no → yes)" in said
    _, said = _compare(models["center"], models["oracle"])
    assert said == ""
    _, said = _compare(models["center"], other.folder)
    assert "These runs also differ in: clicks per sample (4 → 2)" in said
    assert "same model" not in said


def test_what_reference_policies_do_not_use_does_not_differ(task: str, tool: str, tmp_path: Path) -> None:
    """hlmat-tiny has a prompt and an image size of its own; only from another model's do they differ."""
    asked: dict[str, dict[str, Any]] = {"a": {}, "b": {"prompt": "Where is {expression}?"}}
    made = [run("oracle", task, f"{tool},radius=12", limit=4, out=tmp_path / "oracle").folder]
    for name, options in asked.items():
        model = run("hlmat-tiny", task, f"{tool},radius=12", limit=4, settings=options, out=tmp_path / name)
        made.append(model.folder)
    assert settings.differing(loaded.read(made[:2])) == []
    assert settings.differing(loaded.read(made)) == [("prompt", ["not used", "{expression}", "Where is {expression}?"])]


def test_a_search_differs_in_its_strategy_and_reward_model(
    models: Models, task: str, tool: str, tmp_path: Path
) -> None:
    """The model is the same, and a reward model that is not there is ``none``."""
    searched = run(
        "oracle", task, f"{tool},radius=12", strategy="prm", settings={"prm": "oracle"}, out=tmp_path / "prm"
    ).folder
    _, said = _compare(models["oracle"], searched)
    assert "Both runs are of the same model, oracle. These runs differ in: strategy (greedy → prm)" in said
    assert "reward model (none → oracle)" in said
    assert "null" not in said
    assert '"' not in said


@hypothesis_settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner),
    )
)
def test_values_of_settings_are_never_json(value: Any) -> None:
    said = settings.value_words(value)
    assert "\n" not in said
    if not isinstance(value, str):
        assert "None" not in said or "None" in json.dumps(value)
        assert value is not None or said == "none"
    if isinstance(value, bool):
        assert said in ("yes", "no")


def test_runs_on_other_samples_are_compared_on_those_in_common(
    models: Models, task: str, tool: str, tmp_path: Path
) -> None:
    fewer = run("center", task, f"{tool},radius=12", limit=20, out=tmp_path / "fewer").folder
    ran = CliRunner().invoke(cli.app, ["compare", str(models["oracle"]), str(fewer)])
    assert isinstance(ran.exception, UsageError)
    assert "20 are in both" in str(ran.exception)
    assert "--common" in str(ran.exception)
    printed, _ = _compare(models["oracle"], fewer, "--common")
    assert " on 20 samples" in printed
    mean = sum(_ious(models["oracle"])[:20]) / 20
    assert f"{100 * mean:.1f} [" in printed
    assert len(Run(models["oracle"]).samples()) == Run(models["oracle"]).scores()["n"] == 24


def test_other_masks_do_not_compare(tmp_path: Path, task: str, tool: str) -> None:
    text = (
        Path(task)
        .read_text()
        .replace("kind: segmentation\n", "kind: filtering\nfiltering: {positive: [1, 3], negative: [0, 3], seed: 0}\n")
    )
    rating = Path(task).with_name("rating.yaml")
    rating.write_text(text)
    folders = [run("random", str(rating), tool, budget=budget, out=tmp_path / str(budget)).folder for budget in (3, 4)]
    ran = CliRunner().invoke(cli.app, ["compare", *map(str, folders)])
    assert isinstance(ran.exception, UsageError)
    assert "were shown other masks" in str(ran.exception)


def test_an_unknown_format_is_named(models: Models) -> None:
    ran = CliRunner().invoke(cli.app, ["compare", str(models["oracle"]), str(models["center"]), "--format", "doc"])
    assert isinstance(ran.exception, UsageError)
    assert "There is no table format 'doc'; --format takes tex, md, csv." in str(ran.exception)
