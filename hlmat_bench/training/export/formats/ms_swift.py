"""The format of ms-swift: ``messages`` and ``images``, a line per example.

Read in ms-swift 4.6.0 (``swift/dataset/preprocessor``, ``swift/template/vision_utils.py``) and in its documentation
(https://swift.readthedocs.io/en/latest/Customization/Custom-dataset.html). Relative paths of images begin in the
current folder or in ROOT_IMAGE_DIR.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hlmat_bench.training.export.writing import Example, Format, JsonLines, Trajectory


class MsSwift(JsonLines):
    """``messages`` with ``role`` and ``content``, and ``images``."""

    def row(self, trajectory: Trajectory, example: Example) -> Mapping[str, Any]:
        """See `JsonLines.row`."""
        user = {"role": "user", "content": example.marked_prompt}
        return {
            "messages": [user, {"role": "assistant", "content": example.answer}],
            "images": [example.image],
            "hlmat": trajectory.origin(example),
        }


FORMATS = {"ms-swift": Format(MsSwift, "ms-swift: messages and images")}
