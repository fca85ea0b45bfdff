"""`python -m benchmarks features`: how long does it take to learn a file of embeddings?"""

import json as json_of
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.report import check_writable
from dynammo.errors import UserError
from dynammo.lifecycle.train import train
from dynammo.lifecycle.training_plan import TrainSettings
from dynammo.runtime import provenance
from dynammo.runtime.files import write_json
from dynammo.runtime.plain import say

__all__ = ["EmbeddingsSettings", "benchmark_embeddings", "draw_embeddings"]

SPREAD = 0.1  # deviation of the means of the classes, where that of a vector around its mean is 1


@dataclass(frozen=True)
class EmbeddingsSettings:
    """What is learnt, and the time that it may take."""

    vectors: int = 100_000
    features: int = 1024
    classes: int = 20
    classes_per_task: str = "all"
    bar_seconds: float = 10.0


def draw_embeddings(settings: EmbeddingsSettings, file: Path) -> None:
    """Write drawn vectors, each class around a mean of its own, as an .npz file."""
    draw = np.random.default_rng(0)
    numbers = np.arange(settings.vectors) % settings.classes
    means = SPREAD * draw.standard_normal((settings.classes, settings.features), dtype=np.float32)
    vectors = draw.standard_normal((settings.vectors, settings.features), dtype=np.float32) + means[numbers]
    names = [f"class {number:02d}" for number in numbers]
    np.savez(file, features=vectors, ids=[f"{row}" for row in range(settings.vectors)], labels=names)


def benchmark_embeddings(settings: EmbeddingsSettings, json: Path | None = None) -> dict[str, Any]:
    """Learn drawn vectors with `dynammo train --features`, and say how long it took.

    Returns:
        `train_seconds` of all tasks, evaluation, files and figures among them; `whole_seconds` from the call to its
        end; `processor_seconds` of all threads in these, which other processes at work do not lengthen.

    Raises:
        UserError: learning took longer than the bar; the figures are written before.
    """
    check_writable(json)
    with TemporaryDirectory() as folder:
        file, run = Path(folder, "drawn.npz"), Path(folder, "run")
        draw_embeddings(settings, file)
        started, processor = time.perf_counter(), time.process_time()
        chosen = TrainSettings(classes_per_task=settings.classes_per_task, mlflow=False, features=True)
        train(file, run, chosen)
        whole, processor = time.perf_counter() - started, time.process_time() - processor
        record = json_of.loads((run / "run.json").read_text())
    found = {
        "settings": asdict(settings),
        "train_seconds": record["cost"]["train_seconds"],
        "whole_seconds": whole,
        "processor_seconds": processor,
        "mean_class_recall": record["metrics"]["last_mean_class_recall"],
        "threads": torch.get_num_threads(),
        "machine": provenance.machine(),
    }
    say(f"learnt in {found['train_seconds']:.1f} s, {whole:.1f} s in all, {processor:.1f} s of processors")
    if json:
        write_json(json, found)
    if found["train_seconds"] > settings.bar_seconds:
        raise UserError(f"learning took {found['train_seconds']:.1f} s; expected at most {settings.bar_seconds} s.")
    return found
