"""What the method costs in training: head tuning on cached features, and the trainer against a bare loop."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import cast

import torch
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from monai.inferers import SimpleInferer
from torch import nn
from torch.utils.data import Dataset

from benchmarks.networks import CLASSES_OF_A_TASK, CostSettings, learnt_tasks
from benchmarks.timing import Spread, time_interleaved
from dynammo.data.exemplars import ExemplarMemory, Item
from dynammo.data.images import ImageSet, TaskImages
from dynammo.data.tasks import TaskSequence
from dynammo.heads.linear import grow_head, tune_heads
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.training.prediction import extract_features
from dynammo.training.trainer import IncrementalTrainer

__all__ = [
    "BALANCED_IMAGES",
    "HEAD_EPOCHS",
    "HeadTuning",
    "TensorItems",
    "Training",
    "fit_bare",
    "make_trainer",
    "measure_head_tuning",
    "measure_training",
    "new_heads",
    "random_items",
    "tune_by_rerunning",
    "tune_on_cached_features",
]

BALANCED_IMAGES = 80  # on which heads are tuned: memory and as many new ones
HEAD_EPOCHS, HEAD_RATE, HEAD_MILESTONES = 100, 1e-3, (55, 80)  # the bundle's
STEPS, ROUNDS = 2, 2  # steps of one fit, and interleaved fits that make one repeat
AT_LEAST = 0.1  # seconds of a measurement


@dataclass(frozen=True)
class HeadTuning:
    """Seconds for all epochs of head tuning.

    Attributes:
        cached: on features extracted once, extraction included.
        rerun: with a pass of the images through the network in every epoch.
        speedup: rerun / cached of each repeat.
    """

    cached: Spread
    rerun: Spread
    speedup: Spread


@dataclass(frozen=True)
class Training:
    """Training images/s.

    Attributes:
        trainer: of `IncrementalTrainer.fit`.
        bare: of a bare PyTorch loop.
        ratio: trainer / bare of each repeat.
    """

    trainer: Spread
    bare: Spread
    ratio: Spread


class TensorItems(Dataset[Item]):
    """Items whose images are tensors already; `set_data` as the trainer needs it."""

    def __init__(self, items: list[Item]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]

    def set_data(self, items: list[Item]) -> None:
        """Take up other items."""
        self.items = items


def measure_head_tuning(network: IncrementalNetwork, settings: CostSettings) -> HeadTuning:
    """Tune heads on cached features, and by re-running the network.

    A repeat re-runs the network for one epoch; its seconds times `HEAD_EPOCHS` stand for the whole.
    """
    tasks, classifier = learnt_tasks(), network.classifier()
    items = random_items(BALANCED_IMAGES, settings, len(tasks.classes))
    cached = partial(tune_on_cached_features, classifier, tasks, items, settings.batch_size)
    rerun = partial(tune_by_rerunning, classifier, tasks, items, settings.batch_size, epochs=1)
    took = time_interleaved({"cached": [cached], "rerun": [rerun]}, settings.repeats, at_least=AT_LEAST)
    fast, whole = took["cached"].wall, [HEAD_EPOCHS * epoch for epoch in took["rerun"].wall]
    speedup = [a / b for a, b in zip(whole, fast, strict=True)]
    return HeadTuning(Spread.of(fast), Spread.of(whole), Spread.of(speedup))


def measure_training(network: IncrementalNetwork, settings: CostSettings) -> Training:
    """Fit the adapters by the trainer, and by a bare loop: same network, images, loader settings, optimiser."""
    batch_size = max(2, settings.batch_size)
    items = random_items(STEPS * batch_size, settings, CLASSES_OF_A_TASK + 1)
    trainer = make_trainer(network, items, batch_size)
    bare_loader = torch.utils.data.DataLoader(TensorItems(items), batch_size=batch_size, shuffle=True, num_workers=0)
    fit = partial(trainer.fit, items, network, network.trainable_parameters(), "adapters")
    calls = {"trainer": [fit], "bare": [partial(fit_bare, network, bare_loader)]}
    took = time_interleaved(calls, settings.repeats, ROUNDS, AT_LEAST)
    own, bare = ([len(items) / s for s in took[name].wall] for name in calls)
    return Training(Spread.of(own), Spread.of(bare), Spread.of([a / b for a, b in zip(own, bare, strict=True)]))


def make_trainer(network: IncrementalNetwork, items: list[Item], batch_size: int) -> IncrementalTrainer:
    """The real loop over tasks around MONAI's trainer of one epoch, as the bundle builds it."""
    trainer = SupervisedTrainer(
        device=_device(network),
        max_epochs=1,
        train_data_loader=DataLoader(TensorItems(items), batch_size=batch_size, shuffle=True, num_workers=0),
        network=network,
        optimizer=_optimizer(network.trainable_parameters()),
        loss_function=nn.CrossEntropyLoss(),
        inferer=SimpleInferer(),
        decollate=False,
    )
    no_files = cast(ImageSet, SimpleNamespace(records=[]))  # `fit` is given its images
    return IncrementalTrainer(TaskImages(no_files, learnt_tasks()), network, trainer, ExemplarMemory(0), _optimizer)


