"""The handler that learns what training images look like, to flag images of another kind."""

from collections.abc import Callable
from typing import Any

import torch
from monai.data import Dataset

from dynammo.data.exemplars import Item
from dynammo.data.tasks import Task
from dynammo.heads.analytic import ClassStatistics, add_classes
from dynammo.heads.cross_validation import FOLDS, assign_folds
from dynammo.heads.scatters import ClassScatters, scatter_classes, update_classes
from dynammo.networks.out_of_distribution import OutOfDistribution, maps_behind, width_of
from dynammo.training.metrics import threshold_at
from dynammo.training.prediction import extract_map_features
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = ["FitOutOfDistribution", "out_of_distribution_of"]

SHRINKAGE = 0.1  # of the covariance towards a sphere: there may be fewer images than features
LEAST = 1e-10  # of the mean square of the features: what varies less, by a 100,000th of its size, is rounding


class FitOutOfDistribution:
    """Learn what training images look like, from statistics of the first maps; nothing of an image is kept.

    The stem's map is read, and that of layer 1 where no adapter ever changes it, unless earlier statistics did not or
    a small head reads fewer numbers itself: most of its state would tell what images look like.

    The threshold comes from images that were left out of the statistics. Where every class has one image, or copies
    of one, nothing tells how far images of a class lie apart, and there is no threshold (None) until a later task does.

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
        self.maps = 1
        self.distances = torch.zeros(0)
        self.labels = torch.zeros(0, dtype=torch.long)
        self.newest: ClassScatters | None = None

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        if 0 not in engine.network.pooling.points:  # of vectors there is no stem before the features
            engine.add_event_handler(TaskEvents.TASK_FITTED, self._learn)

    def state_dict(self) -> dict[str, Any]:
        """Class statistics; the distance of the training images from the others, where known, and their labels."""
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
        distances = _distances(self.statistics, features)  # by what is known without these images
        self._take(engine, update_classes(self.statistics, before, more, labels), distances, labels_of_images)
        return more

    def work(self, engine: IncrementalTrainer, task: Task) -> tuple[float, float]:
        """Images that are read and passes of an image that a task takes; the stem alone costs little."""
        return len(engine.data.train(task)), 0

    def _learn(self, engine: IncrementalTrainer) -> None:
        items = engine.data.train(engine.task)
        features, labels = self._features(engine, items)
        known = self.statistics or ClassStatistics.empty(features.shape[1])
        self.newest = scatter_classes(features[:, None], labels)
        distances = _held_out_distances(known, features, labels, engine.data.groups(items))
        self._take(engine, add_classes(known, features[:, None], labels), distances, labels)

    def _features(self, engine: IncrementalTrainer, items: list[Item]) -> tuple[torch.Tensor, torch.Tensor]:
        network = engine.network
        if self.statistics is not None:
            self.maps = maps_behind(self.statistics.sums.shape[1], network.backbone.channels)
        else:
            plain = network.spec["adapter"] == "none" and network.backbone.encoder is None
            enough = network.pooling.features >= width_of(network.backbone.channels, 2)
            self.maps = 2 if plain and enough else 1
        data = Dataset(items, self.transform)
        return extract_map_features(network.classifier(), data, self.batch_size, self.maps)

    def _take(
        self, engine: IncrementalTrainer, statistics: ClassStatistics, distances: torch.Tensor, labels: torch.Tensor
    ) -> None:
        self.statistics = statistics
        told = distances.isfinite()
        self.distances = torch.cat([self.distances, distances[told]])
        self.labels = torch.cat([self.labels, labels[told]])
        device = next(engine.network.parameters()).device
        engine.network.out_of_distribution = out_of_distribution_of(statistics, self.maps).to(device)
        engine.trust |= {
            "out_of_distribution_threshold": threshold_at(self.distances.numpy(), self.false_alarm_rate),
            "out_of_distribution_false_alarm_rate": self.false_alarm_rate,
        }


def out_of_distribution_of(statistics: ClassStatistics, maps: int = 1) -> OutOfDistribution:
    """The distance from the nearest class of these statistics, their covariance shrunk towards a sphere.

    Without a spread within classes that of all images stands in, so that distances keep a plain size.
    """
    spread = next((s for s in (statistics.within, statistics.total) if _is_spread(s, statistics)), None)
    spread = torch.eye(len(statistics.gram), dtype=torch.float64) if spread is None else spread
    sphere = torch.eye(len(spread), dtype=spread.dtype) * spread.trace() / len(spread)
    whitening = torch.linalg.cholesky(torch.linalg.inv((1 - SHRINKAGE) * spread + SHRINKAGE * sphere))
    detector = OutOfDistribution(len(statistics.counts), len(spread), maps)
    detector.load_state_dict({"means": statistics.means.float(), "whitening": whitening.float()})
    return detector


def _is_spread(covariance: torch.Tensor, statistics: ClassStatistics) -> bool:
    """Whether a covariance of these statistics is more than what rounding leaves of one image, or of equal ones."""
    square = covariance.trace() + (statistics.means**2).sum() / len(statistics.counts)
    return bool(covariance.trace() > LEAST * square)


def _held_out_distances(
    known: ClassStatistics, features: torch.Tensor, labels: torch.Tensor, groups: torch.Tensor
) -> torch.Tensor:
    """Distance (N,) of every image from classes that were described without it; NaN where that cannot be told.

    Fold by fold, patients and lesions whole where they are known; image by image where a fold would leave no class
    with two images.
    """
    counts = labels.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    several = counts[2][counts[1]] > 1  # a class of one image can only be described with it
    numbers, folds = _folds(known, labels, several, groups)
    distances = torch.full((len(labels),), torch.nan)
    for fold in range(folds):
        out = several & (numbers == fold)
        distances[out] = _distances(add_classes(known, features[~out][:, None], labels[~out]), features[out])
    return distances


def _folds(
    known: ClassStatistics, labels: torch.Tensor, several: torch.Tensor, groups: torch.Tensor
) -> tuple[torch.Tensor, int]:
    """Number of the fold (N,) of each image, and how many folds there are."""
    if not several.any():
        return torch.zeros_like(labels), 0
    counts = labels[several].unique(return_counts=True)[1]  # type: ignore[no-untyped-call]
    if int(counts.max()) == 2 and not (known.counts > 1).any():
        return torch.arange(len(labels)), len(labels)
    folds = min(FOLDS, int(counts.min()))
    return assign_folds(labels, folds, groups=groups), folds


def _distances(statistics: ClassStatistics, features: torch.Tensor) -> torch.Tensor:
    """Distance (N,) of features from these classes; NaN where images of a class do not differ."""
    if not _is_spread(statistics.within, statistics):
        return torch.full((len(features),), torch.nan)
    return torch.as_tensor(out_of_distribution_of(statistics).nearest(features))
