"""A chosen series -> the images that the network sees of it, exactly as `dynammo classify` reads them.

The SDK's DICOMSeriesToVolumeOperator is not used: it gives volumes in the order of the scanner, with one channel alone,
knows no palettes and no frames within a file, and inverts MONOCHROME1 only where the header has a presentation LUT
shape. The reader in the folder `dynammo` is the one that read the training images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.deploy.core import ConditionType, Image, Operator, OperatorSpec

from dynammo.io.dicom_headers import not_slices, read_header
from dynammo.io.image_reader import frame_count, read_image

__all__ = ["SeriesImages", "SeriesReader"]

View = str | list[str]


@dataclass(frozen=True)
class SeriesImages:
    """One series; its pixels are read when asked for.

    Attributes:
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID.
        modality: such as CT.
        files: its DICOM files.
        recipe: `spatial_dims` and `volumes`, see `Bundle`.
    """

    study_uid: str
    series_uid: str
    modality: str
    files: tuple[Path, ...]
    recipe: dict[str, Any]

    def images(self) -> Iterator[Image]:
        """Give the images whose probabilities are averaged: float32 (C, H, W), of volumes (C, D, H, W).

        Colours and 8-bit pictures have 3 channels of 0 to 255, measured values (Hounsfield units, counts) 1 channel.

        Raises:
            UserError: a file that cannot be read.
        """
        for view in views(self.files, self.recipe):
            array = read_image(view, _frames(self.recipe), pictures_as_rgb=True).array
            yield Image(array, {"original_channel_dim": 0})


class SeriesReader(Operator):  # type: ignore[misc]  # the SDK is untyped
    """Named input `study_selected_series_list`; named output `image`, a list of `SeriesImages`.

    Args:
        recipe: `spatial_dims` and `volumes` of the bundle.
    """

    def __init__(self, *args: Any, recipe: dict[str, Any], **kwargs: Any) -> None:  # noqa: ANN401
        self.recipe = recipe
        super().__init__(*args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Name the ports."""
        spec.input("study_selected_series_list")
        spec.output("image").condition(ConditionType.NONE)

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:  # noqa: ANN401
        """Hand on each chosen series once, though several rules may have chosen it."""
        chosen = {
            selected.series.SeriesInstanceUID: (study.study.StudyInstanceUID, selected.series)
            for study in op_input.receive("study_selected_series_list")
            for selected in study.selected_series
        }
        op_output.emit([self._series(*found) for found in chosen.values()], "image")

    def _series(self, study_uid: str, series: Any) -> SeriesImages:  # noqa: ANN401
        files = [Path(instance.get_native_sop_instance().filename) for instance in series.get_sop_instances()]
        return SeriesImages(
            str(study_uid), str(series.SeriesInstanceUID), str(series.Modality or ""), slices(files), self.recipe
        )


def slices(files: Sequence[Path]) -> tuple[Path, ...]:
    """The files of a series in their order, without localizers and copies, as `dynammo classify` leaves them out."""
    known = sorted(files)
    others = not_slices([read_header(file) for file in known]) if len(known) > 1 else {}
    return tuple(file for number, file in enumerate(known) if number not in others)


def views(files: Sequence[Path], recipe: dict[str, Any]) -> list[View]:
    """What the network sees of a series, one after the other: files, frames of a file, or all files as one volume."""
    names = [str(file) for file in files]
    if len(names) > 1:
        return [names] if recipe["spatial_dims"] == 3 or recipe["volumes"] == "maximum" else list(names)
    if recipe["spatial_dims"] == 2 and recipe["volumes"] == "slices" and (count := frame_count(names[0])) > 1:
        return [f"{names[0]}#{frame}" for frame in range(count)]
    return list(names)


def _frames(recipe: dict[str, Any]) -> str:
    if recipe["spatial_dims"] == 3:
        return "all"
    return "middle" if recipe["volumes"] == "slices" else str(recipe["volumes"])
