"""Refuses data lists that would test on what they trained on: same patient or same pixels on both sides."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from PIL import Image
from pydicom.misc import is_dicom

from dynammo.data.images import ImageRecord
from dynammo.errors import UserError
from dynammo.runtime.progress import track

__all__ = ["Duplicates", "pixel_hash", "refuse_shared_groups", "same_pixels", "without_shared_pixels"]

LISTED = 3  # pairs of files shown in a message
ORDINARY_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}


class Duplicates(str, Enum):
    """What becomes of a training image with the pixels of a test image."""

    refuse = "refuse"
    drop = "drop"
    keep = "keep"


def pixel_hash(path: Path) -> str:
    """SHA-256 of the pixels of an image, whatever it is packed in.

    Pictures are decoded (8-bit ones compared as RGB), volumes too; of DICOM the stored pixel data are taken, so
    that nothing needs to be decompressed.

    Raises:
        Exception: whatever the decoder says of an unreadable file.
    """
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return _hash_of(np.asanyarray(nibabel.load(path).dataobj))
    if is_dicom(path):
        dataset = pydicom.dcmread(path)
        layout = (dataset.file_meta.TransferSyntaxUID, dataset.Rows, dataset.Columns, dataset.PhotometricInterpretation)
        return hashlib.sha256(repr(layout).encode() + dataset.PixelData).hexdigest()
    with Image.open(path) as image:
        return _hash_of(np.asarray(image.convert("RGB") if image.mode in ORDINARY_MODES else image))


def refuse_shared_groups(records: Sequence[ImageRecord]) -> None:
    """Check that no group (patient, lesion, slide) has images on both sides.

    Raises:
        UserError: groups with training and test images; files of the first are named.
    """
    sides: dict[str, dict[str, Path]] = {}
    for record in records:
        if record.group:
            sides.setdefault(record.group, {}).setdefault(record.split, record.path)
    leaks = [pair for pair in sides.values() if len(pair) == 2]
    if leaks:
        raise UserError(
            f"{len(leaks)} groups (patients, lesions, slides) have images both in train and in test "
            f"({_pairs([(pair['train'], pair['test']) for pair in leaks])}), so test results would be too good; "
            "keep each group on one side, or give no split so that this command divides by group."
        )


def same_pixels(records: Sequence[ImageRecord]) -> list[tuple[ImageRecord, ImageRecord]]:
    """Find pairs of a training image and a test image with the same pixels.

    Raises:
        UserError: images that cannot be decoded.
    """
    hashes = _hashes(records)
    test = {key: record for key, record in zip(hashes, records, strict=True) if record.split == "test"}
    return [
        (record, test[key])
        for key, record in zip(hashes, records, strict=True)
        if record.split == "train" and key in test
    ]


def without_shared_pixels(
    records: Sequence[ImageRecord], duplicates: Duplicates = Duplicates.refuse
) -> tuple[list[ImageRecord], int]:
    """Apply the rule for pixels that are both in train and in test.

    Returns:
        The images that stay, and how many training images had the pixels of a test image.

    Raises:
        UserError: such images, unless they are to be dropped or kept; images that cannot be decoded.
    """
    leaks = same_pixels(records)
    if leaks and duplicates is Duplicates.refuse:
        raise UserError(
            f"{len(leaks)} training images have the same pixels as a test image "
            f"({_pairs([(a.path, b.path) for a, b in leaks])}), so test results would be too good; remove them, or "
            "type --duplicates drop to leave the training images out."
        )
    if duplicates is Duplicates.keep:
        return list(records), len(leaks)
    dropped = {id(record) for record, _ in leaks}
    return [record for record in records if id(record) not in dropped], len(leaks)


def _hashes(records: Sequence[ImageRecord]) -> list[str]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(track(pool.map(_hash_or_fault, (r.path for r in records)), "comparing pixels", len(records)))
    faults = [f"{r.path}: {fault}" for r, (_, fault) in zip(records, found, strict=True) if fault]
    if faults:
        more = f"; and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
        raise UserError(
            f"{len(faults)} of {len(records)} images cannot be read ({'; '.join(faults[:LISTED])}{more}); download or "
            "unpack them again, or remove them."
        )
    return [key for key, _ in found]


def _hash_or_fault(path: Path) -> tuple[str, str]:
    try:
        return pixel_hash(path), ""
    except Exception as error:  # decoders raise many kinds; to the user each is one unreadable image
        return "", str(error).split("\n")[0] or type(error).__name__


def _hash_of(pixels: np.ndarray) -> str:
    layout = f"{pixels.shape} {pixels.dtype.newbyteorder('<').str}"
    little = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    return hashlib.sha256(layout.encode() + little.tobytes()).hexdigest()


def _pairs(pairs: Sequence[tuple[Path, Path]]) -> str:
    more = f"; and {len(pairs) - LISTED} more" if len(pairs) > LISTED else ""
    return "; ".join(f"{train} and {test}" for train, test in pairs[:LISTED]) + more
