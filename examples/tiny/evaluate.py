"""Judges a model on unseen scenes of `synth_easy`: does it see, does it follow the words, does it know when to stop?

    python examples/tiny/evaluate.py --model hf,pretrained=FOLDER,points=xy1000,resize=stretch-128x128 \
        --set 'prompt="{expression}"' --set max_tokens=16 --samples 300 --seed 1 --name first --out runs/tiny-judge

Everything is an ordinary run with the graph cut, in a folder of its own below ``--out``; the same command continues,
and several models (``--name``) share the oracle's run. Seed 0 is the test: choose checkpoints with another one.

Scores, with 95 % intervals over scenes:

- ``first_click``: the first answer is a positive click in the described object.
- ``shuffled``, ``blank``: the same with the words of another scene, or with a grey picture. ``random_object``: the
  probability that a random object of the scene is the described one; ``centre``: it covers the middle.
- ``hit_1`` to ``hit_7``: of the answers in the closed loop that do not stop, the share of clicks that correct the mask:
  a positive one on a missed pixel of the object, a negative one on a pixel too many. ``hit_2_to_4``: the second to the
  fourth together.
- ``sign``: of the clicks on either of these, the share with the sign that corrects the mask.
- ``miou``, ``oracle_miou``: mean IoU after 7 clicks, of the model and of the oracle; ``below_oracle``: the difference.
- ``iou_error``, ``iou_spearman``: of the IoUs that are predicted for the random masks of `filter_synth_easy`;
  ``loop_iou_error``, ``loop_iou_spearman``: for the model's own masks, from the second answer on. An answer without a
  prediction counts as 0.5.
- ``stops_when_perfect``: the share of stops where the ground truth is shown as the mask; ``stops_when_good``: where a
  mask of the oracle with an IoU of at least 0.95 is shown.
- ``stops``, ``stops_early``: the share of episodes that the model stops, and that it stops with a true IoU below 0.8.
- ``invalid``: the share of answers that cannot be read as an action, or that repeat a click.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from PIL import Image as Pillow

import hlmat_bench
from hlmat_bench.cli.settings import settings as read_settings
from hlmat_bench.core import masks
from hlmat_bench.core.errors import HlmatError
from hlmat_bench.data.synth.source import Series, script
from hlmat_bench.data.synth.styles import PLAIN
from hlmat_bench.data.tasks import load_task
from hlmat_bench.protocol.records import Episode, Step
from hlmat_bench.runs.initial_states import mask_names
from hlmat_bench.scores.filtering import as_numbers, correlation, ranked
from hlmat_bench.scores.intervals import Floats, bootstrap, bootstrap_statistic
from hlmat_bench.scores.outcomes import ClickPlace

Score: TypeAlias = dict[str, Any]
"""A value, its interval, and how many values it is the mean of; all None of no value."""

TASK, CLICKS = "synth_easy", 7
EARLY, GOOD = 0.8, 0.95
BARS: Mapping[str, tuple[Literal["least", "most"], float]] = {
    "first_click": ("least", 0.90),
    "shuffled": ("most", 0.30),
    "blank": ("most", 0.12),
    **{f"hit_{t}": ("least", 0.80) for t in (2, 3, 4)},
    "miou": ("least", 0.70),
    "iou_error": ("most", 0.06),
    "iou_spearman": ("least", 0.85),
    "stops_when_perfect": ("least", 0.80),
    "stops_early": ("most", 0.10),
}
"""What hlmat-tiny should reach."""


@dataclass(frozen=True)
class Judge:
    """The runs of a model on the first ``count`` samples of a seed, in folders below ``out``."""

    model: str
    settings: Mapping[str, Any]
    count: int
    seed: int
    out: Path
    name: str

    def play(self, what: str, task: str = TASK, name: str | None = None, **options: Any) -> list[Episode]:
        """Play or continue a run, of the model unless the options name another, and return its episodes."""
        common = {"model": self.model, "settings": self.settings, "seed": self.seed, "limit": self.count}
        print(f"{what} ...", file=sys.stderr, flush=True)
        played = hlmat_bench.run(task=task, out=self.folder(name or self.name, what), **common | options)
        return list(played.episodes())

    def folder(self, name: str, what: str) -> Path:
        """Return the folder of a run."""
        return self.out / f"{name}-{what}-{self.seed}-{self.count}"

    def control(self, control: str) -> list[Episode]:
        """Play the first click of a control."""
        kind = str(Path(__file__).resolve().with_name("controls.py"))
        source = {"kind": kind, "style": "plain", "control": control, "count": max(self.count, 2)}
        task = self.out / f"{control}-{self.count}.yaml"
        task.write_text(json.dumps({"name": f"{TASK}_{control}", "source": source}), encoding="utf-8")
        return self.play(control, str(task), budget=1)

    def perfect(self) -> list[Episode]:
        """Play the first answer to the ground truths."""
        folder = self.out / f"truths-{self.seed}"
        folder.mkdir(exist_ok=True)
        source = load_task(TASK).source(seed=self.seed)
        for sample in source.samples()[: self.count]:
            if not (path := folder / mask_names(sample.id, TASK)[1]).exists():
                Pillow.fromarray(source.truth(sample).mask.astype(np.uint8) * 255).save(path)
        return self.play("perfect", initial=f"masks={folder}", budget=1)

    def scores(self) -> dict[str, Any]:
        """Play everything and return all scores with their intervals."""
        self.out.mkdir(parents=True, exist_ok=True)
        played, perfect = self.play("clicks", budget=CLICKS), self.perfect()
        oracle = self.play("clicks", name="oracle", model="oracle", settings={}, budget=CLICKS)
        good = self.play("good", initial=f"mask-from={self.folder('oracle', 'clicks')}", budget=1)
        rating = {"limit": max(self.count // 4, 1), "settings": {**self.settings, "prm": "reply"}}
        rated = self.play("filter", f"filter_{TASK}", **rating)
        shown = [Answer(one, step, step.iou) for one in rated for step in one.steps]
        answers = [answer for one in played for answer in answers_of(one)]
        return {
            "n": len(played),
            "scenes": len({one.image_id for one in played}),
            "first_click": mean((one, hit_first(one)) for one in played),
            **{name: mean((one, hit_first(one)) for one in self.control(name)) for name in ("shuffled", "blank")},
            "random_object": mean((one, 1 / things_in(one)) for one in played),
            "centre": mean((one, masks.decode(one.gt)[one.size[0] // 2, one.size[1] // 2]) for one in played),
            **clicks(answers),
            "miou": mean((one, one.iou_at(CLICKS)) for one in played),
            "oracle_miou": mean((one, one.iou_at(CLICKS)) for one in oracle),
            "below_oracle": mean(
                (one, best.iou_at(CLICKS) - one.iou_at(CLICKS)) for one, best in zip(played, oracle, strict=True)
            ),
            **predictions("iou", shown),
            **predictions("loop_iou", [answer for answer in answers if answer.step.t > 1]),
            "stops_when_perfect": mean((one, one.stop == "stop") for one in perfect),
            "stops_when_good": mean((one, one.stop == "stop") for one in good if one.initial["iou"] >= GOOD),
            "stops": mean((one, one.stop == "stop") for one in played),
            "stops_early": mean((one, one.stop == "stop" and one.iou_at(CLICKS) < EARLY) for one in played),
        }


@dataclass(frozen=True)
class Answer:
    """A step of an episode.

    Attributes:
        episode, step: which.
        iou: the true IoU of the mask that its predicted IoU is about.
        corrects: for a click in an error of the mask, whether its sign corrects it; None for all else.
    """

    episode: Episode
    step: Step
    iou: float
    corrects: bool | None = None


def answers_of(episode: Episode) -> Iterator[Answer]:
    """Give the answers of an episode in the closed loop."""
    truth = masks.decode(episode.gt)
    for step in episode.steps:
        corrects = None
        if step.action.kind == "click":
            click, mask = step.action.click, episode.mask_at(step.t - 1)
            covered = mask is not None and bool(masks.decode(mask)[click.y, click.x])
            place = ClickPlace(bool(truth[click.y, click.x]), covered)
            corrects = place.corrected_by(click.positive) if place.inside != covered else None
        yield Answer(episode, step, episode.iou_at(step.t - 1), corrects)


def hit_first(episode: Episode) -> bool:
    """Tell whether the first answer is a positive click in the object."""
    return any(answer.corrects is True for answer in answers_of(episode) if answer.step.t == 1)


def things_in(episode: Episode) -> int:
    """Return the number of objects in the scene of an episode."""
    *_, seed, index = episode.image_id.split("/")
    return len(script(Series(PLAIN, int(seed)), int(index)).scene.things)


def clicks(answers: Sequence[Answer]) -> dict[str, Score]:
    """Return the scores of the answers in the closed loop."""
    going = [answer for answer in answers if answer.step.action.kind != "stop"]
    placed = [answer for answer in going if answer.corrects is not None]
    return {
        **{
            f"hit_{t}": mean((one.episode, one.corrects is True) for one in going if one.step.t == t)
            for t in range(1, CLICKS + 1)
        },
        "hit_2_to_4": mean((one.episode, one.corrects is True) for one in going if 2 <= one.step.t <= 4),
        "sign": mean((one.episode, bool(one.corrects)) for one in placed),
        "invalid": mean((one.episode, one.step.action.kind == "invalid") for one in answers),
    }


def mean(values: Iterable[tuple[Episode, float]]) -> Score:
    """Return the mean of values with its interval; None of no value."""
    given = list(values)
    if not given:
        return {"value": None, "ci": None}
    numbers = np.array([float(value) for _, value in given])
    low, high = bootstrap(numbers, np.ones_like(numbers), [one.image_id for one, _ in given])
    return {"value": float(numbers.mean()), "ci": [float(low[0]), float(high[0])], "n": len(given)}


def predictions(name: str, answers: Sequence[Answer]) -> dict[str, Score]:
    """Return the mean error and the rank correlation of predicted IoUs; None of a correlation that is not defined."""
    said = [answer.step.action.predicted_iou for answer in answers]
    found = {f"{name}_error": mean([]), f"{name}_spearman": mean([])}
    if set(said) <= {None}:
        return found
    predicted, true = as_numbers(said), np.array([answer.iou for answer in answers])
    found[f"{name}_error"] = mean((one.episode, value) for one, value in zip(answers, np.abs(predicted - true)))

    def spearman(weights: Floats) -> Floats:
        return np.array([correlation(ranked(true, weights), ranked(predicted, weights), weights)])

    value = float(spearman(np.ones_like(true))[0])
    if not np.isnan(value):
        (low,), (high,) = bootstrap_statistic(spearman, [one.episode.image_id for one in answers])
        found[f"{name}_spearman"] = {"value": value, "ci": [float(low), float(high)], "n": len(said)}
    return found


def add_bars(scores: Mapping[str, Any]) -> None:
    """Add to each score that has a bar the bar, and whether it is met; a score of nothing meets none."""
    for name, (side, bar) in BARS.items():
        value = scores[name]["value"]
        met = value is not None and (value >= bar if side == "least" else value <= bar)
        scores[name].update(bar=bar, side=side, met=met)


def markdown(scores: Mapping[str, Any]) -> str:
    """Return the scores as a table, in per cent but for correlations."""
    lines = ["| score | value | 95 % interval | n | bar | met |", "|---|---:|---:|---:|---:|---|"]
    for name, one in scores.items():
        if isinstance(one, dict):
            scale, form = (1, ".3f") if name.endswith("spearman") else (100, ".1f")
            value, low, high, bar = (
                scale * (part or 0) for part in (one["value"], *(one["ci"] or (0, 0)), one.get("bar"))
            )
            shown = "none | |" if one["ci"] is None else f"{value:{form}} | {low:{form}} to {high:{form}} | {one['n']}"
            met = f"at {one['side']} {bar:g} | {'yes' if one['met'] else 'no'}" if "bar" in one else "|"
            lines.append(f"| {name} | {shown} | {met} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Judge a model and write its scores as NAME.json and NAME.md."""
    parser = argparse.ArgumentParser(description="Judges a model on unseen scenes of synth_easy.")
    parser.add_argument("--model", required=True, help="as of hlmat-bench run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of all its runs")
    parser.add_argument("--samples", type=int, default=1000, help="how many samples are played (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes; 0 is the test (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("runs/tiny-judge"), help="folder (default: runs/tiny-judge)")
    parser.add_argument("--name", default="model", help="of the model in the files (default: model)")
    given = parser.parse_args(argv)
    judge = Judge(given.model, read_settings(given.set), given.samples, given.seed, given.out, given.name)
    try:
        scores = judge.scores()
    except HlmatError as error:
        raise SystemExit(str(error)) from None
    add_bars(scores)
    table, path = markdown(scores), judge.folder(given.name, "scores")
    document = json.dumps({"model": given.model, "seed": given.seed, **scores}, indent=2)
    for ending, text in ((".json", document + "\n"), (".md", table)):
        path.with_name(path.name + ending).write_text(text, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