def fit_bare(network: IncrementalNetwork, loader: Iterable[dict[str, torch.Tensor]]) -> None:
    """One epoch of stage 1 as one would write it without MONAI and ignite."""
    device = _device(network)
    optimizer = _optimizer(network.trainable_parameters())
    network.train()
    for batch in loader:
        images, labels = batch["image"].to(device), batch["label"].to(device)  # (B, C, H, W), (B,)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def tune_on_cached_features(
    classifier: MergedClassifier, tasks: TaskSequence, items: list[Item], batch_size: int
) -> nn.ModuleList:
    """New heads, tuned as the method does it: features once, then all epochs on them."""
    heads = new_heads(classifier, tasks)
    features, labels = extract_features(classifier, TensorItems(items), batch_size)
    tune_heads(heads, features, _targets(tasks, labels), HEAD_EPOCHS, HEAD_RATE, HEAD_MILESTONES, batch_size)
    return heads


def tune_by_rerunning(
    classifier: MergedClassifier, tasks: TaskSequence, items: list[Item], batch_size: int, epochs: int
) -> nn.ModuleList:
    """New heads, tuned the same way, but the images pass the frozen network in every epoch."""
    heads, device = new_heads(classifier, tasks), _device(classifier)
    images = torch.stack([item["image"] for item in items])  # (N, C, H, W)
    targets = _targets(tasks, torch.tensor([item["label"] for item in items], device=device))
    optimizer = torch.optim.Adam(heads.parameters(), lr=HEAD_RATE)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(HEAD_MILESTONES), gamma=0.1)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(batch_size):  # type: ignore[no-untyped-call]
            with torch.no_grad():
                (features,) = classifier.features(images[rows].to(device))  # (B, F)
            pairs = zip(heads, targets, strict=True)
            losses = [nn.functional.cross_entropy(head(features), y[rows.to(device)]) for head, y in pairs]
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
    return heads


def new_heads(classifier: MergedClassifier, tasks: TaskSequence) -> nn.ModuleList:
    """Heads of all tasks before they are tuned, on the device of the network."""
    heads = nn.ModuleList(grow_head(None, classifier.backbone.features, len(task.classes) + 1) for task in tasks)
    return heads.to(_device(classifier))


def random_items(count: int, settings: CostSettings, classes: int) -> list[Item]:
    """Items with random images (C, H, W) and the labels 0 .. `classes` - 1 in turn."""
    return [{"image": torch.rand(settings.shape), "label": i % classes} for i in range(count)]


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _targets(tasks: TaskSequence, labels: torch.Tensor) -> list[torch.Tensor]:
    return [torch.tensor([task.local_label(int(y)) for y in labels], device=labels.device) for task in tasks]


def _optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=5e-4)  # the bundle's
