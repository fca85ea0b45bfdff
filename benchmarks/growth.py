"""`python -m benchmarks growth`: what more tasks, classes and images cost, as table, JSON and picture."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.growth_figures import Series, growth_figure
from benchmarks.growth_measures import GrowthSettings, measure_classes, measure_images, measure_tasks
from benchmarks.report import Bar, bar_table, check_writable, shown_number, table
from dynammo.runs.plots import save_figure
from dynammo.runtime import provenance
from dynammo.runtime.files import write_atomically, write_json

__all__ = ["benchmark_growth", "compare", "growth_record"]

FLAT = 0.03  # power of tasks or images


def benchmark_growth(settings: GrowthSettings, json_file: Path | None = None, plot: Path | None = None) -> None:
    """Measure, print, and write the figures to `json_file` and the picture to `plot`.

    Raises:
        UserError: a file that cannot be written, before measuring.
    """
    for file in (json_file, plot):
        check_writable(file)
    say = Console(stderr=True, highlight=False).print
    origin = provenance.origin()
    say("images")  # first: the peak of memory is theirs
    images = measure_images(settings, say)
    say("classes")
    classes = measure_classes(settings)
    say("tasks")
    series = [*measure_tasks(settings), *classes, *images]
    _print(series, settings, origin["machine"])
    if json_file is not None:
        write_json(json_file, growth_record(series, settings) | origin)
    if plot is not None:
        write_atomically(plot, lambda file: save_figure(growth_figure(series), file))


def compare(series: Sequence[Series]) -> list[Bar]:
    """What is expected not to grow: the power of tasks or images that it follows."""
    found = {one.quantity: abs(one.slope[0]) for one in series}
    return [
        Bar.at_most(FLAT, words, found[name])
        for name, words in (
            ("one image, merged", "processor time of one image, against tasks"),
            ("memory of the process at most", "memory while images come, against images"),
        )
    ]


def growth_record(series: Sequence[Series], settings: GrowthSettings) -> dict[str, Any]:
    """The series with their slopes and the settings, as plain values."""
    return {
        "series": [
            {**asdict(one), "power": one.slope[0], "r2": one.slope[1], "growth": one.growth, "per_step": one.per_step}
            for one in series
        ],
        "settings": {**asdict(settings), "features": settings.features, "threads": torch.get_num_threads()},
    }


def _print(series: Sequence[Series], settings: GrowthSettings, machine: str) -> None:
    console = Console(highlight=False)
    console.print(
        f"resnet18, {settings.stages} stages, {settings.image_size} x {settings.image_size} pixels, "
        f"{settings.features} features, median of {settings.repeats}, core seconds on the CPU ({machine})"
    )
    for axis in ("tasks", "classes", "images"):
        console.print(_axis_table(axis, [one for one in series if one.axis == axis]))
    console.print(bar_table("what should not grow", compare(series), "power", "{:.3f}".format))


def _axis_table(axis: str, series: Sequence[Series]) -> Table:
    """One row for each size, one column for each quantity; below, the power of the size that it follows, and r2."""
    made = table(f"against {axis}", axis, *(f"{one.quantity} ({one.unit})" for one in series), words=0)
    for i, size in enumerate(series[0].sizes):
        cells = (shown_number(one.values[i]) for one in series)
        made.add_row(f"{size:,}", *cells, end_section=size == series[0].sizes[-1])
    for name, values in (
        ("power", [f"{one.slope[0]:.2f}" for one in series]),
        ("r2", [f"{one.slope[1]:.3f}" for one in series]),
        ("most / least", [shown_number(one.growth) for one in series]),
    ):
        made.add_row(name, *values)
    return made
