"""Tiny made-up data sets, and the bundle run in process as a user would run it."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
CLASSES = ("blue", "green", "red", "white")
TINY = {"stages": 2, "image_size": 32, "weights": "first_task", "epochs": 1, "head_epochs": 4, "batch_size": 8}


def shared(*parts: str) -> Path:
    """A path of the shared benchmark images and weights; the test is skipped where it is absent."""
    path = Path(os.environ.get("DYNAMMO_SHARED", ROOT.parent / "shared")).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the shared folder has no {'/'.join(parts)}: set DYNAMMO_SHARED to run this test")
    return path


def write_image(path: Path, colour: str, seed: int, size: int = 32) -> None:
    """A noisy image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    base = {"blue": (40, 60, 200), "green": (50, 170, 60), "red": (200, 50, 40), "white": (220, 220, 220)}[colour]
    noise = np.random.default_rng(seed).normal(0, 30, (size, size, 3))
    Image.fromarray(np.clip(noise + base, 0, 255).astype(np.uint8)).save(path)


def make_data(folder: Path, train: int = 6, test: int = 3) -> Path:
    """Class folders of four colours."""
    for c, colour in enumerate(CLASSES):
        for split, count in (("train", train), ("test", test)):
            for i in range(count):
                seed = 1000 * c + 100 * (split == "test") + i
                write_image(folder / split / colour / f"{colour}_{i}.png", colour, seed)
    return folder


def run_bundle(run_id: str, configs: list[str] | str, **overrides: Any) -> None:  # noqa: ANN401
    """`python -m monai.bundle run`, in process."""
    import monai.bundle

    monai.bundle.run(run_id, config_file=configs, **overrides)
