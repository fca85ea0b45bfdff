"""The watchers that make the method: backbone, merging, exemplars, heads, evaluation.

They act at the events of the `IncrementalTrainer`, in the order in which the config lists them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import Dataset, set_rnd
from torch import nn

from dynammo.data.exemplars import Item, herd
from dynammo.errors import UserError
from dynammo.heads.linear import held_back_logits, tune_heads
from dynammo.merging import STRATEGIES, Merged, merge_next, to_device
from dynammo.networks.adapters import State, copy_state
from dynammo.runtime.distributed import agree
from dynammo.training.metrics import evaluate_predictions
from dynammo.training.prediction import extract_features, predict
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = ["EvaluateTasks", "MergeAdapters", "SelectExemplars", "TrainBackbone", "TuneHeads"]

Transform = Callable[[Any], Any]
FOLDS = 5  # images held back by turns, to see what heads make of images they were not tuned on


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
        """Take up the adapters of `state_dict`."""
        self.origin, self.merged = state["origin"], Merged((), tuple(state["states"]), tuple(state["weights"]))

    def to(self, device: torch.device) -> None:
        """Move the adapters to a device; a file brings them to the CPU."""
        states, weights = (
            [_moved(part, device) for part in parts] for parts in (self.merged.states, self.merged.weights)
        )
        self.origin, self.merged = _moved(self.origin, device), Merged((), tuple(states), tuple(weights))

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
        device = next(network.backbone.parameters()).device  # what was loaded lies on the CPU
        self.merged, self.origin = self.merged.to(device), to_device(self.origin, device)
        self.merged = merge_next(self.strategy, self.merged, state, weight, self.origin)
        engine.network.set_branches(self.merged.branches)
        if self.batchnorm == "recalibrate":
            _recalibrate(engine)


class SelectExemplars:
    """Keep the most representative images of every new class, chosen by herding on the merged features.

    At TASK_FITTED the new classes get as many exemplars as the known ones have, so that the memory is a balanced
    set to tune heads on; at TASK_COMPLETED all classes shrink to the budget.

    Args:
        transform: deterministic preprocessing of an item.
        batch_size: images for each pass.
    """

    def __init__(self, transform: Transform, batch_size: int = 32) -> None:
        self.transform = transform
        self.batch_size = batch_size

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        engine.add_event_handler(TaskEvents.TASK_FITTED, self._select)
        engine.add_event_handler(TaskEvents.TASK_COMPLETED, lambda e: e.memory.trim())

    def _select(self, engine: IncrementalTrainer) -> None:
        memory, task = engine.memory, engine.task
        if memory.budget == 0:
            return
        items = list(engine.data.train(task))
        quota = memory.quota(task.first_label or task.seen)
        for known in (memory.items([label]) for label in range(task.first_label)):
            if quota is not None and len(known) > quota:  # more images of it have come with those of the new classes
                items += known
        if quota is None:
            order = {label: [item for item in items if item["label"] == label] for label in task.labels}
        else:
            order = self._herded(engine, items, quota)
        for label, ranked in order.items():
            memory.add(label, ranked)
        agree(memory)

    def _herded(self, engine: IncrementalTrainer, items: list[Item], quota: int) -> dict[int, list[Item]]:
        dataset = Dataset(items, self.transform)
        features, _ = extract_features(engine.network.classifier(), dataset, self.batch_size, "choosing exemplars")
        joined = torch.cat(features, dim=1).cpu()  # all branches, (N, S * F)
        order = {}
        for label in sorted({item["label"] for item in items}):
            rows = [row for row, item in enumerate(items) if item["label"] == label]
            order[label] = [items[rows[i]] for i in herd(joined[rows], quota)]
        return order


class TuneHeads:
    """Stage 2: tune every head on the balanced set, on features computed once (they no longer change).

    Leaves in `engine.held_back` what each image gets from heads tuned without it.

    Args:
        transform: deterministic preprocessing of an item.
        augment: preprocessing with random augmentation, for the copies.
        copies: augmented copies of every image beside the image itself.
        refit: first fit the newest head alone on all images of stage 1, as the merged adapters see them: stage 1 has
            fitted it to the unmerged ones.
        images: `balanced`, as many of every class, or `all` images of the new classes beside the exemplars, of which
            as many of every class are drawn.
        epochs: passes over the features; 0 leaves the heads of stage 1.
        learning_rate: start rate of Adam.
        milestones: epochs at which the rate falls to a tenth.
        batch_size: images for each pass, and features for each step.
    """

    def __init__(
        self,
        transform: Transform,
        augment: Transform,
        copies: int = 0,
        refit: bool = False,
        images: str = "balanced",
        epochs: int = 100,
        learning_rate: float = 1e-3,
        milestones: Sequence[int] = (55, 80),
        batch_size: int = 32,
    ) -> None:
        if images not in ("balanced", "all"):
            raise UserError(f"head_images is {images!r}; expected balanced or all.")
        self.transform = transform
        self.augment = augment
        self.copies = copies
        self.refit = refit
        self.all_images = images == "all"
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.milestones = milestones
        self.batch_size = batch_size

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        if self.epochs > 0 and engine.network.head_layout != "analytic":
            engine.add_event_handler(TaskEvents.TASK_FITTED, self._tune)

    def _tune(self, engine: IncrementalTrainer) -> None:
        task, network = engine.task, engine.network
        if self.refit and network.others:
            self._refit(engine)
        known = engine.memory.items()
        if self.all_images:
            known = engine.memory.items(range(task.first_label)) + engine.data.train(task)
        # before there are old classes nothing has to be balanced: all images of the first task
        items = known if task.index > 0 and known else engine.data.train(task)
        features, labels = self._features(engine, items)
        targets = _targets(engine, labels) if network.others else {0: labels}
        heads = nn.ModuleList(network.heads[number] for number in targets)
        inputs = [features[number] for number in targets] if len(features) > 1 else features
        self._tuned(heads, inputs, list(targets.values()))
        if len(items) >= FOLDS:
            logits = network.classifier().logits([part[: len(items)] for part in features])
            held_back = held_back_logits(heads, inputs, list(targets.values()), len(items), FOLDS, self._tuned)
            for number, of_head in zip(targets, held_back, strict=True):
                logits[number] = of_head
            probabilities, unknown = network.classifier().join(logits)
            engine.held_back = probabilities, unknown.squeeze(1), labels[: len(items)]

    def _refit(self, engine: IncrementalTrainer) -> None:
        features, labels = self._features(engine, engine.stage_1_items())
        tune_heads(
            nn.ModuleList([engine.network.heads[-1]]), features[-1:], [labels], self.epochs, self.learning_rate,
            self.milestones, self.batch_size,
        )  # fmt: skip

    def _tuned(self, heads: nn.ModuleList, features: list[torch.Tensor], targets: list[torch.Tensor]) -> float:
        return tune_heads(
            heads, features, targets, self.epochs, self.learning_rate, self.milestones, self.batch_size,
            even=self.all_images,
        )  # fmt: skip

    def _features(self, engine: IncrementalTrainer, items: list[Item]) -> tuple[list[torch.Tensor], torch.Tensor]:
        classifier = engine.network.classifier()
        set_rnd(self.augment, seed=engine.seed + engine.task.index)
        parts = [
            extract_features(classifier, Dataset(items, transform), self.batch_size, "features for the heads")
            for transform in [self.transform, *[self.augment] * self.copies]
        ]
        features = [torch.cat([part[0][b] for part in parts]) for b in range(len(parts[0][0]))]
        return features, torch.cat([part[1] for part in parts])


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

    def _evaluate(self, engine: IncrementalTrainer) -> None:
        classifier, empty = engine.network.classifier(), torch.zeros(0)
        at_hand = len(self.dataset) > 0  # type: ignore[arg-type]
        nothing = torch.zeros(0, engine.task.seen), empty, empty.long()  # a model may grow where no test image is
        predicted = predict(classifier, self.dataset, self.batch_size) if at_hand else nothing
        probabilities, unknown, labels = (part.numpy() for part in predicted)
        groups = [task.labels for task in list(engine.tasks)[: engine.task.index + 1]]
        engine.results.append(evaluate_predictions(probabilities, unknown, labels, groups, engine.task.index))


def _targets(engine: IncrementalTrainer, labels: torch.Tensor) -> dict[int, torch.Tensor]:
    """For every head that has images of its classes, by number, the index (N,) of its output for each image.

    Without one a head would learn to say "others" to everything.
    """
    targets = {
        task.index: torch.tensor([task.local_label(int(label)) for label in labels], device=labels.device)
        for task in list(engine.tasks)[: engine.task.index + 1]
    }
    return {index: found for index, found in targets.items() if (found < len(engine.tasks[index].classes)).any()}


def _moved(value: Any, device: torch.device) -> Any:  # noqa: ANN401
    """The tensors of a state on a device; a number as it is."""
    return {name: tensor.to(device) for name, tensor in value.items()} if isinstance(value, dict) else value


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
    for batch in engine.trainer.data_loader:
        classifier.features(batch["image"].to(engine.trainer.state.device))
    engine.network.set_branches([copy_state(branch) for branch in classifier.branches])
