"""Radiology-like phantoms: a frontal chest radiograph with one of eight findings.

X-rays are attenuated by what lies in their way: body, bones, heart and vessels add up, air takes
away. Every class shares the same bodies and detector; only the finding tells them apart.

Chest coordinates: ``y`` runs down, the shoulders near -0.9 and the diaphragm near 0.5; ``x`` runs to
the picture's right, the patient's left; "lateral" is the distance from the midline, whatever side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .canvas import Canvas, Field, Ink, Outline, branches, ellipses, soft_step

RIGHT, LEFT = -1, 1  # of the patient: sign of x
# The rib cage is half a superellipse: widest at CAGE_BASE, CAGE_HEIGHT from there to its top.
CAGE_BASE, CAGE_HEIGHT, CAGE_POWER = 0.5, 1.3, 2.4


def cage(y: Field | float) -> Field:
    """Give the half width of the rib cage at heights ``y``, 1 where it is widest."""
    return np.asarray((1 - (np.abs(y - CAGE_BASE) / CAGE_HEIGHT) ** CAGE_POWER) ** (1 / CAGE_POWER))


@dataclass
class Chest:
    """One person's chest on the detector.

    Attributes:
        canvas: What it is drawn on.
        turn: How the person leans, radians.
        scale: How large the chest appears.
        shift: (y, x) of the chest's middle, canvas units.
        breadth: Half width of the rib cage.
        dome: Height of the diaphragm's dome on the patient's right; the left lies a little lower.
        bow: How far the diaphragm falls off from its dome.
        heart: Size of the heart, 1 usual.
    """

    canvas: Canvas
    turn: float
    scale: float
    shift: Field
    breadth: float
    dome: float
    bow: float
    heart: float

    def __post_init__(self) -> None:
        """Work out the chest coordinates of every pixel."""
        y, x = self.canvas.grid()
        y, x = (y - self.shift[0]) / self.scale, (x - self.shift[1]) / self.scale
        self.y = y * np.cos(self.turn) - x * np.sin(self.turn)
        self.x = y * np.sin(self.turn) + x * np.cos(self.turn)

    def place(self, points: Field) -> Field:
        """Turn points of shape (..., 2) in chest coordinates into canvas units."""
        cosine, sine = np.cos(self.turn), np.sin(self.turn)
        turned = points @ np.array([[cosine, -sine], [sine, cosine]])
        return np.asarray(turned * self.scale + self.shift, dtype=np.float64)

    def reach(self, side: int) -> Field:
        """Say how near every pixel is to the rib cage: 0 inside, 1 on its wall, more outside."""
        lateral = np.maximum(side * self.x, 0) / self.breadth
        upward = np.abs(self.y - CAGE_BASE) / CAGE_HEIGHT
        return np.asarray((lateral**CAGE_POWER + upward**CAGE_POWER) ** (1 / CAGE_POWER))

    def floor(self, side: int) -> Field:
        """Give the height of the diaphragm below every pixel: a dome that falls off laterally."""
        top = self.dome + (0.05 if side == LEFT else 0)
        return np.asarray(top + self.bow * ((side * self.x - 0.34) / 0.42) ** 2)

    def lung(self, side: int) -> Field:
        """Say where one lung is, 0..1 per pixel."""
        wall = soft_step(1 - self.reach(side), 0.05)
        return wall * soft_step(side * self.x - 0.1, 0.06) * soft_step(self.floor(side) - self.y, 0.05)

    def spot(self, rng: np.random.Generator) -> tuple[int, Field]:
        """Choose a side and a point (y, x) well inside its lung."""
        side = int(rng.choice([RIGHT, LEFT]))
        y = rng.uniform(-0.45, 0.3)
        inner = 0.24 if side == RIGHT else 0.24 + 0.14 * (y > 0)
        return side, np.array([y, side * rng.uniform(inner, max(inner, 0.85 * self.breadth * float(cage(y))))])

    def distance(self, point: Field) -> Field:
        """Give every pixel's distance from a point (y, x)."""
        return np.asarray(np.hypot(self.y - point[0], self.x - point[1]))

    def trees(self, rng: np.random.Generator, angles: Field, length: float) -> Field:
        """Draw trees of tubes from both hila, 0..1 per pixel; ``angles`` rise from the lateral direction."""
        ink = Ink(self.canvas)
        starts = np.array([[-0.04, side * 0.15] for side in (RIGHT, LEFT) for _ in angles])
        outward = np.concatenate([np.pi - angles, angles]) + rng.normal(0, 0.12, 2 * len(angles))
        for twigs, width in branches(starts, outward, length, 0.032, rng):
            ink.lines(self.place(twigs), width)
        return ink.field()


