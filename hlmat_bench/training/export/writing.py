"""What formats are made of: examples, the interface of a writer, and files that appear when they are whole."""

from __future__ import annotations

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

from hlmat_bench.core.plain_files import replaced
from hlmat_bench.protocol.records import Episode
from hlmat_bench.training.export.pictures import Pictures
from hlmat_bench.training.export.recorded import RecordedRun
from hlmat_bench.training.export.selection import State

IMAGE_MARK = "<image>"
"""What stands for the image in the prompts of LLaMA-Factory, ms-swift and verl."""


@dataclass(frozen=True, slots=True)
class Example:
    """A state with what is shown and what should be answered.

    Attributes:
        state: the state.
        prompt: the prompt.
        answer: the answer.
        image: the path of the painted image in the export's folder, or its bytes; None where the format has none.
        original: the path of the image without paint, where it is painted when it is read.
    """

    state: State
    prompt: str
    answer: str
    image: str | bytes | None = None
    original: str | None = None

    @property
    def marked_prompt(self) -> str:
        """The prompt after `IMAGE_MARK`, which stands nowhere else in it."""
        return IMAGE_MARK + self.prompt.replace(IMAGE_MARK, "image")


@dataclass(frozen=True, slots=True)
class Trajectory:
    """An episode with the states that are taken.

    Attributes:
        run: the run that it stands in.
        episode: the episode.
        states: what is taken of it.
        split: ``train`` or ``val``.
    """

    run: RecordedRun
    episode: Episode
    states: Sequence[State]
    split: str

    def origin(self, example: Example) -> dict[str, Any]:
        """Return where an example comes from, as JSON values; what `TrajectoryDataset` paints it from, if it must."""
        found: dict[str, Any] = {
            "sample_id": self.episode.sample_id,
            "step": example.state.t,
            "iou": example.state.iou,
        }
        if example.original is not None:
            asking = self.run.asking
            settings = asking.settings
            found |= {
                "prompt": example.prompt,
                "answer": example.answer,
                "image": example.original,
                "mask": example.state.mask,
                "overlay": settings.overlay.model_dump(mode="json"),
                "jpeg": settings.jpeg,
                "resize": asking.resize.name,
            }
        return found


class Writer(ABC):
    """Writes the examples of one export; the files appear when all are written.

    Args:
        target: what is written where.
    """

    def __init__(self, target: Target) -> None:
        self.target = target

    @abstractmethod
    def add(self, trajectory: Trajectory, examples: Sequence[Example]) -> None:
        """Write the examples of a trajectory. Called in the order of the runs."""

    @abstractmethod
    def finish(self) -> None:
        """Write what stands at the end; nothing comes after it."""


@dataclass
class Target:
    """Where an export is written.

    Attributes:
        folder: its folder.
        splits: the names of its splits.
        pictures: encodes and writes images.
        stack: closes what is open; on an error, files that are not whole are removed.
        shard_size: the most examples of a shard.
        name: the name of the data set in files that name it.
        segmenter: the segmenter that replays states, where the run's has no name here.
        data_root: the folder that holds the data sets.
    """

    folder: Path
    splits: Sequence[str]
    pictures: Pictures
    stack: ExitStack
    shard_size: int = 1000
    name: str = "hlmat"
    segmenter: str | None = None
    data_root: str | None = None

    def file(self, name: str) -> BinaryIO:
        """Open a file that takes the place of an older one when the export is finished."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return self.stack.enter_context(replaced(path))

    def files(self, suffix: str) -> dict[str, BinaryIO]:
        """Open ``SPLIT.SUFFIX`` for every split."""
        return {split: self.file(f"{split}.{suffix}") for split in self.splits}

    def tables(self, schema: Any) -> dict[str, ParquetRows]:
        """Open ``SPLIT.parquet`` for every split, with the columns of a schema of `pyarrow`."""
        tables = {split: ParquetRows(file, schema) for split, file in self.files("parquet").items()}
        for table in tables.values():
            self.stack.callback(table.abandon)
        return tables


class JsonLines(Writer):
    """One JSON object per example and line, in ``train.jsonl`` and ``val.jsonl``."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._files = target.files("jsonl")

    @abstractmethod
    def row(self, trajectory: Trajectory, example: Example) -> Mapping[str, Any]:
        """Return the object of an example."""

    def add(self, trajectory: Trajectory, examples: Sequence[Example]) -> None:
        """See `Writer.add`. A trainer finds none of its columns where the image still has to be painted."""
        for example in examples:
            lazy = example.original is not None
            row = {"hlmat": trajectory.origin(example)} if lazy else self.row(trajectory, example)
            self._files[trajectory.split].write(json_bytes(row) + b"\n")

    def finish(self) -> None:
        """See `Writer.finish`; nothing stands at the end."""


class JsonData(Writer):
    """``{"data": [...]}`` with one entry per trajectory, in ``train.json`` and ``val.json``."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._files = target.files("json")
        self._before = dict.fromkeys(self._files, b'{"data": [\n')

    @abstractmethod
    def entry(self, trajectory: Trajectory) -> Mapping[str, Any]:
        """Return the entry of a trajectory."""

    def add(self, trajectory: Trajectory, examples: Sequence[Example]) -> None:
        """See `Writer.add`."""
        split = trajectory.split
        self._files[split].write(self._before[split] + json_bytes(self.entry(trajectory)))
        self._before[split] = b",\n"

    def finish(self) -> None:
        """See `Writer.finish`."""
        for split, file in self._files.items():
            start = self._before[split]
            file.write((b"" if start == b",\n" else start) + b"\n]}\n")


Pixels: TypeAlias = Literal["files", "bytes", "none"]


@dataclass(frozen=True, slots=True)
class Format:
    """A format of exports.

    Attributes:
        writer: makes its writer.
        title: what reads it, in a few words.
        pixels: painted images are ``files``, or ``bytes`` within the format's files, or there are ``none``.
        whole: an entry is a whole trajectory; else it is one state.
    """

    writer: Callable[[Target], Writer]
    title: str
    pixels: Pixels = "files"
    whole: bool = False


def json_bytes(value: Any) -> bytes:
    """Return a JSON value in UTF-8; half a surrogate pair becomes its escape, as in the records of runs."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


class ParquetRows:
    """A parquet file that is written in small groups of rows.

    Args:
        file: where it is written.
        schema: its columns, of `pyarrow`.
        size: rows per group.
    """

    def __init__(self, file: BinaryIO, schema: Any, size: int = 100) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._table = pa.Table.from_pylist
        self._schema, self._size, self._rows = schema, size, list[Mapping[str, Any]]()
        self._writer = pq.ParquetWriter(pa.PythonFile(_Unclosed(file), mode="w"), schema)

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a row."""
        self._rows.append(row)
        if len(self._rows) >= self._size:
            self._flush()

    def close(self) -> None:
        """Write the remaining rows and the end of the file."""
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """End the file without the remaining rows, unless it is closed; on an error, before the file closes."""
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._table(self._rows, schema=self._schema))
            self._rows = []


class _Unclosed(io.RawIOBase):
    """A file that its user may not close: `replaced` still has to make it durable."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()
