"""TRL's own trainer takes an export as it is."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from hlmat_bench.runs.run_folder import Run
from hlmat_bench.testing import tiny_vlm
from hlmat_bench.training.export.exporting import ExportSettings
from hlmat_bench.training.export.selection import Selection
from tests.training.export.conftest import Exporter


@pytest.mark.slow
def test_trls_trainer_for_supervised_training_goes_two_steps(
    generated: Run, exported: Exporter, tmp_path: Path
) -> None:
    import trl
    from datasets import Dataset
    from transformers import AutoModelForImageTextToText, AutoProcessor

    exported(generated, settings=ExportSettings("trl", selection=Selection(stop_examples=True)))
    rows = Dataset.from_parquet(str(tmp_path / "export" / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    checkpoint = tiny_vlm(tmp_path / "tiny", "qwen2_5_vl")
    model = AutoModelForImageTextToText.from_pretrained(checkpoint)
    arguments = trl.SFTConfig(
        os.fspath(tmp_path / "trained"),
        per_device_train_batch_size=2,
        max_steps=2,
        logging_steps=1,
        max_length=None,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    processor = AutoProcessor.from_pretrained(checkpoint)
    trainer = trl.SFTTrainer(model=model, args=arguments, train_dataset=rows, processing_class=processor)
    batch = trainer.data_collator([rows[0], rows[-1]])
    counted = [labels[labels != -100] for labels in batch["labels"]]
    answers = [row["completion"][0]["content"][0]["text"] for row in (rows[0], rows[-1])]
    decoded = processor.batch_decode(counted)
    assert all(said.startswith(answer) for said, answer in zip(decoded, answers, strict=True)), decoded
    assert batch["pixel_values"].shape[0] > 0
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
