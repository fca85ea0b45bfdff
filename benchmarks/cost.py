"""`python -m benchmarks cost`: every cost comparison in one run, as tables and as one JSON file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.learning_cost import (
    BALANCED_IMAGES,
    HEAD_EPOCHS,
    HeadTuning,
    Training,
    measure_head_tuning,
    measure_training,
)
from benchmarks.networks import (
    TASKS,
    TASKS_LEARNT,
    CostSettings,
    count_gmac,
    make_incremental_network,
    make_networks,
)
from benchmarks.report import Bar, bar_table, cells, check_writable, shown_number, table
from benchmarks.timing import Spread, pytorch_threads, time_interleaved
from dynammo.runtime import provenance
from dynammo.runtime.files import write_json

__all__ = ["Costs", "benchmark_cost", "compare", "cost_record", "measure_costs", "measure_speed"]


@dataclass(frozen=True)
class Costs:
    """What one run measured.

    Attributes:
        gmac: of each network, for one image.
        images_per_second: of each network.
        head_tuning: cached features against the network run anew.
        training: the trainer against a bare loop.
        device: where it was measured.
    """

    gmac: dict[str, float]
    images_per_second: dict[str, Spread]
    head_tuning: HeadTuning
    training: Training
    device: str


def benchmark_cost(settings: CostSettings, json_file: Path | None = None) -> None:
    """Measure all costs, print them, and write them to `json_file`.

    Raises:
        UserError: a file that cannot be written, or a network that cannot be built; both before measuring.
    """
    check_writable(json_file)
    with pytorch_threads(settings.threads):
        origin = provenance.origin()
        costs = measure_costs(settings)
        record = cost_record(costs, settings) | origin
    _print(costs, settings, origin["machine"])
    if json_file is not None:
        write_json(json_file, record)


def measure_costs(settings: CostSettings) -> Costs:
    """Measure everything, on the device that training would use."""
    say = Console(stderr=True, highlight=False).print
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = make_incremental_network(settings).to(device)
    say("counting operations")
    gmac = count_gmac(settings)
    say("measuring images per second")
    images_per_second = measure_speed(settings, device)
    say("measuring head tuning")
    head_tuning = measure_head_tuning(network, settings)
    say("measuring training")
    return Costs(gmac, images_per_second, head_tuning, measure_training(network, settings), str(device))


def measure_speed(settings: CostSettings, device: torch.device) -> dict[str, Spread]:
    """Images/s of every network that `make_networks` makes, on batches (B, C, H, W) that lie on the device."""
    images = torch.rand(settings.batch_size, *settings.shape, device=device)
    calls = {name: [partial(_infer, network.to(device), images)] for name, network in make_networks(settings).items()}
    took = time_interleaved(calls, settings.repeats, at_least=0.1)
    return {name: Spread.of([settings.batch_size / s for s in one.wall]) for name, one in took.items()}


def compare(costs: Costs) -> list[Bar]:
    """The ratios that the method promises, as expected at the default settings."""
    last = TASKS[-1]
    merged = [costs.gmac[f"merged {tasks}"] for tasks in TASKS]
    speed = costs.images_per_second
    growth = max(merged) / min(merged)
    return [
        Bar("GMAC of merged: most / least of all T", growth, "1.00", growth < 1.001),
        Bar.at_least(5, f"GMAC at T = {last}: ACL / merged", costs.gmac[f"acl {last}"] / costs.gmac[f"merged {last}"]),
        Bar.at_least(
            5, f"images/s at T = {last}: merged / ACL", speed[f"merged {last}"].median / speed[f"acl {last}"].median
        ),
        Bar.at_least(20, "head tuning: re-running / cached", costs.head_tuning.speedup.median),
        Bar.at_least(0.9, "training images/s: trainer / bare loop", costs.training.ratio.median),
    ]


def cost_record(costs: Costs, settings: CostSettings) -> dict[str, Any]:
    """The costs, their spread and the settings, as plain values.

    GMAC are rounded to 0.001, which hides the few thousand multiplications that each head adds.
    """
    speeds = costs.images_per_second
    return {
        "gmac": _nested({name: round(value, 3) for name, value in costs.gmac.items()}),
        "images_per_second": _nested({name: spread.median for name, spread in speeds.items()}),
        "head_tuning_speedup": costs.head_tuning.speedup.median,
        "trainer_to_bare_loop": costs.training.ratio.median,
        "spread": {
            "images_per_second": _nested({name: asdict(spread) for name, spread in speeds.items()}),
            "head_tuning_seconds": {k: v for k, v in asdict(costs.head_tuning).items() if k != "speedup"},
            "head_tuning_speedup": asdict(costs.head_tuning.speedup),
            "training_images_per_second": {k: v for k, v in asdict(costs.training).items() if k != "ratio"},
            "trainer_to_bare_loop": asdict(costs.training.ratio),
        },
        "settings": {
            **asdict(settings),
            "head_tuning": {"images": BALANCED_IMAGES, "tasks": TASKS_LEARNT, "epochs": HEAD_EPOCHS},
        },
        "device": costs.device,
    }


@torch.inference_mode()
def _infer(network: nn.Module, images: torch.Tensor) -> None:
    network(images)


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"acl 4": x}` as `{"acl": {"4": x}}`."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        kind, _, tasks = name.partition(" ")
        if tasks:
            nested.setdefault(kind, {})[tasks] = value
        else:
            nested[kind] = value
    return nested


def _print(costs: Costs, settings: CostSettings, machine: str) -> None:
    console = Console(highlight=False)
    size = settings.image_size
    console.print(
        f"{settings.architecture}, {settings.stages} stages, {size} x {size} pixels, batches of {settings.batch_size}, "
        f"median and range of {settings.repeats}, interleaved, on {costs.device} ({machine})"
    )
    bars = bar_table(
        "ratios, and what is expected at the default settings", compare(costs), "ratio of", number=shown_number
    )
    for made in (_network_table(costs), _training_table(costs, settings), bars):
        console.print(made)


def _network_table(costs: Costs) -> Table:
    made = table("one image", "network", "tasks T", "GMAC", "images/s", "range")
    for name, gmac in costs.gmac.items():
        kind, _, tasks = name.partition(" ")
        made.add_row({"acl": "ACL"}.get(kind, kind), tasks or "-", f"{gmac:.3f}", *cells(costs.images_per_second[name]))
    return made


def _training_table(costs: Costs, settings: CostSettings) -> Table:
    tuning, training = costs.head_tuning, costs.training
    made = table("training", "what", "unit", "median", "range")
    made.add_row("heads, features extracted once", "s", *cells(tuning.cached))
    made.add_row("heads, network run in every epoch *", "s", *cells(tuning.rerun))
    made.add_row("adapters, IncrementalTrainer", "images/s", *cells(training.trainer))
    made.add_row("adapters, bare PyTorch loop", "images/s", *cells(training.bare))
    made.caption = (
        f"Heads of {TASKS_LEARNT} tasks on {BALANCED_IMAGES} images, {HEAD_EPOCHS} epochs. "
        f"* one epoch measured in each of {settings.repeats} repeats, times {HEAD_EPOCHS}."
    )
    return made
