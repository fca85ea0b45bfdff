"""The handler that trains the backbone on the first task, where no weights are given."""

from torch import nn

from dynammo.data.tasks import Task
from dynammo.errors import UserError
from dynammo.training.stage_trainer import STEP
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = ["TrainBackbone"]


class TrainBackbone:
    """Train the backbone on the first task and freeze it from then on, where no weights are given.

    Args:
        weights: as given to the network; this handler acts for `first_task` alone.
    """

    def __init__(self, weights: str) -> None:
        self.acts = weights == "first_task"

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        if self.acts:
            engine.add_event_handler(TaskEvents.TASK_STARTED, self._train)

    def work(self, engine: IncrementalTrainer, task: Task) -> tuple[float, float]:
        """Images that are read and passes of an image that a task takes."""
        images = len(engine.data.train(task)) if self.acts and task.index == 0 else 0
        return images, STEP * (engine.trainer.state.max_epochs or 0) * images

    def _train(self, engine: IncrementalTrainer) -> None:
        if engine.task.index > 0:
            return
        if not engine.trainer.state.max_epochs:
            raise UserError("weights is first_task, but epochs is 0; give --epochs a number from 1, or --weights FILE.")
        backbone = engine.network.backbone
        head = nn.Linear(backbone.features, len(engine.task.classes)).to(next(backbone.parameters()).device)
        network = nn.Sequential(backbone, head)
        backbone.unfreeze()
        engine.fit(engine.data.train(engine.task), network, list(network.parameters()), "backbone")
        backbone.freeze()
