"""CT-like phantoms: a chest as a volume with one of eight findings.

Every class shares the same bodies and scanner. The findings differ in how far something reaches along the body axis,
where on it, how often and in what shape, so that one slice cannot tell them apart: a ball, a tube and one of many small
balls are all a disc in some slice.

Coordinates run from -1 to 1 over the volume: ``z`` up to the head, ``y`` to the back, ``x`` to the patient's left.
Values are Hounsfield units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .canvas import Field, soft_step, weights

RIGHT, LEFT = -1, 1  # of the patient: sign of x
AIR, LUNG, FAT, SOFT, VESSEL, BONE = -1000.0, -840.0, -100.0, 45.0, 170.0, 420.0
BLUR = 0.025  # focus of the scanner, in coordinates


@dataclass
class Trunk:
    """One person's chest in the scanner.

    Attributes:
        side: Voxels a side of the volume.
        breadth: Half width of the body.
        depth: Half thickness of the body.
        base: Height of the diaphragm's dome.
        apex: Height of the top of the lungs.
        shift: (y, x) of the body's middle.
        aorta: Radius of the aorta at every height, shape (side,).
        spine: x of the spine's middle at every height, shape (side,).
    """

    side: int
    breadth: float
    depth: float
    base: float
    apex: float
    shift: Field
    aorta: Field
    spine: Field

    def __post_init__(self) -> None:
        """Lay out the coordinates of every voxel."""
        line = (np.arange(self.side) + 0.5) / self.side * 2 - 1
        self.z = line[:, None, None]
        self.y = line[None, :, None] - self.shift[0]
        self.x = line[None, None, :] - self.shift[1]

    def lung(self, side: int) -> Field:
        """Say where one lung is, 0..1 per voxel: a column that narrows to its top, hollow at its base."""
        up = np.clip((self.z - self.base) / (self.apex - self.base), 0, 1)
        reach = np.sqrt(1 - 0.85 * up**3)
        lateral = (side * self.x - 0.52 * self.breadth) / (0.38 * self.breadth * reach)
        before = self.y / (0.72 * self.depth * reach)
        dome = self.base - 0.5 * (lateral**2 + before**2) * (0.25 + 0.1 * self.breadth)
        inside = soft_step(1 - np.hypot(lateral, before), 0.2)
        return inside * soft_step(self.z - dome, 0.08) * soft_step(self.apex - self.z, 0.08)

    def spot(self, rng: np.random.Generator, low: float = 0.15, high: float = 0.75) -> tuple[int, Field]:
        """Choose a side and a point (z, y, x) well inside its lung, ``low`` to ``high`` of the way up."""
        side = int(rng.choice([RIGHT, LEFT]))
        z = self.base + (self.apex - self.base) * rng.uniform(low, high)
        y, x = rng.uniform(-0.25, 0.25) * self.depth, 0.52 * self.breadth + rng.uniform(-0.1, 0.1)
        return side, np.array([z, y, side * x])

    def distance(self, point: Field, stretch: tuple[float, float, float] = (1, 1, 1)) -> Field:
        """Give every voxel's distance from a point (z, y, x), shorter along stretched axes."""
        offsets = [(axis - at) / by for axis, at, by in zip((self.z, self.y, self.x), point, stretch, strict=True)]
        return np.asarray(np.sqrt(sum(offset**2 for offset in offsets)))

    def noise(self, rng: np.random.Generator, bumps: int) -> Field:
        """Draw smooth noise, shape of the volume, mean about 0, standard deviation about 1."""
        curve = weights(self.side, bumps + 3)
        coarse = rng.normal(size=(curve.shape[1],) * 3)
        return np.asarray(1.7 * np.einsum("zi,yj,xk,ijk->zyx", curve, curve, curve, coarse, optimize=True))


def draw_person(side: int, rng: np.random.Generator) -> Trunk:
    """Choose a person and how they lie in the scanner."""
    line = np.linspace(-1, 1, side)
    wave = rng.normal(0, 0.02) * line + rng.uniform(-0.06, 0.06)
    return Trunk(
        side,
        breadth=rng.uniform(0.78, 0.92),
        depth=rng.uniform(0.56, 0.68),
        base=rng.uniform(-0.62, -0.42),
        apex=rng.uniform(0.78, 0.92),
        shift=rng.normal(0, 0.03, 2),
        aorta=np.full(side, rng.uniform(0.09, 0.15)),
        spine=wave,
    )


