"""The one loop over tasks: an ignite engine whose iterations are tasks."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from ignite.engine import Engine, Events
from ignite.engine.events import EventEnum
from monai.data import set_rnd
from monai.engines import SupervisedTrainer
from monai.utils import set_determinism
from torch import nn
from torch.optim import Optimizer

from dynammo.data import TaskImages
from dynammo.errors import UserError
from dynammo.memory import ExemplarMemory, Item
from dynammo.metrics import TaskResult
from dynammo.network import IncrementalNetwork
from dynammo.progress import ShowProgress
from dynammo.tasks import Task

__all__ = ["IncrementalTrainer", "TaskEvents", "TaskHandler"]


class TaskEvents(EventEnum):
    """What happens in one iteration of the loop over tasks, in this order."""

    TASK_STARTED = "task_started"
    TASK_FITTED = "task_fitted"
    TASK_COMPLETED = "task_completed"


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
        handlers: watchers of the events.
        adapter_tasks: tasks that fit adapters (stage 1), from the first; later ones keep them, so that features
            no longer move. None for all.

    Attributes:
        task: the task being learnt.
        losses: mean loss of every epoch of the current fit.
        results: measures after each task learnt so far.
        cost: what the network of this moment costs, see `dynammo.record.MeasureCost`.
        held_back: probabilities (N, K), unknown scores (N,) and labels (N,) of images that the heads behind them had
            not seen; None where no handler has made them.
        trust: how far the network of this moment can be trusted, see `dynammo.trust`.
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
        self.memory = memory
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.seed = seed
        self.adapter_tasks = adapter_tasks
        self.task: Task = self.tasks[0]
        self.losses: list[float] = []
        self.results: list[TaskResult] = []
        self.cost: dict[str, float] = {}
        self.held_back: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None
        self.trust: dict[str, Any] = {}
        self.handlers = list(handlers)
        if isinstance(memory.budget, int) and 0 < memory.budget < len(self.tasks.classes):
            raise UserError(
                f"exemplars is {memory.budget}, less than one image for each of {len(self.tasks.classes)} classes; "
                f"give at least {len(self.tasks.classes)}, or 0 to keep none."
            )
        ShowProgress().attach(trainer)
        trainer.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._add_loss)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
        self._scheduler: Any = None
        self._loss_sum = torch.zeros(())
        for handler in self.handlers:
            handler.attach(self)

    def learn(self) -> None:
        """Learn the whole sequence of tasks."""
        self.run(list(self.tasks), max_epochs=1, epoch_length=len(self.tasks))

    def fit(self, items: list[Item], network: nn.Module, parameters: list[nn.Parameter], stage: str) -> None:
        """Fit `parameters` of `network` on `items` with MONAI's trainer, optimiser and schedule anew.

        Args:
            items: images with the label that the output of `network` is trained to.
            network: maps images to logits.
            parameters: what the optimiser may change.
            stage: words that the progress bar shows.
        """
        loader: Any = self.trainer.data_loader
        loader.dataset.set_data(items)
        set_rnd(loader.dataset, seed=int(torch.randint(2**31, (1,))))
        self.trainer.network = network
        self.trainer.optimizer = self.optimizer(parameters)
        self._scheduler = self.lr_scheduler(self.trainer.optimizer) if self.lr_scheduler else None
        self.losses = []
        state = self.trainer.state
        state.epoch, state.iteration, state.epoch_length = 0, 0, len(loader)
        state.stage = f"task {self.task.index + 1}/{len(self.tasks)}: {stage}"
        self.trainer.run()

    def learning_state(self) -> dict[str, Any]:
        """Everything but the frozen backbone that the next task needs: tensors and plain values."""
        return {
            "tasks_learnt": self.task.index + 1,
            "adapters": self.network.adapters.state_dict(),
            "branches": self.network.branch_state(),
            "heads": self.network.heads.state_dict(),
            "memory": self.memory.state_dict(),
            "handlers": {type(h).__name__: h.state_dict() for h in self.handlers if hasattr(h, "state_dict")},
        }

    def _learn(self, engine: Engine, task: Task) -> None:
        self.task, self.held_back = task, None
        set_determinism(self.seed + 1000 * (task.index + 1))
        self.network.start_task(task)
        self.fire_event(TaskEvents.TASK_STARTED)
        parameters = self.network.trainable_parameters()
        fits = self.adapter_tasks is None or task.index < self.adapter_tasks
        if fits and parameters and self.trainer.state.max_epochs:
            self.fit(self._stage_1_items(), self.network, parameters, "adapters")
        else:
            self.losses = []
        self.network.eval()
        self.fire_event(TaskEvents.TASK_FITTED)
        self.fire_event(TaskEvents.TASK_COMPLETED)

    def _stage_1_items(self) -> list[Item]:
        items = self.data.train(self.task) + self.memory.items()
        if not self.network.others:
            return items
        return [{**item, "label": self.task.local_label(item["label"])} for item in items]

    def _start_epoch(self, trainer: SupervisedTrainer) -> None:
        self._loss_sum = torch.zeros((), device=trainer.state.device)

    def _add_loss(self, trainer: SupervisedTrainer) -> None:
        self._loss_sum += trainer.state.output["loss"].detach()

    def _end_epoch(self, trainer: SupervisedTrainer) -> None:
        self.losses.append(float(self._loss_sum) / (trainer.state.epoch_length or 1))
        if self._scheduler is not None:
            self._scheduler.step()
