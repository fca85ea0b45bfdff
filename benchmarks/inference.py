"""`python -m benchmarks inference`: what classification runs beside the plain backbone, in every engine, in one run.

All contenders are interleaved in one process (`benchmarks.timing`); processor seconds are counted beside wall-clock
time, since other work on the machine does not lengthen them by waiting. The weights are random: they change no cost.
The plain backbone gets what it can get too: BatchNorms folded, channels_last, the engine's own fusions, and the mean
over the pixels of its last map.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.networks import CLASSES_OF_A_TASK
from benchmarks.report import Bar, cell, check_writable, table
from benchmarks.timing import (
    COPIES,
    Call,
    Ceilings,
    Copies,
    Spread,
    Stopwatch,
    Timing,
    copies_of,
    measure_ceilings,
    pytorch_threads,
    time_interleaved,
)
from dynammo.errors import UserError
from dynammo.inference.engines import ENGINES, engine_of, make_engine
from dynammo.inference.graph import BackboneAlone
from dynammo.networks.adapters import fused
from dynammo.networks.backbones import Backbone
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.runtime import provenance
from dynammo.runtime.files import write_json

__all__ = [
    "InferenceCosts",
    "InferenceSettings",
    "analytic_network",
    "benchmark_inference",
    "compare",
    "folded_network",
    "measure_inference",
]

TASKS = (1, 10, 50)
EAGER = "eager"  # PyTorch as one writes it first: nothing folded, no layout chosen; freed memory is kept for it too
NARROW: dict[str, Any] = {"padding": (0, 1, 0, 0), "no_wrap": True}  # so that tables fit 80 columns
LEAST_OF_BACKBONE, LEAST_GAIN, MOST_GROWTH = 0.98, 1.5, 1.03


@dataclass(frozen=True)
class InferenceSettings:
    """What is measured.

    Args:
        image_size: height and width of an image in pixels.
        batch_size: images of a pass.
        stages: see `Backbone`.
        architecture: see `Backbone`.
        repeats: measurements of each contender.
        threads: threads of PyTorch and of the other engines; None leaves PyTorch's own choice.
        engines: names of `dynammo.inference.engines.ENGINES`; None for all that are installed.

    Raises:
        UserError: a number below 1, or an engine that does not exist.
    """

    image_size: int = 224
    batch_size: int = 16
    stages: int = 4
    architecture: str = "resnet18"
    repeats: int = 10
    threads: int | None = None
    engines: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("image_size", "batch_size", "repeats", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; give --{name.replace('_', '-')} a whole number from 1.")
        for name in self.engines or ():
            if name not in ENGINES[1:]:
                raise UserError(f"--engine is {name!r}; expected one of {', '.join(ENGINES[1:])}.")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (B, C, H, W) of a batch."""
        return self.batch_size, 3, self.image_size, self.image_size


@dataclass(frozen=True)
class InferenceCosts:
    """What one run measured.

    Attributes:
        took: of each contender: `eager`, `eager backbone`, and for each engine `<engine>` (the analytic network),
            `<engine> folded`, `<engine> backbone`; with the engine torch `torch <T> tasks` too.
        left_out: engines that were not measured, and why.
        start_seconds: until an engine can classify, for each.
        device: where it was measured.
        ceilings: what the device reaches at best in PyTorch.
        peak_bytes: of the memory of a GPU; None on processors.
        threads: of PyTorch.
    """

    took: dict[str, Timing]
    left_out: dict[str, str]
    start_seconds: dict[str, float]
    device: str
    ceilings: Ceilings
    peak_bytes: int | None
    threads: int

    def engines(self) -> list[str]:
        """Those that were measured."""
        return [name for name in self.took if f"{name} backbone" in self.took and name != EAGER]


def benchmark_inference(settings: InferenceSettings, json_file: Path | None = None) -> InferenceCosts:
    """Measure everything, print tables and, where asked for, write the figures to a file.

    Raises:
        UserError: a file that cannot be written; before measuring.
    """
    check_writable(json_file)
    origin = provenance.origin()
    with pytorch_threads(settings.threads):
        costs = measure_inference(settings)
    console = Console(highlight=False)
    for made in (_speeds(costs, settings), _bars(costs)):
        console.print(made)
    if json_file is not None:
        bars = [asdict(bar) for bar in compare(costs)]
        write_json(json_file, {"settings": asdict(settings), **asdict(costs), "bars": bars, **origin})
    return costs


