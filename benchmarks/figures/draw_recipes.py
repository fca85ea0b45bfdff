"""Draw docs/images/recipes.png: images of each modality without and with its recipe, as the network gets them.

Type `python -m benchmarks.figures.draw_recipes FOLDER` from the repository root, FOLDER with the files that
docs/images.md lists and, beside it, path11 (docs/lab-notebook.md).
"""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from monai.bundle import ConfigParser

INK = "#22303c"
MEAN, DEVIATION = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
ROWS: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("dermoscopy.jpg", "dermoscopy", {}, "dermoscopy: same light"),
    ("../path11/test/colon_adenocarcinoma", "histology", {}, "histology: reference stain"),
    ("histology_breast.tif", "histology", {}, "histology: no stain, as it is"),
    ("cr_chest_monochrome1_jpeg2000.dcm", "xray", {}, "xray: borders off"),
    ("cr_extremity_monochrome1_jpeg2000.dcm", "xray", {}, "xray: borders off"),
    ("ct_slice_uncompressed.dcm", "ct", {"window": [0, 80]}, "ct: brain window 0 to 80"),
    ("ct_pancreas_vr_un.dcm", "ct", {}, "ct: soft tissue -160 to 240"),
    ("ct_volume_small.nii.gz", "ct", {"window": [-450, 1050], "volumes": "maximum"}, "ct: bone, maximum projection"),
    ("mr_abdomen_siemens_overlays.dcm", "mr", {}, "mr: z-score"),
    ("mr_brain_anatomical.nii", "mr", {}, "mr: z-score, middle slice"),
)


def preprocessed(file: Path, recipe: str | None, settings: dict[str, Any]) -> torch.Tensor:
    """The network's input (3, 160, 160) for a file, ImageNet normalisation undone, 0 to 1."""
    parser = ConfigParser()
    overlay = [f"configs/recipes/{recipe}.yaml"] if recipe else []
    parser.read_config(ConfigParser.load_config_files(["bundle/configs/train.yaml", *overlay]))
    parser.update({"image_size": 160, **settings})
    image: torch.Tensor = parser.get_parsed_content("preprocessing")({"image": str(file)})["image"]
    return (image * DEVIATION + MEAN).clamp(0, 1)


def panel(axes: Axes, image: torch.Tensor, title: str) -> None:
    """One picture with its name above."""
    axes.imshow(image.permute(1, 2, 0).numpy())
    axes.set_title(title, fontsize=8, color=INK)
    axes.axis("off")


def draw(folder: Path) -> Figure:
    """Two columns of pairs, without a recipe on the left of each."""
    figure = Figure(figsize=(9.2, 2.55 * (len(ROWS) // 2)))
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(ROWS) // 2, 4)
    for i, (name, recipe, settings, title) in enumerate(ROWS):
        file = folder / name
        file = sorted(file.iterdir())[0] if file.is_dir() else file
        pair = grid[i // 2, 2 * (i % 2) : 2 * (i % 2) + 2]
        panel(pair[0], preprocessed(file, None, {}), "no recipe")
        panel(pair[1], preprocessed(file, recipe, settings), title)
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.96, 0.04, 0.16)
    return figure


def main(folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)]) -> None:
    """Draw the picture."""
    draw(folder).savefig("docs/images/recipes.png", dpi=110)


if __name__ == "__main__":
    typer.run(main)
