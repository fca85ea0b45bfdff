"""Class folders of any number of classes, which differ in colour."""

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image


def write_classes(folder: Path, classes: int, train: int, test: int, kind: str = "noisy") -> Path:
    """Noisy images of 16 px; training images may be `blank`, or `copies` of one another within a class."""
    for label in range(classes):
        colour = 255 * np.array(colorsys.hsv_to_rgb(label / classes, 0.8, 0.8))
        for split, count in (("train", train), ("test", test)):
            for i in range(count):
                rng = np.random.default_rng([label, split == "test", 0 if kind == "copies" else i])
                image = np.clip(colour + rng.normal(0, 20, (16, 16, 3)), 0, 255).astype(np.uint8)
                path = folder / split / f"{label:02}" / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image * (split == "test" or kind != "blank")).save(path)
    return folder
