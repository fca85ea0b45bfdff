"""The handler that keeps the most representative images of every class."""

from collections.abc import Callable
from typing import Any

import torch
from monai.data import Dataset

from dynammo.data.exemplars import Item, herd
from dynammo.data.tasks import Task
from dynammo.runtime.distributed import sync_state
from dynammo.training.prediction import extract_features
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = ["SelectExemplars"]

Transform = Callable[[Any], Any]


class SelectExemplars:
    """Keep the most representative images of every new class, chosen by herding on the merged features.

    At TASK_FITTED the new classes get as many exemplars as the known ones have, so that the memory is a balanced
    set to tune heads on; at TASK_COMPLETED all classes shrink to the budget.

    Args:
        transform: deterministic preprocessing of an item.
        batch_size: images for each pass.
    """

    def __init__(self, transform: Transform, batch_size: int = 32) -> None:
        self.transform = transform
        self.batch_size = batch_size

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        engine.add_event_handler(TaskEvents.TASK_FITTED, self._select)
        engine.add_event_handler(TaskEvents.TASK_COMPLETED, lambda e: e.memory.trim())

    def work(self, engine: IncrementalTrainer, task: Task) -> tuple[float, float]:
        """Images that are read and passes of an image that a task takes."""
        images = len(engine.data.train(task)) if isinstance(engine.memory.budget, int) and engine.memory.budget else 0
        return images, images

    def _select(self, engine: IncrementalTrainer) -> None:
        memory, task = engine.memory, engine.task
        if memory.budget == 0:
            return
        items = list(engine.data.train(task))
        quota = memory.quota(task.first_label or task.seen)
        for known in (memory.items([label]) for label in range(task.first_label)):
            if quota is not None and len(known) > quota:  # more images of it have come with those of the new classes
                items += known
        if quota is None:
            order = {label: [item for item in items if item["label"] == label] for label in task.labels}
        else:
            order = self._herded(engine, items, quota)
        for label, ranked in order.items():
            memory.add(label, ranked)
        sync_state(memory)

    def _herded(self, engine: IncrementalTrainer, items: list[Item], quota: int) -> dict[int, list[Item]]:
        dataset = Dataset(items, self.transform)
        features, _ = extract_features(engine.network.classifier(), dataset, self.batch_size, "choosing exemplars")
        joined = torch.cat(features, dim=1).cpu()  # all branches, (N, S * F)
        order = {}
        for label in sorted({item["label"] for item in items}):
            rows = [row for row, item in enumerate(items) if item["label"] == label]
            order[label] = [items[rows[i]] for i in herd(joined[rows], quota)]
        return order
