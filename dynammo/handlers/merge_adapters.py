"""The handler that merges the adapters of all tasks, once for each task."""

from typing import Any

import torch
from torch import nn

from dynammo.errors import UserError
from dynammo.merging import STRATEGIES, Merged, State, merge_next, to_device
from dynammo.networks.adapters import copy_state
from dynammo.training.data_parallel import shared_batchnorm
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = ["MergeAdapters"]


class MergeAdapters:
    """Merge the new adapters with those of all earlier tasks, once for each task.

    Args:
        strategy: a name of `dynammo.merging.STRATEGIES`; `none` keeps every adapter apart.
        batchnorm: `average` (merge the running statistics like the weights) or `recalibrate` (measure them
            anew on the new images and the exemplars, after Jordan et al., arXiv 2211.08403).
    """

    def __init__(self, strategy: str = "average", batchnorm: str = "average") -> None:
        if strategy not in STRATEGIES:
            raise UserError(f"merge_strategy is {strategy!r}; expected one of {', '.join(STRATEGIES)}.")
        if batchnorm not in ("average", "recalibrate"):
            raise UserError(f"merge_batchnorm is {batchnorm!r}; expected average or recalibrate.")
        self.strategy = STRATEGIES[strategy]
        self.batchnorm = batchnorm
        self.origin: State = {}
        self.merged = Merged()
        self.newest: dict[str, Any] = {}

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        plain = self.strategy.merge is not None and not self.strategy.importance and self.batchnorm == "average"
        if engine.network.foldable and not plain:
            raise UserError(
                f"adapter {engine.network.spec['adapter']} folds into the weights of one network, without a BatchNorm "
                "of its own; give --merge_strategy average, ties or latest, and --merge_batchnorm average."
            )
        engine.add_event_handler(TaskEvents.TASK_STARTED, self._remember_origin)
        engine.add_event_handler(TaskEvents.TASK_FITTED, self._merge)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next merge needs."""
        return {"origin": self.origin, "states": list(self.merged.states), "weights": list(self.merged.weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the adapters of `state_dict`."""
        self.origin, self.merged = state["origin"], Merged((), tuple(state["states"]), tuple(state["weights"]))

    def to(self, device: torch.device) -> None:
        """Move the adapters to a device; a file brings them to the CPU."""
        self.merged, self.origin = self.merged.to(device), to_device(self.origin, device)

    def contribution(self) -> dict[str, Any]:
        """The newest task's adapters before merging: as merge strategies take them, their weight, and as modules."""
        return self.newest

    def _remember_origin(self, engine: IncrementalTrainer) -> None:
        if not self.origin:
            self.origin = engine.network.adapter_state()

    def _merge(self, engine: IncrementalTrainer) -> None:
        network = engine.network
        state, weight = network.adapter_state(), _importance(engine) if self.strategy.importance else 1.0
        adapters = copy_state(network.adapters) if network.foldable else state
        head = copy_state(network.heads[-1]) if len(network.heads) else {}
        self.newest = {"state": state, "weight": weight, "adapters": adapters, "head": head}
        self.to(next(network.backbone.parameters()).device)  # what was loaded lies on the CPU
        self.merged = merge_next(self.strategy, self.merged, state, weight, self.origin)
        engine.network.set_branches(self.merged.branches)
        if self.batchnorm == "recalibrate":
            _recalibrate(engine)


def _importance(engine: IncrementalTrainer) -> State:
    """Diagonal empirical Fisher information of the adapters on the images of stage 1, and the task count."""
    network, trainer = engine.network.eval(), engine.trainer
    names = dict(network.adapters.named_parameters())
    squared = {name: torch.zeros_like(parameter) for name, parameter in names.items()}
    for batch in trainer.data_loader:
        images, labels = trainer.prepare_batch(batch, trainer.state.device, trainer.non_blocking)
        loss = trainer.loss_function(network(images), labels).mean()
        for (name, _), grad in zip(names.items(), torch.autograd.grad(loss, list(names.values())), strict=True):
            squared[name] += grad.square() * len(labels)
    return {**squared, "tasks": torch.tensor(1.0)}


@torch.no_grad()
def _recalibrate(engine: IncrementalTrainer) -> None:
    """Measure the BatchNorm statistics of the merged adapters anew, as plain means over all batches."""
    classifier = engine.network.classifier()
    for module in classifier.branches.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # cumulative mean instead of an exponential one
            module.train()
    with shared_batchnorm(classifier):  # every process measures all images
        for batch in engine.trainer.data_loader:
            classifier.features(batch["image"].to(engine.trainer.state.device))
    engine.network.set_branches([copy_state(branch) for branch in classifier.branches])