def draw_person(canvas: Canvas, rng: np.random.Generator) -> Chest:
    """Choose a person and how they stand before the detector."""
    return Chest(
        canvas,
        turn=rng.normal(0, 0.05),
        scale=rng.uniform(0.9, 1.08),
        shift=rng.normal(0, 0.04, 2),
        breadth=rng.uniform(0.7, 0.84),
        dome=rng.uniform(0.36, 0.52),
        bow=rng.uniform(0.2, 0.32),
        heart=rng.uniform(0.9, 1.08),
    )


def anatomy(chest: Chest, rng: np.random.Generator) -> Field:
    """Add up what holds X-rays back in a person: attenuation per pixel, about 0..1.2."""
    y, x = chest.y, chest.x
    shoulder = 0.3 + 0.95 * soft_step(y + 0.85, 0.4)
    body = soft_step(shoulder - np.abs(x), 0.12)
    solid = heart(chest, rng)
    air = (chest.lung(RIGHT) + chest.lung(LEFT)) * (1 - solid)
    total = body * (0.62 + 0.02 * chest.canvas.noise(rng, 3)) * (1 - rng.uniform(0.66, 0.76) * air)
    belly = soft_step(y - np.minimum(chest.floor(RIGHT), chest.floor(LEFT)), 0.2)
    total += body * (0.12 * belly + 0.06 * solid)
    total += 0.1 * soft_step(0.15 - np.abs(x), 0.14) * body  # mediastinum
    total += (0.1 + 0.04 * np.sin(y * 38)) * soft_step(0.07 - np.abs(x), 0.04) * body  # spine
    total -= 0.14 * soft_step(0.035 - np.abs(x), 0.03) * soft_step(-0.2 - y, 0.1) * body  # windpipe
    total += bones(chest, rng) + vessels(chest, rng, air) + breasts(chest, rng)
    bubble = soft_step(0.1 - chest.distance(np.array([chest.dome + 0.24, 0.36])), 0.08)
    return np.asarray(total - rng.choice([0, 0.2]) * bubble)


def heart(chest: Chest, rng: np.random.Generator) -> Field:
    """Say where the heart and the knob of the aorta lie, 0..1 per pixel."""
    size, lean = chest.heart, 0.5
    v = chest.y - (chest.dome - 0.16 * size**0.5)
    u = chest.x - (0.12 + 0.1 * (size - 1))
    along, across = u * np.cos(lean) + v * np.sin(lean), v * np.cos(lean) - u * np.sin(lean)
    shape = Outline.organic(rng, 0.02).depth(across / (0.26 * size), along / (0.34 * size))
    knob = 0.1 - chest.distance(np.array([-0.28, 0.07]))
    return np.maximum(soft_step(shape, 0.2), soft_step(knob, 0.05))


def bones(chest: Chest, rng: np.random.Generator) -> Field:
    """Draw ribs behind, fainter ribs in front, and collar bones."""
    behind, before, collar = (Ink(chest.canvas) for _ in range(3))
    width, lift = rng.uniform(0.045, 0.06) * chest.scale, rng.uniform(0.08, 0.2)
    back, front = ribs(chest.breadth)
    clavicle = np.array([[[-0.58, 0.07], [-0.62, 0.3], [-0.62 - lift, 0.72]]])
    for side in (RIGHT, LEFT):
        behind.lines(chest.place(back * (1, side)), width)
        before.lines(chest.place(front * (1, side)), width)
        collar.lines(chest.place(clavicle * (1, side)), 0.06 * chest.scale)
    both = chest.canvas.blur(behind.field() + 0.4 * before.field(), 0.01)
    return rng.uniform(0.07, 0.12) * both + 0.12 * collar.field()


