"""The format of verl: parquet with a prompt, its image and what the reward function needs.

Read in verl 0.9.1 (``utils/dataset/rl_dataset.py``) and
https://verl.readthedocs.io/en/latest/preparation/prepare_data.html. The reward function is
``hlmat_bench.training.compute_score``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from hlmat_bench.training.export.recorded import RecordedRun
from hlmat_bench.training.export.writing import Example, Format, Target, Trajectory, Writer
from hlmat_bench.training.pool import SessionSettings
from hlmat_bench.training.states import sessions_of, snapshot_before


class Verl(Writer):
    """``train.parquet`` and ``val.parquet``, with the images in them.

    ``ground_truth`` is the answer of the trajectory, and ``extra_info.state`` the snapshot that a reply is played from.
    """

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._files = target.tables(_schema())
        self._written = dict.fromkeys(self._files, 0)
        self._sessions = cache(self._sessions_of)

    def add(self, trajectory: Trajectory, examples: Sequence[Example]) -> None:
        """See `Writer.add`."""
        sessions = self._sessions(trajectory.run)
        for example in examples:
            self._files[trajectory.split].add(self._row(trajectory, example, sessions))
            self._written[trajectory.split] += 1

    def finish(self) -> None:
        """See `Writer.finish`."""
        for file in self._files.values():
            file.close()

    def _row(self, trajectory: Trajectory, example: Example, sessions: SessionSettings) -> dict[str, Any]:
        digest = trajectory.run.manifest["task"]["digest"]
        state = snapshot_before(trajectory.episode, example.state.t, sessions, digest)
        return {
            "data_source": self.target.name,
            "prompt": [{"role": "user", "content": example.marked_prompt}],
            "images": [{"bytes": example.image}],
            "ability": "segmentation",
            "reward_model": {"style": "rule", "ground_truth": example.answer},
            "extra_info": {
                "split": trajectory.split,
                "index": self._written[trajectory.split],
                "answer": example.answer,
                "question": example.prompt,
                "state": state.to_json(),
                **trajectory.origin(example),
            },
        }

    def _sessions_of(self, run: RecordedRun) -> SessionSettings:
        """Return the settings of sessions that play as the run did, and read replies as the export writes answers."""
        asking, target = run.asking, self.target
        shown = dict(asking.describe()["settings"])
        overlay = {f"overlay.{name}": value for name, value in shown.pop("overlay").items()}
        options = {
            "points": asking.points.name,
            "resize": asking.resize.name,
            "settings": {**shown, **overlay},
            **({} if run.task is None else {"task": run.task}),
            **({} if target.segmenter is None else {"segmenter": target.segmenter}),
        }
        return sessions_of(run.manifest, options | {"data_root": target.data_root})


def _schema() -> Any:
    import pyarrow as pa

    text = pa.string()
    messages = pa.list_(pa.struct({"role": text, "content": text}))
    info = {"split": text, "index": pa.int64(), "answer": text, "question": text, "state": text}
    info |= {"sample_id": text, "step": pa.int64(), "iou": pa.float64()}
    columns = {
        "data_source": text,
        "prompt": messages,
        "images": pa.list_(pa.struct({"bytes": pa.binary()})),
        "ability": text,
        "reward_model": pa.struct({"style": text, "ground_truth": text}),
        "extra_info": pa.struct(info),
    }
    return pa.schema(columns)


FORMATS = {"verl": Format(Verl, "verl: prompts, images and the states that replies are rewarded in", "bytes")}
