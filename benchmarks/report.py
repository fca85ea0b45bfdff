"""`python -m benchmarks cost`: every cost comparison in one run, as tables and as one JSON file."""

import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.benchmark_training import (
    BALANCED_IMAGES,
    HEAD_EPOCHS,
    TASKS_LEARNT,
    HeadTuning,
    Training,
    make_incremental_network,
    measure_head_tuning,
    measure_training,
)
from benchmarks.cost import TASKS, CostSettings, Spread, count_gmac, measure_inference
from dynammo.errors import UserError
from dynammo.runtime import provenance
from dynammo.runtime.files import write_json

__all__ = [
    "Bar",
    "Costs",
    "benchmark_cost",
    "check_writable",
    "compare",
    "cost_record",
    "measure_costs",
    "shown_number",
]


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


@dataclass(frozen=True)
class Bar:
    """A ratio and what is expected of it."""

    name: str
    ratio: float
    expected: str
    met: bool


def benchmark_cost(settings: CostSettings, json_file: Path | None = None) -> None:
    """Measure all costs, print them, and write them to `json_file`.

    Raises:
        UserError: a file that cannot be written, or a network that cannot be built; both before measuring.
    """
    if json_file is not None:
        check_writable(json_file)
    with _threads(settings.threads):
        origin = provenance.origin()
        costs = measure_costs(settings)
        record = cost_record(costs, settings) | origin
    _print(costs, settings, origin["machine"])
    if json_file is not None:
        write_json(json_file, record)


def check_writable(file: Path) -> None:
    """Prove that `file` can be written.

    Raises:
        UserError: it cannot, or it is a folder or a device.
    """
    if file.exists() and not file.is_file():
        raise UserError(f"{file} is not a file; give --json the name of a file to write.")
    try:
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise UserError(
            f"{file} cannot be written ({error.strerror}); give --json a file in a folder of yours."
        ) from error


def measure_costs(settings: CostSettings) -> Costs:
    """Measure everything, on the device that training would use."""
    say = Console(stderr=True, highlight=False).print
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = make_incremental_network(settings).to(device)
    say("counting operations")
    gmac = count_gmac(settings)
    say("measuring images per second")
    images_per_second = measure_inference(settings, device)
    say("measuring head tuning")
    head_tuning = measure_head_tuning(network, settings)
    say("measuring training")
    return Costs(gmac, images_per_second, head_tuning, measure_training(network, settings), str(device))


def compare(costs: Costs) -> list[Bar]:
    """The ratios that the method promises, as expected at the default settings."""
    last = TASKS[-1]
    merged = [costs.gmac[f"merged {tasks}"] for tasks in TASKS]
    speed = costs.images_per_second
    growth = max(merged) / min(merged)
    return [
        Bar("GMAC of merged: most / least of all T", growth, "1.00", growth < 1.001),
        _at_least(5, f"GMAC at T = {last}: ACL / merged", costs.gmac[f"acl {last}"] / costs.gmac[f"merged {last}"]),
        _at_least(
            5, f"images/s at T = {last}: merged / ACL", speed[f"merged {last}"].median / speed[f"acl {last}"].median
        ),
        _at_least(20, "head tuning: re-running / cached", costs.head_tuning.speedup.median),
        _at_least(0.9, "training images/s: trainer / bare loop", costs.training.ratio.median),
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


def _at_least(least: float, name: str, ratio: float) -> Bar:
    return Bar(name, ratio, f"at least {least:g}", ratio >= least)


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


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _print(costs: Costs, settings: CostSettings, machine: str) -> None:
    console = Console(highlight=False)
    size = settings.image_size
    console.print(
        f"{settings.architecture}, {settings.stages} stages, {size} x {size} pixels, batches of {settings.batch_size}, "
        f"median and range of {settings.repeats} by turns, on {costs.device} ({machine})"
    )
    for table in (_network_table(costs), _training_table(costs, settings), _bar_table(compare(costs))):
        console.print(table)


def _network_table(costs: Costs) -> Table:
    table = _table("one image", "network", "tasks T", "GMAC", "images/s", "range")
    for name, gmac in costs.gmac.items():
        kind, _, tasks = name.partition(" ")
        table.add_row(
            {"acl": "ACL"}.get(kind, kind), tasks or "-", f"{gmac:.3f}", *_cells(costs.images_per_second[name])
        )
    return table


def _training_table(costs: Costs, settings: CostSettings) -> Table:
    tuning, training = costs.head_tuning, costs.training
    table = _table("training", "what", "unit", "median", "range")
    table.add_row("heads, features extracted once", "s", *_cells(tuning.cached))
    table.add_row("heads, network run in every epoch *", "s", *_cells(tuning.rerun))
    table.add_row("adapters, IncrementalTrainer", "images/s", *_cells(training.trainer))
    table.add_row("adapters, bare PyTorch loop", "images/s", *_cells(training.bare))
    table.caption = (
        f"Heads of {TASKS_LEARNT} tasks on {BALANCED_IMAGES} images, {HEAD_EPOCHS} epochs. "
        f"* one epoch measured in each of {settings.repeats} repeats, times {HEAD_EPOCHS}."
    )
    return table


def _bar_table(bars: list[Bar]) -> Table:
    table = _table("ratios, and what is expected at the default settings", "ratio of", "measured", "expected", "")
    for bar in bars:
        table.add_row(bar.name, shown_number(bar.ratio), bar.expected, "met" if bar.met else "missed")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    return table


def _cells(spread: Spread) -> tuple[str, str]:
    return shown_number(spread.median), f"{shown_number(spread.lowest)} to {shown_number(spread.highest)}"


def shown_number(value: float) -> str:
    """At least three digits that count, and no exponent: 0.994, 12.3, 1234."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else "0"
