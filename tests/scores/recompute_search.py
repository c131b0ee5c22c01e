"""For recompute.py: how a search judged the masks that it tried."""

import numpy as np
from pycocotools import mask as coco
from recompute_masks import areas, ratio


def steps(episode):
    """Of each step that tried something: how many replies, how many actions, and of each mask its row."""
    ignore = coco.decode(episode["ignore"]) if episode["ignore"] else np.zeros(episode["size"], np.uint8)
    for step in episode["steps"]:
        if tried := step.get("candidates"):
            led = [each for each in tried if each["action"]["kind"] in ("click", "box", "none")]
            ious = [ratio(areas(episode["gt"], coco.decode(each["mask"]), ignore)) for each in led]
            # The true IoU, the predicted one, whether it was taken.
            rows = [(iou, each["predicted_iou"], each["chosen"]) for iou, each in zip(ious, led, strict=True)]
            yield sum(len(each["replies"]) for each in tried), len(tried), rows


def search(episodes):
    found = [step for episode in episodes for step in steps(episode)]
    rows = [row for _, _, tried in found for row in tried]
    pairs = np.array([row[:2] for row in rows if row[1] is not None], float).reshape(-1, 2)
    chosen = [(max(tried)[0], [row[0] for row in tried if row[2]]) for _, _, tried in found if len(tried) > 1]
    lost = [best - taken[0] for best, taken in chosen if taken]
    return None if not found else {
        "drawn": sum(drawn for drawn, _, _ in found),
        "distinct": sum(distinct for _, distinct, _ in found),
        "judged": len(pairs),
        "unread": len(rows) - len(pairs),
        "mae": np.abs(np.diff(pairs)).mean() if len(pairs) else None,
        "pearson": np.corrcoef(pairs.T)[0, 1] if len(pairs) > 1 and np.ptp(pairs, axis=0).all() else None,
        "best_taken": np.mean(np.array(lost) == 0) if lost else None,
        "lost": np.mean(lost) if lost else None,
    }  # fmt: skip
