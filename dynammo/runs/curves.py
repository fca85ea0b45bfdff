"""Curves over the number of classes seen, each named at its end; none hides another.

Pure functions that return figures; nothing here touches pyplot or its global state.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from sklearn.isotonic import isotonic_regression

from dynammo.runtime.plain import percent

__all__ = ["Curve", "chance", "curve_figure", "cut", "merged"]

# the colour-blind safe palette of Okabe and Ito, without its yellow, which white paper swallows; seven colours and six
# markers make 42 pairs
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P")
GREY = "0.4"
WIDTH, HEIGHT = 4.6, 3.3  # of the plot, in inches; it is taller where the names at the ends need more
NARROW = 1.8  # of a plot of one step, which has points alone
LEFT, RIGHT, TOP, BOTTOM = 0.75, 0.15, 0.55, 0.65  # what surrounds it
LINE, DASH, MARKER = 1.8, 5.0, 5.5  # points
SAME, TOUCHING = 0.8, 1.5  # percentage points: lines, and markers, so near lie on top of each other
LEADER, GAP = 22, 4  # points between the end of a curve and its name, and between two names
TICKS = 18  # more numbers under the plot would touch
LONGEST, WRAP = 90, 28  # characters of a name


@dataclass(frozen=True)
class Curve:
    """A measure of a model that learns.

    Attributes:
        name: written at the end of the curve, with its last value.
        classes_seen: number of classes known at each of T steps, rising.
        values: T fractions; NaN where nothing was measured.
        deviations: T standard deviations, shown as a band; none for a single run.
        line: dashes of a thin grey line, for what the others are measured against; empty for a curve of its own colour.
    """

    name: str
    classes_seen: Sequence[int]
    values: Sequence[float]
    deviations: Sequence[float] = ()
    line: tuple[float, ...] = ()


def chance(classes_seen: Sequence[int]) -> Curve:
    """What guessing reaches, accuracy and mean class recall alike: one divided by the number of classes."""
    counts = range(min(classes_seen), max(classes_seen) + 1)
    return Curve("chance", counts, [1 / count for count in counts], line=(5, 3))


def merged(curves: Sequence[Curve]) -> list[Curve]:
    """The curves, of which those that are equal become one that is named for all of them."""
    found: list[Curve] = []
    for curve in curves:
        same = next((i for i, other in enumerate(found) if _equal(curve, other)), None)
        if same is None:
            found.append(curve)
        else:
            found[same] = replace(found[same], name=f"{found[same].name} = {curve.name}")
    return found


def curve_figure(title: str, measure: str, curves: Sequence[Curve]) -> Figure:
    """Curves in percent against the number of classes seen.

    Where several lie on top of each other, their line has the colours of all in turn, and their points are nested.

    Args:
        title: above the figure.
        measure: what the curves show, such as "mean class recall".
        curves: at least one.
    """
    drawn = [replace(curve, values=100 * np.array(curve.values, dtype=float)) for curve in curves]  # type: ignore[arg-type]
    figure = Figure()
    FigureCanvasAgg(figure)
    names = [_text(figure, curve) for curve in curves]
    boxes = [name.get_window_extent() for name in names]
    scale = 72 / figure.dpi
    heights = [box.height * scale + GAP for box in boxes]
    tall = max(HEIGHT, sum(heights) / 72)
    steps = sorted({count for curve in curves for count in curve.classes_seen})
    wide = WIDTH if len(steps) > 1 else NARROW
    width = LEFT + wide + (LEADER + GAP + max(box.width for box in boxes) * scale) / 72 + RIGHT
    figure.set_size_inches(width, tall + TOP + BOTTOM)
    size = figure.get_size_inches()
    axes = figure.add_axes((LEFT / size[0], BOTTOM / size[1], wide / size[0], tall / size[1]))
    start = min(steps[0], steps[-1] - 1)
    axes.set(xlim=(start - 0.04 * (steps[-1] - start), steps[-1]), ylim=(0, 100))
    axes.set(xlabel="number of classes seen", ylabel=f"{measure} (%)")
    axes.set_title(title, loc="left", pad=10)
    axes.set_xticks(_spread_out(sorted({count for c in curves if not c.line for count in c.classes_seen} or steps)))
    axes.grid(axis="y", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    points = np.array([wide, tall]) * 72 / np.array([np.ptp(axes.get_xlim()), 100])  # points for a class, a percent
    for index in range(len(drawn)):
        _draw(axes, drawn, index, points)
    _place(axes, names, drawn, heights, 72 * tall)
    return figure


def cut(name: str, length: int) -> str:
    """The ends of a long name: names often share their beginning."""
    half = (length - 1) // 2
    return name if len(name) <= length else f"{name[:half]}…{name[-half:]}"


def _equal(one: Curve, other: Curve) -> bool:
    same = list(one.classes_seen) == list(other.classes_seen)
    return same and bool(np.allclose(one.values, other.values, rtol=0, atol=1e-9, equal_nan=True))


def _text(figure: Figure, curve: Curve) -> Text:
    """The name of a curve and its last value; not at its place yet."""
    words = f"{cut(curve.name, LONGEST)}  {percent(curve.values[-1])} %".replace("- %", "not measured")
    colour = GREY if curve.line else "black"
    # names are plain text: a dollar sign in one is no formula
    return figure.text(0, 0, textwrap.fill(words, WRAP), size=9, color=colour, va="center", parse_math=False)


def _spread_out(steps: Sequence[int]) -> list[int]:
    """The last step and those before it that are far enough from each other to be written."""
    kept = [steps[-1]]
    for step in reversed(steps[:-1]):
        if (kept[-1] - step) * TICKS >= steps[-1] - steps[0]:
            kept.append(step)
    return kept[::-1]


def _style(curves: Sequence[Curve], index: int) -> tuple[str, str]:
    """Colour and marker."""
    if curves[index].line:
        return GREY, ""
    number = sum(not curve.line for curve in curves[:index])
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def _draw(axes: Axes, curves: Sequence[Curve], index: int, points: npt.NDArray[np.float64]) -> None:
    curve, (colour, marker) = curves[index], _style(curves, index)
    places = np.column_stack([curve.classes_seen, curve.values])
    look: dict[str, Any] = {"color": colour, "clip_on": False, "zorder": 3, "linewidth": 1 if curve.line else LINE}
    for start, end in pairwise(places):
        rank, count = _rank(curves, index, np.linspace(start[0], end[0], 3))
        length = float(np.hypot(*((end - start) * points)))
        axes.plot(*zip(start, end, strict=True), linestyle=_dashes(curve, rank, count, length), **look)
    if curve.line:
        if len(places) == 1:  # no line comes of one point
            axes.plot(*places.T, "_", markersize=14, **look)
        return
    for place in places:
        rank, count = _rank(curves, index, place[:1], at_points=True)
        inner = rank == count - 1
        axes.plot(
            *place, marker, color=colour, markersize=MARKER + 4 * (count - 1 - rank), markeredgewidth=1.5,
            markerfacecolor=colour if inner else "white", clip_on=False, zorder=4,
        )  # fmt: skip
    if len(curve.deviations):
        band = 100 * np.asarray(curve.deviations, dtype=float)
        low, high = np.clip(places[:, 1] - band, 0, 100), np.clip(places[:, 1] + band, 0, 100)
        axes.fill_between(places[:, 0], low, high, color=colour, alpha=0.15, linewidth=0, zorder=2)


def _rank(
    curves: Sequence[Curve], index: int, where: npt.NDArray[np.float64], at_points: bool = False
) -> tuple[int, int]:
    """The place of a curve among those that lie on top of each other somewhere, and how many these are.

    Args:
        curves: all, in percent.
        index: of one of them.
        where: numbers of classes.
        at_points: count only curves with a point there.
    """
    mine = _value_at(curves[index], where)
    together, near = [], TOUCHING if at_points else SAME
    for i, other in enumerate(curves):
        there = not at_points or (not other.line and where[0] in other.classes_seen)
        if i == index or (there and np.all(np.abs(_value_at(other, where) - mine) < near)):
            together.append(i)
    return together.index(index), len(together)


def _value_at(curve: Curve, where: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.interp(where, curve.classes_seen, curve.values, left=np.nan, right=np.nan)


def _dashes(curve: Curve, rank: int, count: int, length: float) -> tuple[float, tuple[float, ...]]:
    """Dashes of a piece of a curve, in widths of its line: those of several curves on one line leave room for all."""
    if count == 1:
        return 0, curve.line
    dash = min(DASH, length / count) / (1 if curve.line else LINE)
    # the pattern begins `rank` dashes late, which matplotlib wants as that much of a whole pattern gone by
    return (count - rank) * dash % (count * dash), (dash, (count - 1) * dash)


def _place(axes: Axes, names: Sequence[Text], curves: Sequence[Curve], heights: Sequence[float], top: float) -> None:
    """Put the names beside the ends of their curves, one below the other, as near to them as they fit."""
    ends = [float(np.nan_to_num(curve.values[-1])) * top / 100 for curve in curves]
    order = sorted(range(len(curves)), key=lambda i: (ends[i], -i))
    tall = np.array([heights[i] for i in order])
    below = np.cumsum(tall) - tall / 2  # the middle of each, were they piled up from the ground
    shift = isotonic_regression([ends[i] for i in order] - below, y_min=0, y_max=top - tall.sum())
    for i, place in zip(order, shift + below, strict=True):
        at = (curves[i].classes_seen[-1], ends[i] * 100 / top)
        arrow = {"arrowstyle": "-", "color": _style(curves, i)[0], "linewidth": 0.8, "shrinkB": 4, "relpos": (0, 0.5)}
        text = names[i]
        axes.annotate(
            text.get_text(), at, (LEADER, place - ends[i]), textcoords="offset points", size=text.get_fontsize(),
            color=text.get_color(), va="center", arrowprops=arrow, parse_math=False, annotation_clip=False,
        )  # fmt: skip
        text.remove()
