from __future__ import annotations

import json
from pathlib import Path

import pytest

import hlmat_bench
from hlmat_bench import testing
from hlmat_bench.cli import app
from hlmat_bench.core.errors import UsageError
from hlmat_bench.models.catalog import Catalog

MINE = """
schema: hlmat-catalog/1
aliases: {mine: mine-7b}
families:
  mine: &mine
    adapter: hf
    points: xypixel-json
    resize: fit-long40
    source: https://example.org/card
    verified: true
    checked: 2026-11-21
models:
  mine-7b:
    <<: *mine
    title: Mine 7B
    options: {pretrained: mine/7b, batch_size: 2}
    settings: {prompt: 'Where is {expression}? {form}', jpeg: 75}
  mine-api:
    <<: *mine
    title: Mine, served
    adapter: openai
    options: {model: mine-large, key_env: MINE_KEY}
    note: Costs money.
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    return path


def test_a_short_name_means_its_entry_and_options_are_added(mine: Path) -> None:
    choice = Catalog.load(mine).choose("mine,batch_size=4")
    assert (choice.plugin, choice.entry) == ("hf", "mine-7b")
    assert choice.options == {
        "points": "xypixel-json",
        "resize": "fit-long40",
        "name": "mine-7b",
        "pretrained": "mine/7b",
        "batch_size": "4",
    }
    assert choice.settings["jpeg"] == 75


def test_an_entry_can_be_run_through_a_server(mine: Path) -> None:
    """The checkpoint's name becomes the server's; batch sizes of the local adapter mean nothing there."""
    choice = Catalog.load(mine).choose("mine-7b,adapter=openai,base_url=http://localhost:1/v1")
    assert choice.plugin == "openai"
    assert choice.options["model"] == "mine/7b"
    assert choice.options["points"] == "xypixel-json"
    assert "batch_size" not in choice.options


def test_what_is_no_entry_is_a_plugin(mine: Path) -> None:
    choice = Catalog.load(mine).choose("./my_model.py,x=3")
    assert (choice.plugin, choice.options, choice.entry) == ("./my_model.py", {"x": "3"}, None)


def test_a_misspelt_entry_is_answered_with_the_nearest(mine: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean mine-7b"):
        Catalog.load(mine).choose("mine-7n").make()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("hlmat-catalog/1", "hlmat-catalog/9", "schema of the catalogue"),
        ("points: xypixel-json", "points: zx1000", "no point format called 'zx1000'"),
        ("resize: fit-long40", "resize: fit-wide40", "no resize rule 'fit-wide40'"),
        ("jpeg: 75", "jpeg: 750", "setting jpeg is 750"),
        ("note: Costs", "notes: Costs", "called 'notes'. Did you mean note"),
        ("https://example.org/card", "hearsay", "source"),
        ("mine: mine-7b", "mine: mine-8b", "names 'mine-8b', which has no entry"),
        ("schema:", "schema: [", "not readable YAML"),
    ],
)
def test_a_wrong_file_is_one_sentence(mine: Path, old: str, new: str, sentence: str) -> None:
    assert old in MINE
    mine.write_text(MINE.replace(old, new))
    with pytest.raises(UsageError) as caught:
        Catalog.load(mine)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_missing_to_run_an_entry_is_said(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {name: words for name, _, words in Catalog.load(mine).rows()}
    assert missing["mine"] == "short for mine-7b"
    assert missing["mine-api"] == "set MINE_KEY"
    monkeypatch.setenv("MINE_KEY", "x")
    assert {name: words for name, _, words in Catalog.load(mine).rows()}["mine-api"] == "nothing"


def test_an_adapter_may_be_a_file_and_one_that_is_not_there_is_named(mine: Path) -> None:
    for adapter, seen in (("./my_adapter.py", "nothing"), ("hff", "there is no adapter hff")):
        mine.write_text(MINE.replace("adapter: hf", f"adapter: {adapter}"))
        assert {name: words for name, _, words in Catalog.load(mine).rows()}["mine-7b"] == seen


def test_the_command_line_shows_one_entry(mine: Path) -> None:
    from typer.testing import CliRunner

    page = CliRunner().invoke(app, ["models", "mine-api", "--catalog", str(mine)]).stdout
    assert "note: Costs money." in page
    assert "points: xypixel-json" in page


def test_a_word_chooses_among_the_models(mine: Path) -> None:
    from typer.testing import CliRunner

    head, *lines = (
        CliRunner().invoke(app, ["models", "MINE", "--catalog", str(mine)]).stdout.split("\n\n")[0].split("\n")
    )
    assert head.split("  ")[0] == "model"
    assert [line.split()[0] for line in lines if "mine" in line.split()[0]] == ["mine", "mine-7b", "mine-api"]
    assert all("mini" not in line.split()[0] for line in lines)
    refused = CliRunner().invoke(app, ["models", "mine-7n", "--catalog", str(mine)])
    assert "Did you mean mine-7b" in str(refused.exception)


def test_a_run_by_short_name_uses_and_records_all_of_the_entry(
    mine: Path, boxes: Path, tool: str, tmp_path: Path
) -> None:
    """The server sees the image at the entry's size, with the entry's prompt; the answer is in pixels of that size."""
    seen = []

    def answer(request: object, image: object, prompt: str) -> str:
        seen.append((image, prompt))
        return '{"point_2d": [20, 15], "label": "positive"}'

    with testing.ChatServer(answer) as server:
        run = hlmat_bench.run(
            f"mine,adapter=openai,base_url={server.base_url}",
            str(boxes / "boxes.yaml"),
            tool,
            out=tmp_path / "run",
            catalog=mine,
            limit=1,
            budget=1,
        )
    [(image, prompt)] = seen
    assert image.shape == (30, 40, 3)  # the original is 60 high and 80 wide
    assert prompt.startswith("Where is the left box 0?")
    [episode] = run.episodes()
    assert (episode.steps[0].action.x, episode.steps[0].action.y) == (40, 30)
    manifest = json.loads((run.folder / "run.json").read_text())
    assert manifest["resize"] == "fit-long40"
    assert manifest["protocol"]["jpeg"] == 75
    assert manifest["model"]["catalog"]["entry"] == "mine-7b"
    assert manifest["model"]["catalog"]["source"] == "https://example.org/card"
