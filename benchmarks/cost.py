"""What the method costs for one image: what is measured, how contenders take turns, GMAC and images/s.

All contenders of a comparison take turns in one process, so that a busy machine slows them alike. The weights are
random: they change no cost.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from dynammo.errors import UserError
from dynammo.networks.backbones import Backbone
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.training.metrics import gmac

__all__ = [
    "CLASSES_OF_A_TASK",
    "TASKS",
    "CostSettings",
    "Spread",
    "count_gmac",
    "make_networks",
    "measure_inference",
    "take_turns",
]

TASKS = (1, 4, 10)
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


@dataclass(frozen=True)
class Spread:
    """Median and range over the repeats."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """Summarise one number for each repeat."""
        return cls(statistics.median(samples), min(samples), max(samples))


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


def measure_inference(settings: CostSettings, device: torch.device) -> dict[str, Spread]:
    """Images/s of every network that `make_networks` makes, on batches (B, C, H, W) that lie on the device."""
    images = torch.rand(settings.batch_size, *settings.shape, device=device)
    calls = {name: partial(_infer, network.to(device), images) for name, network in make_networks(settings).items()}
    seconds = take_turns(calls, settings.repeats, device)
    return {name: Spread.of([settings.batch_size / s for s in samples]) for name, samples in seconds.items()}


def take_turns(
    calls: Mapping[str, Callable[[], object]], repeats: int, device: torch.device, rounds: int = 1
) -> dict[str, list[float]]:
    """Time contenders by turns, each warmed up once; every other round goes in reverse order.

    Args:
        calls: the contenders.
        repeats: length of each list that is returned.
        device: where the work is done.
        rounds: short turns whose mean is one repeat; more of them even out what else the machine does.

    Returns:
        Seconds of one call in every repeat, for each contender.
    """
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats * rounds):
        for name in list(calls)[:: -1 if turn % 2 else 1]:
            seconds[name].append(_seconds(calls[name], device))
    starts = range(0, repeats * rounds, rounds)
    return {name: [statistics.mean(turns[i : i + rounds]) for i in starts] for name, turns in seconds.items()}


@torch.inference_mode()
def _infer(network: nn.Module, images: torch.Tensor) -> None:
    network(images)


def _seconds(call: Callable[[], object], device: torch.device, at_least: float = 0.1) -> float:
    """Mean seconds of one call, called until `at_least` seconds are over: a single short one is mostly noise."""
    _synchronize(device)
    start, count, elapsed = time.perf_counter(), 0, 0.0
    while elapsed < at_least:
        call()
        _synchronize(device)
        count, elapsed = count + 1, time.perf_counter() - start
    return elapsed / count


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":  # kernels run on after the call that starts them returns
        torch.cuda.synchronize(device)
