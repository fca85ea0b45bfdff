"""The handler that learns what training images look like, to flag images of another kind."""

from collections.abc import Callable
from typing import Any

import torch
from monai.data import Dataset

from dynammo.data.exemplars import Item
from dynammo.heads.analytic import ClassStatistics, add_classes
from dynammo.heads.cross_validation import FOLDS, assign_folds
from dynammo.heads.scatters import ClassScatters, scatter_classes, update_classes
from dynammo.networks.out_of_distribution import OutOfDistribution
from dynammo.training.metrics import threshold_at
from dynammo.training.prediction import extract_stem_features
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = ["FitOutOfDistribution", "out_of_distribution_of"]

SHRINKAGE = 0.1  # of the covariance towards a sphere: there may be fewer images than features


class FitOutOfDistribution:
    """Learn what training images look like, from statistics of the stem; nothing of an image is kept.

    Args:
        transform: deterministic preprocessing of an item.
        false_alarm_rate: share of images of the known kind that may be said to look different.
        batch_size: images for each pass.
    """

    def __init__(self, transform: Callable[[Any], Any], false_alarm_rate: float = 0.01, batch_size: int = 32) -> None:
        self.transform = transform
        self.false_alarm_rate = false_alarm_rate
        self.batch_size = batch_size
        self.statistics: ClassStatistics | None = None
        self.distances = torch.zeros(0)
        self.labels = torch.zeros(0, dtype=torch.long)
        self.newest: ClassScatters | None = None

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        engine.add_event_handler(TaskEvents.TASK_FITTED, self._learn)

    def state_dict(self) -> dict[str, Any]:
        """Class statistics; the distance of every training image from the others, and its label."""
        statistics = self.statistics.state_dict() if self.statistics else {}
        return {"statistics": statistics, "distances": self.distances, "labels": self.labels}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the statistics of `state_dict`."""
        self.statistics = ClassStatistics(**state["statistics"]) if state["statistics"] else None
        self.distances, self.labels = state["distances"], state["labels"]

    def contribution(self) -> dict[str, torch.Tensor]:
        """What the newest task has added to the statistics, class by class (`ClassScatters`)."""
        return self.newest.state_dict() if self.newest else {}

    def add_images(
        self, engine: IncrementalTrainer, items: list[Item], before: ClassScatters, labels: list[int]
    ) -> ClassScatters:
        """Add more images of known classes, as `dynammo.handlers.analytic_head.AnalyticHeads.add_images` does."""
        if self.statistics is None:
            raise ValueError("there are no statistics yet that more images could be added to")
        features, labels_of_images = self._features(engine, items)
        more = scatter_classes(features[:, None], labels_of_images)
        distances = _distances(
            out_of_distribution_of(self.statistics), features
        )  # by what is known without these images
        self._take(engine, update_classes(self.statistics, before, more, labels), distances, labels_of_images)
        return more

    def _learn(self, engine: IncrementalTrainer) -> None:
        features, labels = self._features(engine, engine.data.train(engine.task))
        known = self.statistics or ClassStatistics.empty(features.shape[1])
        self.newest = scatter_classes(features[:, None], labels)
        distances = _held_out_distances(known, features, labels)
        self._take(engine, add_classes(known, features[:, None], labels), distances, labels)

    def _features(self, engine: IncrementalTrainer, items: list[Item]) -> tuple[torch.Tensor, torch.Tensor]:
        return extract_stem_features(engine.network.classifier(), Dataset(items, self.transform), self.batch_size)

    def _take(
        self, engine: IncrementalTrainer, statistics: ClassStatistics, distances: torch.Tensor, labels: torch.Tensor
    ) -> None:
        self.statistics = statistics
        self.distances, self.labels = torch.cat([self.distances, distances]), torch.cat([self.labels, labels])
        engine.network.out_of_distribution = out_of_distribution_of(statistics).to(
            next(engine.network.parameters()).device
        )
        engine.trust |= {
            "out_of_distribution_threshold": threshold_at(self.distances.numpy(), self.false_alarm_rate),
            "out_of_distribution_false_alarm_rate": self.false_alarm_rate,
        }


def out_of_distribution_of(statistics: ClassStatistics) -> OutOfDistribution:
    """The distance from the nearest class of these statistics, their covariance shrunk towards a sphere."""
    spread = statistics.within
    sphere = torch.eye(len(spread), dtype=spread.dtype) * spread.trace().clamp(min=1e-12) / len(spread)
    whitening = torch.linalg.cholesky(torch.linalg.inv((1 - SHRINKAGE) * spread + SHRINKAGE * sphere))
    detector = OutOfDistribution(len(statistics.counts), len(spread) // 2)
    detector.load_state_dict({"means": statistics.means.float(), "whitening": whitening.float()})
    return detector


def _held_out_distances(known: ClassStatistics, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Distance (N,) of every image from classes that were described without it, fold by fold."""
    folds = min(FOLDS, int(labels.unique(return_counts=True)[1].min()))  # type: ignore[no-untyped-call]
    numbers = assign_folds(labels, folds, interleaved=True)
    distances = torch.zeros(len(labels))
    for fold in range(folds):
        out = numbers == fold
        rest = ~out if folds > 1 else out  # a class of one image can only be described with it
        distances[out] = _distances(
            out_of_distribution_of(add_classes(known, features[rest][:, None], labels[rest])), features[out]
        )
    return distances


def _distances(detector: OutOfDistribution, features: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(detector.nearest(features))
