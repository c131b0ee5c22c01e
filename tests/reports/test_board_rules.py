"""Entries of every strategy and initial state are verified; records that the protocol cannot leave are found."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

import hlmat_bench
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.records import Episode, select
from hlmat_bench.reports.leaderboard.submission import make_entry
from hlmat_bench.reports.leaderboard.verify.verification import Evidence, verify
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.testing import Answer, ChatServer, Failure
from tests.support import boards
from tests.support.episodes import read_lines, write_lines

pytestmark = pytest.mark.slow

Episodes = list[dict[str, Any]]


def speaker(body: dict[str, Any], image: Any, prompt: str) -> Answer:
    """Clicks, gives boxes, says what masks are worth, stops, refuses, repeats itself, and is withheld."""
    if (count := body.get("n", 1)) > 1:
        each = [speaker({}, image + np.uint8(number), prompt) for number in range(count)]
        return [text if isinstance(text, str) else "" for text in each]
    said = boards.clicker(260)(body, image, prompt)
    number = int(image.astype(np.int64).sum())
    worth = f"Current IOU: {number % 90 + 10}, "
    if "smallest box" in prompt:
        return "no box" if number % 5 == 0 else "<box>(100, 200), (400, 500)</box>"
    return {
        0: f"{worth}Finish",
        1: "I'm sorry, I cannot help with that.",
        2: f"{worth}Positive point: (500, 500)",
        3: Failure(400, code="content_filter"),
        5: f"{worth}<box>(100, 200), (400, 500)</box>",
        6: f"{worth}<box>(100, 200), (400, 500)</box> {said}",
    }.get(number % 17, f"{worth}{said}")


PLAYED: dict[str, dict[str, Any]] = {
    "greedy": {},
    "drawn": {"settings": {"temperature": 1.0}},
    "with boxes": {"settings": {"track": "box+point"}},
    "prm": {"strategy": "prm", "settings": {"prm": "reply"}},
    "prm, patient": {"strategy": "prm", "settings": {"prm": "reply", "stop.patience": 3}},
    "prm, asked": {"strategy": "prm", "settings": {"prm": "ask", "stop.epsilon": 0.1}},
    "tree": {"strategy": "tree", "settings": {"prm": "reply", "candidates": 3}},
    "tree of one": {"strategy": "tree", "settings": {"prm": "reply", "candidates": 1, "temperature": 1.0}},
    "tree, asked": {"strategy": "tree", "settings": {"prm": "ask", "stop.patience": 2}},
    "tree, oracle": {"strategy": "tree", "settings": {"prm": "oracle", "stop.patience": 2}},
    "tree, noisy": {"strategy": "tree", "settings": {"prm": "noisy"}},
    "box only": {"strategy": "box-only"},
    "gt-box": {"initial": "gt-box"},
    "model-box": {"initial": "model-box"},
    "model-box, prm": {"initial": "model-box", "strategy": "prm", "settings": {"prm": "ask"}},
}


def play(out: Path, task: str, tool: str, **options: Any) -> Run:
    with ChatServer(speaker) as server:
        model = f"openai,model=fake,base_url={server.base_url},points=xy1000,image_format=png,retries=0"
        return hlmat_bench.run(model, task, f"{tool},radius=10", out=out, budget=4, limit=24, **options)


def level(run: Run | Path, task: str = "", tool: str = "") -> tuple[str | None, list[str]]:
    """Return the level of an entry that is made of a run as it stands, and where something is wrong."""
    made = Run(run) if isinstance(run, Path) else run
    entry = make_entry(made, boards.DECLARED)
    verdict = verify(entry, Evidence(made.folder, f"{tool},radius=10" if tool else None, task=task))
    return verdict.level, [finding.place for finding in verdict.findings]


@pytest.mark.parametrize("how", PLAYED)
def test_an_honest_run_is_verified_however_it_was_played(how: str, task: str, tool: str, tmp_path: Path) -> None:
    run = play(tmp_path / "run", task, tool, **PLAYED[how])
    assert len({episode.stop for episode in run.episodes()}) > (how not in ("box only",))
    assert level(run, task, tool) == ("replayed", [])


def test_failed_requests_are_said(tool: str, tmp_path: Path) -> None:
    """One episode of 120 failed, a share that an entry may have."""
    failures = [Failure(413)]
    with ChatServer(lambda *question: failures.pop() if failures else speaker(*question)) as server:
        model = f"openai,model=fake,base_url={server.base_url},points=xy1000,image_format=png,retries=0"
        run = hlmat_bench.run(model, "hres_synth", f"{tool},radius=10", out=tmp_path / "run", budget=2, limit=120)
    assert [episode.stop for episode in run.episodes()].count("error") == 1
    verdict = verify(make_entry(run, boards.DECLARED), Evidence(run.folder, f"{tool},radius=10"))
    assert (verdict.level, verdict.notes) == ("replayed", ["requests that failed: 1, by the record alone"])


@pytest.mark.parametrize("player", ["oracle", "gt-box", "center", "random", "empty"])
@pytest.mark.parametrize("initial", ["empty", "gt-box"])
def test_reference_players_are_verified(player: str, initial: str, task: str, tool: str, tmp_path: Path) -> None:
    options = {"settings": {"track": "box+point"}} if player == "gt-box" else {}
    run = hlmat_bench.run(player, task, f"{tool},radius=10", out=tmp_path / "run", budget=4, initial=initial, **options)
    assert level(run, task, tool) == ("replayed", [])


@pytest.mark.parametrize("initial", ["empty", "varied=empty:2,gt-box,points,generated"])
def test_sets_of_trajectories_are_verified(initial: str, task: str, tool: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"segmenter": f"{tool},radius=10", "budget": 4}
    made = hlmat_bench.run("oracle", task, strategy="annotate", initial=initial, out=tmp_path / "a", **options)
    assert level(made, task, tool) == ("replayed", [])
    played = hlmat_bench.run("oracle,misplaced=0.5", task, out=tmp_path / "b", **options)
    improved = hlmat_bench.run("oracle", task, strategy=f"improve={played.folder}", out=tmp_path / "c", **options)
    assert level(improved, task, tool) == ("replayed", [])


def test_a_varied_start_that_is_none_is_a_sentence(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("oracle", task, tool, initial="varied=empty", out=tmp_path, limit=2)
    entry = make_entry(made, boards.DECLARED)
    broken = entry.model_copy(update={"manifest": entry.manifest.model_copy(update={"protocol": {
        **entry.manifest.protocol, "initial": "varied=nothing"}})})  # fmt: skip
    with contextlib.suppress(UsageError):
        assert verify(broken, Evidence(made.folder, tool, task=task)).findings


@pytest.fixture(scope="module")
def games(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return runs by name, played when they are first asked for."""
    folder = tmp_path_factory.mktemp("games")

    def played(how: str) -> Path:
        return play(folder / how, task, tool, **PLAYED[how]).folder

    return played


