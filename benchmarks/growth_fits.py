"""How a quantity grows: series of measurements and the power of x that they follow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Series", "fit_power"]

FLAT = 0.03  # a series whose largest value is within 3 % of its smallest does not grow


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
        """What one task, class or image more adds, between the smallest and the largest size."""
        return (self.values[-1] - self.values[0]) / (self.sizes[-1] - self.sizes[0])


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
