"""How long a training will take: what its handlers will read and pass, times what a few images take here."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from dynammo.training.stage_trainer import STEP

if TYPE_CHECKING:
    from dynammo.data.tasks import Task
    from dynammo.training.trainer import IncrementalTrainer

__all__ = ["expected_passes", "expected_seconds"]

TRIED = 4  # images


def expected_passes(engine: "IncrementalTrainer") -> list[float]:
    """Passes of an image through the network that each task will take."""
    return [_work(engine, task)[1] for task in engine.tasks]


def expected_seconds(engine: "IncrementalTrainer") -> list[float]:
    """Seconds that each task will take on this machine; what is computed beside the network is left out.

    A few images of the first task are prepared and passed through the backbone, twice: the second time counts.
    """
    transform = next((handler.transform for handler in engine.handlers if hasattr(handler, "transform")), None)
    items = engine.data.train(engine.tasks[0])[:TRIED]
    if transform is None or not items:
        return [0.0 for _ in engine.tasks]
    device = next(engine.network.parameters()).device
    images = torch.stack([transform(dict(item))["image"].as_subclass(torch.Tensor) for item in items]).to(device)
    read = _second_time(lambda: [transform(dict(item)) for item in items]) / len(items)
    with torch.no_grad():
        passed = _second_time(lambda: float(engine.network.backbone(images).sum())) / len(items)
    work = [_work(engine, task) for task in engine.tasks]
    return [reads * read + passes * passed for reads, passes in work]


def _work(engine: "IncrementalTrainer", task: "Task") -> tuple[float, float]:
    """Images that are read and passes of an image in a task."""
    parts = [_stage_1(engine, task), *(h.work(engine, task) for h in engine.handlers if hasattr(h, "work"))]
    return sum(reads for reads, _ in parts), sum(passes for _, passes in parts)


def _stage_1(engine: "IncrementalTrainer", task: "Task") -> tuple[float, float]:
    fits = engine.adapter_tasks is None or task.index < engine.adapter_tasks
    if not fits or engine.network.head_layout == "analytic":
        return 0, 0
    known = sum(len(engine.data.train(earlier)) for earlier in list(engine.tasks)[: task.index])
    budget = engine.memory.budget
    images = len(engine.data.train(task)) + (known if isinstance(budget, str) else min(known, budget))
    return images, STEP * (engine.trainer.state.max_epochs or 0) * images


def _second_time(act: Callable[[], Any]) -> float:
    act()
    start = time.perf_counter()
    act()
    return time.perf_counter() - start