def ribs(breadth: float) -> tuple[Field, Field]:
    """Give the courses of nine ribs on the patient's left, each of shape (9, 16, 2), (y, x).

    Returns:
        From the spine round to the flank, behind; and from there on towards the breast bone, in front.
    """
    t = np.linspace(0, 1, 16)
    root = np.linspace(-0.74, 0.42, 9)[:, None]
    flank = np.minimum(root + 0.3, 0.6)
    wall = 1.02 * breadth * cage(flank)
    behind = root - 0.07 * np.sin(np.pi * t) + 0.3 * t**3, 0.07 + (wall - 0.07) * np.sin(t * np.pi / 2)
    before = root + 0.3 + 0.24 * t + 0.06 * np.sin(np.pi * t), wall * (1 - 0.62 * t)
    return np.stack(behind, axis=-1), np.stack(before, axis=-1)


def vessels(chest: Chest, rng: np.random.Generator, air: Field) -> Field:
    """Draw the hila and the vessels that branch from them into the lungs."""
    tubes = chest.trees(rng, np.array([-1.1, -0.4, 0.3, 0.95]), rng.uniform(0.2, 0.26))
    hila = sum(soft_step(0.09 - chest.distance(np.array([-0.04, side * 0.15])), 0.1) for side in (RIGHT, LEFT))
    return 0.1 * tubes * air + 0.12 * hila


def breasts(chest: Chest, rng: np.random.Generator) -> Field:
    """Draw the soft shadows of breasts or muscles over the lower chest."""
    amount, low = rng.uniform(0, 0.14), rng.uniform(0.25, 0.45)
    total = np.zeros(chest.canvas.shape)
    for side in (RIGHT, LEFT):
        total += amount * soft_step(0.3 - chest.distance(np.array([low, side * 0.42])), 0.14)
    return total


def fill(total: Field, where: Field, density: float) -> Field:
    """Fill air up to a ``density`` where it is less, ``where`` 0..1 per pixel."""
    return np.asarray(total + where * np.maximum(density - total, 0))


def consolidation(chest: Chest, rng: np.random.Generator, total: Field) -> Field:
    """Fill a part of a lung with a fluffy opacity in which open airways stay dark."""
    side, spot = chest.spot(rng)
    cloud = rng.uniform(0.22, 0.34) - chest.distance(spot) + 0.1 * chest.canvas.noise(rng, 6)
    airways = chest.trees(rng, np.arctan2(spot[:1], np.abs(spot[1:])), 0.3)
    where = soft_step(cloud, 0.3) * chest.lung(side) * (1 - 0.6 * airways)
    return fill(total, rng.uniform(0.6, 0.95) * where, 0.65)


def effusion(chest: Chest, rng: np.random.Generator, total: Field) -> Field:
    """Fill the bottom of one side with fluid that climbs up the flank."""
    side = int(rng.choice([RIGHT, LEFT]))
    lateral = np.clip(side * chest.x / chest.breadth, 0, 1)
    level = chest.dome + rng.uniform(-0.12, 0.14) - 0.45 * lateral**5
    return fill(total, soft_step(chest.y - level, 0.1) * chest.lung(side), 0.68)


def interstitial_pattern(chest: Chest, rng: np.random.Generator, total: Field) -> Field:
    """Draw a fine net of lines through both lungs, denser at the bases."""
    lungs = chest.lung(RIGHT) + chest.lung(LEFT)
    net = sum(np.exp(-((chest.canvas.noise(rng, bumps) / 0.3) ** 2)) for bumps in (14, 20))
    return fill(total, rng.uniform(0.26, 0.4) * (0.8 + 0.5 * chest.y) * net * lungs, 0.75)


def nodule(chest: Chest, rng: np.random.Generator, total: Field) -> Field:
    """Draw one or two round opacities with a clear edge."""
    for _ in range(rng.integers(1, 3)):
        _, spot = chest.spot(rng)
        radius = rng.uniform(0.07, 0.12)
        total = fill(total, rng.uniform(0.55, 0.85) * soft_step(radius - chest.distance(spot), 0.06), 0.7)
    return total


def pneumothorax(chest: Chest, rng: np.random.Generator, total: Field) -> Field:
    """Let one lung fall from the wall: a fine bright edge, and beyond it black without vessels."""
    side = int(rng.choice([RIGHT, LEFT]))
    fallen = rng.uniform(0.7, 0.86) + 0.1 * soft_step(chest.y, 0.6) - chest.reach(side)
    beyond = soft_step(-fallen, 0.03) * chest.lung(side)
    smooth = chest.canvas.blur(total, 0.05)
    line = np.exp(-((fallen / 0.014) ** 2)) * chest.lung(side)
    return total + beyond * (0.5 * (smooth - total) - 0.13) + 0.17 * line


