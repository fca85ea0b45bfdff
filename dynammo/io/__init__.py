"""Bytes to arrays and studies: DICOM, NIfTI, pictures, whole slides. No torch; MONAI in `monai_reader` alone."""

from typing import Any

from dynammo.runtime.faces import look_up

FACE = {
    "ClinicalReader": "monai_reader",
    "find_studies": "studies",
    "image_format": "image_reader",
    "read_image": "image_reader",
}
__all__ = list(FACE)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    return look_up(__name__, FACE, name)