def anatomy(trunk: Trunk, rng: np.random.Generator) -> Field:
    """Lay out body, lungs, heart, aorta, spine and vessels, Hounsfield units per voxel."""
    y, x, z = trunk.y, trunk.x, trunk.z
    edge = 1 - (np.abs(x / trunk.breadth) ** 2.6 + np.abs(y / trunk.depth) ** 2.6) ** (1 / 2.6)
    volume = np.broadcast_to(AIR + (FAT - AIR) * soft_step(edge, 0.06), (trunk.side,) * 3)
    volume = blend(volume, soft_step(edge - rng.uniform(0.06, 0.14), 0.06), SOFT)
    lungs = trunk.lung(RIGHT) + trunk.lung(LEFT)
    volume = blend(volume, lungs, LUNG + rng.normal(0, 25) + 30 * trunk.noise(rng, 5))
    volume = blend(volume, 0.7 * vessels(trunk, rng) * lungs, SOFT)
    heart = trunk.distance(np.array([trunk.base + 0.2, -0.12, 0.14]), (0.36, 0.26, 0.32))
    volume = blend(volume, soft_step(1 - heart, 0.2), SOFT + 40)
    volume = blend(volume, spine(trunk), BONE + 80 * np.sin(z * 24 + rng.uniform(0, 6)))
    run = np.hypot(y - 0.22, x - 0.15)
    return blend(volume, soft_step(trunk.aorta[:, None, None] - run, 0.06), VESSEL)


def spine(trunk: Trunk) -> Field:
    """Say where the spine is, 0..1 per voxel."""
    away = np.hypot(trunk.y - 0.66 * trunk.depth, trunk.x - trunk.spine[:, None, None])
    return soft_step(0.15 - away, 0.06)


def vessels(trunk: Trunk, rng: np.random.Generator) -> Field:
    """Draw vessels that radiate from both hila, 0..1 per voxel."""
    drawn = np.zeros((trunk.side,) * 3)
    for side in (RIGHT, LEFT):
        for _ in range(5):
            start = np.array([0.05, 0.0, side * 0.22])
            way = rng.normal(size=3) * (0.45, 0.25, 0.1) + (0, 0, side * 0.35)
            drawn = np.maximum(drawn, rod(trunk, start, start + way, rng.uniform(0.025, 0.045)))
    return drawn


def rod(trunk: Trunk, start: Field, end: Field, radius: float) -> Field:
    """Say where a straight rod between two points (z, y, x) is, 0..1 per voxel."""
    offsets = [axis - at for axis, at in zip((trunk.z, trunk.y, trunk.x), start, strict=True)]
    way = end - start
    along = np.clip(sum(o * w for o, w in zip(offsets, way, strict=True)) / (way @ way), 0, 1)
    away = np.sqrt(sum((o - along * w) ** 2 for o, w in zip(offsets, way, strict=True)))
    return soft_step(radius - away, 0.06)


def blend(volume: Field, share: Field, value: Field | float) -> Field:
    """Replace a share, 0..1 per voxel, of what is there."""
    return np.asarray(volume + share * (value - volume))


def mass(trunk: Trunk, rng: np.random.Generator, volume: Field) -> Field:
    """Put one large ball into a lung."""
    _, spot = trunk.spot(rng)
    return blend(volume, soft_step(rng.uniform(0.2, 0.27) - trunk.distance(spot), 0.06), SOFT)


def nodules(trunk: Trunk, rng: np.random.Generator, volume: Field) -> Field:
    """Scatter six to nine small balls over both lungs."""
    for _ in range(rng.integers(6, 10)):
        _, spot = trunk.spot(rng, 0.1, 0.85)
        spot = spot + rng.normal(0, 0.06, 3)
        volume = blend(volume, soft_step(rng.uniform(0.09, 0.13) - trunk.distance(spot), 0.06), SOFT)
    return volume


def mucoid_impaction(trunk: Trunk, rng: np.random.Generator, volume: Field) -> Field:
    """Fill one airway along the body axis: a disc in every slice, a rod in the volume."""
    _, spot = trunk.spot(rng, 0.4, 0.5)
    way = np.array([rng.uniform(0.42, 0.55), *rng.normal(0, 0.05, 2)])
    return blend(volume, rod(trunk, spot - way, spot + way, rng.uniform(0.11, 0.15)), SOFT)


