"""The formats of LLaMA-Factory: a line per example, and ``dataset_info.json``.

Read in llamafactory 0.9.5 (``data/parser.py``, ``data/converter.py``) and in its ``data/README.md``
(https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md). Both forms have the formatting ``sharegpt``;
paths of images are relative to ``media_dir``, which is ``dataset_dir`` unless it is given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from hlmat_bench.training.export.writing import Example, Format, JsonLines, Target, Trajectory


class LlamaFactory(JsonLines):
    """``messages`` with ``role`` and ``content``, and ``images``."""

    messages, role, content = "messages", "role", "content"
    tags: ClassVar = {"user_tag": "user", "assistant_tag": "assistant"}

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._info = target.file("dataset_info.json")

    def row(self, trajectory: Trajectory, example: Example) -> Mapping[str, Any]:
        """See `JsonLines.row`."""
        said = zip(self.tags.values(), (example.marked_prompt, example.answer), strict=True)
        return {
            self.messages: [{self.role: role, self.content: text} for role, text in said],
            "images": [example.image],
            "hlmat": trajectory.origin(example),
        }

    def finish(self) -> None:
        """Write ``dataset_info.json``, in which a split is called ``NAME_SPLIT``."""
        tags = {"role_tag": self.role, "content_tag": self.content, **self.tags}
        columns = {"messages": self.messages, "images": "images"}
        about = {"formatting": "sharegpt", "columns": columns, "tags": tags}
        target = self.target
        info = {f"{target.name}_{split}": {"file_name": f"{split}.jsonl", **about} for split in target.splits}
        self._info.write(json.dumps(info, indent=2).encode() + b"\n")


class ShareGpt(LlamaFactory):
    """``conversations`` with ``from`` and ``value``, and ``images``."""

    messages, role, content = "conversations", "from", "value"
    tags: ClassVar = {"user_tag": "human", "assistant_tag": "gpt"}


FORMATS = {
    "llamafactory": Format(LlamaFactory, "LLaMA-Factory: messages with roles"),
    "sharegpt": Format(ShareGpt, "LLaMA-Factory and others: conversations of human and gpt"),
}
