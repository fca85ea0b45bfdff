"""What sorting needs of a DICOM header, read without its pixels."""

from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian
from synthetic.images import RAMP, dicom, save

from dynammo.io.dicom_headers import DicomHeader, not_slices, read_header, slice_order

TEXT_REPORT = "1.2.840.10008.5.1.4.1.1.88.11"


@pytest.mark.parametrize("deflated", [False, True])
def test_an_image_says_where_it_belongs_and_not_whose_it_is(tmp_path: Path, deflated: bool) -> None:
    image = dicom(RAMP, SeriesNumber=7, InstanceNumber=3, ImagePositionPatient=[0, 1, 2.5])
    if deflated:
        image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    header = read_header(save(image, tmp_path / "x"))
    assert (header.kind, header.modality, header.study_uid, header.series_uid) == ("image", "OT", "1.2.3", "1.2.3.4")
    assert (header.series_number, header.instance_number) == (7, 3)
    assert header.position == (0, 1, 2.5) and header.orientation is None
    assert "Doe" not in str(header) and "SECRET" not in str(header) and "1950" not in str(header)


def test_what_has_no_pixels_is_told_from_what_needs_none(tmp_path: Path) -> None:
    image = dicom(RAMP)
    del image.PixelData
    assert read_header(save(image, tmp_path / "a")).kind == "no pixels"
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = TEXT_REPORT
    assert read_header(save(image, tmp_path / "b")).kind == "other"


def test_a_text_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("these are only words, " * 20)
    assert read_header(tmp_path / "text").kind == "nothing"


def test_slices_are_ordered_by_place_else_by_number_else_as_they_come() -> None:
    def header(number: int | None, height: float | None) -> DicomHeader:
        position = None if height is None else (0.0, 0.0, height)
        return DicomHeader("image", "CT", "1", "2", "3", 1, number, position, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))

    assert slice_order([header(2, None), header(None, None), header(1, None)]) == [2, 0, 1]
    assert slice_order([header(None, None)] * 3) == [0, 1, 2]


def test_localizers_other_directions_and_copies_are_no_slices() -> None:
    def header(uid: str, kind: str = "", axes: tuple[float, ...] = (1, 0, 0, 0, 1, 0)) -> DicomHeader:
        return DicomHeader("image", "CT", "1", "2", uid, 1, None, (0.0, 0.0, float(uid)), axes, kind)

    slices = [header("1"), header("2"), header("3")]
    assert not_slices(slices) == {}
    others = [header("2"), header("7", "ORIGINAL\\PRIMARY\\LOCALIZER"), header("8", axes=(1, 0, 0, 0, 0, -1))]
    reasons = {3: "a copy of a slice", 4: "a localizer", 5: "of another direction"}
    assert not_slices([*slices, *others]) == reasons
    assert not_slices([header("1", "LOCALIZER"), header("2", "LOCALIZER")]) == {}, "then they are what there is"
