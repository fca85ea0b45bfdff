"""Dermoscopy-like phantoms: one pigmented lesion on skin, eight dermoscopic patterns.

Light is absorbed by pigment and blood (Beer-Lambert), then mixed with what scatters white. Every
class shares the same lesions, skin and camera; only the pattern inside the lesion tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .canvas import Canvas, Field, Ink, Outline, branches, ellipses, scattered, soft_step

ASPECT = 4 / 3

# Absorption of red, green and blue by one unit of each pigment.
ABSORPTION = {
    "melanin": (0.40, 0.80, 1.15),  # near the surface: brown
    "deep_melanin": (1.00, 0.80, 0.50),  # in the dermis, seen through tissue: blue-grey
    "blood": (0.12, 0.95, 0.80),
}
# Colour of what scatters light back.
SCATTER = {"white": (0.93, 0.92, 0.95), "keratin": (0.99, 0.95, 0.82)}
BARE_SKIN = np.array([0.96, 0.80, 0.71])

Layers = dict[str, Field]
"""Amounts per pixel of what ABSORPTION and SCATTER name."""


@dataclass(frozen=True)
class Lesion:
    """Where the lesion lies: pixels and points in the lesion's own coordinates.

    Attributes:
        canvas: What it is drawn on.
        v: Across the lesion at every pixel; the border lies near distance 1 from its centre.
        u: Along the lesion at every pixel.
        outline: The border, in lesion units.
        depth: 1 in the centre, 0 on the border, negative on the skin around.
        inside: 1 in the lesion, 0 outside, soft at the border.
        scale: Canvas units per lesion unit.
        centre: (y, x) in canvas units.
    """

    canvas: Canvas
    v: Field
    u: Field
    outline: Outline
    depth: Field
    inside: Field
    scale: float
    centre: Field

    def place(self, points: Field) -> Field:
        """Turn points of shape (..., 2) in lesion units into canvas units."""
        return self.centre + points * self.scale

    def spots(self, rng: np.random.Generator, count: int, sizes: tuple[float, float], gap: float) -> Field:
        """Draw small round spots anywhere in the lesion; sizes in lesion units. Gives 0..1 per pixel."""
        ink = Ink(self.canvas)
        points = scattered(rng, count, -np.ones(2), np.ones(2), gap)
        shape = (len(points), 2)
        radii = rng.uniform(*sizes, shape[:1])[:, None] * rng.uniform(0.8, 1.2, shape) * self.scale
        ink.shapes(ellipses(self.place(points), radii), rng.uniform(0.6, 1, shape[:1]))
        return ink.field() * soft_step(self.depth - 0.1, 0.1)


def arborizing_vessels(lesion: Lesion, rng: np.random.Generator) -> Layers:
    """Draw sharp red vessels that branch like trees and thin out."""
    ink = Ink(lesion.canvas)
    roots = rng.uniform(-np.pi, np.pi, rng.integers(2, 5))
    starts = lesion.place(lesion.outline.points(roots, 0.1))
    inward = roots + np.pi + rng.normal(0, 0.5, len(roots))
    for twigs, width in branches(starts, inward, rng.uniform(0.5, 0.75) * lesion.scale, 0.042, rng):
        ink.lines(twigs, width)
    return {"blood": 1.1 * ink.field() * soft_step(lesion.depth + 0.1, 0.2)}


def honeycomb(lesion: Lesion, rng: np.random.Generator, mesh: float, warp: float) -> Field:
    """Give a pigment network's height, about -1.5 on the cords to 3 in the holes.

    Three plane waves at 120 degrees add up to a hexagonal lattice; warped coordinates make it organic.

    Args:
        lesion: Where it is drawn.
        rng: Where the randomness comes from.
        mesh: Width of a hole in lesion units.
        warp: How far the cords stray, in holes.

    Returns:
        Shape (height, width).
    """
    turn = rng.uniform(0, np.pi)
    v = lesion.v + warp * mesh * lesion.canvas.noise(rng, 5)
    u = lesion.u + warp * mesh * lesion.canvas.noise(rng, 5)
    waves = [
        np.cos(2 * np.pi / mesh * (v * np.sin(turn + k) + u * np.cos(turn + k)))
        for k in (0, 2 * np.pi / 3, 4 * np.pi / 3)
    ]
    return np.asarray(sum(waves), dtype=np.float64)


def typical_network(lesion: Lesion, rng: np.random.Generator) -> Layers:
    """Draw a regular brown mesh of thin cords that fades out towards the border."""
    cords = soft_step(-0.6 - honeycomb(lesion, rng, rng.uniform(0.22, 0.3), 0.1), 0.8)
    return {"melanin": 1.2 * cords * soft_step(lesion.depth - 0.1, 0.4)}


def atypical_network(lesion: Lesion, rng: np.random.Generator) -> Layers:
    """Draw a brown mesh of uneven holes and thick and thin cords that breaks off in places."""
    uneven = lesion.canvas.noise(rng, 3)
    height = honeycomb(lesion, rng, rng.uniform(0.34, 0.46), 0.3)
    cords = soft_step(-0.5 + 0.4 * uneven - height, 0.8)
    kept = soft_step(lesion.canvas.noise(rng, 2.5) + 0.4, 0.7)
    return {"melanin": 1.4 * cords * kept * lesion.inside}


def blue_white_veil(lesion: Lesion, rng: np.random.Generator) -> Layers:
    """Draw a structureless blue area under a whitish haze over a part of the lesion."""
    middle = rng.uniform(-0.4, 0.4, 2)
    distance = np.hypot(lesion.v - middle[0], lesion.u - middle[1])
    area = soft_step(0.55 - distance + 0.2 * lesion.canvas.noise(rng, 4), 0.6) * lesion.inside
    return {"deep_melanin": 0.8 * area, "white": 0.3 * area}


def globules(lesion: Lesion, rng: np.random.Generator) -> Layers:
    """Draw round brown globules of differing size."""
    return {"melanin": 1.2 * lesion.spots(rng, 110, (0.06, 0.10), 0.19)}


def milia_like_cysts(lesion: Lesion, rng: np.random.Generator) -> Layers:
    """Draw round whitish cysts and a few brown comedo-like openings."""
    return {
        "keratin": 0.6 * lesion.spots(rng, 60, (0.05, 0.10), 0.22),
        "melanin": 1.1 * lesion.spots(rng, 8, (0.06, 0.12), 0.3),
    }


def regression(lesion: Lesion, rng: np.random.Generator) -> Layers:
    """Draw a white scar-like area with blue-grey peppering."""
    middle = rng.uniform(-0.4, 0.4, 2)
    distance = np.hypot(lesion.v - middle[0], lesion.u - middle[1])
    area = soft_step(0.6 - distance + 0.2 * lesion.canvas.noise(rng, 4), 0.6) * lesion.inside
    pepper = lesion.spots(rng, 180, (0.02, 0.04), 0.07)
    return {"white": 0.5 * area, "deep_melanin": 0.9 * pepper * area}


def starburst(lesion: Lesion, rng: np.random.Generator) -> Layers:
    """Draw streaks that radiate from the lesion's edge all the way round, some with a club-shaped end."""
    ink = Ink(lesion.canvas)
    count = int(rng.integers(20, 32))
    turns = np.linspace(-np.pi, np.pi, count) + rng.normal(0, 0.07, count)
    half = np.pi / count * 0.8
    heads = lesion.outline.points(turns, -rng.uniform(0.1, 0.3, count))
    left, right = (lesion.outline.points(turns + side * half, 0.3) for side in (-1, 1))
    ink.shapes(lesion.place(np.stack([left, heads, right], axis=1)))
    clubs = heads[rng.random(count) < 0.4] * 0.97
    ink.shapes(ellipses(lesion.place(clubs), np.full(clubs.shape, 0.05 * lesion.scale)))
    return {"melanin": ink.field() * soft_step(0.7 - lesion.depth, 0.5)}


