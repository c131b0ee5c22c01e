"""Measure the time and the memory that a data set in parquet files takes.

    python -m benchmarks.parquet [--rows 20000] [--group 100] [--schemas lmms,masks,references] [--folder DIR]

The data set is written as the library datasets writes one, in row groups of ``--group`` rows, with an image of 640x480
in each row; rows of the schema ``lmms`` have three expressions, so that 20,000 of them are 60,000 samples. A process of
its own opens it, makes its digest, looks at it as before a run, and reads the image and the truth of every sample
in order; the most memory that it takes (resident set size, on Linux) includes Python and all libraries.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH, EXPRESSIONS, FILES = 480, 640, 3, 4
IMAGES = 16
SCHEMAS = ("lmms", "masks", "references")


def pictures() -> list[bytes]:
    """Return JPEG files of about 50 KB."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(IMAGES):
        small = random.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=85)
        found.append(stream.getvalue())
    return found


def outline(number: int) -> list[float]:
    """Return a polygon of 30 points, as refCOCO's have about."""
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    radius = 60 + number % 97
    points = np.stack([320 + radius * np.cos(angles), 240 + radius * np.sin(angles)], axis=1)
    return [round(float(value), 2) for value in points.reshape(-1)]


def rows(schema: str, first: int, count: int, files: list[bytes]) -> Iterator[dict[str, Any]]:
    """Yield rows of a schema; the bytes of no two images are equal."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[100:300, 200:400] = True
    pixels = mask.tolist()
    for number in range(first, first + count):
        image = {"bytes": files[number % IMAGES] + number.to_bytes(8), "path": None}
        texts = [f"the thing number {number}, said in the way {way}" for way in range(EXPRESSIONS)]
        name = f"COCO_train2014_{number:012d}"
        if schema == "lmms":
            yield {
                "question_id": str(number), "image": image, "question": "?", "answer": texts, "bbox": None,
                "segmentation": outline(number), "iscrowd": 0, "file_name": f"{name}_{number}.jpg",
            }  # fmt: skip
        elif schema == "masks":
            yield {
                "image": image, "text": texts[0], "mask": pixels, "image_id": str(number), "ann_id": str(number),
                "img_height": HEIGHT, "img_width": WIDTH,
            }  # fmt: skip
        else:
            sentences = [{"raw": text, "sent": text, "sent_id": 0, "tokens": text.split()} for text in texts]
            annotation = {"id": number, "image_id": number % IMAGES, "segmentation": [outline(number)]}
            about = {"file_name": f"{number % IMAGES}.jpg", "height": HEIGHT, "width": WIDTH}
            yield {
                "ref_id": number, "ann_id": number, "image_id": number % IMAGES, "split": "val", "sentences": sentences,
                "raw_anns": json.dumps(annotation), "raw_image_info": json.dumps(about),
            }  # fmt: skip


def write(folder: Path, schema: str, total: int, group: int) -> Path:
    """Write a data set and a task file; return the task file."""
    import pyarrow as pa
    from pyarrow import parquet

    files = pictures()
    (folder / "data").mkdir(parents=True)
    (folder / "images").mkdir()
    for number, data in enumerate(files):
        (folder / "images" / f"{number}.jpg").write_bytes(data)
    for part in range(FILES):
        first, last = total * part // FILES, total * (part + 1) // FILES
        writer = None
        for start in range(first, last, group):
            table = pa.Table.from_pylist(list(rows(schema, start, min(group, last - start), files)))
            table = table.cast(pa.schema([narrowed(pa, field) for field in table.schema]))
            writer = writer or parquet.ParquetWriter(
                folder / "data" / f"val-{part:05d}-of-{FILES:05d}.parquet", table.schema
            )
            writer.write_table(table, row_group_size=group)
        assert writer is not None
        writer.close()
    source = {"kind": "parquet"} | ({"images": "images", "split": "val"} if schema == "references" else {})
    task = folder / "task.yaml"
    task.write_text(json.dumps({"name": "measured", "source": source}))
    return task


def narrowed(pa: Any, field: Any) -> Any:
    """Return the column of outlines with numbers of 32 bits."""
    if field.name == "bbox":
        return pa.field("bbox", pa.list_(pa.float32()))
    return pa.field(field.name, pa.list_(pa.float32())) if field.name == "segmentation" else field


def peak() -> int:
    """Return the most memory that this process took, in MB; ``ru_maxrss`` would count its parent's as well."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) >> 10


def measure(task: Path) -> dict[str, Any]:
    """Open a data set, and read all of it in order; return seconds, and the most memory in MB after each stage."""
    from hlmat_bench.data.check import look
    from hlmat_bench.data.tasks import load_task

    found: dict[str, Any] = {"stages": {}}

    def timed(name: str, act: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        value = act()
        found["stages"][name] = {"seconds": round(time.perf_counter() - began, 1), "peak_mb": peak()}
        return value

    def play() -> None:
        for sample in source.samples():
            source.image(sample)
            source.truth(sample)

    timed("start", lambda: None)
    source = timed("open", load_task(task).source)
    timed("digest", source.digest)
    timed("look", lambda: look(source, source.samples()))
    timed("read all", play)
    return found | {"samples": len(source.samples())}


def main() -> None:
    """Write data sets, measure each in a process of its own, and print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--group", type=int, default=100)
    parser.add_argument("--schemas", default=",".join(SCHEMAS))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure)))
        return
    for schema in given.schemas.split(","):
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            task = write(Path(folder) / schema, schema, given.rows, given.group)
            size = sum(path.stat().st_size for path in (Path(folder) / schema / "data").iterdir())
            command = [sys.executable, "-m", "benchmarks.parquet", "--measure", str(task)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(json.dumps({"schema": schema, "rows": given.rows, "mb": size >> 20} | json.loads(answer)), flush=True)


if __name__ == "__main__":
    main()
