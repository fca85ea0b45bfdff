"""Pictures of a run: accuracy matrix, curve over the tasks, recall of every class, confusion matrix.

Pure functions that return figures; nothing here touches pyplot or its global state.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from scipy.stats import binomtest

from dynammo.runs.curves import Curve, chance, curve_figure, cut, merged
from dynammo.runtime.plain import percent
from dynammo.training.metrics import TaskResult, accuracy_matrix, class_recalls

__all__ = [
    "accuracy_curve", "accuracy_heat_map", "class_recall_plot", "confusion_plot", "result_figures", "save_figure"
]  # fmt: skip

DPI = 150
COLOURS = "Blues"  # one hue from white to dark: the same to colour-blind eyes and in grey print
SKY, ORANGE = "#56B4E9", "#D55E00"  # of the colour-blind safe palette of Okabe and Ito
LARGE_CELLS = 12  # rows of a grid that have room for names of three lines
NUMBERED_CLASSES = 20  # a larger confusion matrix would need numbers too small to read


def accuracy_heat_map(matrix: npt.NDArray[np.float64], task_names: Sequence[str]) -> Figure:
    """Accuracy on each task (columns) after learning each task (rows), in percent.

    Args:
        matrix: (T, T) fractions, NaN above the diagonal.
        task_names: T names, such as "BCC, BKL".
    """
    shares = 100 * np.asarray(matrix, dtype=float)
    large = len(matrix) <= LARGE_CELLS
    names = [f"{number}  {name}" for number, name in enumerate(task_names, start=1)]
    names = [textwrap.fill(cut(name, 50), 26) if large else cut(name, 40) for name in names]
    figure, axes = _grid_axes(len(names), cell=0.62 if large else 0.4)
    figure.colorbar(
        axes.imshow(shares, cmap=COLOURS, vmin=0, vmax=100), ax=axes, label="accuracy (%)", shrink=0.8, aspect=30
    )
    _write_cells(axes, shares, [[percent(value, 0) for value in row] for row in matrix])
    _name_cells(axes, names, [str(number + 1) for number in range(len(names))])
    axes.set(title="Accuracy on each task", xlabel="tested on task", ylabel="after learning task")
    return figure


def accuracy_curve(results: Sequence[TaskResult], tasks: Sequence[Sequence[str]]) -> Figure:
    """Accuracy and mean class recall against the number of classes seen; one line where they are equal.

    Beside them stand chance, and the mean class recall that a model would reach which knows every class of the newest
    task and has forgotten all others.

    Args:
        results: measures after each of T tasks.
        tasks: class names of each of these tasks.
    """
    seen = np.cumsum([len(task) for task in tasks]).tolist()
    curves = [
        Curve("accuracy", seen, [result.accuracy for result in results]),
        Curve("mean class recall", seen, [result.mean_class_recall for result in results]),
        chance(seen),
    ]
    if len(tasks) > 1:
        newest = [_share_of_newest(result, len(task)) for result, task in zip(results, tasks, strict=True)]
        forgetful = "recall with the newest task right, the others forgotten"
        curves.append(Curve(forgetful, seen, newest, line=(1, 2)))
    untested = bool(results) and not all(map(sum, results[-1].confusion))
    title = "Classes seen so far that have test images" if untested else "All classes seen so far"
    return curve_figure(title, "accuracy, recall", merged(curves))


def class_recall_plot(confusion: npt.NDArray[np.int64], tasks: Sequence[Sequence[str]]) -> Figure:
    """Recall of every class, with its 95 % interval (Wilson) and the number of its test images.

    Args:
        confusion: (K, K) counts after the last task, rows are true classes.
        tasks: class names of each task in label order, K in all.
    """
    counts = np.asarray(confusion)
    sizes, names = [len(task) for task in tasks], [cut(name, 40) for task in tasks for name in task]
    headed = len(sizes) > 1 and max(sizes) > 1  # one class for each task: the order says it
    rows = _rows_of_tasks(sizes, 0.8 * headed)
    figure, axes = _new_figure(5.6 + 0.085 * max(map(len, names)), 1.4 + 0.27 * (rows[-1] + 1))
    mean = float(np.nanmean(class_recalls(counts))) if counts.any() else float("nan")
    for row, right, images in zip(rows, counts.diagonal().tolist(), counts.sum(1).tolist(), strict=True):
        words = "no test image"
        if images:
            interval = binomtest(right, images).proportion_ci(method="wilson")
            axes.barh(row, 100 * right / images, height=0.7, color=SKY, zorder=2)
            axes.plot([100 * interval.low, 100 * interval.high], [row, row], color="black", linewidth=1, zorder=3)
            words = f"{percent(right / images, 0)} % of {images}"
        axes.text(103, row, words, fontsize=9, va="center")
    for number, start in enumerate(np.cumsum([0, *sizes[:-1]]) if headed else (), start=1):
        axes.text(0.5, rows[start] - 0.85, f"task {number}", fontsize=8, color="0.4", va="center")
    axes.axvline(100 * mean, color=ORANGE, linestyle="--", linewidth=1, zorder=4)
    tested = int(counts.any(1).sum())
    whose = "every class on its" if tested == len(counts) else f"{tested} of {len(counts)} classes on their"
    axes.set_title(f"Recall of {whose} test images; mean {percent(mean)} %", loc="left")
    axes.set(xlim=(0, 100), ylim=(rows[-1] + 0.6, -1.4 if headed else -0.6))
    axes.set_xlabel("recall (%) and its 95 % interval")
    axes.set_yticks(rows, names, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def confusion_plot(confusion: npt.NDArray[np.int64], class_names: Sequence[str]) -> Figure:
    """Confusion matrix: colours are percent of the true class, numbers are images.

    Args:
        confusion: (K, K) counts, rows are true classes.
        class_names: K names; beyond 20 classes the cells carry no numbers.
    """
    counts = np.asarray(confusion)
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)  # a class without images stays 0
    numbered = len(class_names) <= NUMBERED_CLASSES
    figure, axes = _grid_axes(len(class_names), cell=0.5 if numbered else 0.27)
    image = axes.imshow(shares, cmap=COLOURS, vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label="of the true class (%)", shrink=0.8, aspect=30)
    if numbered:
        _write_cells(axes, shares, [[str(int(count)) for count in row] for row in counts])
    _name_cells(axes, [cut(name, 40) for name in class_names], class_names, rotation=90)
    axes.set(title="Confusion (images)" if numbered else "Confusion", xlabel="predicted class", ylabel="true class")
    return figure


def result_figures(results: Sequence[TaskResult], tasks: Sequence[Sequence[str]]) -> dict[str, Figure]:
    """The figures of a run so far, by file name.

    Args:
        results: measures after each of T tasks.
        tasks: class names of each task in label order, at least T.
    """
    learnt, confusion = tasks[: len(results)], np.array(results[-1].confusion)
    return {
        "accuracy_matrix.png": accuracy_heat_map(accuracy_matrix(list(results)), [", ".join(task) for task in learnt]),
        "accuracy_curve.png": accuracy_curve(results, learnt),
        "class_recall.png": class_recall_plot(confusion, learnt),
        "confusion.png": confusion_plot(confusion, [name for task in learnt for name in task]),
    }


def save_figure(figure: Figure, path: str | Path | IO[bytes]) -> None:
    """Write a figure as PNG at 150 dots per inch to a path or an open file."""
    figure.savefig(path, format="png", dpi=DPI)


def _share_of_newest(result: TaskResult, count: int) -> float:
    """The share of the newest task's classes in all that are seen and have test images; NaN where it has none."""
    tested = np.array(result.confusion).sum(1) > 0
    return float(tested[-count:].sum() / tested.sum()) if tested[-count:].any() else float("nan")


