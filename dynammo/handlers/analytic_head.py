"""The handler that computes a closed-form head over all classes after every task, from class statistics alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from monai.data import Dataset
from torch import nn

from dynammo.data.exemplars import Item
from dynammo.data.tasks import Task
from dynammo.errors import UserError
from dynammo.heads.analytic import (
    HEADS,
    INVERSE_TEMPERATURES,
    SHRINKAGES,
    Background,
    ClassStatistics,
    LinearHeads,
    Shard,
    background_of,
    choose,
)
from dynammo.heads.cross_validation import Fold, fit_with_folds
from dynammo.heads.linear import BackgroundScore, join_heads
from dynammo.heads.scatters import ClassScatters, scatter_classes, update_classes
from dynammo.runtime.distributed import all_gather_rows, all_reduce_sum, shard_mask
from dynammo.runtime.files import fingerprint
from dynammo.training.copies import copies_of
from dynammo.training.prediction import extract_copies
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = ["AnalyticHeads", "make_head", "shrinkages_of"]


class AnalyticHeads:
    """Add the new classes to the statistics and compute the head of all classes anew; nothing is forgotten.

    Acts for `head_layout: analytic` alone. One pass over the new images, and one for each mirrored copy, is all
    that learning a task takes. What stays is statistics: no image and no feature of an image. Several processes pass
    a part of the images each and sum up their statistics; no feature of an image leaves its process.

    Args:
        transform: deterministic preprocessing of an item.
        head: a name of `dynammo.heads.analytic.HEADS`.
        balanced: every class weighs the same, however many images it has.
        shrinkage: in (0, 1), or `auto`: the one that classified the images of every task best while they were
            left out of the statistics (`dynammo.heads.cross_validation.fit_with_folds`). The temperature is chosen so
            always.
        mirrored: a name of `dynammo.training.copies.MIRRORED`.
        photometric: number of copies beside them, as other cameras would have taken the image.
        class_statistics: keep what each new class added, F (F + 1) / 2 numbers, until it is saved as a contribution.
        batch_size: images for each pass.
    """

    def __init__(
        self,
        transform: Callable[[Any], Any],
        head: str = "lda",
        balanced: bool = True,
        shrinkage: float | str = "auto",
        mirrored: str = "none",
        photometric: int = 0,
        class_statistics: bool = True,
        batch_size: int = 32,
    ) -> None:
        if head not in HEADS:
            raise UserError(f"analytic_head is {head!r}; expected one of {', '.join(HEADS)}.")
        self.shrinkages = shrinkages_of(shrinkage)
        self.transform = transform
        self.head = head
        self.balanced = balanced
        self.copies = copies_of(mirrored, photometric)
        self.class_statistics = class_statistics
        self.batch_size = batch_size
        self.statistics: ClassStatistics | None = None
        self.losses = _no_losses(self.shrinkages)
        self.chosen: tuple[float, float] = (0.0, 1.0)
        self.newest: ClassScatters | None = None

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        if engine.network.head_layout == "analytic":
            engine.add_event_handler(TaskEvents.TASK_FITTED, self._learn)

    def work(self, engine: IncrementalTrainer, task: Task) -> tuple[float, float]:
        """Images that are read and passes of an image that a task takes."""
        images = len(engine.data.train(task)) if engine.network.head_layout == "analytic" else 0
        return images, images * len(self.copies)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next task needs: class statistics and the losses (K, G, 33) that choose the shrinkage."""
        if self.statistics is None:
            return {}
        return {"statistics": self.statistics.state_dict(), "losses": self.losses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the statistics of `state_dict`."""
        self.statistics = ClassStatistics(**state["statistics"]) if state else None
        self.losses = state["losses"] if state else _no_losses(self.shrinkages)

    def contribution(self) -> dict[str, torch.Tensor]:
        """What the newest task has added to the statistics, class by class (`ClassScatters`)."""
        return self.newest.state_dict() if self.newest else {}

    def add_images(
        self, engine: IncrementalTrainer, items: list[Item], before: ClassScatters, labels: list[int]
    ) -> ClassScatters:
        """Add more images of known classes to the statistics and compute the head anew.

        Args:
            engine: whose network passes the images.
            items: images of the classes `labels`, each of them at least once.
            before: scatters of these classes as they are in the statistics.
            labels: sorted.

        Returns:
            The scatters of the images alone.
        """
        if self.statistics is None:
            raise ValueError("there are no statistics yet that more images could be added to")
        more = scatter_classes(*self._features(engine, items), _shard(items))
        self.statistics = update_classes(self.statistics, before, more, labels)
        self._set_head(engine, self.statistics)
        return more

    def _learn(self, engine: IncrementalTrainer) -> None:
        items = engine.data.train(engine.task)
        (features, labels), shard = self._features(engine, items), _shard(items)
        known = self.statistics or ClassStatistics.empty(features.shape[2], self.balanced)
        fitted = fit_with_folds(
            known, features, labels, self.head, self.shrinkages, shard=shard, keep_scatters=self.class_statistics
        )
        self.losses = torch.cat([self.losses, fitted.losses])
        self.statistics, self.newest = fitted.statistics, fitted.scatters
        self._set_head(engine, self.statistics)
        engine.held_out = self._held_out(fitted.folds, features, labels)

    def _features(self, engine: IncrementalTrainer, items: list[Item]) -> tuple[torch.Tensor, torch.Tensor]:
        classifier = engine.network.classifier()
        if len(classifier.branches) != 1:
            raise UserError("analytic heads read one branch; give --merge_strategy another value than none.")
        seeded = [item if "seed" in item else {**item, "seed": _seed(item)} for item in items]
        return extract_copies(classifier, Dataset(seeded, self.transform), self.batch_size, self.copies)

    def _set_head(self, engine: IncrementalTrainer, statistics: ClassStatistics) -> None:
        self.chosen = choose(self.losses, self.shrinkages)
        engine.network.set_analytic_head(*make_head(statistics, self.head, *self.chosen))

    def _held_out(
        self, folds: Sequence[Fold], features: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """Probabilities (N, K), unknown scores (N,) and labels (N,) of the new images, each left out of its head."""
        if not folds or int(folds[0].statistics.counts.max()) < 2:  # known by one image each: not how they vary
            return None
        probabilities = torch.zeros(len(labels), len(folds[0].statistics.counts))
        unknown = torch.zeros(len(labels))
        row = self.shrinkages.index(self.chosen[0])
        for fold in folds:
            linear, score = _head(fold.statistics, self.head, fold.heads, row, self.chosen[1])
            with torch.no_grad():
                logits = linear(features[fold.left, 0])
                probabilities[fold.left], unscored = join_heads([logits], others=False)
                unknown[fold.left] = (unscored if score is None else score(logits)).squeeze(1)
        return all_gather_rows(probabilities), all_gather_rows(unknown), all_gather_rows(labels)


def _seed(item: Item) -> int:
    """A number that the content of an image gives, and the slice or tile that it is."""
    fragment = str(item["image"]).removeprefix(str(item["path"]))
    return int(fingerprint(Path(item["path"]))[:12], 16) + crc32(fragment.encode(errors="surrogateescape"))


def shrinkages_of(shrinkage: float | str) -> tuple[float, ...]:
    """The shrinkages to choose from that the config's `shrinkage` stands for.

    Raises:
        UserError: neither `auto` nor a number between 0 and 1.
    """
    if shrinkage == "auto":
        return SHRINKAGES
    if not (isinstance(shrinkage, float) and 0 < shrinkage < 1):
        raise UserError(f"shrinkage is {shrinkage!r}; expected auto or a number between 0 and 1, such as 0.1.")
    return (shrinkage,)


def make_head(
    statistics: ClassStatistics, head: str, shrinkage: float, inverse_temperature: float
) -> tuple[nn.Linear, BackgroundScore | None]:
    """The linear head whose softmax is calibrated, and its unknown score; a ridge's is 1 - the largest probability."""
    return _head(statistics, head, HEADS[head](statistics, [shrinkage]), 0, inverse_temperature)


def _head(
    statistics: ClassStatistics, head: str, computed: LinearHeads, row: int, inverse_temperature: float
) -> tuple[nn.Linear, BackgroundScore | None]:
    """`make_head` from the heads that were computed from the statistics, at one of their shrinkages."""
    weight, bias = computed.weight[row], computed.bias[row]
    linear = nn.Linear(weight.shape[1], len(weight))
    linear.load_state_dict({"weight": weight * inverse_temperature, "bias": bias * inverse_temperature})
    if head != "lda":
        return linear, None
    return linear, _calibrated(background_of(statistics, weight), inverse_temperature)


def _shard(items: list[Item]) -> Shard:
    """Which of the items' features this process has."""
    labels = torch.tensor([item["label"] for item in items])
    return Shard(labels, shard_mask(len(items)), all_reduce_sum)


def _no_losses(shrinkages: Sequence[float]) -> torch.Tensor:
    return torch.zeros(0, len(shrinkages), len(INVERSE_TEMPERATURES), dtype=torch.float64)


def _calibrated(score: Background, factor: float) -> BackgroundScore:
    """The score of logits that were multiplied by `factor`."""
    module = BackgroundScore(len(score.shift))
    module.load_state_dict(
        {"shift": score.shift * factor, "form": score.form / factor, "constant": score.constant * factor}
    )
    return module