def cheat(run: Path, tmp_path: Path, change: Callable[[Episodes], str]) -> str:
    """Change a copy of a run, make its numbers agree with it again, and verify it.

    Args:
        change: returns the sample that it changes.

    Returns:
        Where something was found in that sample's episode; it is an error when it was found elsewhere.
    """
    copy, names = Path(shutil.copytree(run, tmp_path / "copy")), []
    boards.edit(copy, lambda episodes: names.append(change(episodes)))
    boards.edit(copy, lambda episodes: [recompute(episode) for episode in episodes])
    reached, places = level(copy)
    assert reached is None
    assert {place.split(", ")[0] for place in places} == {f"sample {names[0]}"}
    return ", ".join(place.partition(", ")[2] for place in places)


def mask_of(rle: dict[str, Any] | None, size: list[int]) -> np.ndarray:
    return np.zeros(size, bool) if rle is None else coco.decode({**rle, "counts": rle["counts"].encode()}).astype(bool)


def recompute(episode: dict[str, Any]) -> None:
    """Change a run as a cheater would who makes the numbers agree."""
    size = episode["size"]
    gt = mask_of(episode["gt"], size)
    for state in (episode["initial"], *episode["steps"]):
        mask = mask_of(state["mask"], size)
        state["iou"] = float(np.sum(gt & mask) / np.sum(gt | mask))
    read = Episode.from_json(episode | {"selected": {"final": 0, "self": 0, "best": 0}})
    episode["selected"] = select(read.steps, read.initial)


