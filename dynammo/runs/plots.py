"""Pictures of a run: accuracy matrix, curve over the tasks, confusion matrix.

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

from dynammo.training.metrics import TaskResult, accuracy_matrix

__all__ = ["accuracy_curve", "accuracy_heat_map", "confusion_plot", "result_figures", "save_figure"]

DPI = 150
COLOURS = "Blues"  # one hue from white to dark: the same to colour-blind eyes and in grey print
BLUE, ORANGE = "#0072B2", "#D55E00"  # of the colour-blind safe palette of Okabe and Ito
NUMBERED_CLASSES = 20  # a larger confusion matrix would need numbers too small to read


def accuracy_heat_map(matrix: npt.NDArray[np.float64], task_names: Sequence[str]) -> Figure:
    """Accuracy on each task (columns) after learning each task (rows), in percent.

    Args:
        matrix: (T, T) fractions, NaN above the diagonal.
        task_names: T names, such as "BCC, BKL".
    """
    percent = 100 * np.asarray(matrix, dtype=float)
    names = [f"{number}  {name}" for number, name in enumerate(task_names, start=1)]
    figure, axes = _grid_axes(len(names), cell=0.62)
    figure.colorbar(axes.imshow(percent, cmap=COLOURS, vmin=0, vmax=100), ax=axes, label="accuracy (%)", shrink=0.8)
    _write_cells(axes, percent, [[f"{value:.0f}" for value in row] for row in percent])
    _name_cells(axes, names, [str(number + 1) for number in range(len(names))])
    axes.set(title="Accuracy on each task", xlabel="tested on task", ylabel="after learning task")
    return figure


def accuracy_curve(
    seen_accuracy: Sequence[float], mean_class_recall: Sequence[float], classes_seen: Sequence[int]
) -> Figure:
    """Accuracy and mean class recall, in percent, against the number of classes seen.

    Args:
        seen_accuracy: accuracy over all classes seen, one fraction for each task.
        mean_class_recall: mean recall of these classes, one fraction for each task.
        classes_seen: number of classes known after each task.
    """
    figure, axes = _new_figure(6.4, 4.2)
    for name, values, colour, marker, line in (
        ("accuracy", seen_accuracy, BLUE, "o", "-"),
        ("mean class recall", mean_class_recall, ORANGE, "s", "--"),
    ):
        percent = 100 * np.asarray(values, dtype=float)
        label = f"{name} (last {percent[-1]:.1f} %)"
        axes.plot(classes_seen, percent, line, color=colour, marker=marker, label=label, clip_on=False, zorder=3)
    axes.set(
        title="All classes seen so far", xlabel="number of classes seen", ylabel="accuracy, recall (%)", ylim=(0, 100)
    )
    axes.set_xticks(list(classes_seen))
    axes.margins(x=0.05)
    axes.grid(axis="y", color="0.88")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def confusion_plot(confusion: npt.NDArray[np.int64], class_names: Sequence[str]) -> Figure:
    """Confusion matrix: colours are percent of the true class, numbers are images.

    Args:
        confusion: (K, K) counts, rows are true classes.
        class_names: K names; beyond 20 classes the cells carry no numbers.
    """
    counts = np.asarray(confusion)
    percent = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)  # a class without images stays 0
    numbered = len(class_names) <= NUMBERED_CLASSES
    figure, axes = _grid_axes(len(class_names), cell=0.5 if numbered else 0.27)
    image = axes.imshow(percent, cmap=COLOURS, vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label="of the true class (%)", shrink=0.8)
    if numbered:
        _write_cells(axes, percent, [[str(int(count)) for count in row] for row in counts])
    _name_cells(axes, class_names, class_names, rotation=90)
    axes.set(title="Confusion (images)" if numbered else "Confusion", xlabel="predicted class", ylabel="true class")
    return figure


def result_figures(results: Sequence[TaskResult], tasks: Sequence[Sequence[str]]) -> dict[str, Figure]:
    """The three figures of a run so far, by file name.

    Args:
        results: measures after each of T tasks.
        tasks: class names of each task in label order, at least T.
    """
    learnt = tasks[: len(results)]
    seen = np.cumsum([len(task) for task in learnt]).tolist()
    recalls = [result.mean_class_recall for result in results]
    return {
        "accuracy_matrix.png": accuracy_heat_map(accuracy_matrix(list(results)), [", ".join(task) for task in learnt]),
        "accuracy_curve.png": accuracy_curve([result.accuracy for result in results], recalls, seen),
        "confusion.png": confusion_plot(np.array(results[-1].confusion), [name for task in learnt for name in task]),
    }


def save_figure(figure: Figure, path: str | Path | IO[bytes]) -> None:
    """Write a figure as PNG at 150 dots per inch to a path or an open file."""
    figure.savefig(path, format="png", dpi=DPI)


def _new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="compressed")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _grid_axes(count: int, cell: float) -> tuple[Figure, Axes]:
    """Square axes with room for `count` cells of `cell` inches and the names beside them."""
    side = max(2.2, cell * count)
    return _new_figure(side + 3.6, side + 2.2)


def _name_cells(axes: Axes, rows: Sequence[str], columns: Sequence[str], rotation: int = 0) -> None:
    """Names at rows and columns, in full up to 50 characters at a row and 30 at a column."""
    size = 10 if len(rows) <= NUMBERED_CLASSES else 7
    places = np.arange(len(rows))
    # names are plain text: a dollar sign in one is no formula
    axes.set_yticks(places, [textwrap.fill(_cut(name, 50), 26) for name in rows], fontsize=size, parse_math=False)
    axes.set_xticks(places, [_cut(name, 30) for name in columns], fontsize=size, parse_math=False, rotation=rotation)
    axes.tick_params(length=0)
    axes.spines[:].set_color("0.8")


def _cut(name: str, length: int) -> str:
    """The ends of a long name: class names often share their beginning."""
    half = (length - 1) // 2
    return name if len(name) <= length else f"{name[:half]}…{name[-half:]}"


def _write_cells(axes: Axes, percent: npt.NDArray[np.float64], texts: Sequence[Sequence[str]]) -> None:
    size = 10 if len(texts) <= 12 else 8
    for row, column in zip(*np.nonzero(~np.isnan(percent)), strict=True):
        colour = "white" if percent[row, column] > 65 else "black"  # the colours are dark from there on
        axes.text(column, row, texts[row][column], color=colour, fontsize=size, ha="center", va="center")
