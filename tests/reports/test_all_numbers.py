"""Every number of five kinds of runs on what a user sees, against numpy on episodes.jsonl: see `walked_runs`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hlmat_bench import cli
from hlmat_bench.reports.build import report
from hlmat_bench.reports.leaderboard import site
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.scores.registry import STANDARD, TABLES, columns
from tests.support import boards
from tests.support.walked_runs import Number, play_five, recomputed, recomputed_difference

KINDS = ("greedy", "search", "refinement", "filtering", "no target")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory, tool: str) -> dict[str, list[Run]]:
    return play_five(tmp_path_factory.mktemp("five"), tool)


def _said(*words: str) -> str:
    ran = CliRunner().invoke(cli.app, list(words))
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def _keys(table: str, runs: list[Run]) -> list[str]:
    """Return the scores that a table shows; boundary IoU, whose edges are not drawn here, is left out."""
    kind = runs[0].manifest["task"]["kind"]
    assert TABLES[table][kind]
    return [score.key for score in columns(table, kind, [run.scores() for run in runs]) if score.key != "biou"]


def _cells(text: str, between: str) -> dict[str, list[str]]:
    """Return the rows of a table of texts by their first cell."""
    rows = [re.split(between, line.strip().strip("|").strip()) for line in text.splitlines() if line.strip()]
    return {row[0]: [cell.strip() for cell in row[1:]] for row in rows}


def _shown(number: Number) -> str:
    return number.text() if number.never is None else f"{number.text().split(' ')[0]} ({number.never} never)"


@pytest.mark.parametrize("kind", KINDS)
def test_a_comparison_in_the_terminal_latex_and_markdown(five: dict[str, list[Run]], kind: str) -> None:
    runs = five[kind]
    folders = [str(run.folder) for run in runs]
    first, second = map(recomputed, runs)
    gap = recomputed_difference(*runs)
    terminal = _cells(_said("compare", *folders), "  +")
    latex = _said("compare", *folders, "--format", "tex").replace("$-$", "−").replace("$+$", "+").replace("--", "–")
    markdown = _said("compare", *folders, "--format", "md").replace("\\", "")
    tables = [terminal, _cells(latex.replace(" \\\\", ""), " & "), _cells(markdown, r" \| ")]
    for key in _keys("comparison", runs):
        wanted = [_shown(first[key]), _shown(second[key]), gap[key].text(sign=True)]
        for table in tables:
            assert table[STANDARD[key].title] == wanted, (kind, key)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_of_a_comparison(five: dict[str, list[Run]], kind: str, tmp_path: Path) -> None:
    runs = five[kind]
    page = report([run.folder for run in runs], tmp_path / "site", images=False)
    text = page.read_text(encoding="utf-8")
    rows = {
        title: re.findall(r"<td>(.*?)</td>", cells)
        for title, cells in re.findall(r'<th scope="row">([^<]*)</th>(.*?)</tr>', text)
    }
    first, second = map(recomputed, runs)
    gap = recomputed_difference(*runs)
    for key in _keys("comparison", runs):
        wanted = [_shown(first[key]), _shown(second[key]), gap[key].text(sign=True)]
        assert rows[STANDARD[key].title] == wanted, (kind, key)
    with (page.parent / "tables/comparison.csv").open(encoding="utf-8", newline="") as file:
        found = {row["score"]: row for row in csv.DictReader(file) if row["minus"]}
    _check_csv(found, gap, _keys("comparison", runs))
    verdict = re.search(r'class="verdict">(.*?)</p>', text)
    assert verdict is not None
    main = {"refinement": "refinement.gain", "filtering": "filtering.mae"}.get(kind, "miou")
    assert gap[main].text().partition(" ")[0].lstrip("−") in verdict[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_of_a_run(five: dict[str, list[Run]], kind: str, tmp_path: Path) -> None:
    run = five[kind][0]
    text = report([run.folder], tmp_path / "site", images=False).read_text(encoding="utf-8")
    found = re.findall(
        r'<p class="label">(.*?)</p><p class="value">(.*?)</p><p class="range">(.*?)</p>', text, re.DOTALL
    )
    tiles = {re.sub("<.*", "", label, flags=re.DOTALL).strip(): (value, below) for label, value, below in found}
    numbers = recomputed(run)
    for key in _keys("report", [run]):
        number, title = numbers[key], STANDARD[key].title
        label = "samples made worse" if key == "refinement.worsened" else title
        label = label if number.never is None else f"Clicks to {title[-2:]} %"
        value, below = next(found for name, found in tiles.items() if name.partition(" (")[0].lower() == label.lower())
        assert value == number.text().partition(" ")[0], (kind, key)
        assert number.low is None or number.text().partition(" ")[2] in below, (kind, key)
        assert number.never is None or f"{number.never} of 24 never" in below, (kind, key)
    said = re.search(r'class="verdict">(.*?)</p>', text, re.DOTALL)
    assert said is not None
    main = numbers["filtering.mae" if kind == "filtering" else "miou"]
    assert main.value is not None
    assert (f"{main.value:.1f} points" if kind == "filtering" else f"mIoU {main.text().partition(' ')[0]}") in said[1]


@pytest.mark.parametrize("kind", ["greedy", "search", "refinement", "no target"])
def test_the_leaderboard(five: dict[str, list[Run]], kind: str, tmp_path: Path) -> None:
    """Its downloads and its ranking; NoC of refinement counts from the mask at the start, as everywhere."""
    run = five[kind][1]
    boards.add(tmp_path, run, "One")
    built = site.build(tmp_path, tmp_path / "site")
    [table] = (built / "data").glob("mine.csv")
    with table.open(encoding="utf-8", newline="") as file:
        [row] = csv.DictReader(file)
    [ranking] = built.glob("ranking-*.html")
    cells = re.findall(r"<td[^>]*>(.*?)</td>", ranking.read_text(encoding="utf-8"), re.DOTALL)
    shown = {words[0] for cell in cells if (words := re.sub(r"<.*?>", " ", cell, flags=re.DOTALL).split())}
    numbers = recomputed(run)
    for key in _keys("leaderboard", [run]):
        number, column = numbers[key], re.sub("[@.]", "_", key)
        assert number.value is not None
        assert float(row[column]) == pytest.approx(number.value, abs=1e-9), key
        assert number.text().partition(" ")[0] in shown, (key, number, shown)
        if number.never is not None:
            assert int(row[f"{column}_missed"]) == number.never


@pytest.mark.parametrize("kind", KINDS)
def test_a_comparison_as_csv(five: dict[str, list[Run]], kind: str) -> None:
    runs = five[kind]
    rows = list(csv.DictReader(io.StringIO(_said("compare", *(str(run.folder) for run in runs), "--format", "csv"))))
    assert len(rows) == 3 * len(columns("comparison", runs[0].manifest["task"]["kind"], [run.scores() for run in runs]))
    names = list(dict.fromkeys(row["run"] for row in rows))
    wanted = [recomputed(runs[0]), recomputed(runs[1]), recomputed_difference(*runs)]
    for name, minus, numbers in zip((*names, names[0]), ("", "", names[1]), wanted, strict=True):
        found = {row["score"]: row for row in rows if (row["run"], row["minus"]) == (name, minus)}
        _check_csv(found, numbers, _keys("comparison", runs))


@pytest.mark.parametrize("kind", KINDS)
def test_scores_in_the_terminal_and_as_csv(five: dict[str, list[Run]], kind: str) -> None:
    run = five[kind][0]
    numbers, keys = recomputed(run), _keys("terminal", [run])
    rows = list(csv.DictReader(io.StringIO(_said("score", str(run.folder), "--format", "csv"))))
    assert {row["run"] for row in rows} == {str(run.folder)}
    _check_csv({row["score"]: row for row in rows}, numbers, keys)
    latex = (
        _said("score", str(run.folder), "--format", "tex").replace("$-$", "−").replace(" \\\\", "").replace("\\", "")
    )
    headers, values = ([*row] for row in _table_of(latex))
    terminal = [re.split("  +", line.strip()) for line in _said("score", str(run.folder)).splitlines()]
    for names, cells in ((headers, values), terminal[:2]):
        found = dict(zip(names, cells, strict=True))
        for key in keys:
            title = STANDARD[key].title
            assert found[title] == numbers[key].text().replace("–", "--" if cells is values else "–"), (kind, key)
            if numbers[key].never is not None:
                assert found[f"never {title.rpartition('@')[2]} %"] == str(numbers[key].never)


def _table_of(latex: str) -> tuple[list[str], list[str]]:
    lines = [line.split(" & ") for line in latex.splitlines() if " & " in line]
    assert len(lines) == 2
    return lines[0], lines[1]


def _check_csv(found: Mapping[str, Mapping[str, str]], numbers: Mapping[str, Number], keys: list[str]) -> None:
    for key in keys:
        row, number = found[key], numbers[key]
        for name in ("value", "low", "high"):
            exact = getattr(number, name)
            assert (row[name] == "") == (exact is None), (key, name)
            assert exact is None or float(row[name]) == pytest.approx(exact, abs=1e-9), (key, name)
        if row.get("minus", "") == "":
            assert row["never"] == ("" if number.never is None else str(number.never))


def test_a_number_of_clicks_of_refinement_is_one_number(five: dict[str, list[Run]]) -> None:
    """It counts from the mask at the start, in the terminal as in a comparison."""
    run, other = five["refinement"]
    number = recomputed(run)["refinement.noc@85"]
    assert number.value is not None
    assert f" {number.value:.2f} [" in _said("score", str(run.folder))
    assert f" {number.value:.2f} ({number.never} never) " in _said("compare", str(run.folder), str(other.folder))


def test_the_folders_are_only_read(five: dict[str, list[Run]], tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in five["greedy"][0].folder.glob("*.json*")}
    _said("compare", *(str(run.folder) for run in five["greedy"]))
    assert {path: path.read_bytes() for path in five["greedy"][0].folder.glob("*.json*")} == before
