"""Stage 2: the handler that tunes the heads on the balanced set, on features computed once."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import Dataset, set_rnd
from torch import nn

from dynammo.data.exemplars import Item
from dynammo.data.tasks import Task
from dynammo.errors import UserError
from dynammo.heads.cross_validation import FOLDS, held_out_logits
from dynammo.heads.linear import tune_heads
from dynammo.training.prediction import extract_features
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = ["TuneHeads"]


class TuneHeads:
    """Stage 2: tune every head on the balanced set, on features computed once (they no longer change).

    Leaves in `engine.held_out` what each image gets from heads tuned without it.

    Args:
        transform: deterministic preprocessing of an item.
        augment: preprocessing with random augmentation, for the copies.
        copies: augmented copies of every image beside the image itself.
        refit: first fit the newest head alone on all images of stage 1, as the merged adapters see them: stage 1 has
            fitted it to the unmerged ones.
        images: `balanced`, as many of every class, or `all` images of the new classes beside the exemplars, of which
            as many of every class are drawn.
        epochs: passes over the features; 0 leaves the heads of stage 1.
        learning_rate: start rate of Adam.
        milestones: epochs at which the rate falls to a tenth.
        batch_size: images for each pass, and features for each step.
    """

    def __init__(
        self,
        transform: Callable[[Any], Any],
        augment: Callable[[Any], Any],
        copies: int = 0,
        refit: bool = False,
        images: str = "balanced",
        epochs: int = 100,
        learning_rate: float = 1e-3,
        milestones: Sequence[int] = (55, 80),
        batch_size: int = 32,
    ) -> None:
        if images not in ("balanced", "all"):
            raise UserError(f"head_images is {images!r}; expected balanced or all.")
        self.transform = transform
        self.augment = augment
        self.copies = copies
        self.refit = refit
        self.all_images = images == "all"
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.milestones = milestones
        self.batch_size = batch_size

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        if self.epochs > 0 and engine.network.head_layout != "analytic":
            engine.add_event_handler(TaskEvents.TASK_FITTED, self._tune)

    def work(self, engine: IncrementalTrainer, task: Task) -> tuple[float, float]:
        """Images that are read and passes of an image that a task takes; heads cost little beside them."""
        if self.epochs <= 0 or engine.network.head_layout == "analytic":
            return 0, 0
        kept = (
            engine.memory.budget if isinstance(engine.memory.budget, int) and task.index and not self.all_images else 0
        )
        images = (kept or len(engine.data.train(task))) * (1 + self.copies)
        return images, images

    def _tune(self, engine: IncrementalTrainer) -> None:
        task, network = engine.task, engine.network
        if self.refit and network.others:
            self._refit(engine)
        known = engine.memory.items()
        if self.all_images:
            known = engine.memory.items(range(task.first_label)) + engine.data.train(task)
        # before there are old classes nothing has to be balanced: all images of the first task
        items = known if task.index > 0 and known else engine.data.train(task)
        features, labels = self._features(engine, items)
        targets = _targets(engine, labels) if network.others else {0: labels}
        heads = nn.ModuleList(network.heads[number] for number in targets)
        inputs = [features[number] for number in targets] if len(features) > 1 else features
        self._tuned(heads, inputs, list(targets.values()))
        folds = min(FOLDS, len(items))
        if folds > 1:
            classifier = network.classifier()
            logits = classifier.logits([part[: len(items)] for part in features])
            held_out = held_out_logits(heads, inputs, list(targets.values()), len(items), folds, self._tuned)
            for number, of_head in zip(targets, held_out, strict=True):
                logits[number] = of_head
            probabilities, unknown = classifier.join(logits)
            engine.held_out = probabilities, unknown.squeeze(1), labels[: len(items)]

    def _refit(self, engine: IncrementalTrainer) -> None:
        features, labels = self._features(engine, engine.stage_1_items())
        tune_heads(
            nn.ModuleList([engine.network.heads[-1]]), features[-1:], [labels], self.epochs, self.learning_rate,
            self.milestones, self.batch_size,
        )  # fmt: skip

    def _tuned(self, heads: nn.ModuleList, features: list[torch.Tensor], targets: list[torch.Tensor]) -> float:
        return tune_heads(
            heads, features, targets, self.epochs, self.learning_rate, self.milestones, self.batch_size,
            even=self.all_images,
        )  # fmt: skip

    def _features(self, engine: IncrementalTrainer, items: list[Item]) -> tuple[list[torch.Tensor], torch.Tensor]:
        classifier = engine.network.classifier()
        set_rnd(self.augment, seed=engine.seed + engine.task.index)
        parts = [
            extract_features(classifier, Dataset(items, transform), self.batch_size, "features for the heads")
            for transform in [self.transform, *[self.augment] * self.copies]
        ]
        features = [torch.cat([part[0][b] for part in parts]) for b in range(len(parts[0][0]))]
        return features, torch.cat([part[1] for part in parts])


def _targets(engine: IncrementalTrainer, labels: torch.Tensor) -> dict[int, torch.Tensor]:
    """For every head that has images of its classes, by number, the index (N,) of its output for each image.

    Without one a head would learn to say "others" to everything.
    """
    targets = {
        task.index: torch.tensor([task.local_label(int(label)) for label in labels], device=labels.device)
        for task in list(engine.tasks)[: engine.task.index + 1]
    }
    return {index: found for index, found in targets.items() if (found < len(engine.tasks[index].classes)).any()}
