"""The handlers that measure the network which would ship now: on test images, and what it costs."""

from collections.abc import Mapping
from typing import Any

import torch

from dynammo.data.tasks import Task
from dynammo.training.metrics import evaluate_predictions, gmac, parameter_count, tensor_bytes
from dynammo.training.prediction import predict
from dynammo.training.trainer import IncrementalTrainer, TaskEvents
from dynammo.training.worth import confidence_of, worth_of

__all__ = ["EvaluateTasks", "MeasureCost"]


class EvaluateTasks:
    """Test the network that would ship now on the test images of every task.

    Appends a `TaskResult` to `engine.results`.

    Args:
        dataset: test images of all classes, with deterministic preprocessing.
        batch_size: images for each pass.
    """

    def __init__(self, dataset: "torch.utils.data.Dataset[Any]", batch_size: int = 32) -> None:
        self.dataset = dataset
        self.batch_size = batch_size

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        engine.add_event_handler(TaskEvents.TASK_COMPLETED, self._evaluate)

    def work(self, engine: IncrementalTrainer, task: Task) -> tuple[float, float]:
        """Images that are read and passes of an image that a task takes; these images are kept prepared."""
        return 0, len(self.dataset)  # type: ignore[arg-type]

    def _evaluate(self, engine: IncrementalTrainer) -> None:
        classifier, empty = engine.network.classifier(), torch.zeros(0)
        at_hand = len(self.dataset) > 0  # type: ignore[arg-type]
        nothing = torch.zeros(0, engine.task.seen), empty, empty.long()  # a model may grow where no test image is
        predicted = predict(classifier, self.dataset, self.batch_size) if at_hand else nothing
        probabilities, unknown, labels = (part.numpy() for part in predicted)
        groups = [task.labels for task in list(engine.tasks)[: engine.task.index + 1]]
        engine.results.append(evaluate_predictions(probabilities, unknown, labels, groups, engine.task.index))
        seen = labels < engine.task.seen
        limits = confidence_of(engine.trust), engine.trust.get("unknown_threshold")
        engine.trust["worth"] = worth_of(probabilities[seen], unknown[seen], labels[seen], *limits)


class MeasureCost:
    """Fill `engine.cost` after every task: what the shipped network and its memory cost.

    gmac_per_image and gmac_backbone in billions of multiply-accumulates for one image, parameters of the shipped
    network, state_bytes of every tensor that the next task needs beside the frozen backbone, images_kept as
    exemplars, train_seconds of all tasks from their start to the end of their evaluation.

    Args:
        image_size: height and width of an image in pixels.
    """

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size
        self.seconds = 0.0

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        engine.add_event_handler(TaskEvents.TASK_COMPLETED, self._measure)

    def state_dict(self) -> dict[str, float]:
        """Seconds of the tasks so far."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Load the seconds of `state_dict`."""
        self.seconds = state["seconds"]

    def _measure(self, engine: IncrementalTrainer) -> None:
        self.seconds += engine.task_seconds
        spec, classifier = engine.network.spec, engine.network.classifier()
        shape = (int(spec["in_channels"]), *[self.image_size] * int(spec["spatial_dims"]))
        engine.cost = {
            "gmac_per_image": gmac(classifier, shape),
            "gmac_backbone": gmac(engine.network.backbone, shape),
            "parameters": parameter_count(classifier),
            "state_bytes": tensor_bytes(_tensors(engine.learning_state())),
            "images_kept": len(engine.memory),
            "train_seconds": self.seconds,
        }


def _tensors(value: Any) -> list[torch.Tensor]:  # noqa: ANN401
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [tensor for item in value for tensor in _tensors(item)] if isinstance(value, list | tuple) else []
