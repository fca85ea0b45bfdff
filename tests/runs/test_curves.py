from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from dynammo.runs.curves import COLOURS, Curve, chance, curve_figure, cut, merged

SEEN = (2, 4, 6)


def labels(figure: Figure) -> list[Text]:
    texts: list[Text] = figure.axes[0].texts
    return texts


def assert_readable(figure: Figure) -> None:
    """No label lies over another or is cut off, and none leaves the figure."""
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    boxes = sorted((Text.get_window_extent(text) for text in labels(figure)), key=lambda box: box.y0)
    for lower, upper in pairwise(boxes):
        assert lower.y1 <= upper.y0


def drawn(figure: Figure, colour: str) -> list[tuple[float, tuple[float, ...] | None]]:
    """Dashes of the pieces of a curve: where their pattern begins, and the pattern."""
    pieces = [line for line in figure.axes[0].lines if line.get_color() == colour and line.get_linestyle() != "None"]
    return [piece._unscaled_dash_pattern for piece in pieces]


@pytest.mark.parametrize("count", [1, 3, 16])
@pytest.mark.parametrize(
    "name", ["acl", "colorectal adenocarcinoma epithelium and cancer-associated stroma", "$\\frac$"]
)
@pytest.mark.parametrize("gap", [0.0, 0.001, 0.1])
def test_every_curve_is_named_and_no_name_hides_another(count: int, name: str, gap: float) -> None:
    curves = [Curve(f"{name} {i}", SEEN, np.clip([0.9, 0.5, 0.3 + gap * i], 0, 1).tolist()) for i in range(count)]
    figure = curve_figure("title", "recall", [*curves, chance(SEEN)])
    assert len(labels(figure)) == count + 1
    assert_readable(figure)


def test_values_are_percent_and_the_last_is_written() -> None:
    figure = curve_figure("title", "recall", [Curve("acl", SEEN, (0.9, 0.55, 0.0625))])
    points = [line.get_xydata()[0].tolist() for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert points == [[2, 90], [4, pytest.approx(55)], [6, 6.25]]
    assert [text.get_text() for text in labels(figure)] == ["acl  6.3 %"], "rounded half up"


def test_lines_on_top_of_each_other_take_turns() -> None:
    curves = [Curve("a", SEEN, (0.9, 0.5, 0.2)), Curve("b", SEEN, (0.9, 0.501, 0.4))]
    figure = curve_figure("title", "recall", curves)
    (first, apart), (second, alone) = (drawn(figure, colour) for colour in COLOURS[:2])
    assert not apart[1] and not alone[1], "where they part, both are whole"
    assert first[1] == second[1] and first[1][0] == first[1][1], "as much ink as gap"
    assert abs(first[0] - second[0]) == first[1][0], "one fills the gaps of the other"
    sizes = [line.get_markersize() for line in figure.axes[0].lines if line.get_marker() in ("o", "s")]
    assert sizes[0] > sizes[3] and sizes[1] > sizes[4] and sizes[2] == sizes[5], "points are nested where they meet"


def test_equal_curves_become_one_that_is_named_for_both() -> None:
    same, other = [Curve(name, SEEN, (0.9, 0.5, float("nan"))) for name in "ab"], Curve("c", SEEN, (0.9, 0.5, 0.2))
    assert [curve.name for curve in merged([same[0], other, same[1]])] == ["a = b", "c"]


def test_chance_is_one_of_the_classes_seen() -> None:
    curve = chance((2, 4))
    assert list(zip(curve.classes_seen, curve.values, strict=True)) == [(2, 1 / 2), (3, 1 / 3), (4, 1 / 4)]
    figure = curve_figure("title", "recall", [Curve("joint", (8,), (0.5,)), chance((8,))])
    assert [line.get_ydata()[0] for line in figure.axes[0].lines] == [50, 12.5], "points where there is one step"
    assert_readable(figure)


def test_numbers_of_many_classes_do_not_touch() -> None:
    figure = curve_figure("title", "recall", [Curve("acl", range(1, 101), [0.5] * 100)])
    assert_readable(figure)
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert figure.axes[0].get_xticklabels()[-1].get_text() == "100"


def test_both_ends_of_a_long_name_stay() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("colorectal adenocarcinoma grade 1", 15) == "colorec…grade 1"
