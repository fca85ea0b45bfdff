"""One stage of a task, fitted by MONAI's trainer: can be saved after any epoch and resumed.

Several processes fit it together, see `dynammo.training.data_parallel`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from ignite.engine import Events
from monai.data import set_rnd
from monai.engines import IterationEvents, SupervisedTrainer
from torch import nn
from torch.optim import Optimizer

from dynammo.data.exemplars import Item
from dynammo.errors import UserError
from dynammo.runtime.devices import keep_freed_memory
from dynammo.runtime.distributed import all_gather_object, all_reduce_sum, rank, world_size
from dynammo.runtime.progress import ShowProgress
from dynammo.training.data_parallel import broadcast_parameters, share_gradients, shared_batchnorm, split_loader
from dynammo.training.random_state import random_states, restore_random_states

__all__ = ["STEP", "StageTrainer"]

STEP = 3
"""Passes that a step of training is worth: one forwards, and the gradient, which costs about twice as much."""


class StageTrainer:
    """Fits parameters with MONAI's trainer, the optimiser and its schedule anew for every stage.

    Args:
        trainer: its data loader must read from a dataset with `set_data`.
        optimizer: makes the optimiser from a list of parameters.
        lr_scheduler: makes the schedule from the optimiser, stepped after every epoch; None for a constant rate.

    Attributes:
        losses: mean loss of every epoch of the newest stage.
        resumed: `state` of an interrupted stage: stages before it are passed over, it resumes behind its last epoch.
    """

    def __init__(
        self,
        trainer: SupervisedTrainer,
        optimizer: Callable[[list[nn.Parameter]], Optimizer],
        lr_scheduler: Callable[[Optimizer], Any] | None = None,
    ) -> None:
        self.trainer = trainer
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.losses: list[float] = []
        self.resumed: Mapping[str, Any] | None = None
        self.stage = ""
        self._scheduler: Any = None
        self._loss_sum = torch.zeros(())
        ShowProgress(STEP * getattr(trainer.data_loader, "batch_size", 1)).attach(trainer)
        trainer.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._share_gradients)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._add_loss)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)

    def fit(
        self, items: list[Item], network: nn.Module, parameters: list[nn.Parameter], stage: str, label: str
    ) -> None:
        """Fit `parameters` of `network`, which maps images to logits, on `items`.

        Args:
            items: images with the label that the output of `network` is trained to.
            network: maps images to logits.
            parameters: what the optimiser may change.
            stage: name of the stage.
            label: what the progress bar shows.
        """
        if self.resumed is not None and self.resumed["stage"] != stage:
            return
        self.stage = stage
        keep_freed_memory()
        dataset, state = self._dataset(), self.trainer.state
        dataset.set_data(items)
        set_rnd(dataset, seed=int(torch.randint(2**31, (1,))) + rank())
        broadcast_parameters(parameters)
        self.trainer.network = network
        self.trainer.optimizer = self.optimizer(parameters)
        self._scheduler = self.lr_scheduler(self.trainer.optimizer) if self.lr_scheduler else None
        self.losses = []
        state.epoch, state.iteration, state.epoch_length = 0, 0, len(self.trainer.data_loader)
        state.stage = label
        self._resume()
        if state.epoch < (state.max_epochs or 0):
            self._run()

    def state(self) -> dict[str, Any]:
        """The stage after the epoch that was completed last: tensors and plain values."""
        optimizer: Any = self.trainer.optimizer
        own = random_states(self._dataset().transform)
        return {
            "stage": self.stage,
            "epoch": self.trainer.state.epoch,
            "network": self.trainer.network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict() if self._scheduler is not None else {},
            "scaler": self.trainer.scaler.state_dict() if getattr(self.trainer, "scaler", None) else {},
            "losses": list(self.losses),
            "random": own,
            "random_of_others": all_gather_object(own)[1:],
        }

    def _run(self) -> None:
        whole = self.trainer.data_loader
        self.trainer.data_loader = split_loader(whole)
        try:
            # added last, so that it weighs what other handlers have added to the loss too
            weighed = self.trainer.add_event_handler(IterationEvents.LOSS_COMPLETED, self._weigh_loss)
            with weighed, shared_batchnorm(self.trainer.network, self._share if world_size() > 1 else None):
                self.trainer.run()
        finally:
            self.trainer.data_loader = whole

    def _resume(self) -> None:
        resumed, self.resumed = self.resumed, None
        if resumed is None:
            return
        try:
            self._load(resumed)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"what the interrupted run kept of its stage {self.stage} does not fit this network "
                f"({type(error).__name__}); delete stage.pt to resume at the start of the task."
            ) from error

    def _load(self, state: Mapping[str, Any]) -> None:
        optimizer: Any = self.trainer.optimizer
        missing, unexpected = self.trainer.network.load_state_dict(state["network"], strict=False)
        if unexpected or any(not name.startswith("backbone.") for name in missing):
            raise ValueError("other parameters")
        optimizer.load_state_dict(state["optimizer"])
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])
        if state["scaler"]:
            self.trainer.scaler.load_state_dict(state["scaler"])
        self.losses = list(state["losses"])
        self.trainer.state.epoch = state["epoch"]
        self.trainer.state.iteration = state["epoch"] * self.trainer.state.epoch_length
        random = [state["random"], *state.get("random_of_others", [])]
        restore_random_states(random[rank() % len(random)], self._dataset().transform)

    def _dataset(self) -> Any:  # noqa: ANN401
        loader: Any = self.trainer.data_loader
        return loader.dataset

    def _start_epoch(self, trainer: SupervisedTrainer) -> None:
        self._loss_sum = torch.zeros((), device=trainer.state.device)

    def _share(self) -> float:
        """Part of the images of this iteration that this process has."""
        loader: Any = self.trainer.data_loader
        return loader.batch_sampler.share(self.trainer.state.iteration)  # type: ignore[no-any-return]

    def _weigh_loss(self, trainer: SupervisedTrainer) -> None:
        if world_size() > 1:
            trainer.state.output["loss"] = trainer.state.output["loss"] * self._share()

    def _share_gradients(self, trainer: SupervisedTrainer) -> None:
        share_gradients([parameter for group in trainer.optimizer.param_groups for parameter in group["params"]])

    def _add_loss(self, trainer: SupervisedTrainer) -> None:
        self._loss_sum += trainer.state.output["loss"].detach()

    def _end_epoch(self, trainer: SupervisedTrainer) -> None:
        self.losses.append(float(all_reduce_sum(self._loss_sum)) / (trainer.state.epoch_length or 1))
        self._refuse_divergence(trainer)
        if self._scheduler is not None:
            self._scheduler.step()

    def _refuse_divergence(self, trainer: SupervisedTrainer) -> None:
        """Stop after the first epoch that leaves no numbers to go on with, before anything of it is kept.

        Raises:
            UserError: the mean loss, a parameter or a running statistic is not finite.
        """
        groups = trainer.optimizer.param_groups
        values = [*(p for group in groups for p in group["params"]), *trainer.network.buffers()]
        if math.isfinite(self.losses[-1]) and bool(torch.stack([v.detach().isfinite().all() for v in values]).all()):
            return
        what = "a weight" if math.isfinite(self.losses[-1]) else "the loss"
        raise UserError(
            f"{trainer.state.stage}: {what} is not finite after epoch {trainer.state.epoch} of "
            f"{trainer.state.max_epochs}, so the training has diverged; type a lower --learning_rate than "
            f"{groups[0].get('initial_lr', groups[0]['lr']):g}."
        )
