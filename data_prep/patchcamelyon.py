"""PatchCamelyon's HDF5 files: labels and slides of all patches, pixels of the chosen ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dynammo.data.images import ImageRecord
from dynammo.errors import UserError
from dynammo.runtime.progress import track

from .array_files import write_picture
from .csv_table import read_table

__all__ = ["PARTS", "read_patchcamelyon", "unpack_patchcamelyon"]

SPLITS = ("train", "test")  # the validation part is left out
PATCH = (96, 96, 3)
PARTS = tuple(f"camelyonpatch_level_2_split_{s}_{kind}" for s in SPLITS for kind in ("x.h5", "y.h5", "meta.csv"))


def read_patchcamelyon(folder: Path, unpacked: Path) -> list[ImageRecord]:
    """List every patch of train and test under the name it will be unpacked to; group is its slide.

    Raises:
        UserError: h5py missing, files that do not belong together.
    """
    return [record for split in SPLITS for record in _listed(folder, split, unpacked / "patchcamelyon")]


def unpack_patchcamelyon(folder: Path, chosen: Sequence[ImageRecord]) -> None:
    """Write the chosen patches as PNG."""
    for split in SPLITS:
        records = [record for record in chosen if record.split == split]
        with _opened(_part(folder, split, "x.h5"), "x") as patches:
            for record in track(records, f"unpacking {split} patches", len(records)):
                write_picture(record.path, patches[int(record.path.stem.rpartition("_")[2])])


def _listed(folder: Path, split: str, unpacked: Path) -> list[ImageRecord]:
    with _opened(_part(folder, split, "y.h5"), "y") as stored:
        labels = np.asarray(stored).reshape(-1)
    with _opened(_part(folder, split, "x.h5"), "x") as patches:
        shape = tuple(patches.shape)
    slides = [row["wsi"] for row in read_table(_part(folder, split, "meta.csv"), ["wsi"])]
    if shape != (len(labels), *PATCH) or len(slides) != len(labels):
        raise UserError(
            f"the {split} files of PatchCamelyon in {folder} do not belong together: pixels of shape {shape}, "
            f"{len(labels)} labels, {len(slides)} rows of slides; download them again."
        )
    names = ("lymph_normal", "lymph_tumor")
    return [
        ImageRecord(unpacked / f"{split}_{i:06d}.png", names[int(label)], split, slide)
        for i, (label, slide) in enumerate(zip(labels, slides, strict=True))
    ]


def _part(folder: Path, split: str, kind: str) -> Path:
    return folder / f"camelyonpatch_level_2_split_{split}_{kind}"


@contextmanager
def _opened(file: Path, key: str) -> Iterator[Any]:
    try:
        import h5py  # an extra: no other set needs it
    except ImportError as error:
        raise UserError("PatchCamelyon's files need h5py; type pip install h5py.") from error
    try:
        opened = h5py.File(file, "r")
    except OSError as error:
        raise UserError(f"{file} is not a whole HDF5 file; download it again and unpack it with gunzip.") from error
    with opened:
        if key not in opened:
            raise UserError(f"{file} has no dataset {key!r}; expected the file of that name from PatchCamelyon.")
        yield opened[key]
