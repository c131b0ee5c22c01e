"""The progress of runs and their results fit a terminal of 80 columns, and the last line is a command that works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hlmat_bench.cli import app, console
from hlmat_bench.cli.names import short_names
from tests.support.terminal import on_terminal

#: A model with options, as a user of lmms-eval would write it, that answers nothing useful after the first reply.
PLAYER = """
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol.interfaces import Reply


class Player:
    deterministic = False

    def __init__(self, name="player", noise=0.0, flip=0.0, lost=0.0, price=0.0):
        self.name, self.points, self._price = name, PointFormat.named("xy1000"), price

    async def reply(self, request):
        text = "I cannot see it." if request.t % 2 else "Positive point: (500, 500)"
        return [Reply(text, cost=self._price)] * request.n


MODELS = {"player": Player}
"""


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a model; its folder has a blank in its name."""
    path = tmp_path_factory.mktemp("my models") / "a_player_with_a_long_name.py"
    path.write_text(PLAYER)
    return path


def test_names_are_short_and_tell_models_apart() -> None:
    lmms = "lmms,name=qwen2_5_vl,pretrained=Qwen/Qwen2.5-VL-7B-Instruct,points=xypixel,resize=smart-28-200704-1605632"
    assert short_names([lmms]) == ["Qwen2.5-VL-7B-Instruct"]
    long = "./my_model.py,name=noisy-a,noise=0.03,flip=0.05,lost=0.10"
    assert short_names([long, long.replace("0.03", "0.3"), "oracle"]) == [
        "noisy-a,noise=0.03",
        "noisy-a,noise=0.3",
        "oracle",
    ]
    assert short_names(["openai,model=gpt-4o,api_key=secret", "x.py:Mine"]) == ["gpt-4o", "Mine"]


@pytest.mark.slow
def test_a_run_on_80_columns(player: Path, task: str, tool: str, tmp_path: Path) -> None:
    """The name is cut; count, mIoU, invalid replies, cost and time are there; the next command works as it is."""
    out = tmp_path / "it's"
    code, lines = on_terminal(
        "run", "--model", f"{player},name=noisy-a,noise=0.03,flip=0.05,lost=0.10,price=0.6", "--model", "empty",
        "--task", task, "--segmenter", f"{tool},pause=0.2", "--limit", "20", "--budget", "2", "--out", str(out),
    )  # fmt: skip
    assert code == 0
    *shown, following = lines
    assert all(len(line) <= 80 for line in shown if str(out) not in line)
    assert any(re.match(r"model +episodes +mIoU +invalid +cost +time +left$", line) for line in shown)
    assert any(re.match(r"noisy-a +\S+ +\d+/20 +\d+\.\d +\d\d\.\d % +\$\d", line) for line in shown)
    assert any("preliminary" in line for line in shown)
    heading = shown.index("boxes with discs, 2 clicks; per cent, 95 % intervals by image")
    table = {line.split()[0]: line for line in shown[heading + 1 :]}
    assert re.fullmatch(r"mIoU( +\d+\.\d \[\d+\.\d, \d+\.\d\]){2}", table["mIoU"])
    assert table["never"]
    assert following.startswith("next: hlmat-bench report ")
    words = shlex.split(following.removeprefix("next: hlmat-bench "))
    ran = CliRunner().invoke(app, [*words, "--no-images"])
    assert ran.exit_code == 0, ran.output


def test_one_image_has_no_interval_and_the_next_command_has_the_data_root(
    task: str, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HLMAT_DATA", raising=False)
    out, root = tmp_path / "run", tmp_path / "my data"
    words = ["run", "--model", "oracle", "--task", task, "--segmenter", tool, "--limit", "1", "--out", str(out)]
    ran = CliRunner().invoke(app, [*words, "--data-root", str(root)])
    assert ran.exit_code == 0
    assert "one image, so no intervals" in ran.stdout
    assert "]" not in ran.stdout
    assert (
        ran.stdout.splitlines()[-1]
        == f"next: {shlex.join(['hlmat-bench', 'report', str(out), '--data-root', str(root)])}"
    )


@pytest.mark.slow
@pytest.mark.parametrize("words", [["models"], ["segmenters"], ["suites"], ["tasks"], ["tasks", "refine"], ["--help"]])
def test_lists_fit_80_columns(words: list[str]) -> None:
    code, lines = on_terminal(*words)
    assert code == 0
    assert not [line for line in lines if len(line) > 80]
    if words[0] in ("models", "segmenters", "tasks"):  # a line for each
        table = lines[
            1 : next(n for n, line in enumerate(lines) if "`hlmat-bench" in line or line.startswith("It takes"))
        ]
        assert all(re.match(r"\S+  ", line) for line in table)


def test_columns_that_do_not_fit_stand_below(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal for rich
    monkeypatch.setenv("COLUMNS", "50")
    console.columns(("", "", "testA", "testB", "val"), [("oracle", "mIoU", *["68.80 [61.50, 75.60]"] * 3)], labels=2)
    score = "68.8 [61.5, 75.6]"
    console.results(["model", "n", "mIoU", "cIoU"], [("a" * 14, "10", score, score), ("b" * 14, "10", score, score)])
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert all(len(line) <= 50 for line in shown.splitlines())
    lines = [" ".join(line.split()) for line in shown.splitlines() if line.strip()]
    assert lines[:4] == ["testA", "oracle mIoU 68.80 [61.50, 75.60]", "testB", "oracle mIoU 68.80 [61.50, 75.60]"]
    assert lines[6:] == [f"model {'a' * 14} {'b' * 14}", "n 10 10", f"mIoU {score} {score}", f"cIoU {score} {score}"]


def test_results_of_finished_runs_are_shown_where_a_later_one_fails(task: str, tool: str, tmp_path: Path) -> None:
    words = ["run", "--model", "empty", "--model", str(tmp_path / "gone.py"), "--task", task, "--segmenter", tool]
    ran = CliRunner().invoke(app, [*words, "--limit", "3", "--out", str(tmp_path / "runs")])
    assert "There is no plug-in file" in str(ran.exception)
    assert "0.0 [0.0, 0.0]" in ran.stdout
    assert "next:" not in ran.stdout
