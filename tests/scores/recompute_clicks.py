"""For recompute.py: the click diagnostics and the costs."""

import math
from collections import Counter

import numpy as np
from recompute_masks import counted


def mean(values):
    values = [*values]
    return float(np.mean(values)) if values else None


def clicks_of(episode):
    """Return the valid clicks of an episode, and its IoU after its first valid action if it began without a mask."""
    began, acts, clicks = episode["initial"]["mask"] is None, 0, []
    located = episode["ious"][0] if began else None
    for step in episode["steps"]:
        t, action = step["t"], step["action"]
        if action["kind"] not in ("click", "box"):
            continue
        acts += 1
        localises = began and acts == 1
        located = episode["ious"][t] if localises else located
        if action["kind"] == "click":
            place = action["y"], action["x"]
            wanted, had, add = episode["gt"][place], episode["masks"][t - 1][place], action["positive"]
            click = {"t": t, "positive": add, "localises": localises, "inside": add and wanted == 1}
            clicks.append(
                click | {"hit": wanted != had == 1 - add, "gain": episode["ious"][t] - episode["ious"][t - 1]}
            )
    return clicks, located


def worth(clicks):
    gains = [click["gain"] for click in clicks]
    means = {"hit_rate": mean(click["hit"] for click in clicks), "mean_gain": mean(gains)}
    return means | {"valid": len(clicks), "overshoot": mean(gain < 0 for gain in gains), "regret": None}


def click_scores(episodes, budget):
    per_episode, located = zip(*map(clicks_of, episodes), strict=True)
    clicks = [click for each in per_episode for click in each]
    located = [iou for iou in located if iou is not None]
    steps = [step for episode in episodes for step in episode["steps"]]
    invalid = Counter(step["action"]["reason"] for step in steps if step["action"]["kind"] == "invalid")
    return worth(clicks) | {
        "total": len(clicks) + invalid.total(),
        "invalid": invalid,
        "finish": Counter(step["finish"] for step in steps if "finish" in step),
        "first_click_inside": mean(
            any(c["inside"] and c["t"] == 1 for c in each)
            for each, episode in zip(per_episode, episodes, strict=True)
            if counted(episode, episode["gt"]).any()
        ),
        "regret_ci": None,
        "localisation": worth([c for c in clicks if c["localises"]]) | {"episodes": len(located), "iou": mean(located)},
        "refinement": worth([c for c in clicks if not c["localises"]]),
        "positive": worth([c for c in clicks if c["positive"]]),
        "negative": worth([c for c in clicks if not c["positive"]]),
        "by_step": [{"t": t} | worth([c for c in clicks if c["t"] == t]) for t in range(1, budget + 1)],
    }


def cost(episodes):
    steps = [step for episode in episodes for step in episode["steps"]]
    dollars = [step.get("cost") for step in steps if step["raw"] is not None]
    return {
        "tokens_in": sum(step["tokens"].get("in") or 0 for step in steps),
        "tokens_out": sum(step["tokens"].get("out") or 0 for step in steps),
        "dollars": math.fsum(dollars) if dollars and None not in dollars else None,
        "seconds": sum(sum(step["seconds"].values()) for step in steps),
    }