def cloud(trunk: Trunk, rng: np.random.Generator, volume: Field, low: float, high: float) -> Field:
    """Fill a part of a lung with a fluffy opacity, ``low`` to ``high`` of the way up."""
    side, spot = trunk.spot(rng, low, high)
    where = rng.uniform(0.28, 0.36) - trunk.distance(spot) + 0.06 * trunk.noise(rng, 5)
    return blend(volume, rng.uniform(0.6, 0.9) * soft_step(where, 0.2) * trunk.lung(side), SOFT - 60)


def apical_opacity(trunk: Trunk, rng: np.random.Generator, volume: Field) -> Field:
    """Cloud the top of one lung."""
    return cloud(trunk, rng, volume, 0.78, 0.9)


def basal_opacity(trunk: Trunk, rng: np.random.Generator, volume: Field) -> Field:
    """Cloud the bottom of one lung."""
    return cloud(trunk, rng, volume, 0.05, 0.2)


def clear(trunk: Trunk, rng: np.random.Generator, volume: Field) -> Field:
    """Add nothing to the lungs."""
    return volume


def usual(trunk: Trunk, rng: np.random.Generator) -> None:
    """Leave aorta and spine as they are."""


def aneurysm(trunk: Trunk, rng: np.random.Generator) -> None:
    """Let the aorta bulge at one height."""
    line = np.linspace(-1, 1, trunk.side)
    bulge = np.exp(-(((line - rng.uniform(-0.5, 0.5)) / rng.uniform(0.2, 0.3)) ** 2))
    trunk.aorta = trunk.aorta + rng.uniform(0.13, 0.18) * bulge


def curve(trunk: Trunk, rng: np.random.Generator) -> None:
    """Bend the spine to one side and back."""
    line = np.linspace(-1, 1, trunk.side)
    bend = np.sin(np.pi * (line * rng.uniform(0.8, 1.1) + rng.uniform(-0.2, 0.2)))
    trunk.spine = trunk.spine + rng.choice([-1, 1]) * rng.uniform(0.2, 0.3) * bend


class Finding(NamedTuple):
    """What tells one class from the others."""

    shows: str
    draw: Callable[[Trunk, np.random.Generator, Field], Field] = clear
    body: Callable[[Trunk, np.random.Generator], None] = usual


CLASSES = {
    "aortic_aneurysm": Finding("An aorta that bulges at one height.", body=aneurysm),
    "apical_opacity": Finding("A fluffy opacity at the top of one lung.", apical_opacity),
    "basal_opacity": Finding("A fluffy opacity at the bottom of one lung.", basal_opacity),
    "mass": Finding("One large ball in a lung.", mass),
    "mucoid_impaction": Finding("A filled airway: a rod along the body axis.", mucoid_impaction),
    "nodules": Finding("Six to nine small balls in both lungs.", nodules),
    "normal": Finding("No finding."),
    "scoliosis": Finding("A spine that bends to one side and back.", body=curve),
}


def render(name: str, size: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """Render one volume.

    Args:
        name: One of CLASSES.
        size: Voxels a side.
        rng: Where the randomness comes from.

    Returns:
        Shape (size, size, size), int16, Hounsfield units; axes (z, y, x) rise to head, back and left.
    """
    finding = CLASSES[name]
    trunk = draw_person(size, rng)
    finding.body(trunk, rng)
    return scan(finding.draw(trunk, rng, anatomy(trunk, rng)), rng)


def scan(volume: Field, rng: np.random.Generator) -> NDArray[np.int16]:
    """Record the volume: focus, noise, and a table of values that is a little off, as it is in every scanner."""
    seen = ndimage.gaussian_filter(volume, BLUR * len(volume) / 2)
    seen = seen + rng.uniform(12, 35) * rng.normal(size=seen.shape) + rng.normal(0, 12)
    return np.asarray(np.clip(np.rint(seen), -1024, 3071), dtype=np.int16)


def picture(volume: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Show a volume on a sheet: its middle slice from below, and beside it the mean over front to back.

    Args:
        volume: As ``render`` gives it, shape (side, side, side).

    Returns:
        Grey of shape (2 side, 4 side), 0..255.
    """
    axial, coronal = volume[len(volume) // 2].astype(float), volume[::-1].mean(axis=1)
    both = [np.clip((view + 1000) / (top + 1000), 0, 1) for view, top in ((axial, 250), (coronal, 60))]
    return np.asarray(255 * np.concatenate(both, axis=1).repeat(2, axis=0).repeat(2, axis=1), dtype=np.uint8)
