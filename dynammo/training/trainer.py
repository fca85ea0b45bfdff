"""The one loop over tasks: an ignite engine whose iterations are tasks."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol
from uuid import uuid4

import torch
from ignite.engine import Engine, Events
from ignite.engine.events import EventEnum
from monai.engines import SupervisedTrainer
from monai.utils import set_determinism
from torch import nn
from torch.optim import Optimizer

from dynammo.data.exemplars import ExemplarMemory, Item
from dynammo.data.images import TaskImages
from dynammo.data.tasks import Task
from dynammo.errors import UserError
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.runtime.distributed import broadcast, is_first, world_size
from dynammo.training.metrics import TaskResult
from dynammo.training.stage_trainer import StageTrainer

__all__ = ["IncrementalTrainer", "TaskEvents", "TaskHandler"]


class TaskEvents(EventEnum):
    """What happens in one iteration of the loop over tasks, in this order; the first and the last around the loop."""

    LEARNING_STARTED = "learning_started"  # an earlier state may be loaded
    TASK_STARTED = "task_started"
    TASK_FITTED = "task_fitted"
    TASK_COMPLETED = "task_completed"
    LEARNING_ENDED = "learning_ended"  # after errors too


class TaskHandler(Protocol):
    """Anything that attaches itself to the events of an `IncrementalTrainer`."""

    def attach(self, engine: "IncrementalTrainer") -> None:
        """Register with the engine's events."""


