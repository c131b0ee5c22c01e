"""The format of TRL's SFTTrainer: parquet with prompt, completion and images, which `datasets` decodes.

Read in trl 1.16.0 (``trainer/sft_trainer.py``, ``data_utils.py``) and
https://huggingface.co/docs/trl/dataset_formats: a conversation of prompt and completion trains on the completion alone.
The contents are lists of blocks; the images stand in a column of their own, in the place of the image blocks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hlmat_bench.training.export.writing import Example, Format, Target, Trajectory, Writer

_STRING = {"dtype": "string", "_type": "Value"}
_BLOCKS = {"_type": "List", "feature": {"type": _STRING, "text": _STRING}}
_MESSAGES = {"_type": "List", "feature": {"role": _STRING, "content": _BLOCKS}}
_FEATURES = {
    "prompt": _MESSAGES,
    "completion": _MESSAGES,
    "images": {"_type": "List", "feature": {"_type": "Image"}},
    "sample_id": _STRING,
    "step": {"dtype": "int64", "_type": "Value"},
    "iou": {"dtype": "float64", "_type": "Value"},
}


class Trl(Writer):
    """``train.parquet`` and ``val.parquet``, with the images in them."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._files = target.tables(_schema())

    def add(self, trajectory: Trajectory, examples: Sequence[Example]) -> None:
        """See `Writer.add`."""
        for example in examples:
            text = {"type": "text", "text": example.prompt}
            answer = {"type": "text", "text": example.answer}
            self._files[trajectory.split].add(
                {
                    "prompt": [{"role": "user", "content": [{"type": "image", "text": None}, text]}],
                    "completion": [{"role": "assistant", "content": [answer]}],
                    "images": [{"bytes": example.image, "path": None}],
                    **trajectory.origin(example),
                }
            )

    def finish(self) -> None:
        """See `Writer.finish`."""
        for file in self._files.values():
            file.close()


def _schema() -> Any:
    """Return the columns, with what tells `datasets` that ``images`` are images.

    `datasets` keeps its features under the key ``huggingface`` of a parquet file's metadata.
    """
    import pyarrow as pa

    blocks = pa.list_(pa.struct({"type": pa.string(), "text": pa.string()}))
    messages = pa.list_(pa.struct({"role": pa.string(), "content": blocks}))
    images = pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    columns = {"prompt": messages, "completion": messages, "images": images}
    columns |= {"sample_id": pa.string(), "step": pa.int64(), "iou": pa.float64()}
    return pa.schema(columns, {"huggingface": json.dumps({"info": {"features": _FEATURES}})})


FORMATS = {"trl": Format(Trl, "TRL's SFTTrainer, and all that reads Hugging Face data sets", "bytes")}
