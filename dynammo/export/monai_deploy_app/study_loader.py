"""DICOM files of a folder -> studies, as the SDK's loader has them, of images alone and without their pixels."""

from collections import Counter
from pathlib import Path
from typing import Any

import pydicom
from monai.deploy.core.domain.dicom_series import DICOMSeries
from monai.deploy.core.domain.dicom_study import DICOMStudy
from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
from pydicom.dataset import Dataset

from dynammo.errors import UserError
from dynammo.io.dicom_headers import read_header

__all__ = ["DAMAGED", "StudyLoader"]

GROUPS = (0x0008, 0x0018, 0x0020, 0x0028)  # identification, acquisition, relation, image
DAMAGED = ("damaged header", "DICOM without pixels", "image without identifiers")
KINDS = {"nothing": "no DICOM", "other": "DICOM, but no image", "no pixels": DAMAGED[1]}


class StudyLoader(DICOMDataLoaderOperator):  # type: ignore[misc]  # the SDK is untyped
    """Groups images into studies and series.

    The SDK's own grouping takes reports for images, holds all pixels of a folder in memory, ends at the first damaged
    file or drops it without a word, as it does with one of two images at the same place and with series that have no
    number.

    Attributes:
        left_out: number of files that were not loaded, by reason.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        self.left_out: Counter[str] = Counter()
        super().__init__(*args, **kwargs)

    def _load_data(self, files: list[str]) -> list[DICOMStudy]:
        """Studies of the images among the files, in the order of their names.

        Raises:
            UserError: there is none.
        """
        kinds = {Path(file): _kind(Path(file)) for file in sorted(files)}
        self.left_out.update(kind for kind in kinds.values() if kind != "image")
        studies: dict[str, DICOMStudy] = {}
        series: dict[tuple[str, str], DICOMSeries] = {}
        for file in (file for file, kind in kinds.items() if kind == "image"):
            self._add(pydicom.dcmread(file, stop_before_pixels=True, force=True), studies, series)
        if not studies:
            others = ", ".join(f"{count} {kind}" for kind, count in self.left_out.items()) or "it is empty"
            raise UserError(
                f"there is no DICOM image in the input folder ({others}); give -i a folder of DICOM images."
            )
        return list(studies.values())

    def _add(self, header: Dataset, studies: dict[str, DICOMStudy], series: dict[tuple[str, str], DICOMSeries]) -> None:
        study_uid, series_uid = str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
        if study_uid not in studies:
            studies[study_uid] = DICOMStudy(study_uid)
            self.populate_study_attributes(studies[study_uid], header)
        if (study_uid, series_uid) not in series:
            series[study_uid, series_uid] = DICOMSeries(series_uid)
            self.populate_series_attributes(series[study_uid, series_uid], _filled(header))
            studies[study_uid].add_series(series[study_uid, series_uid])
        series[study_uid, series_uid].add_sop_instance(header)


def _filled(header: Dataset) -> Dataset:
    """What is not empty: the SDK cannot have a series number, or another element of type 2, without value."""
    filled = Dataset()
    for group in GROUPS:
        filled.update({element.tag: element for element in header.group_dataset(group) if element.value})
    return filled


def _kind(file: Path) -> str:
    try:
        header = read_header(file)
    except Exception:  # pydicom raises many kinds for a damaged header
        return DAMAGED[0]
    if header.kind == "image" and not (header.study_uid and header.series_uid and header.instance_uid):
        return DAMAGED[2]
    return KINDS.get(header.kind, header.kind)
