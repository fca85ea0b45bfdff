from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from dynammo.runs.plots import (
    accuracy_curve,
    accuracy_heat_map,
    class_recall_plot,
    confusion_plot,
    result_figures,
    save_figure,
)
from dynammo.runtime.plain import percent
from dynammo.training.metrics import TaskResult, matrix_csv

LONG = "colorectal adenocarcinoma epithelium and cancer-associated stroma"


def lower_triangle(count: int) -> np.ndarray:
    """Accuracy matrix of `count` tasks, NaN above the diagonal."""
    matrix = np.full((count, count), np.nan)
    matrix[np.tril_indices(count)] = np.linspace(0, 1, count * (count + 1) // 2)
    return matrix


def words(figure: Figure) -> list[str]:
    """Everything written in the cells."""
    return [text.get_text() for text in figure.axes[0].texts]


def assert_nothing_is_clipped(figure: Figure) -> None:
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


@pytest.mark.parametrize(("count", "name"), [(1, "BCC, BKL"), (4, "BCC, BKL"), (4, LONG), (10, LONG), (15, LONG)])
def test_no_label_of_a_grid_is_clipped(count: int, name: str) -> None:
    assert_nothing_is_clipped(accuracy_heat_map(lower_triangle(count), [name] * count))
    assert_nothing_is_clipped(confusion_plot(np.eye(count, dtype=int), [name] * count))


def test_heat_map_shows_percent_of_learnt_tasks_alone() -> None:
    figure = accuracy_heat_map(np.array([[0.904, np.nan], [0.25, 1.0]]), ["BCC, BKL", "MEL, NV"])
    assert words(figure) == ["90", "25", "100"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["1  BCC, BKL", "2  MEL, NV"]


@pytest.mark.parametrize(("correct", "shown"), [(1, "13"), (3, "38"), (5, "63"), (7, "88")])
def test_figure_table_and_csv_round_halves_up(correct: int, shown: str) -> None:
    result = TaskResult(0, (correct / 8,), correct / 8, correct / 8, 0.5, 0.1, ((correct, 8 - correct), (0, 0)))
    assert words(accuracy_heat_map(np.array([[correct / 8]]), ["BCC, BKL"])) == [shown] == [percent(correct / 8, 0)]
    assert matrix_csv([result]).splitlines()[1] == f"1,{correct / 8:.6f}"


def names_of_curves(results: list[TaskResult], tasks: list[list[str]]) -> list[str]:
    """Names at the ends of the curves, on one line each."""
    figure = accuracy_curve(results, tasks)
    assert_nothing_is_clipped(figure)
    return sorted(text.get_text().replace("\n", " ").replace("  ", " ") for text in figure.axes[0].texts)


def made_up(counts: list[tuple[int, int]], tasks: list[list[str]]) -> list[TaskResult]:
    """Results in which so many of so many images of each class are right, and the others taken for the next class."""
    results = []
    for number in range(len(tasks)):
        seen = sum(map(len, tasks[: number + 1]))
        confusion = np.zeros((seen, seen), dtype=int)
        for k, (right, images) in enumerate(counts[:seen]):
            confusion[k, k] += right
            confusion[k, (k + 1) % seen] += images - right
        recalls = confusion.diagonal() / confusion.sum(1)
        accuracy = confusion.trace() / confusion.sum()
        results.append(
            TaskResult(
                number, (accuracy,) * (number + 1), accuracy, recalls.mean(), 0.5, 0.1, tuple(confusion.tolist())
            )
        )
    return results


def test_the_curve_stands_beside_chance_and_a_model_that_forgets() -> None:
    tasks = [["BCC", "BKL"], ["NV", "MEL"]]
    assert names_of_curves(made_up([(8, 10), (6, 10), (2, 20), (4, 40)], tasks), tasks) == [
        "accuracy 25.0 %", "chance 25.0 %", "mean class recall 40.0 %",
        "recall with the newest task right, the others forgotten 50.0 %",
    ]  # fmt: skip


def test_lines_that_are_equal_are_drawn_once() -> None:
    tasks = [["BCC"], ["NV"]]
    assert names_of_curves(made_up([(8, 10), (4, 10)], tasks), tasks) == [
        "accuracy = mean class recall 60.0 %", "chance = recall with the newest task right, the others forgotten 50.0 %"
    ]  # fmt: skip
    tasks = [["BCC", "NV"]]
    assert names_of_curves(made_up([(8, 10), (4, 10)], tasks), tasks) == [
        "accuracy = mean class recall 60.0 %", "chance 50.0 %"
    ]  # fmt: skip


def test_a_newest_class_without_test_images_is_not_counted_as_known() -> None:
    tasks = [["BCC", "BKL"], ["NV"]]
    results = made_up([(8, 10), (6, 10), (0, 0)], tasks)
    figure = accuracy_curve(results, tasks)
    assert figure.axes[0].get_title(loc="left") == "Classes seen so far that have test images"
    assert not any(name.endswith("forgotten 0.0 %") for name in names_of_curves(results, tasks))
    recall = class_recall_plot(np.array(results[-1].confusion), tasks)
    assert recall.axes[0].get_title(loc="left").startswith("Recall of 2 of 3 classes on their test images; mean ")


def test_recall_of_every_class_with_its_interval_and_its_images() -> None:
    tasks = [["BCC", "BKL"], ["NV"]]
    figure = class_recall_plot(np.array([[5, 5, 0], [0, 0, 0], [1, 0, 7]]), tasks)
    axes = figure.axes[0]
    assert words(figure) == ["50 % of 10", "no test image", "88 % of 8", "task 1", "task 2"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["BCC", "BKL", "NV"]
    assert [bar.get_width() for bar in axes.patches] == [50, 87.5]
    # Wilson's interval of 5 in 10, from its formula
    z, n, p = 1.959964, 10, 0.5
    middle, half = (
        (p + z**2 / (2 * n)) / (1 + z**2 / n),
        z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5,
    )
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [100 * (middle - half), 100 * (middle + half)], atol=1e-3)
    assert axes.get_title(loc="left").endswith("mean 68.8 %"), "of the classes that have images"


@pytest.mark.parametrize(
    ("sizes", "name"), [([1], "NV"), ([2], LONG), ([2] * 4, "NV"), ([1] * 31, LONG), ([4] * 8, LONG)]
)
def test_no_class_is_clipped_or_hides_another(sizes: list[int], name: str) -> None:
    count = sum(sizes)
    tasks = [[f"{name} {task} {k}" for k in range(size)] for task, size in enumerate(sizes)]
    figure = class_recall_plot(100 * np.eye(count, dtype=int), tasks)
    assert_nothing_is_clipped(figure)
    boxes = sorted((text.get_window_extent() for text in figure.axes[0].get_yticklabels()), key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 for lower, upper in pairwise(boxes))


def test_confusion_colours_are_percent_of_the_true_class_and_numbers_are_images() -> None:
    figure = confusion_plot(np.array([[30, 10], [0, 0]]), ["NV", "MEL"])
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[75, 25], [0, 0]])
    assert words(figure) == ["30", "10", "0", "0"]