def _rows_of_tasks(sizes: Sequence[int], room: float) -> list[float]:
    """Where the bars of the classes stand, with room for a heading above each task."""
    return [row + room * task for row, task in enumerate(np.repeat(range(len(sizes)), sizes).tolist())]


def _new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(compress=True, h_pad=0.1, w_pad=0.1))
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _grid_axes(count: int, cell: float) -> tuple[Figure, Axes]:
    """Square axes with room for `count` cells of `cell` inches and the names beside them."""
    side = max(2.2, cell * count)
    return _new_figure(side + 3.6, side + 2.2)


def _name_cells(axes: Axes, rows: Sequence[str], columns: Sequence[str], rotation: int = 0) -> None:
    """Names at rows and columns; those at columns in full up to 30 characters."""
    size = 10 if len(rows) <= NUMBERED_CLASSES else 7
    places = np.arange(len(rows))
    # names are plain text: a dollar sign in one is no formula
    axes.set_yticks(places, rows, fontsize=size, parse_math=False)
    axes.set_xticks(places, [cut(name, 30) for name in columns], fontsize=size, parse_math=False, rotation=rotation)
    axes.tick_params(length=0)
    axes.spines[:].set_color("0.8")


def _write_cells(axes: Axes, shares: npt.NDArray[np.float64], texts: Sequence[Sequence[str]]) -> None:
    size = 10 if len(texts) <= LARGE_CELLS else 8
    for row, column in zip(*np.nonzero(~np.isnan(shares)), strict=True):
        colour = "white" if shares[row, column] > 65 else "black"  # the colours are dark from there on
        axes.text(column, row, texts[row][column], color=colour, fontsize=size, ha="center", va="center")