def analytic_network(settings: InferenceSettings, tasks: int) -> MergedClassifier:
    """The network of `configs/methods/analytic.yaml` after some tasks of two classes, random weights, in eval mode."""
    torch.manual_seed(0)
    classes = CLASSES_OF_A_TASK * tasks
    pooling = {"taps": list(range(settings.stages + 1)), "deviation": True, "centre": True, "power": 0.5}
    network = MergedClassifier(
        [classes], others=False, architecture=settings.architecture, stages=settings.stages, adapter="none",
        background=True, pooling=pooling, out_of_distribution=classes, out_of_distribution_maps=2,
    )  # fmt: skip
    return network.eval().requires_grad_(False)


def folded_network(settings: InferenceSettings, tasks: int) -> MergedClassifier:
    """What `configs/methods/dynammo.yaml` ships with foldable adapters: changed weights, a head for each task."""
    torch.manual_seed(0)
    network = MergedClassifier(
        [CLASSES_OF_A_TASK] * tasks, architecture=settings.architecture, stages=settings.stages, adapter="none",
        out_of_distribution=CLASSES_OF_A_TASK * tasks,
    )  # fmt: skip
    return network.eval().requires_grad_(False)


def measure_inference(settings: InferenceSettings) -> InferenceCosts:
    """Measure all engines that are there, on the device that classification would use."""
    say = Console(stderr=True, highlight=False).print
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = torch.rand(settings.shape)
    calls = _eager(settings, images, device)
    left_out: dict[str, str] = {}
    start_seconds: dict[str, float] = {}
    for name in settings.engines or ENGINES[1:]:
        say(f"making the engine {name}")
        try:
            found, start_seconds[name] = _in_engine(name, settings, images, device)
            calls |= found
        except UserError as error:
            left_out[name] = str(error)
    calls |= _tasks(settings, images, device)
    say("measuring images per second")
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    took = time_interleaved(calls, settings.repeats)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
    return InferenceCosts(
        took, left_out, start_seconds, device, measure_ceilings(torch.device(device)), peak, torch.get_num_threads()
    )


def compare(costs: InferenceCosts) -> list[Bar]:
    """What is promised of classification, as expected at 224 pixels and 2 threads; medians over the repeats."""
    return [bar for bar, _ in _compared(costs)]


def _compared(costs: InferenceCosts) -> list[tuple[Bar, Spread]]:
    """Every bar and its range over the repeats."""
    found = []
    for engine in costs.engines():
        for name in (f"{engine} folded", engine):
            ratio = ratios(costs, f"{engine} backbone", name)
            found.append((Bar.at_least(LEAST_OF_BACKBONE, f"{name} / plain", ratio.median), ratio))
    gains = {name: ratios(costs, EAGER, name) for name in costs.engines()}
    if gains:
        best = max(gains, key=lambda name: gains[name].median)
        found.append((Bar.at_least(LEAST_GAIN, f"best, {best} / eager", gains[best].median), gains[best]))
    turns = list(zip(*(_seconds(costs, task_name(tasks)) for tasks in TASKS), strict=True))
    medians = [Spread.of(_seconds(costs, task_name(tasks))).median for tasks in TASKS]
    growth = max(medians) / min(medians)
    bar = Bar.at_most(MOST_GROWTH, "most / least of all T", growth)
    return [*found, (bar, Spread.of([max(turn) / min(turn) for turn in turns]))]


def ratios(costs: InferenceCosts, slow: str, fast: str) -> Spread:
    """How many times faster `fast` is than `slow` in each repeat.

    In processor seconds on processors, which a busy machine disturbs less; by the clock on a GPU.
    """
    slow_seconds, fast_seconds = (_seconds(costs, name) for name in (slow, fast))
    return Spread.of([a / b for a, b in zip(slow_seconds, fast_seconds, strict=True)])


