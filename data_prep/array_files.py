"""Arrays of packed data sets as image files."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

__all__ = ["write_picture", "write_volume"]


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write grey (height, width) or RGB (height, width, 3), uint8, as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, format="PNG")


def write_volume(path: Path, voxels: np.ndarray) -> None:
    """Write (x, y, z), uint8, as NIfTI of 1 mm; the true spacing and orientation are not in the packed set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(voxels), np.eye(4)), path)