class IncrementalTrainer(Engine):
    """Learns task after task; its handlers, in the order of the list, are the method.

    For each task the loop gives the network a new head, fits the newest adapters and this head with MONAI's
    trainer on the new images and the exemplars (stage 1), and fires the events of `TaskEvents`. Merging,
    exemplars, head tuning, evaluation and records are the work of handlers.

    Args:
        data: images of every task.
        network: the network that learns.
        trainer: MONAI trainer of one task; its data loader must read from a dataset with `set_data`.
        memory: exemplars of known classes.
        optimizer: makes the optimiser of stage 1 from a list of parameters.
        lr_scheduler: makes the schedule from the optimiser, stepped after every epoch; None for a constant rate.
        seed: seed of the whole run; every task starts from `seed + 1000 * (index + 1)`, so that a task does not
            depend on how many random numbers the one before it drew.
        handlers: handlers of the events.
        adapter_tasks: tasks that fit adapters (stage 1), from the first; later ones keep them, so that features
            no longer move. None for all.

    Attributes:
        task: the task being learnt.
        tasks_learnt: number of tasks whose adapters and heads are in the network that predicts.
        key: names the run in all processes that have a share in it.
        stages: fits the stages of a task.
        results: measures after each task learnt so far.
        cost: what the network of this moment costs, see `dynammo.handlers.evaluation.MeasureCost`.
        held_out: probabilities (N, K), unknown scores (N,) and labels (N,) of images that the heads behind them had
            not seen; None where no handler has made them.
        trust: how far the network of this moment can be trusted, see `dynammo.handlers.calibration`.
        refused: whether a handler has found that nobody is to use the model.
    """

    def __init__(
        self,
        data: TaskImages,
        network: IncrementalNetwork,
        trainer: SupervisedTrainer,
        memory: ExemplarMemory,
        optimizer: Callable[[list[nn.Parameter]], Optimizer],
        lr_scheduler: Callable[[Optimizer], Any] | None = None,
        seed: int = 0,
        handlers: Sequence[TaskHandler] = (),
        adapter_tasks: int | None = None,
    ) -> None:
        super().__init__(self._learn)
        self.register_events(*TaskEvents)
        self.data = data
        self.tasks = data.tasks
        self.network = network
        self.trainer = trainer
        self.stages = StageTrainer(trainer, optimizer, lr_scheduler)
        self.memory = memory
        self.seed = seed
        self.adapter_tasks = adapter_tasks
        self.task: Task = self.tasks[0]
        self.tasks_learnt = 0
        self.key = uuid4().hex
        self.results: list[TaskResult] = []
        self.cost: dict[str, float] = {}
        self.held_out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None
        self.trust: dict[str, Any] = {}
        self.refused = False
        self.handlers = list(handlers)
        if isinstance(memory.budget, int) and 0 < memory.budget < len(self.tasks.classes):
            raise UserError(
                f"exemplars is {memory.budget}, less than one image for each of {len(self.tasks.classes)} classes; "
                f"give at least {len(self.tasks.classes)}, or 0 to keep none."
            )
        self._started, self._seconds_before = 0.0, 0.0
        for handler in self.handlers:
            handler.attach(self)

    @property
    def losses(self) -> list[float]:
        """Mean loss of every epoch of the newest stage."""
        return self.stages.losses

    @property
    def task_seconds(self) -> float:
        """Time that the current task has taken so far, in an interrupted process too."""
        return self._seconds_before + time.perf_counter() - self._started

    def learn(self) -> None:
        """Learn the tasks of the sequence that are not learnt yet."""
        try:
            self.fire_event(TaskEvents.LEARNING_STARTED)
            left = list(self.tasks)[self.tasks_learnt :]
            if left:
                self.run(left, max_epochs=1, epoch_length=len(left))
            else:  # what an interrupted run leaves undone behind its last task
                for event in (Events.STARTED, Events.EPOCH_STARTED, Events.COMPLETED):
                    self.fire_event(event)
        finally:
            self.fire_event(TaskEvents.LEARNING_ENDED)

    def record_again(self) -> None:
        """Let the handlers evaluate and record the network as it is, in the place of its last result."""
        self._started, self.results = time.perf_counter(), self.results[:-1]
        self.fire_event(TaskEvents.TASK_COMPLETED)

    def fit(self, items: list[Item], network: nn.Module, parameters: list[nn.Parameter], stage: str) -> None:
        """Fit `parameters` of `network` on `items` with MONAI's trainer, optimiser and schedule anew.

        Args:
            items: images with the label that the output of `network` is trained to.
            network: maps images to logits.
            parameters: what the optimiser may change.
            stage: name of the stage, each only once in a task.
        """
        label = f"task {self.task.index + 1}/{len(self.tasks)}: {stage}"
        self.stages.fit(items, network, parameters, stage, label)

    def stage_1_items(self) -> list[Item]:
        """Images of the new classes and exemplars, with the labels that stage 1 fits: "others" for old classes."""
        items = self.data.train(self.task) + self.memory.items(range(self.task.first_label))
        if not self.network.others:
            return items
        return [{**item, "label": self.task.local_label(item["label"])} for item in items]

    def learning_state(self) -> dict[str, Any]:
        """Everything but the frozen backbone that the next task needs: tensors and plain values."""
        return {
            "tasks_learnt": self.tasks_learnt,
            **self.network.learnt_state(),
            "memory": self.memory.state_dict(),
            "results": [asdict(result) for result in self.results],
            "trust": self.trust,
            "cost": self.cost,
            "losses": self.losses,
            "handlers": {type(h).__name__: h.state_dict() for h in self.handlers if hasattr(h, "state_dict")},
        }

    def load_learning_state(self, state: Mapping[str, Any]) -> None:
        """Load a `learning_state`, so that `learn` continues behind it.

        The `backbone` is loaded where it lies beside it; handlers that the state does not know stay as they are.
        """
        self.network.load_learnt_state(state)
        self.memory.load_state_dict(state["memory"])
        self.results = [_result(values) for values in state["results"]]
        self.trust, self.cost, self.stages.losses = dict(state["trust"]), dict(state["cost"]), list(state["losses"])
        self.tasks_learnt = state["tasks_learnt"]
        self.task = self.tasks[max(0, self.tasks_learnt - 1)]
        for handler in self.handlers:
            known = state["handlers"].get(type(handler).__name__)
            if known is not None and hasattr(handler, "load_state_dict"):
                handler.load_state_dict(known)
            if hasattr(handler, "to"):  # what is as large as the network lies where the network does
                handler.to(next(self.network.parameters()).device)

    def stage_state(self) -> dict[str, Any]:
        """What the current task has beside `learning_state`, after an epoch: tensors and plain values."""
        return {"task": self.task.index, "seconds": self.task_seconds, **self.stages.state()}

    def load_stage_state(self, state: Mapping[str, Any]) -> None:
        """Load a `stage_state`; the first of the tasks that are left resumes at its epoch."""
        self._seconds_before, self.stages.resumed = state["seconds"], state

    def _learn(self, engine: Engine, task: Task) -> None:
        self.task, self.held_out, self._started = task, None, time.perf_counter()
        set_determinism(self.seed + 1000 * (task.index + 1))
        self.network.start_task(len(task.classes), task.seen)
        self.fire_event(TaskEvents.TASK_STARTED)
        parameters = self.network.trainable_parameters()
        fits = self.adapter_tasks is None or task.index < self.adapter_tasks
        if fits and parameters and self.trainer.state.max_epochs:
            self.fit(self.stage_1_items(), self.network, parameters, "adapters")
        else:
            self.stages.losses = []
        self.network.eval()
        self.fire_event(TaskEvents.TASK_FITTED)
        self.tasks_learnt = task.index + 1
        self._sync()
        self.fire_event(TaskEvents.TASK_COMPLETED)
        self._seconds_before = 0.0

    def _sync(self) -> None:
        """Several processes start from the state of the first: elsewhere numbers may round otherwise."""
        if world_size() > 1:
            state = broadcast(self.learning_state() if is_first() else None)
            if not is_first():
                self.load_learning_state(state)


def _result(values: Mapping[str, Any]) -> TaskResult:
    confusion = tuple(tuple(row) for row in values["confusion"])
    return TaskResult(**{**values, "task_accuracy": tuple(values["task_accuracy"]), "confusion": confusion})
