from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from dynammo.runs.plots import accuracy_curve, accuracy_heat_map, confusion_plot, result_figures, save_figure
from dynammo.training.metrics import TaskResult

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


@pytest.mark.parametrize(("count", "name"), [(1, "BCC, BKL"), (4, "BCC, BKL"), (4, LONG), (10, LONG)])
def test_no_label_of_a_grid_is_clipped(count: int, name: str) -> None:
    assert_nothing_is_clipped(accuracy_heat_map(lower_triangle(count), [name] * count))
    assert_nothing_is_clipped(confusion_plot(np.eye(count, dtype=int), [name] * count))


def test_heat_map_shows_percent_of_learnt_tasks_alone() -> None:
    figure = accuracy_heat_map(np.array([[0.904, np.nan], [0.25, 1.0]]), ["BCC, BKL", "MEL, NV"])
    assert words(figure) == ["90", "25", "100"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["1  BCC, BKL", "2  MEL, NV"]


@pytest.mark.parametrize("count", [1, 10])
def test_curve_is_in_percent_of_classes_seen(count: int) -> None:
    seen = list(range(2, 2 * count + 2, 2))
    figure = accuracy_curve(np.linspace(1, 0.5, count), np.linspace(1, 0.25, count), seen)
    for line, last in zip(figure.axes[0].lines, (50, 25), strict=True):
        np.testing.assert_allclose(line.get_xdata(), seen)
        np.testing.assert_allclose(line.get_ydata(), np.linspace(100, last, count))
    assert_nothing_is_clipped(figure)


def test_confusion_colours_are_percent_of_the_true_class_and_numbers_are_images() -> None:
    figure = confusion_plot(np.array([[30, 10], [0, 0]]), ["NV", "MEL"])
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[75, 25], [0, 0]])
    assert words(figure) == ["30", "10", "0", "0"]


def test_large_confusion_has_no_numbers() -> None:
    figure = confusion_plot(np.eye(31, dtype=int), [f"class {k}" for k in range(31)])
    assert words(figure) == []
    assert_nothing_is_clipped(figure)


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
    assert sorted(figures) == ["accuracy_curve.png", "accuracy_matrix.png", "confusion.png"]
    for name, figure in figures.items():
        save_figure(figure, tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG"
            assert min(image.size) > 300
