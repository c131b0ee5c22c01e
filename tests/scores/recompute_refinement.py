"""For recompute.py: what clicks made of the masks that episodes begin with."""

import numpy as np
from recompute_masks import interval


def noc(episodes, threshold, budget):
    hits = [[t for t in range(budget + 1) if np.float32(e["ious"][t]) >= np.float32(threshold)] for e in episodes]
    needed, failed = [min(each, default=budget) for each in hits], hits.count([])
    return {"mean": np.mean(needed), "ci": interval(episodes, needed), "solved": len(hits) - failed, "failed": failed}


def change(episodes, rule):
    last = [e["ious"][e["selected"][rule]] for e in episodes]
    gain = [iou - e["ious"][0] for e, iou in zip(episodes, last, strict=True)]
    columns = {"miou": last, "gain": gain, "worsened": [float(value < 0) for value in gain]}
    intervals = {f"{name}_ci": interval(episodes, values) for name, values in columns.items()}
    return intervals | {name: np.mean(values) for name, values in columns.items()}


def group(episodes, budget):
    first = [e["ious"][0] for e in episodes]
    made = [e["initial"]["in_band"] for e in episodes if "in_band" in e["initial"]]
    return {
        "n": len(episodes),
        **{"initial_miou": np.mean(first), "initial_miou_ci": interval(episodes, first)},
        **{rule: change(episodes, rule) for rule in ("final", "self", "best")},
        "noc": {name: noc(episodes, float(name), budget) for name in ("0.80", "0.85", "0.90", "0.95")},
        **({"in_band": made.count(True)} if made else {}),
    }


def grouped(episodes, names, budget):
    pairs = [*zip(episodes, names, strict=True)]
    return {name: group([e for e, other in pairs if other == name], budget) for name in {*names} - {None}}


def refinement(episodes, budget):
    states = [episode["initial"] for episode in episodes]
    if {state["kind"] for state in states} == {"empty"}:
        return None
    bands = ["{:.2f}-{:.2f}".format(*state["band"]) if "band" in state else None for state in states]
    return group(episodes, budget) | {
        "by_defect": grouped(episodes, [state.get("defect") for state in states], budget),
        "by_band": grouped(episodes, bands, budget),
    }
