"""``hlmat-bench settings``: every key of ``--set`` is there, and says what it takes and does."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from hlmat_bench.cli import app
from hlmat_bench.cli.settings import data_settings, protocol_settings
from hlmat_bench.data.tasks import load_task, task_names
from hlmat_bench.protocol.settings import ProtocolSettings, setting_names


def test_every_setting_of_the_protocol_is_listed_with_what_it_takes_and_does() -> None:
    listed = protocol_settings()
    assert [setting.name for setting in listed] == [*setting_names(), "points"]
    for setting in listed:
        assert re.fullmatch(r"\S.*\.", setting.meaning), setting.name
        assert setting.takes, setting.name
        assert setting.default, setting.name


def test_every_field_of_the_section_source_of_our_tasks_is_listed_under_its_layout() -> None:
    listed = {(layout, setting.name) for setting in data_settings() for layout in setting.layouts}
    layouts = {layout for layout, _ in listed}
    assert layouts >= {"coco", "mask_folder", "parquet", "refer", "segagent", "synth", "table"}
    for task in task_names():
        data = load_task(task).sources[0]
        assert {(data.kind, f"data.{name}") for name in type(data).model_fields if name != "kind"} <= listed
    assert all(re.fullmatch(r"\S.*\.", setting.meaning) for setting in data_settings())


@pytest.mark.parametrize(
    ("name", "takes", "default"),
    [
        ("budget", "integer, 1 to 1000", "7"),
        ("candidates", "integer, 1 to 100", "4"),
        ("correlation", "number, 0 to 1", "0.9"),
        ("prm", "reply | ask | oracle | noisy", "none"),
        ("stop.patience", "integer, at least 1", "1"),
        ("overlay.color", "[integer, integer, integer]", "[0, 255, 0]"),
        ("history", "true | false", "false"),
        ("jpeg", "integer, 1 to 100", "none"),
        # The paper's.
        ("strategy", "text", "greedy"),
        ("overlay.alpha", "number, 0 to 1", "0.5"),
        ("temperature", "number, at least 0", "0.0"),
    ],
)
def test_types_and_defaults_are_those_of_the_declarations(name: str, takes: str, default: str) -> None:
    [setting] = [setting for setting in protocol_settings() if setting.name == name]
    assert (setting.takes, setting.default) == (takes, default)


def test_the_temperature_of_a_tree_search_is_the_one_that_its_description_names() -> None:
    [setting] = [setting for setting in protocol_settings() if setting.name == "temperature"]
    assert "By default 1 with the strategy tree" in setting.meaning
    assert ProtocolSettings.build({"strategy": "tree", "prm": "ask"}).temperature == 1


def test_what_several_layouts_declare_alike_stands_once() -> None:
    kinds = [setting for setting in data_settings() if setting.name == "data.skip"]
    [layouts] = [setting.layouts for setting in kinds]
    assert {"coco", "mask_folder", "refer", "segagent", "table"} <= set(layouts)
    assert "synth" not in layouts


def test_the_command_prints_a_line_for_each() -> None:
    ran = CliRunner().invoke(app, ["settings"])
    assert ran.exit_code == 0
    listed = [line.split()[0] for line in ran.stdout.splitlines() if line.strip()]
    assert {setting.name for setting in [*protocol_settings(), *data_settings()]} <= set(listed)
    assert "[0, 255, 0]" in ran.stdout