def first(episodes: Episodes, suits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    return next(episode for episode in episodes if suits(episode))


def clicked(episode: dict[str, Any], t: int) -> bool:
    return len(episode["steps"]) > t and episode["steps"][t]["action"]["kind"] == "click"


def test_a_given_mask_is_found_where_episodes_begin_empty(games: Any, tmp_path: Path) -> None:
    def give(episodes: Episodes) -> str:
        episodes[3]["initial"]["mask"] = episodes[3]["gt"]
        return str(episodes[3]["sample_id"])

    assert cheat(games("greedy"), tmp_path, give) == "step 0, mask"


def test_another_kind_of_beginning_is_found(games: Any, tmp_path: Path) -> None:
    def give(episodes: Episodes) -> str:
        episodes[3]["initial"] |= {"mask": episodes[3]["gt"], "kind": "gt-box", "box": [0, 0, 9, 9]}
        return str(episodes[3]["sample_id"])

    assert cheat(games("greedy"), tmp_path, give).startswith("step 0, kind")


@pytest.mark.parametrize("how", ["gt-box", "model-box"])
def test_a_better_box_is_found(how: str, games: Any, tmp_path: Path) -> None:
    def move(episodes: Episodes) -> str:
        episode = first(episodes, lambda episode: episode["initial"].get("box"))
        episode["initial"]["box"][0] += 1
        return str(episode["sample_id"])

    assert cheat(games(how), tmp_path, move) == "step 0, box"


def test_a_mask_without_its_box_is_found(games: Any, tmp_path: Path) -> None:
    def hide(episodes: Episodes) -> str:
        episode = first(episodes, lambda episode: episode["initial"].get("box"))
        episode["initial"] |= {"box": None, "mask": episode["gt"]}
        return str(episode["sample_id"])

    assert cheat(games("model-box"), tmp_path, hide) == "step 0, mask"


@pytest.mark.parametrize(
    ("label", "place"),
    [
        ({"action": {"kind": "invalid", "reason": "repeat"}}, "step 3, action"),
        ({"action": {"kind": "stop"}}, "step 3, action, stop"),
        ({"action": {"kind": "stop"}, "raw": None, "predicted_iou": None}, "step 3, action, stop"),
        ({"action": {"kind": "invalid", "reason": "api"}, "raw": None, "predicted_iou": None}, "stop"),
    ],
)
def test_a_click_that_is_hushed_up_is_found(label: dict[str, Any], place: str, games: Any, tmp_path: Path) -> None:
    def hush(episodes: Episodes) -> str:
        episode = first(episodes, lambda episode: clicked(episode, 2) and len(episode["steps"]) == 4)
        episode["steps"][2] |= {**label, "mask": episode["steps"][1]["mask"]}
        return str(episode["sample_id"])

    assert cheat(games("greedy"), tmp_path, hush) == place


def test_more_steps_than_the_budget_are_found(games: Any, tmp_path: Path) -> None:
    run = games("greedy")
    honest, copy = make_entry(Run(run), boards.DECLARED), Path(shutil.copytree(run, tmp_path / "copy"))

    def add(episodes: Episodes) -> None:
        episode = first(episodes, lambda episode: len(episode["steps"]) == 4)
        episode["steps"].append(episode["steps"][3] | {"t": 5})
        episode["selected"]["final"] = 5

    boards.edit(copy, add)
    assert any(finding.place.endswith(", steps") for finding in verify(honest, Evidence(copy)).findings)
    with pytest.raises(UsageError, match="has 5 steps, more than the budget of 4"):
        make_entry(Run(copy), boards.DECLARED)


def test_steps_that_were_cut_off_are_found(games: Any, tmp_path: Path) -> None:
    def cut(episodes: Episodes) -> str:
        episode = first(episodes, lambda episode: clicked(episode, 1) and len(episode["steps"]) == 4)
        del episode["steps"][2:]
        return str(episode["sample_id"])

    assert cheat(games("greedy"), tmp_path, cut) == "stop"


@pytest.mark.parametrize("how", ["prm, patient", "tree, asked"])
def test_a_search_that_was_ended_early_is_found(how: str, games: Any, tmp_path: Path) -> None:
    def cut(episodes: Episodes) -> str:
        episode = first(episodes, lambda episode: clicked(episode, 0) and len(episode["steps"]) > 2)
        del episode["steps"][1:]
        episode["stop"] = "converged"
        return str(episode["sample_id"])

    assert "stop" in cheat(games(how), tmp_path, cut).split(", ")


def test_a_candidate_that_is_not_worth_most_is_found(games: Any, tmp_path: Path) -> None:
    def prefer(episodes: Episodes) -> str:
        def choice(episode: dict[str, Any]) -> Any:
            others = [each for each in episode["steps"][-1].get("candidates", []) if not each["chosen"]]
            return next((each for each in others if each["action"]["kind"] == "click" and each["predicted_iou"]), None)

        episode = first(episodes, lambda episode: choice(episode) is not None and episode["stop"] == "budget")
        step, other = episode["steps"][-1], choice(episode)
        for each in step["candidates"]:
            each["chosen"] = each is other
        step |= {"action": other["action"], "mask": other["mask"], "raw": other["replies"][0]}
        step["predicted_iou"] = json.loads(step["raw"].split(",")[0].rpartition(": ")[2]) / 100
        return str(episode["sample_id"])

    assert "candidates" in cheat(games("tree, oracle"), tmp_path, prefer)


JUNK = [None, True, -1, 5, 1e9, 10**12, -0.5, "x", "", [], {}, [1, 2], {"a": 1}, "Positive point: (1, 1)"]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the paths to everything in a JSON value."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in pairs:
        yield from places(part, (*path, key))


@pytest.mark.parametrize("how", ["tree, asked", "model-box"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_stands_in_a_run_verification_ends_in_a_verdict(
    data: st.DataObject, how: str, games: Any, task: str, tool: str, tmp_path: Path
) -> None:
    """One value of the manifest or of an episode is another one, of any kind."""
    run, honest = Run(games(how)), make_entry(Run(games(how)), boards.DECLARED)
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run.folder, copy)
    manifest = json.loads((copy / "run.json").read_text())
    episodes = read_lines(copy)
    value = data.draw(st.sampled_from([manifest, episodes[0], episodes[7]]))
    *path, last = data.draw(st.sampled_from(sorted(filter(None, places(value)), key=str)))
    for key in path:
        value = value[key]
    value[last] = data.draw(st.sampled_from(JUNK))
    (copy / "run.json").write_text(json.dumps(manifest))
    write_lines(copy, episodes)
    entries = [honest]
    with contextlib.suppress(UsageError):
        entries.append(make_entry(Run(copy), boards.DECLARED))
    for entry in entries:
        with contextlib.suppress(UsageError):
            verdict = verify(entry, Evidence(copy, f"{tool},radius=10", task=task))
            assert (verdict.level is None) == bool(verdict.findings)


def test_a_mask_that_the_task_does_not_make_is_found_on_replay(tmp_path: Path) -> None:
    run = hlmat_bench.run("oracle", "refine_hres_synth", "graphcut", out=tmp_path / "run", budget=2, limit=3)
    entry = make_entry(run, boards.DECLARED)
    assert verify(entry, Evidence(run.folder, "graphcut")).level == "replayed"
    assert entry.scores.refinement is not None
    section = run.scores()["refinement"]  # the clicks from the given mask on, as the terminal and the report show them
    assert entry.scores.refinement.noc["0.85"].mean == section["noc"]["0.85"]["mean"]
    assert entry.scores.refinement.final.gain == pytest.approx(section["final"]["gain"])

    def drop(episodes: Episodes) -> str:
        episodes[1]["initial"]["mask"] = None
        return str(episodes[1]["sample_id"])

    assert cheat(run.folder, tmp_path, drop) == "step 0, mask"

    def improve(episodes: Episodes) -> None:
        episodes[1]["initial"]["mask"] = episodes[1]["gt"]
        recompute(episodes[1])

    boards.edit(run.folder, improve)
    forged = make_entry(Run(run.folder), boards.DECLARED)
    verdict = verify(forged, Evidence(run.folder, "graphcut"))
    assert (verdict.level, [finding.place for finding in verdict.findings]) == (
        None,
        [f"sample {forged.samples.id[1]}, step 0, mask"],
    )


def test_what_was_taken_from_elsewhere_is_said(task: str, tool: str, tmp_path: Path) -> None:
    source = hlmat_bench.run("center", task, f"{tool},radius=10", out=tmp_path / "source", budget=2, limit=3)
    run = hlmat_bench.run(
        "oracle",
        task,
        f"{tool},radius=10",
        out=tmp_path / "run",
        budget=2,
        limit=3,
        initial=f"mask-from={source.folder}",
    )
    entry = make_entry(run, boards.DECLARED)
    verdict = verify(entry, Evidence(run.folder, f"{tool},radius=10", task=task))
    assert verdict.level == "replayed"
    assert verdict.notes == ["the masks that the episodes begin with were taken as they are recorded"]