def test_large_confusion_has_no_numbers() -> None:
    figure = confusion_plot(np.eye(31, dtype=int), [f"class {k}" for k in range(31)])
    assert words(figure) == []
    assert_nothing_is_clipped(figure)


def test_long_names_of_many_classes_do_not_overlap() -> None:
    figure = confusion_plot(np.eye(31, dtype=int), [f"{LONG} {k}" for k in range(31)])
    assert_nothing_is_clipped(figure)
    boxes = sorted((text.get_window_extent() for text in figure.axes[0].get_yticklabels()), key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 for lower, upper in pairwise(boxes))


def test_long_names_stay_distinct() -> None:
    figure = confusion_plot(np.eye(2, dtype=int), [f"{LONG} grade 1", f"{LONG} grade 2"])
    for labels in (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels()):
        assert len({label.get_text() for label in labels}) == 2


def test_a_dollar_sign_in_a_name_is_no_formula(tmp_path: Path) -> None:
    save_figure(confusion_plot(np.eye(2, dtype=int), [r"$\frac$", "a$"]), tmp_path / "confusion.png")


def test_figures_of_a_run_are_png_files(tmp_path: Path) -> None:
    results = [
        TaskResult(0, (0.9,), 0.9, 0.8, 0.7, 0.1, ((9, 1), (1, 9))),
        TaskResult(1, (0.6, 0.7), 0.65, 0.6, float("nan"), 0.1, ((9, 1, 0), (1, 9, 0), (0, 5, 5))),
    ]
    figures = result_figures(results, [["BCC", "BKL"], ["NV"], ["not learnt yet"]])
    assert sorted(figures) == ["accuracy_curve.png", "accuracy_matrix.png", "class_recall.png", "confusion.png"]
    for name, figure in figures.items():
        save_figure(figure, tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG"
            assert min(image.size) > 250