class Pattern(NamedTuple):
    """What tells one class from the others."""

    shows: str
    draw: Callable[[Lesion, np.random.Generator], Layers]


CLASSES = {
    "arborizing_vessels": Pattern("Sharp red vessels that branch like trees.", arborizing_vessels),
    "atypical_network": Pattern("An uneven brown mesh that breaks off in places.", atypical_network),
    "blue_white_veil": Pattern("A structureless blue area under a whitish haze.", blue_white_veil),
    "globules": Pattern("Round brown globules of differing size.", globules),
    "milia_like_cysts": Pattern("Round whitish cysts and a few brown openings.", milia_like_cysts),
    "regression": Pattern("A white scar-like area with blue-grey peppering.", regression),
    "starburst": Pattern("Streaks that radiate from the edge all the way round.", starburst),
    "typical_network": Pattern("A regular brown mesh that fades out at the border.", typical_network),
}


def render(name: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """Render one picture.

    Args:
        name: One of CLASSES.
        size: Height in pixels; the width is 4/3 of it.
        rng: Where the randomness comes from.

    Returns:
        RGB of shape (size, 4/3 size, 3), uint8.
    """
    canvas = Canvas(size, round(size * ASPECT))
    lesion = place_lesion(canvas, rng)
    layers = bare_lesion(lesion, rng)
    add(layers, CLASSES[name].draw(lesion, rng), rng.uniform(0.65, 1.0))
    if rng.random() < 0.3:  # a faint trace of another pattern: real lesions are seldom pure
        other = rng.choice(sorted(CLASSES.keys() - {name}))
        add(layers, CLASSES[other].draw(lesion, rng), rng.uniform(0.1, 0.3))
    add(layers, hairs(canvas, rng), 1)
    return photograph(canvas, shine_through(layers), rng)


def place_lesion(canvas: Canvas, rng: np.random.Generator) -> Lesion:
    """Choose the lesion's place, size, turn, outline and how sharply it ends."""
    y, x = canvas.grid()
    scale, centre = rng.uniform(0.6, 0.85), rng.normal(0, 0.1, 2)
    v, u = (y - centre[0]) / scale, (x - centre[1]) / scale
    outline = Outline.organic(rng, rng.uniform(0.02, 0.12), rng.uniform(1, 1.5))
    depth = outline.depth(v, u)
    return Lesion(canvas, v, u, outline, depth, soft_step(depth, rng.uniform(0.1, 0.4)), scale, centre)


def bare_lesion(lesion: Lesion, rng: np.random.Generator) -> Layers:
    """Give skin and lesion without a pattern: tone, mottling, blotches and a blush."""
    canvas = lesion.canvas
    skin = rng.uniform(0, 0.5) + 0.03 * canvas.noise(rng, 4) + 0.02 * canvas.noise(rng, 24)
    pigment = rng.uniform(0.35, 0.75) + 0.12 * canvas.noise(rng, 3) + 0.05 * canvas.noise(rng, 14)
    blush = rng.uniform(0, 0.25) + 0.05 * canvas.noise(rng, 3)
    blue = rng.uniform(0, 0.2) + 0.06 * canvas.noise(rng, 2)
    nothing = np.zeros(canvas.shape)
    return {
        "melanin": np.maximum(skin + pigment * lesion.inside, 0),
        "deep_melanin": np.maximum(blue, 0) * lesion.inside,
        "blood": np.maximum(0.1 + blush * lesion.inside, 0),
        "white": nothing,
        "keratin": nothing,
    }


def add(layers: Layers, more: Layers, strength: float) -> None:
    """Add ``strength`` times the amounts in ``more`` to ``layers``."""
    for name, amount in more.items():
        layers[name] = layers[name] + strength * amount


def hairs(canvas: Canvas, rng: np.random.Generator) -> Layers:
    """Draw none to several hairs across the picture."""
    ink = Ink(canvas)
    t = np.linspace(-1, 1, 12)
    for _ in range(rng.integers(0, 6) if rng.random() < 0.5 else 0):
        turn, bend, offset = rng.uniform(0, np.pi), rng.normal(0, 0.2), rng.uniform(-0.9, 0.9)
        along, across = 1.2 * t, offset + bend * t**2
        yx = np.stack([along * np.sin(turn) + across * np.cos(turn),
                       along * np.cos(turn) - across * np.sin(turn)], axis=1)  # fmt: skip
        ink.lines(yx[None], rng.uniform(0.012, 0.024))
    return {"melanin": rng.uniform(0.8, 1.6) * ink.field()}


def shine_through(layers: Layers) -> Field:
    """Turn amounts of pigment and scatter into colour, shape (height, width, 3), about 0..1."""
    amounts = np.stack([layers[name] for name in ABSORPTION], axis=-1)
    picture: Field = BARE_SKIN * np.exp(-amounts @ np.array(list(ABSORPTION.values())))
    for name, colour in SCATTER.items():
        cover = np.clip(layers[name], 0, 1)[..., None]
        picture = picture + cover * (np.array(colour) - picture)
    return picture


def photograph(canvas: Canvas, picture: Field, rng: np.random.Generator) -> np.ndarray:
    """Take the picture: focus, lamp, automatic exposure, rim of the lens, ruler, grain.

    The exposure is drawn, not left to the lesion, so that brightness says nothing about the class.
    """
    y, x = canvas.grid()
    picture = canvas.blur(picture, rng.uniform(0.004, 0.018))
    lamp = 1 + (y * rng.normal(0, 0.08) + x * rng.normal(0, 0.08))
    picture = picture * lamp[..., None] * rng.normal(1, 0.03, 3)
    picture *= rng.uniform(0.48, 0.66) / picture.mean()
    picture = ruler(canvas, picture, rng)
    if rng.random() < 0.25:
        rim = soft_step(rng.uniform(1.15, 1.4) - np.hypot(y, x), 0.1)
        picture = picture * (0.05 + 0.95 * rim[..., None])
    picture = picture + rng.normal(0, rng.uniform(0.008, 0.025), picture.shape)
    return np.asarray(np.clip(picture * 255 + 0.5, 0, 255), dtype=np.uint8)


def ruler(canvas: Canvas, picture: Field, rng: np.random.Generator) -> Field:
    """Put a ruler's dark ticks along an edge of one picture in four."""
    if rng.random() > 0.25:
        return picture
    ink = Ink(canvas)
    edge = rng.choice([-0.98, 0.98])
    x = np.arange(-canvas.aspect, canvas.aspect, 0.12)
    tip = edge - np.sign(edge) * np.where(np.arange(len(x)) % 5 == 0, 0.16, 0.09)
    ends = np.stack([np.full(len(x), edge), x, tip, x], axis=-1)
    ink.lines(ends.reshape(-1, 2, 2), 0.014)
    return picture * (1 - 0.8 * ink.field()[..., None])
