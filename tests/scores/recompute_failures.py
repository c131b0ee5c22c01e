"""The section ``failures`` of scores.json, as docs/files.md defines it."""


def failures(episodes):
    failed = [e["error"] for e in episodes if e["stop"] == "error"]
    kinds = {
        "refused": lambda s: s["action"].get("reason") == "refusal",
        "empty": lambda s: s["action"].get("reason") == "empty",
        "cut_off": lambda s: s.get("finish") == "length" and s["action"]["kind"] == "invalid",
        "thoughts_only": lambda s: s.get("thought", False) and not s["raw"].strip(),
    }
    said = [[step for step in e["steps"] if step["raw"] is not None] for e in episodes]
    counts = {kind: [sum(map(is_one, steps)) for steps in said] for kind, is_one in kinds.items()}
    places = [
        max(step["action"]["x"] / e["size"][1], step["action"]["y"] / e["size"][0])
        for e, steps in zip(episodes, said, strict=True)
        for step in steps
        if step["action"]["kind"] == "click"
    ]
    commonest = sorted({*failed}, key=lambda reason: (-failed.count(reason), failed.index(reason)))[:5]
    return {
        "episodes": len(failed),
        "share": len(failed) / len(episodes),
        **{kind: sum(count > 0 for count in counts[kind]) for kind in ("refused", "empty", "cut_off")},
        "replies": {"all": sum(map(len, said))} | {kind: sum(each) for kind, each in counts.items()},
        "farthest_click": max(places) if places else None,
        "reasons": {reason: failed.count(reason) for reason in commonest},
    }
