"""What every phantom is drawn with: a canvas with its own units, smooth noise, and ink.

All lengths are in canvas units: half the picture's height is 1, ``y`` runs down from -1 to 1 and
``x`` from minus to plus the aspect ratio. A drawing therefore looks the same at any size in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial.distance import pdist, squareform

Field = NDArray[np.float64]
"""One number per pixel, shape (height, width); or a list of points, shape (n, 2), as (y, x)."""

OVERSAMPLE = 4
DIRECTIONS = np.linspace(-np.pi, np.pi, 181)


@dataclass(frozen=True)
class Canvas:
    """The grid of pixels a phantom is drawn on.

    Attributes:
        height: Pixels from top to bottom.
        width: Pixels from left to right.
    """

    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a field on this canvas, (height, width)."""
        return self.height, self.width

    @property
    def aspect(self) -> float:
        """Width over height; ``x`` runs from minus to plus this."""
        return self.width / self.height

    def grid(self) -> tuple[Field, Field]:
        """Give the coordinates of every pixel's centre.

        Returns:
            ``y`` and ``x``, each of shape (height, width), in canvas units.
        """
        y, x = np.mgrid[: self.height, : self.width]
        half = self.height / 2
        return (y + 0.5) / half - 1, (x + 0.5) / half - self.aspect

    def noise(self, rng: np.random.Generator, bumps: float) -> Field:
        """Draw smooth noise, the same cloud at any size in pixels.

        Args:
            rng: Where the randomness comes from.
            bumps: How many independent bumps fit from top to bottom.

        Returns:
            Shape (height, width), mean about 0, standard deviation about 1.
        """
        down, across = weights(self.height, int(bumps) + 3), weights(self.width, int(bumps * self.aspect) + 3)
        coarse = rng.normal(size=(down.shape[1], across.shape[1]))
        return np.asarray(1.4 * down @ coarse @ across.T)  # 1.4: interpolation averages some height away

    def blur(self, field: Field, sigma: float) -> Field:
        """Smooth a field of shape (height, width, ...) with a Gaussian, ``sigma`` in canvas units."""
        pixels = sigma * self.height / 2
        return np.asarray(ndimage.gaussian_filter(field, pixels, axes=(0, 1)), dtype=np.float64)

    def at(self, field: Field, points: Field) -> Field:
        """Read a field at points of shape (n, 2), (y, x); beyond the rim it goes on as at the rim."""
        pixels = np.add(points, (1, self.aspect)).T * self.height / 2 - 0.5
        return np.asarray(ndimage.map_coordinates(field, pixels, order=1, mode="nearest"))


@cache
def weights(pixels: int, knots: int) -> Field:
    """Give the matrix, shape (pixels, knots), that draws a smooth curve through ``knots`` heights."""
    curve = ndimage.zoom(np.eye(knots), (pixels / knots, 1), order=3, mode="nearest", grid_mode=True)
    return np.asarray(curve, dtype=np.float64)


class Ink:
    """Shapes drawn in grey on a canvas, with smooth edges.

    Later shapes cover earlier ones. Points are (y, x) in canvas units.
    """

    def __init__(self, canvas: Canvas) -> None:
        """Start an empty drawing on ``canvas``."""
        self._canvas = canvas
        self._image = Image.new("L", (canvas.width * OVERSAMPLE, canvas.height * OVERSAMPLE))
        self._draw = ImageDraw.Draw(self._image)

    def lines(self, points: Field, width: float, value: float = 1.0) -> None:
        """Draw polylines ``width`` wide, points of shape (n, corners, 2), with grey ``value`` in 0..1."""
        pixels, grey = max(1, round(width * self._scale)), round(255 * value)
        for line in self._to_pixels(points):
            self._draw.line(line, fill=grey, width=pixels)

    def shapes(self, outlines: Field, values: Field | float = 1.0) -> None:
        """Fill outlines of shape (n, corners, 2), each with its grey in 0..1, or one for all."""
        greys = np.broadcast_to(np.rint(255 * np.asarray(values)), len(outlines)).astype(int).tolist()
        for outline, grey in zip(self._to_pixels(outlines), greys, strict=True):
            self._draw.polygon(outline, fill=grey)

    def field(self) -> Field:
        """Give the drawing so far, shape (height, width), values 0..1."""
        small = self._image.resize((self._canvas.width, self._canvas.height), Image.Resampling.BOX)
        return np.asarray(small, dtype=np.float64) / 255

    @property
    def _scale(self) -> float:
        return self._canvas.height / 2 * OVERSAMPLE

    def _to_pixels(self, points: Field) -> list[list[float]]:
        xy = np.add(points, (1, self._canvas.aspect))[..., ::-1] * self._scale
        flat: list[list[float]] = xy.reshape(len(xy), 2 * xy.shape[1]).tolist()
        return flat


