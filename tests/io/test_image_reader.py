"""The one reader: every format alike, every fault a sentence."""

from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from synthetic.images import (
    COLOUR,
    RAMP,
    VOLUME,
    as_nifti,
    dicom,
    save,
    values,
)

from dynammo.io.image_reader import image_fault, image_format, read_frames, read_image, split_fragment

pictures = arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3)))


def test_formats_are_told_by_content(tmp_path: Path) -> None:
    save(dicom(RAMP), tmp_path / "a.png")
    Image.fromarray(COLOUR).save(tmp_path / "b", "PNG")
    Image.fromarray(COLOUR).save(tmp_path / "c.dcm", "JPEG")
    Image.fromarray(COLOUR).save(tmp_path / "d.nii", "TIFF")
    (tmp_path / "e.jpg").write_bytes(as_nifti(VOLUME).to_bytes())
    (tmp_path / "f.dcm").write_text("I am a text")
    found = [image_format(path) for path in sorted(tmp_path.iterdir())]
    assert found == ["dicom", "png", "jpeg", "tiff", "nifti", None]
    assert image_format(tmp_path / "nowhere") is None and image_format(tmp_path) is None
    for name in "abcde":
        assert image_fault(next(tmp_path.glob(f"{name}*"))) is None


def test_names_may_hold_anything(tmp_path: Path) -> None:
    for name in ("Bild (10) [é] 图.png", "a#1.png", "with space.png"):
        Image.fromarray(COLOUR).save(tmp_path / name)
        assert values(tmp_path / name).shape == (3, 48, 40)
    assert split_fragment(tmp_path / "a#1.png") == (tmp_path / "a#1.png", "")
    assert split_fragment(tmp_path / "a#1.png#middle") == (tmp_path / "a#1.png", "middle")


def test_nothing_tells_who_the_patient_is(tmp_path: Path) -> None:
    path = save(dicom(RAMP, PixelSpacing=[0.5, 0.25]), tmp_path / "x")
    meta = read_image(path).meta
    assert "Doe" not in str(meta) and "SECRET" not in str(meta) and "1950" not in str(meta)
    assert meta["spacing"].tolist() == [0.5, 0.25] and meta["modality"] == "OT" and meta["study_uid"] == "1.2.3"
    assert np.isnan(read_image(save(dicom(RAMP, PixelSpacing=[0, 0]), tmp_path / "y")).meta["spacing"]).all()


def test_chosen_frames_come_one_by_one(tmp_path: Path) -> None:
    as_nifti(VOLUME).to_filename(tmp_path / "volume.nii.gz")
    asked: list[tuple[int, int]] = []

    def last_two(count: int, channels: int) -> range:
        asked.append((count, channels))
        return range(count - 2, count)

    found = list(read_frames(tmp_path / "volume.nii.gz", last_two))
    whole, count = read_image(tmp_path / "volume.nii.gz").array, len(VOLUME)
    assert asked == [(count, 1)] and [(n, of) for n, of, _ in found] == [(count - 2, count), (count - 1, count)]
    for number, _, image in found:
        np.testing.assert_array_equal(image.array, whole[:, number])