def task_name(tasks: int) -> str:
    """Name of the contender that has learnt so many tasks."""
    return f"torch {tasks} tasks"


def _seconds(costs: InferenceCosts, name: str) -> Sequence[float]:
    return costs.took[name].wall if costs.device == "cuda" else costs.took[name].cores


def _eager(settings: InferenceSettings, images: torch.Tensor, device: str) -> dict[str, Copies]:
    def analytic() -> Call:
        return partial(run, analytic_network(settings, TASKS[1]).to(device))

    def backbone() -> Call:
        return partial(run, Backbone(settings.architecture, settings.stages).eval().to(device))

    @torch.no_grad()
    def run(module: torch.nn.Module) -> torch.Tensor:
        found: torch.Tensor = module(images.to(device))
        return found.cpu()

    return {EAGER: copies_of(analytic), f"{EAGER} backbone": copies_of(backbone)}


def _in_engine(
    name: str, settings: InferenceSettings, images: torch.Tensor, device: str
) -> tuple[dict[str, Copies], float]:
    """Both networks and the plain backbone in one engine, and the seconds until the first could classify."""

    def network(make: Callable[[InferenceSettings, int], MergedClassifier]) -> Call:
        return _classify(name, make(settings, TASKS[1]), settings, images, device)

    def backbone() -> Call:
        graph = BackboneAlone(fused(Backbone(settings.architecture, settings.stages)).to(device))
        return partial(engine_of(name, graph, settings.shape[2:], device, settings.batch_size), images)

    with Stopwatch() as watch:
        first = network(analytic_network)
        first()
    analytic = [first, *(network(analytic_network) for _ in range(COPIES - 1))]
    folded = copies_of(partial(network, folded_network))
    return {name: analytic, f"{name} folded": folded, f"{name} backbone": copies_of(backbone)}, watch.wall


def _tasks(settings: InferenceSettings, images: torch.Tensor, device: str) -> dict[str, Copies]:
    def learnt(tasks: int) -> Call:
        return _classify("torch", analytic_network(settings, tasks), settings, images, device)

    return {task_name(tasks): copies_of(partial(learnt, tasks)) for tasks in TASKS}


def _classify(
    name: str, network: MergedClassifier, settings: InferenceSettings, images: torch.Tensor, device: str
) -> Call:
    """Passes of a network in an engine as `dynammo classify` makes them."""
    network = fused(network).to(device)
    engine = make_engine(name, network, settings.shape[2:], device, settings.batch_size, with_maps=False)
    return partial(engine, images)


def _speeds(costs: InferenceCosts, settings: InferenceSettings) -> Table:
    title = (
        f"images/s and a core-second, {settings.image_size} pixels, batches of {settings.batch_size}, {costs.device}, "
        f"{costs.threads} threads"
    )
    made = table(title, "contender", "a second", "a core-second", "start, s", **NARROW)
    for name, took in costs.took.items():
        wall, cores = ([settings.batch_size / s for s in seconds] for seconds in (took.wall, took.cores))
        start = f"{costs.start_seconds[name]:.1f}" if name in costs.start_seconds else ""
        made.add_row(name, cell(Spread.of(wall)), cell(Spread.of(cores)), start)
    left_out = "".join(f"\n{name} left out: {why}" for name, why in costs.left_out.items())
    peak = f"; peak memory {costs.peak_bytes / 2**20:.0f} MiB" if costs.peak_bytes is not None else ""
    ceilings = f"matrix multiplication {costs.ceilings.gflops:.0f} GFLOP/s, copy {costs.ceilings.copy_gb_s:.1f} GB/s"
    made.caption = f"{ceilings}{peak}{left_out}"
    return made


def _bars(costs: InferenceCosts) -> Table:
    title = "ratios of images/s (plain: backbone in the same engine); expected at 224 px"
    made = table(title, "ratio of", "measured", "expected", "met", **NARROW)
    for bar, spread in _compared(costs):
        made.add_row(bar.name, cell(spread, bar.ratio), bar.expected, "yes" if bar.met else "no")
    return made