def soft_step(field: Field, width: float) -> Field:
    """Turn a signed distance into 0 (far below zero) to 1 (far above), over ``width``."""
    ramp = np.clip(field / width + 0.5, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def ellipses(centres: Field, radii: Field, angles: Field | float = 0.0) -> Field:
    """Give the outlines of turned ellipses.

    Args:
        centres: Shape (n, 2), (y, x) in canvas units.
        radii: Shape (n, 2), half axes along and across ``angles``, in canvas units.
        angles: Shape (n,), direction of the first half axis, radians; or one for all.

    Returns:
        Shape (n, 14, 2), (y, x): fourteen corners each.
    """
    turn = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    along, across = radii[:, :1] * np.cos(turn), radii[:, 1:] * np.sin(turn)
    sine, cosine = np.sin(angles), np.cos(angles)
    sine, cosine = np.reshape(sine, (-1, 1)), np.reshape(cosine, (-1, 1))
    offsets = np.stack([along * sine + across * cosine, along * cosine - across * sine], axis=-1)
    return np.asarray(centres[:, None] + offsets, dtype=np.float64)


@dataclass(frozen=True)
class Outline:
    """A closed organic outline around its own centre, as a radius for every direction.

    Attributes:
        radii: Shape (181,), the radius at directions -pi to pi.
    """

    radii: Field

    @classmethod
    def organic(cls, rng: np.random.Generator, roughness: float, stretch: float = 1.0, waves: int = 6) -> Outline:
        """Draw a wavering ellipse of radius about 1.

        Args:
            rng: Where the randomness comes from.
            roughness: 0 is an ellipse, 0.3 a rugged outline.
            stretch: Long over short axis; the long axis points anywhere.
            waves: How many waves are added; more give finer indentations.

        Returns:
            The outline.
        """
        orders = np.arange(2, 2 + waves)
        heights = rng.normal(size=waves) * roughness / np.sqrt(orders)
        waver = 1 + np.cos(DIRECTIONS[:, None] * orders + rng.uniform(0, 2 * np.pi, waves)) @ heights
        turn = DIRECTIONS - rng.uniform(0, np.pi)
        round_one = 1 / np.hypot(np.cos(turn) / stretch**0.5, np.sin(turn) * stretch**0.5)
        return cls(np.maximum(waver, 0.3) * round_one)

    def depth(self, y: Field, x: Field) -> Field:
        """Say how deep points lie inside: 1 in the centre, 0 on the outline, negative outside."""
        radius = np.interp(np.arctan2(y, x), DIRECTIONS, self.radii)
        return np.asarray(1 - np.hypot(y, x) / radius, dtype=np.float64)

    def points(self, directions: Field, depth: Field | float = 0.0) -> Field:
        """Give points of shape (n, 2), (y, x), in ``directions`` from -pi to pi at some depth."""
        radius = np.interp(directions, DIRECTIONS, self.radii) * (1 - np.asarray(depth))
        return np.stack([radius * np.sin(directions), radius * np.cos(directions)], axis=-1)


def branches(
    starts: Field, angles: Field, length: float, width: float, rng: np.random.Generator, times: int = 4
) -> list[tuple[Field, float]]:
    """Grow trees of bending, thinning, forking lines, as vessels grow.

    Args:
        starts: Shape (n, 2), (y, x) of the roots.
        angles: Shape (n,), directions of the trunks, radians.
        length: Length of the trunks; every generation is shorter.
        width: Width of the trunks; every generation is thinner.
        rng: Where the randomness comes from.
        times: How many generations, the trunk included.

    Returns:
        One (twigs of shape (count, 6, 2), width) pair per generation, trunks first.
    """
    grown: list[tuple[Field, float]] = []
    for _ in range(times):
        count = len(angles)
        bends = angles[:, None] + np.cumsum(rng.normal(0, 0.22, (count, 5)), axis=1)
        steps = np.stack([np.sin(bends), np.cos(bends)], axis=-1)
        steps *= length / 5 * rng.uniform(0.8, 1.2, (count, 1, 1))
        twigs = starts[:, None] + np.cumsum(np.pad(steps, ((0, 0), (1, 0), (0, 0))), axis=1)
        grown.append((twigs, width))
        starts = np.repeat(twigs[:, -1], 2, axis=0)
        angles = np.repeat(bends[:, -1], 2) + np.tile([-1, 1], count) * rng.uniform(0.25, 0.85, 2 * count)
        length, width = length * 0.68, width * 0.68
    return grown


def scattered(rng: np.random.Generator, count: int, low: Field, high: Field, gap: float) -> Field:
    """Scatter points over a box, none nearer to another than ``gap``.

    Args:
        rng: Where the randomness comes from.
        count: How many places are tried; crowded ones are dropped.
        low: (y, x) of the box's upper left corner.
        high: (y, x) of the box's lower right corner.
        gap: Smallest distance kept, canvas units.

    Returns:
        Points of shape (n, 2), n <= count.
    """
    tried = rng.uniform(low, high, size=(count, 2))
    near = squareform(pdist(tried)) < gap
    kept = np.ones(count, dtype=bool)
    for index in range(1, count):
        kept[index] = not (near[index, :index] & kept[:index]).any()
    return tried[kept]
