import os
import shutil
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileMetaDataset
from pydicom.fileset import FileSet
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid
from synthetic.datasets import shared, write_image

from dynammo.errors import UserError
from dynammo.io.dicom_headers import inflated
from dynammo.io.studies import StudyList, find_studies

CT = "1.2.840.10008.5.1.4.1.1.2"
TEXT_REPORT = "1.2.840.10008.5.1.4.1.1.88.11"
SIEMENS_RAW = "1.3.12.2.1107.5.9.1"  # private, without pixels
NAME = "Secret^Patient"


def write_dicom(path: Path, pixels: bool = True, sop_class: str = CT, syntax: str = "", **values: object) -> None:
    header = pydicom.Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = sop_class
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    header.StudyInstanceUID, header.SeriesInstanceUID, header.Modality = "1.2.3", generate_uid(), "CT"
    header.PatientName, header.PatientID = NAME, "secret-id"
    header.Rows = header.Columns = 4
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit, header.PixelRepresentation, header.SamplesPerPixel = 15, 0, 1
    header.PhotometricInterpretation = "MONOCHROME2"
    for name, value in values.items():
        setattr(header, name, value)
    if pixels:
        header.PixelData = np.arange(16, dtype=np.uint16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)


def names(listed: StudyList) -> list[str]:
    return [study.name for study in listed.studies]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two pictures, a series of three slices, one slice of another; a text, a report and hidden files."""
    folder = tmp_path / "studies"
    write_image(folder / "a b (1) [x].png", "red", 0)
    write_image(folder / "Häut" / "Läsion\nzwei.jpg", "blue", 1)
    for number, height in enumerate((5.0, -5.0, 0.0)):
        write_dicom(
            folder / "ct" / f"IM{number}",
            SeriesInstanceUID="1.2.3.4",
            SeriesNumber=7,
            InstanceNumber=number,
            ImagePositionPatient=[0, 0, height],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        )
    write_dicom(folder / "ct" / "alone", SOPInstanceUID="1.2.9")
    write_dicom(folder / "report.dcm", pixels=False, sop_class=TEXT_REPORT)
    write_dicom(folder / "raw.dcm", pixels=False, sop_class=SIEMENS_RAW)
    (folder / "readme.txt").write_text("no image")
    for clutter in (".DS_Store", "Thumbs.db", ".hidden/x.png"):
        (folder / clutter).parent.mkdir(exist_ok=True)
        (folder / clutter).write_bytes(b"clutter")
    return folder


def test_a_folder_of_mixed_files(mixed: Path, tmp_path: Path) -> None:
    listed = find_studies(mixed, tmp_path / "unused")
    assert names(listed) == ["Häut/Läsion\nzwei.jpg", "a b (1) [x].png", "ct/CT series 7", "ct/alone"]
    assert listed.ignored == 3, "text, report and raw data; hidden files and clutter are not even counted"
    picture, _, series, alone = listed.studies
    assert (picture.format, picture.modality, picture.study_uid) == ("jpeg", "", "")
    assert [file.name for file in series.files] == ["IM1", "IM2", "IM0"], "from the lowest slice to the highest"
    assert (series.modality, series.study_uid, series.series_uid, series.instance_uid) == ("CT", "1.2.3", "1.2.3.4", "")
    assert alone.instance_uid == "1.2.9" and alone.files == (mixed / "ct" / "alone",)
    assert not any(study.reason for study in listed.studies)
    assert "ecret" not in repr(listed), "no name and no number of a patient"
    assert not (tmp_path / "unused").exists()


def test_slices_without_a_place_are_ordered_by_number_else_by_name(tmp_path: Path) -> None:
    for name, number in (("a", 3), ("b", 1), ("c", 2)):
        write_dicom(tmp_path / "numbered" / name, SeriesInstanceUID="1.1", InstanceNumber=number)
        write_dicom(tmp_path / "named" / name, SeriesInstanceUID="1.2", InstanceNumber=None)
    studies = find_studies(tmp_path, tmp_path / "x").studies
    assert [[file.name for file in study.files] for study in studies] == [["a", "b", "c"], ["b", "c", "a"]]
    assert [study.name for study in studies] == ["named/CT series 1.2", "numbered/CT series 1.1"]


def test_what_is_named_like_an_image_and_is_none_gets_a_reason(tmp_path: Path) -> None:
    (tmp_path / "text.dcm").write_text("these are only words, " * 20)
    (tmp_path / "empty.png").touch()
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    write_dicom(tmp_path / "no pixels", pixels=False)
    write_dicom(tmp_path / "cut.dcm", PatientComments="x" * 500)
    whole = (tmp_path / "cut.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty").touch()
    listed = find_studies(tmp_path, tmp_path / "x")
    reasons = {study.name: study.reason for study in listed.studies}
    assert set(reasons) == {"text.dcm", "empty.png", "phone.heic", "no pixels", "cut.dcm"}
    assert "empty" in reasons["empty.png"] and "neither DICOM" in reasons["text.dcm"]
    assert "pixels are missing" in reasons["no pixels"]
    assert all(reasons.values()) and listed.ignored == 1


def test_odd_headers_are_read(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_dicom(tmp_path / "deflated", syntax=DeflatedExplicitVRLittleEndian, Modality="MR")
        write_dicom(tmp_path / "no series", SeriesInstanceUID="", SeriesNumber="")
        write_dicom(tmp_path / "private", sop_class="1.2.3.4.5")
    whole = (tmp_path / "no series").read_bytes()
    (tmp_path / "number").write_bytes(whole.replace(b"\x20\x00\x11\x00IS\x00\x00", b"\x20\x00\x11\x00IS\x02\x00xy"))
    studies = find_studies(tmp_path, tmp_path / "x").studies
    assert [(study.name, study.modality, study.reason) for study in studies] == [
        ("deflated", "MR", ""), ("no series", "CT", ""), ("number", "CT", ""), ("private", "CT", "")
    ]  # fmt: skip


def test_a_deflated_header_without_pixels_is_noticed(tmp_path: Path) -> None:
    write_dicom(tmp_path / "x.dcm", pixels=False, syntax=DeflatedExplicitVRLittleEndian)
    assert "pixels are missing" in find_studies(tmp_path, tmp_path / "x").studies[0].reason


def test_a_length_of_the_group_of_pixels_hides_none(tmp_path: Path) -> None:
    file = tmp_path / "x.dcm"
    write_dicom(file, syntax=DeflatedExplicitVRLittleEndian)
    with file.open("rb") as stream:
        data = b"".join(inflated(stream))
    at, whole = data.index(b"\xe0\x7f\x10\x00"), file.read_bytes()
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    start = 144 + int.from_bytes(whole[140:144], "little")  # behind the file meta information
    longer = data[:at] + b"\xe0\x7f\x00\x00UL\x04\x00" + bytes(4) + data[at:]
    file.write_bytes(whole[:start] + squeeze.compress(longer) + squeeze.flush())
    assert [study.reason for study in find_studies(tmp_path, tmp_path / "out").studies] == [""]


def test_links_are_counted_and_not_followed(mixed: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write_image(outside / "secret.png", "green", 0)
    (mixed / "loop").symlink_to(mixed)
    (mixed / "out").symlink_to(outside)
    (mixed / "link.png").symlink_to(outside / "secret.png")
    before = names(find_studies(mixed / ".", tmp_path / "x"))
    listed = find_studies(mixed, tmp_path / "x")
    assert listed.links == 3 and names(listed) == before
    (tmp_path / "door").symlink_to(mixed)
    assert names(find_studies(tmp_path / "door", tmp_path / "x")) == before, "the source itself may be a link"
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.png").symlink_to(outside / "secret.png")
    with pytest.raises(UserError, match=r"1 links .* list"):
        find_studies(tmp_path / "links", tmp_path / "x")


def test_pipes_do_not_block(mixed: Path, tmp_path: Path) -> None:
    os.mkfifo(mixed / "pipe.dcm")
    assert find_studies(mixed, tmp_path / "x").ignored == 4
    with pytest.raises(UserError, match="neither a file nor a folder"):
        find_studies(mixed / "pipe.dcm", tmp_path / "x")


def test_very_deep_folders(tmp_path: Path) -> None:
    """Paths near the 4096 bytes that Linux takes; deeper ones pytest could not remove again."""
    levels = 300
    deep = tmp_path.joinpath(*["folder name"] * levels)
    write_image(deep / "x.png", "red", 0)
    assert names(find_studies(tmp_path, tmp_path / "x")) == ["folder name/" * levels + "x.png"]


def test_names_that_are_no_text_can_be_written_and_stay_apart(tmp_path: Path) -> None:
    write_image(tmp_path / "x.png", "red", 0)
    for name in (b"\xff.png", b"\xfe.png"):
        shutil.copyfile(os.fsencode(tmp_path / "x.png"), os.fsencode(tmp_path) + b"/" + name)
    found = names(find_studies(tmp_path, tmp_path / "y"))
    assert len(set(found)) == 3 and all(name.encode() for name in found)


def test_results_inside_of_the_source_are_left_out(mixed: Path, tmp_path: Path) -> None:
    write_image(mixed / "results" / "thumbnail.png", "red", 0)
    kept = find_studies(mixed, tmp_path / "x", leave_out=[mixed / "ct" / ".." / "results"])
    assert "results/thumbnail.png" not in names(kept)
    assert "results/thumbnail.png" in names(find_studies(mixed, tmp_path / "x"))


def test_a_single_file(mixed: Path, tmp_path: Path) -> None:
    assert names(find_studies(mixed / "a b (1) [x].png", tmp_path / "x")) == ["a b (1) [x].png"]
    (tmp_path / "broken.dcm").write_text("words")
    assert find_studies(tmp_path / "broken.dcm", tmp_path / "x").studies[0].reason
    with pytest.raises(UserError, match="no image"):
        find_studies(mixed / "report.dcm", tmp_path / "x")


def test_a_zip_is_like_its_folder(mixed: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", mixed)
    folder, packed = find_studies(mixed, tmp_path / "x"), find_studies(archive, tmp_path / "unpacked")
    assert names(packed) == names(folder) and packed.ignored == folder.ignored
    assert all(file.is_relative_to(tmp_path / "unpacked") for study in packed.studies for file in study.files)


def test_a_damaged_file_in_a_zip_is_one_study_with_a_reason(mixed: Path, tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(mixed / "a b (1) [x].png", "good.png")
        packed.writestr("bad.png", b"content" * 50)
    archive.write_bytes(archive.read_bytes().replace(b"content" * 50, b"changed" * 50))
    good, bad = reversed(find_studies(archive, tmp_path / "unpacked").studies)
    assert good.name == "good.png" and not good.reason
    assert bad.name == "bad.png" and "damaged" in bad.reason and not bad.files[0].exists()


def make_dicomdir(tmp_path: Path) -> Path:
    source, medium = tmp_path / "source", FileSet()
    for number in (1, 2):
        file = source / str(number)
        write_dicom(file, StudyDate="20200101", StudyTime="1200", StudyID="1", SeriesNumber=number, InstanceNumber=1)
        medium.add(file)
    medium.write(tmp_path / "medium")
    return tmp_path / "medium" / "DICOMDIR"


def test_a_dicomdir_and_the_files_that_it_misses(tmp_path: Path) -> None:
    directory = make_dicomdir(tmp_path)
    write_image(directory.parent / "not listed.png", "red", 0)
    listed = find_studies(directory, tmp_path / "x")
    assert len(listed.studies) == 2 and not any(study.reason for study in listed.studies)
    listed.studies[0].files[0].unlink()
    again = find_studies(directory, tmp_path / "x")
    assert names(again) == names(listed)
    assert [bool(study.reason) for study in again.studies] == [True, False]
    assert listed.ignored == 0 and find_studies(directory.parent, tmp_path / "x").ignored == 1, "DICOMDIR is no image"


def test_a_medium_that_was_copied_in_small_letters(tmp_path: Path) -> None:
    directory = make_dicomdir(tmp_path)
    for path in sorted(directory.parent.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.lower()))
    listed = find_studies(directory.with_name("dicomdir"), tmp_path / "x")
    assert len(listed.studies) == 2 and not any(study.reason for study in listed.studies)


def test_a_dicomdir_cannot_reach_out_of_its_medium(tmp_path: Path) -> None:
    directory = make_dicomdir(tmp_path)
    write_image(tmp_path / "secret.png", "red", 0)
    records = pydicom.dcmread(directory)
    images = [record for record in records.DirectoryRecordSequence if record.DirectoryRecordType == "IMAGE"]
    images[0].ReferencedFileID = ["..", "secret.png"]
    images[1].ReferencedFileID = "../secret.png"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        records.save_as(directory)
    listed = find_studies(directory, tmp_path / "x")
    assert len(listed.studies) == 2 and all("no such file" in study.reason for study in listed.studies)


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_list_of_paths(mixed: Path, tmp_path: Path, bom: bytes) -> None:
    listing = tmp_path / "list.txt"
    listing.write_bytes(bom + b"studies/a b (1) [x].png\r\n\nstudies/ct\nnowhere.png\nstudies/ct/alone\n")
    listed = find_studies(listing, tmp_path / "x")
    found = {study.name: study.reason for study in listed.studies}
    assert set(found) == {"studies/a b (1) [x].png", "studies/ct/CT series 7", "studies/ct/alone", "nowhere.png"}
    assert [name for name, reason in found.items() if reason] == ["nowhere.png"]


def test_a_csv_names_its_column_or_has_one(mixed: Path, tmp_path: Path) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text(f'label,Path\nx,"{mixed / "a b (1) [x].png"}"\n\ny,studies/ct/alone\n')
    assert names(find_studies(listing, tmp_path / "x")) == ["studies/a b (1) [x].png", "studies/ct/alone"]
    listing.write_text("studies/ct/alone\n")
    assert names(find_studies(listing, tmp_path / "x")) == ["studies/ct/alone"]


def test_mistakes_are_explained(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("Dear colleague,\nthe images follow.\n")
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "x.tar.gz").write_bytes(b"\x1f\x8b" + bytes(50))
    (tmp_path / "x.bin").write_bytes(bytes(range(256)))
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    for name, words in (
        ("nothing", "cannot be opened"), ("empty", "no image"), ("notes.txt", "none of its 2 lines"),
        ("blank.txt", "empty"), ("x.tar.gz", "unpack it"), ("x.bin", "neither an image nor"), ("x.zip", "damaged"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            find_studies(tmp_path / name, tmp_path / "unpacked")
    for bad in (b"\0" * 128 + b"DICM" + b"\xff" * 40, bytes(300)):
        (tmp_path / "empty" / "x").write_bytes(bad)
        with pytest.raises(UserError, match="no image"):
            find_studies(tmp_path / "empty", tmp_path / "x")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=400), cut=st.integers(0, 700))
def test_damaged_files_never_stop_the_intake(tmp_path: Path, noise: bytes, cut: int) -> None:
    folder = tmp_path / "noise"
    write_dicom(folder / "cut.dcm")
    whole = (folder / "cut.dcm").read_bytes()
    (folder / "cut.dcm").write_bytes(whole[:cut] + noise)
    (folder / "noise.dcm").write_bytes(bytes(128) + b"DICM" + noise)
    write_image(folder / "good.png", "red", 0)
    found = {study.name: study.reason for study in find_studies(folder, tmp_path / "x").studies}
    assert found["good.png"] == ""
    assert found.get("noise.dcm", "x")


def test_the_clinics_folder() -> None:
    listed = find_studies(shared("data", "clinic"), "unused")
    formats = [study.format for study in listed.studies]
    assert listed.ignored == 1 and len(listed.studies) == 16, "two of the 17 files are one series"
    assert {kind: formats.count(kind) for kind in formats} == {"dicom": 8, "nifti": 3, "png": 2, "jpeg": 2, "tiff": 1}
    assert not any(study.reason for study in listed.studies)
    twice = next(study for study in listed.studies if study.name == "CT series 2")
    assert len(twice.files) == 1 and "is left out: a copy of a slice" in twice.note  # it is there in two syntaxes
