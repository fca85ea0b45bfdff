"""The watchers that find out, after every task, how far predictions can be trusted: `trust` in run.json."""

from collections.abc import Callable
from typing import Any

import torch
from monai.data import Dataset

from dynammo.analytic import ClassStatistics, add_classes
from dynammo.calibration import fit_temperature, tempered, threshold_at
from dynammo.looks import Looks
from dynammo.metrics import expected_calibration_error
from dynammo.prediction import extract_looks, predict
from dynammo.trainer import IncrementalTrainer, TaskEvents

__all__ = ["Calibrate", "LearnLooks"]

FOLDS = 5
SHRINKAGE = 0.1  # of the covariance towards a sphere: there may be fewer images than features


class Calibrate:
    """Fit the temperature, and the threshold of the unknown score, on images that the heads were not tuned on.

    The handlers of the heads leave `engine.held_back`. Tuned heads come with images of all classes. Analytic ones have
    images of the new classes alone, and have chosen their temperature on held-out images themselves: their threshold
    is averaged over the tasks. Without either (fine-tuning) the new training images stand in.

    Args:
        transform: deterministic preprocessing of an item.
        false_alarm_rate: share of images of known classes that may be called unknown.
        batch_size: images for each pass.
    """

    def __init__(self, transform: Callable[[Any], Any], false_alarm_rate: float = 0.05, batch_size: int = 32) -> None:
        self.transform = transform
        self.false_alarm_rate = false_alarm_rate
        self.batch_size = batch_size
        self.images, self.threshold = 0, 0.0

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        engine.add_event_handler(TaskEvents.TASK_FITTED, self._calibrate)

    def state_dict(self) -> dict[str, Any]:
        """Images behind the averaged threshold, and the threshold."""
        return {"images": self.images, "threshold": self.threshold}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the threshold of `state_dict`."""
        self.images, self.threshold = state["images"], state["threshold"]

    def _calibrate(self, engine: IncrementalTrainer) -> None:
        held_back = engine.held_back
        probabilities, unknown, labels = (
            part.numpy(force=True) for part in (held_back if held_back is not None else self._seen(engine))
        )
        found, count = threshold_at(unknown, self.false_alarm_rate), len(unknown)
        facts = {"temperature": 1.0, "held_back_images": count if held_back is not None else 0}
        if held_back is not None and engine.network.head_layout != "analytic":
            self.threshold = found
            facts["temperature"] = engine.network.temperature = fit_temperature(probabilities, labels)
            facts["ece_before"] = expected_calibration_error(probabilities, labels)
            facts["ece_after"] = expected_calibration_error(tempered(probabilities, facts["temperature"]), labels)
        else:
            self.threshold = (self.threshold * self.images + found * count) / (self.images + count)
            self.images += count
        engine.trust |= {**facts, "false_alarm_rate": self.false_alarm_rate, "unknown_threshold": self.threshold}

    def _seen(self, engine: IncrementalTrainer) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        dataset = Dataset(engine.data.train(engine.task), self.transform)
        return predict(engine.network.classifier(), dataset, self.batch_size, "unknown scores")


class LearnLooks:
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

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        engine.add_event_handler(TaskEvents.TASK_FITTED, self._learn)

    def state_dict(self) -> dict[str, Any]:
        """Class statistics, and the distance of every training image from the others."""
        return {"statistics": self.statistics.state_dict() if self.statistics else {}, "distances": self.distances}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the statistics of `state_dict`."""
        self.statistics = ClassStatistics(**state["statistics"]) if state["statistics"] else None
        self.distances = state["distances"]

    def _learn(self, engine: IncrementalTrainer) -> None:
        dataset = Dataset(engine.data.train(engine.task), self.transform)
        features, labels = extract_looks(engine.network.classifier(), dataset, self.batch_size)
        known = self.statistics or ClassStatistics.empty(features.shape[1])
        self.distances = torch.cat([self.distances, _held_out_distances(known, features, labels)])
        self.statistics = add_classes(known, features[:, None], labels)
        engine.network.looks = _looks(self.statistics).to(next(engine.network.parameters()).device)
        engine.trust |= {
            "looks_threshold": threshold_at(self.distances.numpy(), self.false_alarm_rate),
            "looks_false_alarm_rate": self.false_alarm_rate,
        }


def _held_out_distances(known: ClassStatistics, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Distance (N,) of every image from classes that were described without it, fold by fold."""
    turn = torch.zeros(len(labels), dtype=torch.long)
    for label in labels.unique():  # type: ignore[no-untyped-call]
        rows = (labels == label).nonzero().squeeze(1)
        turn[rows] = torch.arange(len(rows))
    folds = min(FOLDS, int(labels.unique(return_counts=True)[1].min()))  # type: ignore[no-untyped-call]
    distances = torch.zeros(len(labels))
    for fold in range(folds):
        out = turn % folds == fold
        rest = ~out if folds > 1 else out  # a class of one image can only be described with it
        distances[out] = _distances(_looks(add_classes(known, features[rest][:, None], labels[rest])), features[out])
    return distances


def _looks(statistics: ClassStatistics) -> Looks:
    spread = statistics.within
    sphere = torch.eye(len(spread), dtype=spread.dtype) * spread.trace().clamp(min=1e-12) / len(spread)
    whitening = torch.linalg.cholesky(torch.linalg.inv((1 - SHRINKAGE) * spread + SHRINKAGE * sphere))
    looks = Looks(len(statistics.counts), len(spread) // 2)
    looks.load_state_dict({"means": statistics.means.float(), "whitening": whitening.float()})
    return looks


def _distances(looks: Looks, features: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(looks.nearest(features))
