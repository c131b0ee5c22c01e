"""Every entry of the catalogue against how its family answers (families.py): a wrong entry fails here."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hlmat_bench
from hlmat_bench import testing
from hlmat_bench.actions import Action, parse
from hlmat_bench.models.catalog import Catalog, CatalogEntry
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol.prompts import check_template, instruction
from hlmat_bench.protocol.settings import ProtocolSettings
from tests.support.families import FAMILIES, RECORDED, RECORDED_SIZE, Family, family_of

CATALOG = Catalog.load()
PLACES = [((480, 640), (100, 420)), ((2000, 3000), (2811, 122)), ((4100, 1300), (1222, 3901)), ((90, 60), (31, 77))]


@functools.cache
def _sent(resize: str, size: tuple[int, int], place: tuple[int, int]) -> tuple[tuple[int, int], float, float]:
    """Return the size of what is sent, and where in it a marker is found that is drawn there in the original image."""
    (height, width), (x, y) = size, place
    image = np.zeros((height, width, 3), np.uint8)
    reach = max(3, min(size) // 60)
    image[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1, 0] = 255
    shown = Resize.named(resize).apply(image)
    red = np.clip(shown[..., 0].astype(float) - shown[..., 2] - 40, 0, None)
    rows, columns = red.sum(axis=1), red.sum(axis=0)
    middle_y = float((rows * (np.arange(len(rows)) + 0.5)).sum() / rows.sum())
    middle_x = float((columns * (np.arange(len(columns)) + 0.5)).sum() / columns.sum())
    return (shown.shape[0], shown.shape[1]), middle_x, middle_y


def _middle(action: Action) -> tuple[float, float]:
    if action.kind == "click":
        return action.click.x, action.click.y
    assert action.kind == "box", action
    assert action.box is not None
    return (action.box[0] + action.box[2]) / 2, (action.box[1] + action.box[3]) / 2


def _errors(entry: CatalogEntry, family: Family) -> list[str]:
    """Where an entry reads its family's replies wrongly: by more than a pixel beyond the family's own rounding."""
    points, resize, wrong = PointFormat.named(entry.points), Resize.named(entry.resize), []
    for size, (x, y) in PLACES:
        sent, sent_x, sent_y = _sent(entry.resize, size, (x, y))
        for sign in ("Positive", "Negative"):
            reply = family.answer(sign, sent_x, sent_y, sent)
            action = parse(reply, points, size, resize.frame(size))
            if action.kind not in ("click", "box"):
                wrong.append(f"{reply!r} is {action.kind} {action.reason}")
                continue
            got_x, got_y = _middle(action)
            slack = 1.01 + 1.5 * family.step(sent) * max(size)
            if abs(got_x - x) > slack or abs(got_y - y) > slack:
                wrong.append(f"{reply!r} of {size} is ({got_x}, {got_y}), not ({x}, {y})")
            if action.kind == "click" and action.positive is not (sign == "Positive"):
                wrong.append(f"{reply!r} has the wrong sign")
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CATALOG.models))
def test_an_entry_reads_what_its_family_writes(name: str) -> None:
    entry = CATALOG.models[name]
    assert _errors(entry, family_of(name)) == []
    check_template(ProtocolSettings.build(entry.settings).prompt)


@pytest.mark.parametrize("name", sorted(CATALOG.models))
def test_an_entry_reads_the_recorded_replies_of_its_family(name: str) -> None:
    """At least three, each with the address or the thread that reports its form, or the program that trains it."""
    entry, recorded = CATALOG.models[name], [one for one in RECORDED if re.fullmatch(one.names, name)]
    assert len(recorded) >= 3
    for one in recorded:
        assert re.match(r"https://|examples/|[\w.-]+/[\w.-]+(#\d+| README)", one.source)
        frame = Resize.named(entry.resize).frame(RECORDED_SIZE)
        action = parse(one.reply, PointFormat.named(entry.points), RECORDED_SIZE, frame)
        got: object = action.box or action.reason or action.kind
        assert (tuple(action.click) if action.kind == "click" else got) == one.means, one.reply


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.names)
def test_a_wrong_entry_is_caught(family: Family) -> None:
    """Each part of the convention is changed in turn: axes, unit, syntax, and the resize rule where pixels count."""
    entry = next(entry for name, entry in CATALOG.models.items() if family_of(name) is family)
    points, spelled = PointFormat.named(entry.points), f"-{PointFormat.named(entry.points).syntax}"
    order, unit = points.order, points.unit.removeprefix("0-")
    far = {"pixel": ["1000", "1"], "1": ["1000", "100"], "1023": ["1000"], "100": ["1000"]}
    named = family.say("", 1, 2).count("=") > 1  # x="1" y="2" have no order
    changed = {
        *(() if named else (f"{order[::-1]}{unit}{spelled}",)),
        *(f"{order}{other}{spelled}" for other in far.get(unit, ["pixel", "1023", "100"])),
        f"{order}{unit}-" + ("points" if points.syntax != "points" else "json"),
    }
    for wrong in changed:
        assert _errors(entry.model_copy(update={"points": wrong}), family), f"{wrong} passes for {entry.points}"
    if unit == "pixel" and entry.resize != "none" and not entry.resize.startswith("fit-long6000"):
        assert _errors(entry.model_copy(update={"resize": "none"}), family)


def test_segagent_is_asked_what_it_was_trained_on() -> None:
    """aim-uofa/SegAgent, evaltools/model_loader.py: one sentence, no space before the tag, nothing after it."""
    template = ProtocolSettings.build(CATALOG.models["segagent-qwen"].settings).prompt
    asked = instruction(
        template, expression="woman with {umbrella}", points=PointFormat.named("segagent-qwen"), size=(640, 481)
    )
    assert asked == (
        "Please optimize the semi-transparent green mask in a point-wise manner based on the image and description "
        "content, so that it covers the target object as accurately as possible. The object description is as "
        "follows:<ref>woman with {umbrella}</ref>"
    )


def test_every_family_has_an_entry() -> None:
    assert {family_of(name) for name in CATALOG.models} == set(FAMILIES)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.names)
def test_an_oracle_that_answers_as_the_family_scores_as_the_oracle(
    family: Family, boxes: Path, tool: str, tmp_path: Path
) -> None:
    """A server repeats the oracle's clicks as the family writes them, in pixels of the picture that it is sent."""
    name = next(name for name in CATALOG.models if family_of(name) is family)
    boxed = CATALOG.models[name].settings.get("track") == "box+point"
    task = str(boxes / "boxes.yaml")
    oracle = hlmat_bench.run("gt-box" if boxed else "oracle", task, tool, out=tmp_path / "oracle", limit=4, budget=3)
    script = {episode.expression: [step.action for step in episode.steps] for episode in oracle.episodes()}
    size = next(iter(oracle.episodes())).size

    def answer(request: dict[str, Any], image: Any, prompt: str) -> str:
        [expression] = [name for name in script if name in prompt]
        action = script[expression].pop(0)
        if action.kind == "stop":
            return "Finish"
        sent = image.shape[:2]
        if action.kind == "box":
            x0, y0, x1, y1 = (
                n / side * 1023 for n, side in zip(action.box or (), (*size[::-1], *size[::-1]), strict=True)
            )
            return "".join(f"<loc{n:04.0f}>" for n in (y0, x0, y1, x1)) + f" {expression}"
        x, y = action.click.x / size[1], action.click.y / size[0]
        if CATALOG.models[name].resize == "square":
            side = max(size)
            x, y = (x * size[1] + (side - size[1]) // 2) / side, (y * size[0] + (side - size[0]) // 2) / side
        return family.answer("Positive" if action.positive else "Negative", x * sent[1], y * sent[0], sent)

    with testing.ChatServer(answer) as server:
        asked = hlmat_bench.run(
            f"{name},adapter=openai,base_url={server.base_url},concurrency=1",
            task,
            tool,
            out=tmp_path / "model",
            limit=4,
            budget=3,
        )
    for one, two in zip(oracle.episodes(), asked.episodes(), strict=True):
        for step, other in zip(one.steps, two.steps, strict=True):
            assert step.action.kind == other.action.kind, other
            if step.action.kind != "stop":
                assert _middle(other.action) == pytest.approx(_middle(step.action), abs=1)
    final = [run.scores()["selection"]["final"]["miou"] for run in (oracle, asked)]
    assert final[1] == pytest.approx(final[0], abs=0.08)  # a pixel more or less, on images of 80 x 60
