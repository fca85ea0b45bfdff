"""The networks whose cost is compared: the plain backbone, merged adapters, ACL, and the one that learns.

The weights are random: they change no cost.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dynammo.data.tasks import TaskSequence
from dynammo.errors import UserError
from dynammo.networks.adapters import copy_state
from dynammo.networks.backbones import Backbone
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.training.metrics import gmac

__all__ = [
    "CLASSES_OF_A_TASK",
    "TASKS",
    "TASKS_LEARNT",
    "CostSettings",
    "count_gmac",
    "learnt_tasks",
    "make_incremental_network",
    "make_networks",
]

TASKS = (1, 4, 10)
TASKS_LEARNT = 4
CLASSES_OF_A_TASK = 2


@dataclass(frozen=True)
class CostSettings:
    """What is measured.

    Args:
        image_size: height and width of an image in pixels.
        batch_size: images for each pass and each step; training takes at least 2, as its BatchNorm needs.
        stages: see `Backbone`.
        architecture: see `Backbone`.
        repeats: measurements of each contender.
        threads: threads of PyTorch; None leaves its own choice.

    Raises:
        UserError: a number below 1.
    """

    image_size: int = 224
    batch_size: int = 8
    stages: int = 4
    architecture: str = "resnet18"
    repeats: int = 5
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "repeats", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; give --{name.replace('_', '-')} a whole number from 1.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image."""
        return 3, self.image_size, self.image_size


def make_networks(settings: CostSettings) -> dict[str, nn.Module]:
    """Networks in eval mode: `backbone`, and `merged <T>` and `acl <T>` with T heads of 2 classes."""
    spec: dict[str, Any] = {"architecture": settings.architecture, "stages": settings.stages}
    networks: dict[str, nn.Module] = {"backbone": Backbone(**spec)}
    for tasks in TASKS:
        networks[f"merged {tasks}"] = MergedClassifier([CLASSES_OF_A_TASK] * tasks, branches=1, **spec)
    for tasks in TASKS:
        networks[f"acl {tasks}"] = MergedClassifier([CLASSES_OF_A_TASK] * tasks, branches=tasks, **spec)
    return {name: network.eval() for name, network in networks.items()}


def count_gmac(settings: CostSettings) -> dict[str, float]:
    """GMAC for one image of every network that `make_networks` makes."""
    with torch.device("meta"):  # operations are counted, not carried out
        networks = make_networks(settings)
    return {name: gmac(network, settings.shape) for name, network in networks.items()}


def learnt_tasks() -> TaskSequence:
    """4 tasks of 2 classes."""
    names = [f"class {i}" for i in range(TASKS_LEARNT * CLASSES_OF_A_TASK)]
    return TaskSequence(names, increments=CLASSES_OF_A_TASK)


def make_incremental_network(settings: CostSettings) -> IncrementalNetwork:
    """The network that learns, after 4 tasks: a head for each and one merged branch.

    Raises:
        UserError: unknown architecture or stages, or images too small for the adapters.
    """
    network = IncrementalNetwork(
        settings.architecture, settings.stages, weights="first_task", image_size=settings.image_size
    )
    for task in learnt_tasks():
        network.start_task(len(task.classes), task.seen)
    network.set_branches([copy_state(network.adapters)])
    return network