def clear(chest: Chest, rng: np.random.Generator, total: Field) -> Field:
    """Add nothing to the lungs."""
    return total


def usual(chest: Chest, rng: np.random.Generator) -> None:
    """Leave heart and rib cage as they are."""


def large_heart(chest: Chest, rng: np.random.Generator) -> None:
    """Widen the heart beyond half of the chest."""
    chest.heart *= rng.uniform(1.25, 1.45)


def overfilled(chest: Chest, rng: np.random.Generator) -> None:
    """Push the diaphragm low and flat, spread the ribs, draw the heart out."""
    chest.dome, chest.bow = rng.uniform(0.52, 0.62), rng.uniform(0.02, 0.12)
    chest.breadth *= rng.uniform(1.0, 1.08)
    chest.heart *= rng.uniform(0.8, 0.95)


class Finding(NamedTuple):
    """What tells one class from the others."""

    shows: str
    draw: Callable[[Chest, np.random.Generator, Field], Field] = clear
    body: Callable[[Chest, np.random.Generator], None] = usual


CLASSES = {
    "cardiomegaly": Finding("A heart wider than half of the chest.", body=large_heart),
    "consolidation": Finding("A fluffy opacity in one lung with open airways in it.", consolidation),
    "effusion": Finding("Fluid at the base of one lung that climbs up the flank.", effusion),
    "hyperinflation": Finding("Overfilled lungs: low flat diaphragm, slender heart.", body=overfilled),
    "interstitial_pattern": Finding("A fine net of lines through both lungs.", interstitial_pattern),
    "nodule": Finding("One or two round opacities with a clear edge.", nodule),
    "normal": Finding("No finding."),
    "pneumothorax": Finding("A fine line of lung edge, beyond it black without vessels.", pneumothorax),
}


def render(name: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """Render one radiograph.

    Args:
        name: One of CLASSES.
        size: Height and width in pixels.
        rng: Where the randomness comes from.

    Returns:
        Shape (size, size), uint16, bright where X-rays were held out.
    """
    finding = CLASSES[name]
    chest = draw_person(Canvas(size, size), rng)
    finding.body(chest, rng)
    total = finding.draw(chest, rng, anatomy(chest, rng))
    return expose(chest.canvas, total + belongings(chest.canvas, rng), rng)


def belongings(canvas: Canvas, rng: np.random.Generator) -> Field:
    """Draw what lies on a person: a side marker, sometimes a wire with its patch."""
    ink = Ink(canvas)
    corner = np.array([[-0.86, rng.choice([-0.86, 0.86])]]) + rng.normal(0, 0.03, (1, 2))
    ink.shapes(ellipses(corner, np.array([[0.03, 0.05]])))
    if rng.random() < 0.3:
        y, x = rng.uniform(-0.5, 0.5, 2)
        wire = np.array([[y, x], [y + 0.3, x + rng.normal(0, 0.3)], [1.1, x + rng.normal(0, 0.5)]])
        ink.lines(wire[None], 0.015, 0.4)
        ink.shapes(ellipses(wire[:1], np.full((1, 2), 0.035)), 0.7)
    return 0.5 * ink.field()


def expose(canvas: Canvas, total: Field, rng: np.random.Generator) -> np.ndarray:
    """Record the radiograph: scatter, focus, quantum noise, and an exposure that is drawn.

    The mean is drawn, not left to the finding, so that brightness says nothing about the class.
    """
    total = total + rng.uniform(0.1, 0.4) * canvas.blur(total, 0.25)  # scattered rays
    total = canvas.blur(total, rng.uniform(0.006, 0.016))
    contrast, mean, grain = rng.uniform((0.9, 0.5, 0.007), (1.3, 0.9, 0.02))
    noise = grain * np.exp(total / 2) * rng.normal(size=total.shape)
    value = contrast * (total - total.mean() + noise) + mean
    return np.asarray(np.clip(value * 20000 + 20000, 0, 65535), dtype=np.uint16)
