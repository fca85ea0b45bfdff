"""The handler that finds out how far probabilities and the unknown score can be trusted."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data import Dataset

from dynammo.training.metrics import expected_calibration_error, fit_temperature, tempered, threshold_at
from dynammo.training.prediction import predict
from dynammo.training.trainer import IncrementalTrainer, TaskEvents
from dynammo.training.worth import WANTED_ACCURACY, confidence_limit

__all__ = ["Calibrate", "mean_threshold"]


class Calibrate:
    """Fit the temperature, and the threshold of the unknown score, on images that the heads were not tuned on.

    The handlers of the heads leave `engine.held_out`. Tuned heads come with images of all classes. Analytic ones have
    images of the new classes alone, and have chosen their temperature on held-out images themselves: their threshold
    is averaged over the tasks. Without either (fine-tuning) the new training images stand in. Of a class of one image
    nothing can be left out: it is not judged, and where no class has two there is no threshold (None).

    The limit of low confidence is the lowest probability from which on nine in ten held-out images, of the newest task
    where heads are analytic, are classified rightly.

    Args:
        transform: deterministic preprocessing of an item.
        false_alarm_rate: share of images of known classes that may be called unknown.
        batch_size: images for each pass.
    """

    def __init__(self, transform: Callable[[Any], Any], false_alarm_rate: float = 0.05, batch_size: int = 32) -> None:
        self.transform = transform
        self.false_alarm_rate = false_alarm_rate
        self.batch_size = batch_size
        self.found: list[tuple[float, int]] = []  # threshold and images of each task that counts

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        engine.add_event_handler(TaskEvents.TASK_FITTED, self._calibrate)

    def state_dict(self) -> dict[str, Any]:
        """Threshold found after each task, and the images behind it."""
        return {"found": [list(pair) for pair in self.found]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the thresholds of `state_dict`."""
        self.found = [(threshold, images) for threshold, images in state["found"]]

    def _calibrate(self, engine: IncrementalTrainer) -> None:
        held_out = engine.held_out
        probabilities, unknown, labels = (
            part.numpy(force=True) for part in (held_out if held_out is not None else self._seen(engine))
        )
        several = np.bincount(labels)[labels] > 1
        analytic = engine.network.head_layout == "analytic"
        if analytic and held_out is None:  # seen images are all alike to a head that was computed from them
            several[:] = False
        probabilities, unknown, labels = probabilities[several], unknown[several], labels[several]
        found, count = threshold_at(unknown, self.false_alarm_rate) or 0.0, len(unknown)
        facts: dict[str, Any] = {"temperature": 1.0, "held_out_images": count if held_out is not None else 0}
        if held_out is not None and not analytic:
            self.found = [*[(0.0, 0)] * engine.task.index, (found, count)]  # the newest speaks for all classes
            facts |= _temperature(probabilities, labels) if count else {"ece_before": None, "ece_after": None}
            engine.network.temperature = facts["temperature"]
        else:
            self.found.append((found, count))
        facts |= {"confidence_limit": None, "wanted_accuracy": WANTED_ACCURACY}
        if held_out is not None and count:
            calibrated = probabilities if analytic else tempered(probabilities, facts["temperature"])
            facts["confidence_limit"] = confidence_limit(calibrated, labels)
        threshold = mean_threshold(self.found)
        engine.trust |= {**facts, "false_alarm_rate": self.false_alarm_rate, "unknown_threshold": threshold}

    def _seen(self, engine: IncrementalTrainer) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        dataset = Dataset(engine.data.train(engine.task), self.transform)
        return predict(engine.network.classifier(), dataset, self.batch_size, "unknown scores")


def _temperature(probabilities: npt.NDArray[Any], labels: npt.NDArray[Any]) -> dict[str, float]:
    """The temperature of held-out images, and how well probabilities are calibrated without and with it."""
    temperature, before = fit_temperature(probabilities, labels), expected_calibration_error(probabilities, labels)
    after = expected_calibration_error(tempered(probabilities, temperature), labels)
    if after > before:  # the likelihood that it was fitted to need not agree
        temperature, after = 1.0, before
    return {"temperature": temperature, "ece_before": before, "ece_after": after}


def mean_threshold(found: Sequence[tuple[float, int]]) -> float | None:
    """Mean of the thresholds of the tasks, each weighted by the images behind it; None where there are none."""
    images = sum(count for _, count in found)
    return sum(threshold * count for threshold, count in found) / images if images else None
