"""For recompute.py: samples whose ground truth is empty, as GRES scores them."""

import numpy as np
from recompute_masks import counted, interval, ratio

TARGETS = ["t_acc", "target_miou", "target_ciou", "t_acc_ci", "target_miou_ci", "target_ciou_ci"]
TARGETS += ["target_biou", "target_precision"]


def mean(episodes, name, values):
    return {name: np.mean(values), f"{name}_ci": interval(episodes, values)}


def ciou(episodes, steps, name):
    pairs = [e["pairs"][t] for e, t in zip(episodes, steps, strict=True)]
    inner, union = ([pair[side] for pair in pairs] for side in (0, 1))
    return {name: ratio((sum(inner), sum(union))), f"{name}_ci": interval(episodes, inner, union)}


def empty(episode, rule):
    return not counted(episode, episode["masks"][episode["selected"][rule]]).any()


def of_targets(episodes, rule):
    if not episodes:
        return dict.fromkeys(TARGETS)
    steps = [e["selected"][rule] for e in episodes]
    ious, rims = ([e[key][t] for e, t in zip(episodes, steps, strict=True)] for key in ("ious", "rims"))
    return {
        **mean(episodes, "t_acc", [float(not empty(e, rule)) for e in episodes]),
        **mean(episodes, "target_miou", ious),
        **ciou(episodes, steps, "target_ciou"),
        "target_biou": np.mean(rims),
        "target_precision": {f"0.{n}": np.mean(np.array(ious) >= n / 10) for n in (5, 6, 7, 8, 9)},
    }


def gres(episodes, without, having, rule):
    """GRES: a sample without target has an IoU of 1 where its mask is empty, else 0; its mask goes into the unions."""
    values = [
        float(empty(e, rule)) if e in without else e["ious"][e["selected"][rule]]  # by the definition, not by areas
        for e in episodes
    ]
    seen = [e for e in without if empty(e, rule)]
    return {
        **mean(without, "n_acc", [float(empty(e, rule)) for e in without]),
        "unanswered": sum(all(step["action"]["kind"] == "invalid" for step in e["steps"]) for e in seen),
        **of_targets(having, rule),
        **mean(episodes, "giou", values),
        **ciou(episodes, [e["selected"][rule] for e in episodes], "ciou"),
    }


def no_target(episodes):
    groups = [[e for e in episodes if counted(e, e["gt"]).any() == has] for has in (False, True)]
    if not groups[0]:
        return {}
    sections = {rule: gres(episodes, *groups, rule) for rule in ("final", "self", "best")}
    return {"no_target": {"n": len(groups[0]), "targets": len(groups[1]), **sections}}
