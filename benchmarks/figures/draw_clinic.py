"""Draw docs/images/clinic.png: 17 files as a clinic has them, as the reader gives them.

Type `python -m benchmarks.figures.draw_clinic FOLDER` from the repository root, FOLDER with the files that
docs/images.md lists.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dynammo.io.image_reader import Image, frame_count, image_format, read_image

INK, COLUMNS = "#22303c", 6


def shown(file: Path) -> Image:
    """The middle frame for the screen: through the header's window, else between its 1st and 99.5th percentile."""
    image = read_image(file, frames="middle", window="header", pictures_as_rgb=True)
    if image.meta["display"]:
        return image
    low, high = np.percentile(image.array, (1, 99.5))
    return Image(np.clip((image.array - low) / (high - low), 0, 1) * 255, image.meta)


def facts(file: Path) -> str:
    """Shape, value range and spacing of the whole file, read without a window."""
    image = read_image(file)
    low, high = image.array.min(), image.array.max()
    kind = "for the screen" if image.meta["display"] else "measured"
    spacing = " x ".join(f"{mm:.2f}" for mm in image.meta["spacing"] if np.isfinite(mm))
    what = f"{image.meta['format']} {image.meta['modality']}".strip()
    return f"{what}, {tuple(image.array.shape)}\n{low:.0f} to {high:.0f}, {kind}" + (f"\n{spacing} mm" * bool(spacing))


def panel(axes: Axes, file: Path) -> None:
    """One file, its pixels as square as they are in the patient."""
    image = shown(file)
    rows, columns = np.nan_to_num(image.meta["spacing"], nan=1.0)
    axes.imshow(image.array.transpose(1, 2, 0).squeeze().astype(np.uint8), cmap="gray", vmin=0, vmax=255,
                aspect=rows / columns)  # fmt: skip
    frames = frame_count(file)
    middle = f"\nframe {frames // 2} of {frames}" if frames > 1 else ""
    axes.set_xlabel(f"{file.name}\n{facts(file)}{middle}", fontsize=8, color=INK)
    axes.set_anchor("S")
    axes.set_xticks([])
    axes.set_yticks([])


def draw(folder: Path) -> Figure:
    """All images of a folder."""
    files = sorted(file for file in folder.iterdir() if image_format(file))
    rows = -(-len(files) // COLUMNS)
    figure = Figure(figsize=(3.1 * COLUMNS, 3.9 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, file in zip(grid, files, strict=False):
        panel(axes, file)
    for axes in grid[len(files) :]:
        axes.axis("off")
    return figure


def main(folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)]) -> None:
    """Draw the picture."""
    target = Path("docs/images") / "clinic.png"
    draw(folder).savefig(target, dpi=75)
    print(f"wrote {target}")


if __name__ == "__main__":
    typer.run(main)
