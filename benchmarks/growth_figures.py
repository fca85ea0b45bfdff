"""How a quantity grows: series of measurements, the power of x that they follow, and their picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

__all__ = ["Series", "fit_power", "growth_figure"]

FLAT = 0.03  # a series whose largest value is within 3 % of its smallest does not grow
AXES = {"tasks": "tasks learnt", "classes": "classes known", "images": "images learnt"}
# of the colour-blind safe palette of Okabe and Ito; markers tell the lines apart in grey print
STYLES = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#009E73", "^", "-."), ("#CC79A7", "D", ":"))
KINDS = (("processor time", ("core s", "core ms")), ("memory", ("MB",)))


@dataclass(frozen=True)
class Series:
    """One quantity, measured at several sizes.

    Attributes:
        axis: what grows: `tasks`, `classes` or `images`.
        quantity: what was measured.
        unit: of the values.
        sizes: x, from 1, rising.
        values: y, above 0.
    """

    axis: str
    quantity: str
    unit: str
    sizes: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def growth(self) -> float:
        """Largest value / smallest."""
        return max(self.values) / min(self.values)

    @property
    def slope(self) -> tuple[float, float]:
        """Power of x that the values follow and r2, see `fit_power`; (0, 1) for a series that does not grow."""
        return (0.0, 1.0) if self.growth <= 1 + FLAT else fit_power(self.sizes, self.values)

    @property
    def per_step(self) -> float:
        """What one task, class or image more adds, between the smallest and the largest size; 0 with one size."""
        steps = self.sizes[-1] - self.sizes[0]
        return (self.values[-1] - self.values[0]) / steps if steps else 0.0


def fit_power(sizes: Sequence[int], values: Sequence[float]) -> tuple[float, float]:
    """Exponent p of `value = a size^p` by least squares on the logarithms, and the r2 of that fit.

    Args:
        sizes: at least two different ones, above 0.
        values: above 0.
    """
    x, y = np.log(np.asarray(sizes, dtype=float)), np.log(np.asarray(values, dtype=float))
    slope, offset = np.polyfit(x, y, 1)
    spread = float(((y - y.mean()) ** 2).sum())
    left = float(((y - slope * x - offset) ** 2).sum())
    return float(slope), 1 - left / spread if spread else 1.0


def growth_figure(series: Sequence[Series]) -> Figure:
    """Processor time (above) and bytes (below) against tasks, classes and images, both axes logarithmic."""
    figure = Figure(figsize=(11.5, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(KINDS), len(AXES))
    for row, (kind, units) in zip(grid, KINDS, strict=True):
        for axes, (name, label) in zip(row, AXES.items(), strict=True):
            _draw(axes, [one for one in series if one.axis == name and one.unit in units])
            axes.set_xlabel(label)
            axes.set_ylabel(_title(kind, [one for one in series if one.axis == name and one.unit in units]))
    return figure


def _draw(axes: Axes, series: Sequence[Series]) -> None:
    for one, (colour, marker, line) in zip(series, STYLES, strict=False):
        power, _ = one.slope
        growth = "flat" if power == 0 else f"∝ {one.axis}$^{{{power:.2f}}}$"
        words = f"{one.quantity}{_unit_words(one, series)}: {growth}"
        axes.plot(one.sizes, one.values, line, color=colour, marker=marker, label=words, markersize=5, lw=1.6)
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = min(min(one.values) for one in series), max(max(one.values) for one in series)
    axes.set_ylim(low / 2.5, high * 12)  # room for the legend
    for direction in (axes.xaxis, axes.yaxis):
        direction.set_major_formatter(FuncFormatter(_plain))
        direction.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", fontsize=8, frameon=False)


def _title(kind: str, shown: Sequence[Series]) -> str:
    """The kind with its unit, where all lines of the panel have the same."""
    units = {one.unit for one in shown}
    return f"{kind} ({units.pop()})" if len(units) == 1 else kind


def _unit_words(one: Series, shown: Sequence[Series]) -> str:
    """The unit, where lines of one panel have different ones."""
    return f" ({one.unit})" if len({other.unit for other in shown}) > 1 else ""


def _plain(value: float, _: object = None) -> str:
    """1000000 as `1M`, 0.001 as `0.001`."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
