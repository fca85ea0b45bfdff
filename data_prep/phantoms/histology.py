"""Histology-like phantoms: a tile of tissue stained with haematoxylin and eosin, eight architectures.

Tissue is drawn as two amounts of stain per pixel; light is absorbed by both (Beer-Lambert). Every
class shares the same stains, section thickness and microscope; the architecture tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from .canvas import Canvas, Field, Ink, Outline, ellipses, scattered, soft_step

# Absorption of red, green and blue by haematoxylin and by eosin (Macenko's reference vectors).
STAINS = np.array([[0.56, 0.72, 0.41], [0.22, 0.80, 0.56]])
EDGE = np.full(2, 1.1)  # tissue is laid out a little beyond the tile


@dataclass
class Tissue:
    """A section while it is being laid out.

    Attributes:
        canvas: What it is drawn on.
        haematoxylin: Amount per pixel, about 0..2: nuclei and mucin.
        eosin: Amount per pixel, about 0..1: collagen and cytoplasm.
    """

    canvas: Canvas
    haematoxylin: Field
    eosin: Field

    def cover(self, where: Field, haematoxylin: Field | float, eosin: Field | float) -> None:
        """Replace what lies ``where`` (0..1 per pixel) by other amounts of stain."""
        self.haematoxylin = self.haematoxylin + where * (haematoxylin - self.haematoxylin)
        self.eosin = self.eosin + where * (eosin - self.eosin)

    def cells(
        self, rng: np.random.Generator, centres: Field, size: float, spread: float,
        longer: float = 1.0, angles: Field | float = 0.0, darkness: float = 1.0,
    ) -> None:  # fmt: skip
        """Lay nuclei on the tissue.

        Args:
            rng: Where the randomness comes from.
            centres: Shape (n, 2), (y, x).
            size: Radius in canvas units.
            spread: How much sizes and shapes differ: 0.1 monotonous, 0.4 pleomorphic.
            longer: Length over breadth.
            angles: Direction of the long axis, shape (n,) or one for all.
            darkness: How deeply they stain.
        """
        count = len(centres)
        radii = size * np.exp(rng.normal(0, spread, (count, 1)) + rng.normal(0, spread / 2, (count, 2)))
        outlines = ellipses(centres, radii * (longer**0.5, longer**-0.5), angles)
        ink = Ink(self.canvas)
        ink.shapes(outlines, np.clip(rng.normal(0.75, 0.08 + spread / 4, count), 0.4, 1))
        depth = ink.field()
        self.eosin = self.eosin * (1 - 0.6 * depth)
        self.haematoxylin = self.haematoxylin + 1.9 * darkness * depth

    def nearby(self, centre: Field, outline: Outline, radius: float) -> Field:
        """Say how deep every pixel lies in an outline put at ``centre``: 1 centre, 0 edge."""
        y, x = self.canvas.grid()
        return outline.depth((y - centre[0]) / radius, (x - centre[1]) / radius)


def stroma(canvas: Canvas, rng: np.random.Generator) -> Tissue:
    """Lay out wavy collagen with spindle-shaped nuclei along it: the ground of every tile."""
    turn, wave = rng.uniform(0, np.pi), 0.12 * canvas.noise(rng, 3)
    y, x = canvas.grid()
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn) + wave
    threads = rng.normal(size=(96, 24))  # far finer across than along
    at = (np.mod(across * 14, 96), np.mod(along * 3, 24))
    fibres = ndimage.map_coordinates(threads, at, order=1, mode="grid-wrap")
    eosin = np.clip(0.62 + 0.2 * fibres + 0.08 * canvas.noise(rng, 4), 0.05, None)
    tissue = Tissue(canvas, 0.06 + 0.02 * canvas.noise(rng, 5), eosin)
    centres = scattered(rng, int(rng.integers(20, 45)), -EDGE, EDGE, 0.12)
    angles = turn + rng.normal(0, 0.25, len(centres))
    tissue.cells(rng, centres, 0.036, 0.15, longer=4, angles=angles, darkness=0.8)
    return tissue


def lymphocytes(tissue: Tissue, rng: np.random.Generator, count: int, crowds: int) -> None:
    """Sprinkle small round dark nuclei, a part of them in crowds."""
    free = rng.uniform(-1.1, 1.1, (count, 2))
    if crowds:
        middles = rng.uniform(-0.9, 0.9, (crowds, 2))
        free = np.where(rng.random((count, 1)) < 0.7, rng.choice(middles, count), free)
        free = free + rng.normal(0, 0.2, (count, 2))
    tissue.cells(rng, free, 0.034, 0.08, darkness=1.1)


@dataclass(frozen=True)
class Gland:
    """How one kind of gland is built, depths from 0 at its edge to 1 in its centre.

    Attributes:
        lumen: Depth at which the hollow begins.
        rows: Depths between which the nuclei stand.
        spacing: Distance of nuclei along the edge, canvas units.
        size: Radius of a nucleus, canvas units.
        longer: Length over breadth of a nucleus, which points to the centre.
        spread: How much nuclei differ.
        stretch: Long over short axis of the gland.
        roughness: How ragged its outline is.
    """

    lumen: float
    rows: tuple[float, float]
    spacing: float
    size: float
    longer: float
    spread: float
    stretch: float
    roughness: float


NORMAL = Gland(
    lumen=0.52, rows=(0.14, 0.2), spacing=0.085, size=0.036, longer=1.2, spread=0.1, stretch=1.15, roughness=0.03
)
DYSPLASTIC = Gland(
    lumen=0.74, rows=(0.12, 0.55), spacing=0.036, size=0.044, longer=2.2, spread=0.2, stretch=1.7, roughness=0.08
)


def glands(tissue: Tissue, rng: np.random.Generator, kind: Gland, radius: float, gap: float) -> None:
    """Lay glands of one kind over the tile, centres ``gap`` radii apart."""
    cleft = rng.uniform(0, 0.6)  # fixation shrinks some away from the stroma
    for centre in scattered(rng, 40, -EDGE, EDGE, gap * radius):
        size = radius * rng.uniform(0.8, 1.1)
        stretch = 1 + (kind.stretch - 1) * rng.uniform(0.5, 1.5)
        outline = Outline.organic(rng, kind.roughness, stretch)
        depth = tissue.nearby(centre, outline, size)
        tissue.cover(cleft * soft_step(depth + 0.06, 0.08), 0.02, 0.08)
        tissue.cover(soft_step(depth, 0.08), 0.2, 0.42)
        tissue.cover(soft_step(depth - kind.lumen, 0.1), 0.02, 0.04)
        directions = np.arange(-np.pi, np.pi, kind.spacing / size)
        directions = directions + rng.normal(0, 0.2 * kind.spacing / size, len(directions))
        points = outline.points(directions, rng.uniform(*kind.rows, len(directions)))
        tissue.cells(rng, centre + size * points, kind.size, kind.spread, kind.longer, directions)


def island(tissue: Tissue, rng: np.random.Generator, size: float, spread: float, hollows: int) -> None:
    """Lay one or two large islands of tumour cells.

    Args:
        tissue: What they are laid on.
        rng: Where the randomness comes from.
        size: Radius of a nucleus, canvas units.
        spread: How much nuclei differ.
        hollows: How many round hollows are tried to punch out of each.
    """
    for centre in scattered(rng, 2, -EDGE / 2, EDGE / 2, 0.9):
        outline, radius = Outline.organic(rng, 0.1, rng.uniform(1, 1.5)), rng.uniform(0.65, 0.95)
        inside = soft_step(tissue.nearby(centre, outline, radius), 0.08)
        hollow = holes(tissue, rng, centre + radius * scattered(rng, hollows, -EDGE, EDGE, 0.36)) * inside
        tissue.cover(inside, 0.25, 0.42)
        tissue.cover(hollow, 0.02, 0.04)
        cells = scattered(rng, 600, centre - 1.3 * radius, centre + 1.3 * radius, 1.75 * size)
        cells = cells[tissue.canvas.at(inside - hollow, cells) > 0.7]
        tissue.cells(rng, cells, size, spread, 1.3, rng.uniform(0, np.pi, len(cells)))


def holes(tissue: Tissue, rng: np.random.Generator, places: Field) -> Field:
    """Say where round holes lie that are put at ``places``, 0..1 per pixel."""
    total = np.zeros(tissue.canvas.shape)
    for place in places:
        outline = Outline.organic(rng, 0.04, rng.uniform(1, 1.3))
        total = np.maximum(total, soft_step(tissue.nearby(place, outline, rng.uniform(0.08, 0.15)), 0.3))
    return total


def cribriform_glands(tissue: Tissue, rng: np.random.Generator) -> None:
    """Draw islands of cells with many round holes punched out."""
    island(tissue, rng, rng.uniform(0.038, 0.044), 0.15, 24)


def dysplastic_glands(tissue: Tissue, rng: np.random.Generator) -> None:
    """Draw crowded, drawn-out glands with pencil-shaped nuclei in many layers and slit-like hollows."""
    glands(tissue, rng, DYSPLASTIC, rng.uniform(0.36, 0.46), 1.75)


def fibrous_stroma(tissue: Tissue, rng: np.random.Generator) -> None:
    """Draw collagen and spindle cells alone."""


def inflamed_stroma(tissue: Tissue, rng: np.random.Generator) -> None:
    """Draw collagen full of lymphocytes, partly in crowds."""
    lymphocytes(tissue, rng, int(rng.integers(70, 180)), 3)


def mucin_pools(tissue: Tissue, rng: np.random.Generator) -> None:
    """Draw pale bluish lakes of mucin with small clusters of cells afloat."""
    canvas = tissue.canvas
    for centre in scattered(rng, 6, -EDGE * 0.8, EDGE * 0.8, 0.75):
        outline, radius = Outline.organic(rng, 0.08, rng.uniform(1, 1.5)), rng.uniform(0.4, 0.6)
        mucin = np.clip(0.16 + 0.05 * canvas.noise(rng, 9), 0.05, None)
        tissue.cover(soft_step(tissue.nearby(centre, outline, radius), 0.1), mucin, 0.05)
        afloat = centre + rng.normal(0, 0.1, 2) + rng.normal(0, 0.07, (rng.integers(4, 14), 2))
        tissue.cells(rng, afloat, 0.042, 0.2, darkness=0.9)


def necrosis(tissue: Tissue, rng: np.random.Generator) -> None:
    """Draw smudged pink granular debris with fragments of nuclei and ghosts of cells."""
    canvas = tissue.canvas
    outline = Outline.organic(rng, 0.15, rng.uniform(1, 1.4))
    area = soft_step(tissue.nearby(rng.uniform(-0.4, 0.4, 2), outline, rng.uniform(0.8, 1.1)), 0.2)
    grain = np.clip(0.6 + 0.12 * canvas.noise(rng, 30) + 0.1 * canvas.noise(rng, 6), 0, None)
    tissue.cover(area, np.clip(0.12 + 0.06 * canvas.noise(rng, 12), 0, None), grain)
    keep = tissue.haematoxylin, tissue.eosin
    tissue.cells(rng, scattered(rng, 60, -EDGE, EDGE, 0.1), 0.045, 0.2, darkness=0.25)  # ghosts
    tissue.cells(rng, rng.uniform(-1.1, 1.1, (150, 2)), 0.016, 0.4, darkness=1.1)  # dust
    tissue.cover(1 - area, *keep)


def normal_glands(tissue: Tissue, rng: np.random.Generator) -> None:
    """Draw round glands apart from each other, open hollows, one row of small nuclei at the base."""
    glands(tissue, rng, NORMAL, rng.uniform(0.34, 0.44), 2.05)


def solid_carcinoma(tissue: Tissue, rng: np.random.Generator) -> None:
    """Draw sheets of large nuclei of many sizes without any hollow."""
    island(tissue, rng, rng.uniform(0.046, 0.056), 0.34, 0)


class Architecture(NamedTuple):
    """What tells one class from the others."""

    shows: str
    draw: Callable[[Tissue, np.random.Generator], None]


CLASSES = {
    "cribriform_glands": Architecture("Islands of cells with round holes punched out.", cribriform_glands),
    "dysplastic_glands": Architecture("Crowded glands, pencil-shaped nuclei in layers.", dysplastic_glands),
    "fibrous_stroma": Architecture("Wavy collagen with spindle cells alone.", fibrous_stroma),
    "inflamed_stroma": Architecture("Wavy collagen full of lymphocytes.", inflamed_stroma),
    "mucin_pools": Architecture("Pale bluish lakes of mucin with clusters of cells afloat.", mucin_pools),
    "necrosis": Architecture("Smudged pink debris with fragments of nuclei.", necrosis),
    "normal_glands": Architecture("Round glands apart, one row of small basal nuclei.", normal_glands),
    "solid_carcinoma": Architecture("Sheets of large nuclei of many sizes, no hollow.", solid_carcinoma),
}


def render(name: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """Render one tile.

    Args:
        name: One of CLASSES.
        size: Height and width in pixels.
        rng: Where the randomness comes from.

    Returns:
        RGB of shape (size, size, 3), uint8.
    """
    tissue = stroma(Canvas(size, size), rng)
    CLASSES[name].draw(tissue, rng)
    lymphocytes(tissue, rng, int(rng.integers(0, 30)), 0)  # a few pass through any tissue
    return scan(tissue, rng)


def scan(tissue: Tissue, rng: np.random.Generator) -> np.ndarray:
    """Stain, cut and scan the tissue.

    The section's thickness is drawn so that the mean absorption says nothing about the class.
    """
    canvas = tissue.canvas
    chromatin = 1 + 0.12 * canvas.noise(rng, 30)
    haematoxylin = tissue.haematoxylin * chromatin * rng.uniform(0.75, 1.25)
    amounts = np.stack([haematoxylin, tissue.eosin * rng.uniform(0.75, 1.25)], axis=-1)
    stains = STAINS + rng.normal(0, 0.05, STAINS.shape)
    density = canvas.blur(amounts @ stains, rng.uniform(0.006, 0.022))
    density *= rng.uniform(0.36, 0.54) / density.mean()
    picture = rng.uniform(0.92, 0.98) * np.exp(-density) * rng.normal(1, 0.012, 3)
    picture = picture + rng.normal(0, rng.uniform(0.006, 0.02), picture.shape)
    return np.asarray(np.clip(picture * 255 + 0.5, 0, 255), dtype=np.uint8)
