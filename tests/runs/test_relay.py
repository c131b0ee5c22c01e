"""A run whose model is asked by another program."""

from __future__ import annotations

from pathlib import Path

import hlmat_bench
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import UNCHANGED
from hlmat_bench.runs.lmms_eval.relay import RelayedRun, RelayModel
from hlmat_bench.runs.plan import RunSetup, RunSpec
from hlmat_bench.runs.writer import RunWriter
from hlmat_bench.testing import ChatServer, completion
from tests.support.episodes import timeless

SAID = "Positive point: (500, 400)"


async def test_a_relayed_run_is_driven_from_inside_a_running_loop(tmp_path: Path) -> None:
    """As a notebook does. The episodes are those of a run with a server that says the same."""
    points = PointFormat.named("xy1000")

    def opened(model: RelayModel) -> tuple[RunSetup, RunWriter]:
        setup = RunSpec("relayed", "hres_synth", budget=3, limit=3).open(model)
        return setup, RunWriter.of(tmp_path / "relayed", setup, setup.manifest())

    rounds = []
    for expected in (6, 0):  # the second time, nothing is asked
        relayed = RelayedRun(RelayModel("relayed", points, UNCHANGED, {}, ()), opened)
        asked = 0
        for sample in RunSpec("relayed", "hres_synth", limit=3).open_data().samples:
            while (question := relayed.question(sample.id)) is not None:
                assert question.request.sample_id == sample.id
                relayed.answer(SAID)
                asked += 1
        rounds.append(timeless(relayed.result))
        assert asked == expected
    episodes, again = rounds
    assert again == episodes
    with ChatServer(lambda *_: completion([SAID])) as server:
        model = f"openai,model=m,points=xy1000,image_format=png,base_url={server.base_url},api_key=none"
        served = hlmat_bench.run(model, "hres_synth", budget=3, limit=3, out=tmp_path / "served")
    kept = ("t", "raw", "action", "mask", "iou")
    for ours, theirs in zip(episodes, timeless(served), strict=True):
        assert [[step[key] for key in kept] for step in ours["steps"]] == [
            [step[key] for key in kept] for step in theirs["steps"]
        ]
