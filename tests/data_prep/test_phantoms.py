"""Phantom sets: same seed same bytes, readable files, no give-away but the pattern, plain messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from scipy.ndimage import median_filter
from typer.testing import CliRunner

from data_prep.phantoms import volumes as phantom_volumes
from data_prep.phantoms.__main__ import SETS, app, render_phantom

TINY = ["--size", "48", "--train", "2", "--test", "1"]
TINY_VOLUMES = ["--only", "volumes", "--size", "24", "--train", "2", "--test", "1"]
Answer = tuple[int, str]
Files = dict[str, bytes]


def phantoms(*arguments: str | Path) -> Answer:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def files(folder: Path) -> Files:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantoms")
    status, output = phantoms("-o", out, *TINY)
    assert status == 0, output
    status, output = phantoms("-o", out, *TINY_VOLUMES)
    assert status == 0, output
    return out


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Answer]:
    """Render histology alone into a fresh folder, with more options if asked."""
    return lambda *more: phantoms(
        "-o", tmp_path, "--size", "48", "--train", "1", "--test", "1", "--only", "histology", *more
    )


def test_every_class_has_its_pictures_in_both_splits(rendered: Path) -> None:
    for name, kind in SETS.items():
        for split, count in (("train", 2), ("test", 1)):
            found = {folder.name: len(list(folder.iterdir())) for folder in (rendered / name / split).iterdir()}
            assert found == dict.fromkeys(kind.classes, count)
            assert len(found) == 8


def test_same_seed_gives_the_same_bytes(rendered: Path, tmp_path: Path) -> None:
    assert phantoms("-o", tmp_path, *TINY)[0] == 0
    assert not (tmp_path / "volumes").exists(), "only where asked for"
    assert phantoms("-o", tmp_path, *TINY_VOLUMES)[0] == 0
    assert files(tmp_path) == files(rendered)


def test_another_seed_gives_other_pictures_and_another_size_the_same_scene() -> None:
    first = render_phantom("histology", "mucin_pools", "train", 0, seed=0, size=48).astype(float)
    other = render_phantom("histology", "mucin_pools", "train", 0, seed=1, size=48).astype(float)
    larger = render_phantom("histology", "mucin_pools", "train", 0, seed=0, size=96).astype(float)
    halved = larger.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.corrcoef(first.ravel(), other.ravel())[0, 1] < 0.7
    assert np.corrcoef(first.ravel(), halved.ravel())[0, 1] > 0.95


def test_more_pictures_keep_those_before(small: Callable[..., Answer], tmp_path: Path) -> None:
    def pictures() -> set[bytes]:
        return {path.read_bytes() for path in tmp_path.rglob("*.png")}

    small()
    few = pictures()
    small("--train", "2", "--force")
    assert len(few) == 16
    assert len(pictures()) == 24
    assert few < pictures()


@pytest.mark.parametrize(
    ("name", "reader", "shape"),
    [
        ("dermoscopy", "PILReader", (3, 64, 48)),  # MONAI puts the width first
        ("histology", "PILReader", (3, 48, 48)),
        ("radiology", "PydicomReader", (1, 48, 48)),
        ("volumes", "NibabelReader", (1, 24, 24, 24)),
    ],
)
def test_monai_reads_every_kind_of_file(rendered: Path, name: str, reader: str, shape: tuple[int, ...]) -> None:
    from monai.transforms import LoadImage

    load = LoadImage(reader=reader, image_only=True, ensure_channel_first=True)
    for path in (rendered / name / "train").glob("*/PHANTOM-*"):
        image = load(path)
        assert tuple(image.shape) == shape
        assert image.std() > 0


def test_radiographs_are_valid_anonymous_dicom(rendered: Path) -> None:
    datasets = [pydicom.dcmread(path) for path in (rendered / "radiology").rglob("*.dcm")]
    for dataset in datasets:
        assert dataset.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.PhotometricInterpretation == "MONOCHROME2"
        assert dataset.pixel_array.dtype == np.uint16
        assert dataset.PatientID.startswith("PHANTOM-")
        assert dataset.SyntheticData == "YES"
        assert not dataset.PatientBirthDate
        seen = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        inside = np.abs(seen - float(dataset.WindowCenter)) < float(dataset.WindowWidth) / 2
        assert inside.mean() > 0.8
    for tag in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID"):
        assert len({dataset[tag].value for dataset in datasets}) == len(datasets)
    assert all(pydicom.uid.UID(dataset.SOPInstanceUID).is_valid for dataset in datasets)


def test_volumes_are_valid_anonymous_nifti(rendered: Path) -> None:
    paths = sorted((rendered / "volumes").rglob("*.nii.gz"))
    assert len(paths) == 8 * 3
    for path in paths:
        image = nibabel.load(path)
        assert image.get_data_dtype() == np.int16
        assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
        assert image.header.get_xyzt_units()[0] == "mm"
        assert np.allclose(image.header.get_zooms(), (15, 15, 12.5))
        assert np.allclose(image.affine @ [11.5, 11.5, 11.5, 1], [0, 0, 0, 1]), "the middle is the origin"
        assert np.array_equal(image.get_qform(), image.get_sform())
        values = np.asarray(image.dataobj)
        assert -1024 <= values.min() < -950
        assert 150 < values.max() < 1500
        assert np.median(values[10:14, -1]) < -900, "air behind the back"


def test_volumes_lie_the_right_way_round() -> None:
    volumes = [render_phantom("volumes", "normal", "train", index).astype(float) for index in range(6)]
    mean = np.mean(volumes, axis=0)  # axes z, y, x
    bone = mean[:, :, 12:24] > 250
    assert np.nonzero(bone)[1].mean() > 20, "the spine is at the back"
    lungs = (mean > -900) & (mean < -700)
    assert lungs[26:].sum() < lungs[10:26].sum(), "lungs narrow to the head"
    heart = mean[12:16, 8:18]
    assert heart[..., 18:].mean() > heart[..., :18].mean(), "the heart lies to the left"


def test_findings_of_volumes_differ_along_the_body_and_not_in_one_slice() -> None:
    def finding(name: str, seed: int) -> np.ndarray:
        """Where a finding changes its own person, middle places (z, y, x) and lengths in voxels of 36."""
        drawn, without = (
            phantom_volumes.render(key, 36, np.random.default_rng(seed)).astype(float) for key in (name, "normal")
        )
        where = np.argwhere(median_filter(np.abs(drawn - without), size=3) > 200)
        return np.array([where.mean(axis=0), np.ptp(where, axis=0) + 1])

    found = {
        name: np.mean([finding(name, seed) for seed in range(8)], axis=0)
        for name in ("mass", "mucoid_impaction", "apical_opacity", "basal_opacity", "nodules")
    }
    lengths = {name: length for name, (_, length) in found.items()}
    assert np.ptp(lengths["mass"]) < 2, "a ball is as long in every direction"
    assert lengths["mucoid_impaction"][0] > 1.8 * lengths["mass"][0], "a rod is long along the body"
    assert lengths["mucoid_impaction"][1:].max() < lengths["mass"][0], "and slender across it"
    assert found["apical_opacity"][0, 0] > found["basal_opacity"][0, 0] + 12
    assert abs(found["apical_opacity"][0, 2] - found["basal_opacity"][0, 2]) < 10
    assert lengths["nodules"][2] > 2 * lengths["mass"][2], "nodules lie in both lungs"


@pytest.mark.parametrize("name", SETS)
def test_brightness_and_shape_do_not_give_the_class_away(name: str) -> None:
    pictures = [
        [render_phantom(name, key, "train", index, size=SETS[name].sizes[0]) for index in range(12)]
        for key in SETS[name].classes
    ]
    brightness = np.array([[picture.mean() for picture in row] for row in pictures])
    middles = brightness[:, :6].mean(axis=1)
    guessed = np.abs(brightness[:, 6:, None] - middles).argmin(axis=-1)
    assert (guessed == np.arange(8)[:, None]).mean() < 0.35  # chance is 0.125
    assert len({picture.shape for row in pictures for picture in row}) == 1


def test_file_names_and_patients_do_not_give_the_class_away(rendered: Path) -> None:
    numbers = {
        folder.name: [int(path.stem.removeprefix("PHANTOM-")) for path in folder.iterdir()]
        for folder in (rendered / "radiology/train").iterdir()
    }
    assert sorted(numbers, key=lambda name: min(numbers[name])) != sorted(numbers)
    assert sum(len(drawn) for drawn in numbers.values()) == len({n for drawn in numbers.values() for n in drawn})


def test_record_says_what_was_rendered(rendered: Path) -> None:
    record = json.loads((rendered / "phantoms.json").read_text())
    assert "not medicine" in record["note"]
    for name, kind in SETS.items():
        settings = record["sets"][name]
        size = 24 if name == "volumes" else 48
        assert (settings["seed"], settings["size"], settings["train"], settings["test"]) == (0, size, 2, 1)
        assert list(settings["classes"]) == list(kind.classes) == sorted(kind.classes)
        assert all(settings["classes"].values())


def test_same_rendering_is_left_as_it_is(small: Callable[..., Answer], tmp_path: Path) -> None:
    small()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    status, output = small()
    assert status == 0
    assert "left as it is" in output
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}


def test_other_rendering_is_replaced_only_by_force(small: Callable[..., Answer], tmp_path: Path) -> None:
    small()
    before = files(tmp_path)
    status, output = small("--seed", "1")
    assert status == 1
    assert "seed 0 where 1 is asked for" in output
    assert "--force" in output
    assert files(tmp_path) == before
    assert small("--seed", "1", "--force")[0] == 0
    after = files(tmp_path)
    assert len(after) == len(before)
    assert after != before


def test_rendering_cut_short_is_done_again(small: Callable[..., Answer], tmp_path: Path) -> None:
    small()
    whole = files(tmp_path)
    next(tmp_path.rglob("*.png")).unlink()
    assert small()[0] == 0
    assert files(tmp_path) == whole


def test_foreign_folder_is_never_touched(small: Callable[..., Answer], tmp_path: Path) -> None:
    (tmp_path / "histology").mkdir()
    (tmp_path / "histology" / "mine.txt").write_text("keep")
    status, output = small("--force")
    assert status == 1
    assert "move it away" in output
    assert (tmp_path / "histology" / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("arguments", "came", "next_step"),
    [
        (["--size", "8"], "--size is 8", "try --size 96"),
        (["--size", "500", "--only", "volumes"], "--size is 500", "try --size 36"),
        (["--train", "-3"], "--train is -3", "try --train 40"),
        (["--test", "0"], "--test is 0", "try --test 20"),
        (["--seed", "-1"], "--seed is -1", "try --seed 0"),
    ],
)
def test_bad_numbers_are_refused_in_one_sentence(
    arguments: list[str], came: str, next_step: str, tmp_path: Path
) -> None:
    status, output = phantoms("-o", tmp_path / "out", *arguments)
    assert status == 1
    assert came in output
    assert next_step in output
    assert output.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_unwritable_folder_and_broken_record_are_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place, words in (("-o", "with -o"), ("--sheet", "with --sheet")):
        status, output = phantoms(place, tmp_path / "file" / "out", *TINY)
        assert status == 1
        assert "cannot be written" in output
        assert words in output
    (tmp_path / "phantoms.json").write_text("{")
    status, output = phantoms("-o", tmp_path, *TINY)
    assert status == 1
    assert "delete it" in output


def test_contact_sheet_is_drawn_instead(tmp_path: Path) -> None:
    status, _ = phantoms("--sheet", tmp_path / "new" / "sheet.png")
    assert status == 0
    assert (tmp_path / "new" / "sheet.png").stat().st_size < 300_000
    assert phantoms("--only", "volumes", "--sheet", tmp_path / "volumes.png")[0] == 0
    with Image.open(tmp_path / "volumes.png") as sheet:
        assert sheet.height > sheet.width > 2 * 144
